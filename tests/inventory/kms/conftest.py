"""The stores of the contract suite: each engine once a process, one KEK of two versions for each algorithm of it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from inventory.kms.base import Backend, Capabilities, ToOpen, ToWrap, WrapAlgorithm
from inventory.kms.errors import NoSuchKeyError, NotUsableError, Refused
from tests import canaries
from tests.inventory.kms.rigs import Rig, every_rig

RIGS = every_rig()
Start = Callable[[type[Rig]], Rig]


@dataclass(frozen=True)
class Kek:
    """A KEK in a store, and how to speak to it."""

    rig: Rig
    backend: Backend
    name: str
    algorithm: WrapAlgorithm
    old: str  # the ids of its versions
    new: str

    @property
    def can(self) -> Capabilities:
        return self.backend.capabilities

    def wrap(self, deks: list[bytearray], *, version: str = "", context: bytes = b"c" * 32) -> list[bytes]:
        """Wrap what must not be refused; under the newer version, if nothing else is said."""
        wrapped = self.backend.wrap(self.name, version or self.new, [ToWrap(dek=dek, context=context) for dek in deks])
        assert all(type(blob) is bytes for blob in wrapped), wrapped
        return wrapped

    def open(self, blobs: list[bytes], *, version: str = "", context: bytes = b"c" * 32) -> list[bytearray | Refused]:
        items = [ToOpen(ciphertext=blob, context=context) for blob in blobs]
        return self.backend.unwrap(self.name, version or self.new, items)

    def opens_nothing(self, blobs: list[bytes], version: str) -> bool:
        """Whether that version refuses, as a whole or each item, to open what it has wrapped."""
        try:
            opened = self.open(blobs, version=version)
        except (NoSuchKeyError, NotUsableError):
            return True
        return all(isinstance(one, Refused) for one in opened)


def deks(count: int) -> list[bytearray]:
    """Draw DEKs that the canaries look for wherever they must not be."""
    drawn = [bytearray(os.urandom(32)) for _ in range(count)]
    canaries.know("dek of a store", drawn[0])
    return drawn


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Return a function that starts the engine of a rig at its first use in this process."""
    running: dict[type[Rig], Rig] = {}

    def start(kind: type[Rig]) -> Rig:
        if reason := kind.missing():
            pytest.skip(reason)
        if kind not in running:
            rig = kind()
            rig.start(tmp_path_factory.mktemp(kind.name))
            running[kind] = rig
        return running[kind]

    yield start
    for rig in running.values():
        rig.stop()


@pytest.fixture(scope="session")
def shared(started: Start) -> Iterator[Callable[[type[Rig], WrapAlgorithm], Kek]]:
    """Return a function that gives the one KEK of an algorithm which tests only read; large RSA keys take long."""
    made: dict[tuple[type[Rig], WrapAlgorithm], Kek] = {}

    def give(kind: type[Rig], algorithm: WrapAlgorithm) -> Kek:
        if (kind, algorithm) not in made:
            made[kind, algorithm] = make_kek(started(kind), algorithm)
        return made[kind, algorithm]

    yield give
    for kek in made.values():
        kek.backend.close()


def make_kek(rig: Rig, algorithm: WrapAlgorithm) -> Kek:
    """Make a KEK of two versions."""
    backend, name = rig.open(), rig.new_name()
    rig.make(backend, name, algorithm)
    old = backend.describe(name).newest
    rig.turn(backend, name)
    return Kek(rig, backend, name, algorithm, old=old, new=backend.describe(name).newest)


@pytest.fixture(
    params=[(rig, algorithm) for rig in RIGS for algorithm in rig.algorithms],
    ids=lambda param: f"{param[0].name}-{param[1]}",
)
def kek(request: pytest.FixtureRequest, shared: Callable[[type[Rig], WrapAlgorithm], Kek]) -> Kek:
    """A KEK of each algorithm of each store, which the test must leave as it is."""
    return shared(*request.param)


@pytest.fixture(params=RIGS, ids=lambda rig: rig.name)
def own_kek(request: pytest.FixtureRequest, started: Start) -> Iterator[Kek]:
    """A KEK of each store, of its first algorithm, which the test may disable and destroy."""
    made = make_kek(started(request.param), request.param.algorithms[0])
    yield made
    made.backend.close()


@pytest.fixture(params=RIGS, ids=lambda rig: rig.name)
def rig(request: pytest.FixtureRequest, started: Start) -> Rig:
    return started(request.param)
