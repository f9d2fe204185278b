"""A local key store that tells a test where it is, so that the test can die there; a plug-in like any other."""

from collections.abc import Callable

from inventory.kms.errors import UnavailableError
from inventory.kms.local import LocalBackend


class Points:
    """Where a test wants to be told, and whether the next call is to find the store gone."""

    def __init__(self) -> None:
        self.reached: Callable[[str], object] = lambda _point: None
        self.is_away = False
        self.unwrapped = 0

    def begin(self, reached: Callable[[str], object]) -> None:
        self.reached, self.is_away, self.unwrapped = reached, False, 0

    def end(self) -> None:
        self.begin(lambda _point: None)

    def ask(self) -> None:
        if self.is_away:
            self.is_away = False
            raise UnavailableError("The key store did not answer in time.")


POINTS = Points()


class DyingBackend(LocalBackend):
    def unwrap(self, key, version, items):
        POINTS.ask()
        first = POINTS.unwrapped == 0
        if first:
            POINTS.reached("after claim")
        POINTS.unwrapped += 1
        opened = super().unwrap(key, version, items)
        POINTS.reached("after unwrap" if first else "after verify")
        return opened

    def wrap(self, key, version, items):
        POINTS.ask()
        wrapped = super().wrap(key, version, items)
        POINTS.reached("after wrap")
        return wrapped
