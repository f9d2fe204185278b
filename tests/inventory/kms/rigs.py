"""How the contract suite comes to a store of each kind. One module `rig_NAME.py` a kind, with one class or more.

Such a module declares subclasses of `Rig`; nothing else is needed, and test_contract.py then asks everything of them.
"""

import secrets
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from inventory.kms.base import Backend, WrapAlgorithm


class Rig(ABC):
    """One kind of store on its real engine, started once a test process and only when a test asks for it."""

    name: ClassVar[str]  # in the names of the tests; the scheme, unless one kind runs on two engines
    algorithms: ClassVar[tuple[WrapAlgorithm, ...]]  # what this engine can do of `capabilities.algorithms`

    @classmethod
    def missing(cls) -> str:
        """Return why the engine cannot run on this machine, or nothing."""
        return ""

    @abstractmethod
    def start(self, folder: Path) -> None:
        """Start the engine; FOLDER is private to it."""

    @abstractmethod
    def open(self) -> Backend:
        """Return a new client of the same store; the suite closes it."""

    def stop(self) -> None:  # noqa: B027 - a rig may have nothing to end
        """End what start() began."""

    def new_name(self) -> str:
        """Return a name that no KEK of the store has."""
        return f"suite-{secrets.token_hex(6)}"

    def make(self, backend: Backend, key: str, algorithm: WrapAlgorithm) -> None:
        """Make a KEK; a rig whose backend cannot create does it on its engine."""
        backend.create(key, algorithm)

    def turn(self, backend: Backend, key: str) -> None:
        """Add a version; a rig whose backend cannot rotate does it on its engine."""
        backend.rotate(key)


def every_rig() -> list[type[Rig]]:
    """Return the rigs of all modules beside this one."""
    for path in sorted(Path(__file__).parent.glob("rig_*.py")):
        import_module(f"{__package__}.{path.stem}")
    return sorted(_below(Rig), key=lambda rig: rig.name)


def _below(kind: type[Rig]) -> list[type[Rig]]:
    found = [rig for child in kind.__subclasses__() for rig in (child, *_below(child))]
    return [rig for rig in found if not rig.__abstractmethods__]
