"""What the inventory refuses. Every sentence may be shown to the person who asked."""

from collections.abc import Sequence


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


class ExportTooLongError(InventoryError):
    def __init__(self, most: int) -> None:
        super().__init__(f"A workbook holds at most {most:,} keys. Filter for less, or take CSV or JSON.")
