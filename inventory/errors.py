"""What the inventory refuses. Every sentence may be shown to the person who asked."""

from collections.abc import Sequence

_MOST_PLACES = 5


class InventoryError(Exception):
    """A rule of the inventory said no."""


def _word(state: str) -> str:
    return state.replace("_", "-")


class IllegalTransitionError(InventoryError):
    def __init__(self, *, source: str, target: str, allowed: Sequence[str]) -> None:
        self.source, self.target, self.allowed = source, target, allowed
        ways = ", ".join(_word(state) for state in allowed) or "nowhere"
        super().__init__(
            f"A key that is {_word(source)} cannot become {_word(target)}. From here it can go to: {ways}."
        )


class SecondPersonError(InventoryError):
    """What only several people together may do."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is suspended. Taking it back into use needs the votes of others: ask to re-activate it on its "
            "page."
        )


class ReasonMissingError(InventoryError):
    def __init__(self) -> None:
        super().__init__("Say why: every decision is recorded with its reason.")


class StaleError(InventoryError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} was changed by somebody else in the meantime. Load the page again and repeat your change."
        )


class LessLateError(InventoryError):
    """The change would move the date of rotation later, which is not one person's to decide."""

    def __init__(self, name: str, before: str, after: str) -> None:
        self.before, self.after = before, after
        super().__init__(
            f"This would move the date by which {name} must be rotated from {before} to {after}. "
            "A change that makes a key less late waits until somebody of DevOps confirms it."
        )


class OwnerNeededError(InventoryError):
    """Nobody is named who answers for the installation's own keys, or nobody who is known."""

    def __init__(self, problem: str = "The installation's own keys need somebody who answers for them.") -> None:
        super().__init__(f'{problem} Name an owner who is registered, or a new one as "name <name@example.com>".')


class KeyMaterialError(InventoryError):
    """What was entered looks like a secret itself. The text is not repeated anywhere."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The {what} looks like key material, which the inventory never holds. Take it out and say where the key "
            "is kept instead. Whoever saw it may have the key, so rotate it."
        )


class CycleError(InventoryError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} stands above the key that is to stand above it. No key depends on itself.")


class GuessableError(InventoryError):
    """The secret could be guessed, so no digest of it may be kept. The text is not repeated anywhere."""

    def __init__(self) -> None:
        super().__init__(
            "This secret could be guessed, so nothing is kept by which it could be found. That is done only for at "
            "least 128 bits that nobody chose: about 24 random letters and digits, or 32 hexadecimal ones; never for a "
            "password."
        )


class TooManyLookupsError(InventoryError):
    def __init__(self, an_hour: int) -> None:
        super().__init__(
            f"You have looked up {an_hour} tokens in the last hour, which is the most one person may. Wait, or ask a "
            "colleague of Security or DevOps."
        )


class ImportRunningError(InventoryError):
    def __init__(self) -> None:
        super().__init__("Another import is running. Wait until it is done, then try again.")


class PlanChangedError(InventoryError):
    def __init__(self) -> None:
        super().__init__("The inventory has changed since this preview. Look at it again before you confirm.")


class EffectChangedError(InventoryError):
    def __init__(self) -> None:
        super().__init__("What this would do to the keys has changed since it was shown. Look at it again.")


class RetiredClauseError(InventoryError):
    def __init__(self, label: str) -> None:
        super().__init__(f"{label} is retired. Register a new clause instead; the old one stays for its history.")


class NotAskedError(InventoryError):
    """The engine of approvals opened no request; it says why."""


class NothingChangesError(InventoryError):
    def __init__(self) -> None:
        super().__init__("Nothing would change: what was entered is what stands there already.")


class LowersThreatLevelError(InventoryError):
    """One person may only raise it."""

    def __init__(self) -> None:
        super().__init__(
            "This leaves more of the longest ages than before, so it needs votes: ask for it on the page of the threat "
            "level."
        )


class NotBoundError(InventoryError):
    """There is nothing to be excepted from."""

    def __init__(self, name: str, label: str) -> None:
        super().__init__(f"{label} is not in force, or does not speak of {name}, so there is nothing to be excepted.")


class KeyGoneError(InventoryError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is destroyed: no clause demands anything of it.")


class ExceptionLengthError(InventoryError):
    """It would last longer than any exception for such a key may, or end before it begins."""

    def __init__(self, name: str, label: str, longest_days: int, latest: str) -> None:
        self.longest_days = longest_days
        super().__init__(
            f"An exception for {name} ends on a day after today and lasts at most {longest_days} days ({label}): "
            f"choose a day up to {latest}. Before it ends it can be renewed by new votes."
        )


class ExceptionOverError(InventoryError):
    def __init__(self, state: str) -> None:
        super().__init__(f"This exception is {state} already: it cannot be ended again.")


class ClausesHeldError(InventoryError):
    """Somebody changes the clauses, or derives dates from them, and takes longer than anybody else may wait."""

    def __init__(self) -> None:
        super().__init__("The clauses are being changed, or keys by them, at this moment. Try again in a minute.")


class ExportTooLongError(InventoryError):
    def __init__(self, most: int) -> None:
        super().__init__(f"A workbook holds at most {most:,} keys. Filter for less, or take CSV or JSON.")


class FileTooLargeError(InventoryError):
    """A file that is not even looked into."""

    def __init__(self, name: str, size: int, most: int) -> None:
        self.size, self.most = size, most
        mend = (
            "JSON repeats every name in every row: export CSV or an Excel workbook instead, or split the file."
            if name.lower().endswith(".json")
            else "Split it."
        )
        super().__init__(f"The file has {size:,} bytes; at most {most:,} are read. {mend}")


class PrivateKeyError(InventoryError):
    """A file with private keys in it. Nothing of it is taken, and nothing is repeated but where they stand."""

    def __init__(self, places: Sequence[str]) -> None:
        self.count = len(places)
        named = ", ".join(places[:_MOST_PLACES])
        more = f" and {self.count - _MOST_PLACES:,} more" if self.count > _MOST_PLACES else ""
        keys, they = ("a private key", "it") if self.count == 1 else (f"{self.count:,} private keys", "them")
        super().__init__(
            f"The file holds {keys} ({named}{more}). The inventory never takes one: nothing of the file was kept. "
            f"Treat {they} as exposed, since whoever could read this file has {they}: rotate {they}, take {they} out, "
            "and bring the public part only."
        )


class ImportLostError(InventoryError):
    """A worker that was taken for dead has come back: another one has its file, and nothing of its own stands."""

    def __init__(self, file_name: str) -> None:
        super().__init__(f"Another worker has taken {file_name} over.")


class ChangeWaitsError(InventoryError):
    """A key has one open question at a time."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Another change of {name} waits for votes already. Have it approved, rejected or withdrawn first."
        )


