"""What an invariant came to."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

KEPT = 20  # breaks of one invariant that are named


@dataclass(kw_only=True)
class Result:
    """One invariant: how much of it was looked at, and what breaks it."""

    number: int
    title: str  # what holds: "every DEK version is wrapped"
    checked: int = 0
    unit: str = ""
    broken: int = 0
    breaks: list[str] = field(default_factory=list)  # the first of them, in words
    notes: list[str] = field(default_factory=list)  # what was not looked at, and what is worth knowing
    is_skipped: bool = False  # asked for, and impossible: nobody knows whether it holds
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        return not self.broken

    def add(self, words: str, *, count: int = 1) -> None:
        self.broken += count
        if len(self.breaks) < KEPT:
            self.breaks.append(words)

    def take(self, found: Iterable[str]) -> None:
        for words in found:
            self.add(words)

    def lines(self) -> Iterator[str]:
        verdict = "BROKEN" if self.broken else "NOT CHECKED" if self.is_skipped else "holds"
        yield f"{self.number}. {self.title}: {verdict} ({self.checked:,} {self.unit}, {self.seconds:.2f} s)"
        for words in self.breaks:
            yield f"   broken: {words}"
        if self.broken > len(self.breaks):
            yield f"   and {self.broken - len(self.breaks):,} more"
        for note in self.notes:
            yield f"   note: {note}"

    def as_json(self) -> dict[str, Any]:
        """Return the result for programs. Names are never changed."""
        return {
            "invariant": self.number,
            "title": self.title,
            "holds": self.holds and not self.is_skipped,
            "skipped": self.is_skipped,
            "checked": self.checked,
            "unit": self.unit,
            "broken": self.broken,
            "breaks": self.breaks,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }
