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
            f"{name} is suspended. Taking it back into use needs two people, and confirming that is not possible yet."
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
            "A change that makes a key less late needs a second person, and confirming it is not possible yet."
        )


class KeyMaterialError(InventoryError):
    """What was entered looks like a secret itself. The text is not repeated anywhere."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The {what} looks like key material, which the inventory never holds. Take it out and say where the key "
            "is kept instead. Whoever saw it may have the key, so rotate it."
        )


class ImportRunningError(InventoryError):
    def __init__(self) -> None:
        super().__init__("Another import is running. Wait until it is done, then try again.")


class PlanChangedError(InventoryError):
    def __init__(self) -> None:
        super().__init__("The inventory has changed since this preview. Look at it again before you confirm.")


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