class NoMoreTimeError(InventoryError):
    """There is nothing to be approved."""

    def __init__(self, name: str) -> None:
        super().__init__(f"This change gives {name} no more time, so nobody needs to approve it. Save it once more.")


class RelationsChangedError(InventoryError):
    """Only facts wait for a second person; relations are written at once or not at all."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"This gives {name} more time, which somebody of DevOps must approve, and changes the services that use it "
            "or the keys above it, which nobody needs to. Save those by themselves first."
        )


class VoidChangeError(InventoryError):
    """What was asked rests on a record that is no longer so."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name}, or the rules for it, changed after this was asked, so nothing was done. If the change is still "
            "wanted, ask again."
        )


class RotationDateError(InventoryError):
    """A rotation is said to have been on a day on which it cannot have been, or is no news."""


class NotActiveError(InventoryError):
    def __init__(self, name: str, state: str) -> None:
        super().__init__(
            f"{name} is {_word(state)}, and only the rotation of an active key can be reported. "
            "Register what replaces it as a key of its own."
        )


class NotRevocableError(InventoryError):
    """There is nothing in use that could be revoked."""

    def __init__(self, name: str, state: str) -> None:
        super().__init__(
            f"{name} is {_word(state)}, and only a key that is active or suspended is revoked. If others may know it, "
            "report a compromise: that takes effect at once."
        )


class StillWrapsError(InventoryError):
    """Destroying the key would take others along."""

    def __init__(self, name: str, below: Sequence[str], count: int) -> None:
        self.count = count
        more = f" and {count - len(below):,} more" if count > len(below) else ""
        super().__init__(
            f"{name} still wraps {', '.join(below)}{more}. What it wraps could not be opened any more: wrap it under "
            "another key, or destroy it first."
        )


class PeriodOverError(InventoryError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"The period in which {name} protects is over, so time would deactivate it again at once. Ask for another "
            "date first."
        )


class DatesError(InventoryError):
    """Dates that cannot be, or that would change nothing."""


class ReplayError(InventoryError):
    """The log cannot be replayed, because one of its events cannot be read."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"Event {number} cannot be read, so the log cannot be replayed. Run verify_audit first.")


# KEKs and their versions


class NoSuchKekError(InventoryError):
    def __init__(self, name: str = "This") -> None:
        super().__init__(f"{name} is no KEK that is linked to a key store. Ask to have it linked first.")


class NotLinkableError(InventoryError):
    """A record is not, or not so, linked to a key in a store. The sentence says why."""


class NoSuchVersionError(InventoryError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has no such version that is still there. Look at its versions once more.")


class PrimaryVersionError(InventoryError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"This version of {name} takes the new wraps. Rotate {name} first, and let the re-wrap finish."
        )


class StillNeededError(InventoryError):
    """Something opens only with this version: disabling or destroying it would lose data."""

    def __init__(self, name: str, needed: Sequence[str]) -> None:
        self.needed = tuple(needed)
        listed = "; ".join(needed[:_MOST_PLACES])
        more = f"; and {len(needed) - _MOST_PLACES} more" if len(needed) > _MOST_PLACES else ""
        super().__init__(f"{name} is still needed: {listed}{more}. Nothing was done; it can be once nothing needs it.")


class StoreCannotError(InventoryError):
    """The kind of key store that keeps the KEK has no such act."""


# DEKs


class DekExistsError(InventoryError):
    def __init__(self, scope: str) -> None:
        super().__init__(f"There is a DEK for {scope} already. Rotate that one, or hand it out.")


class DekScopeError(InventoryError):
    def __init__(self) -> None:
        super().__init__(
            "A DEK is for one integration of one tenant, or for one secret by its name: say the tenant and the "
            "integration, or the name of the secret, and not both."
        )


class NotAllowedNowError(InventoryError):
    """The state of a key forbids what is asked of it."""

    def __init__(self, name: str, state: str, act: str, condition: str = "") -> None:
        unless = f" (only if {condition})" if condition else ""
        super().__init__(f"{name} is {_word(state)}, so it may not {act}{unless}.")


class NoPrimaryError(InventoryError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has no version that takes wraps. Link it to its key store, or rotate it.")


class NoDekError(InventoryError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is no DEK with such a version here, or its wrapped bytes are gone.")


class ClearingError(InventoryError):
    """The version of a DEK is not ready to lose its wrapped bytes. The sentence says why."""


class HandOutError(InventoryError):
    """There is nothing to confirm, or nobody to hand out to. The sentence says what."""
