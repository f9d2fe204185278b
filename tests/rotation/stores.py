"""Key stores as there are others: one ends versions in a row, one ends the whole KEK, one fails."""

from dataclasses import replace
from typing import ClassVar

from inventory.kms import SCHEMES
from inventory.kms.base import Death, Scope
from inventory.kms.errors import DeniedError, UnavailableError
from inventory.kms.local import LocalBackend

MADE = {"upto": "UpToBackend", "whole": "WholeBackend", "shaky": "ShakyBackend"}


def add_schemes(monkeypatch):
    for scheme, name in MADE.items():
        monkeypatch.setitem(SCHEMES, scheme, (__name__, name, ""))


class UpToBackend(LocalBackend):
    """Disables a version and all before it, as a store does that raises its smallest version."""

    scheme = "upto"
    capabilities = replace(LocalBackend.capabilities, disables=Scope.UP_TO, death=Death.RAISED, schedules=None)

    def disable(self, key, version):
        for one in self.describe(key).versions:
            if int(one.id) <= int(version):
                super().disable(key, one.id)


class WholeBackend(LocalBackend):
    """Destroys whole KEKs alone, and cannot show that an old version is dead."""

    scheme = "whole"
    capabilities = replace(
        LocalBackend.capabilities, disables=None, schedules=Scope.KEY, purges=None, death=Death.CANNOT_BE_SHOWN
    )

    def schedule_destruction(self, key, version, *, days):
        for one in self.describe(key).versions:
            at = super().schedule_destruction(key, one.id, days=days)
        return at

    def recover(self, key, version):
        for one in self.describe(key).versions:
            super().recover(key, one.id)
            super().enable(key, one.id)


class KilledError(BaseException):
    """What ends a worker: nothing catches it, as nothing catches a kill -9."""


class ShakyBackend(LocalBackend):
    """Is away, says no, does what it was asked and does not answer, or kills who asks, when a test wants that."""

    scheme = "shaky"
    mood: ClassVar[str] = ""

    def describe(self, key):
        if self.mood == "away":
            raise UnavailableError("The key store did not answer in time.")
        found = super().describe(key)
        self._kill(f"at a look at {found.newest}")
        return found

    def wrap(self, key, version, items):
        self._kill("before the canary")
        sealed = super().wrap(key, version, items)
        self._kill("after the canary")
        return sealed

    def _kill(self, where):
        if self.mood == where:
            type(self).mood = ""
            raise KilledError

    def rotate(self, key):
        if self.mood == "denies":
            raise DeniedError("The key store says no.")
        self._kill("before it is asked")
        super().rotate(key)
        self._kill("after it was asked")
        if self.mood == "silent":
            raise UnavailableError("The key store did not answer in time.")
