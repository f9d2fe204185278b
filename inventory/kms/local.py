"""The local key store: a key ring of files, sealed under the master key. For those who have no other store.

Address: local:///var/lib/keyvault/ring#house. inventory.kms.ring says what KEKs look like as files. The store is its
own server: it has its own clock, and a version whose waiting time is over is destroyed by whoever looks next.
"""

import json
import os.path
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from inventory.kms.base import (
    Backend,
    Capabilities,
    Death,
    KeyInfo,
    Scope,
    StoreAddress,
    ToOpen,
    ToWrap,
    VersionInfo,
    VersionStatus,
    WrapAlgorithm,
)
from inventory.kms.errors import (
    AddressError,
    KeyExistsError,
    NoSuchKeyError,
    NotCapableError,
    NotUsableError,
    Refused,
)
from inventory.kms.memory import ALGORITHMS, MemoryKek, kek_of, new_material
from inventory.kms.ring import KEK_NAME, Folder, Ring

STATE = "state"
WAITING_DAYS = (7, 90)


@dataclass(frozen=True)
class _State:
    """What the file `state` of a KEK says."""

    algorithm: WrapAlgorithm
    versions: tuple[VersionInfo, ...]

    def to_bytes(self) -> bytes:
        versions = [
            {"id": it.id, "status": it.status, "created_at": _written(it.created_at), "gone_at": _written(it.gone_at)}
            for it in self.versions
        ]
        return json.dumps({"algorithm": self.algorithm, "versions": versions}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what to_bytes() wrote; its seal was checked before."""
        said = json.loads(content)
        versions = tuple(
            VersionInfo(
                id=it["id"],
                status=VersionStatus(it["status"]),
                created_at=_read(it["created_at"]),
                gone_at=_read(it["gone_at"]),
            )
            for it in said["versions"]
        )
        return cls(WrapAlgorithm(said["algorithm"]), versions)

    def with_new(self, now: datetime) -> "_State":
        """Add a version; its number was never given to another one, because those that are gone stay listed."""
        number = 1 + max((int(version.id) for version in self.versions), default=0)
        made = VersionInfo(id=str(number), status=VersionStatus.ENABLED, created_at=now)
        return replace(self, versions=(*self.versions, made))

    def with_changed(self, changed: VersionInfo) -> "_State":
        return replace(self, versions=tuple(changed if it.id == changed.id else it for it in self.versions))


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _read(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _now() -> datetime:
    return datetime.now(UTC)


def _file(version: str) -> str:
    return f"{version}.key"


def _place(key: str, version: str, algorithm: WrapAlgorithm) -> tuple[str, ...]:
    return ("version", key, version, algorithm)


class LocalBackend(Backend):
    """KEKs in a folder of this machine. What is asked often reads one file status a call and no more."""

    scheme = "local"
    capabilities = Capabilities(
        algorithms=ALGORITHMS,
        binds_context=False,  # neither RFC 3394 nor our OAEP takes one: the binding digest does it
        rewraps=False,
        most_items=10_000,
        disables=Scope.VERSION,
        enables=True,
        schedules=Scope.VERSION,
        waiting_days=WAITING_DAYS,
        recovers=True,
        purges=Scope.VERSION,
        death=Death.REFUSES,
    )

    def __init__(self, address: StoreAddress, *, master_key: bytes | None = None) -> None:
        super().__init__(address, master_key=master_key)
        path = address.path
        if address.host or address.port or address.options:
            raise AddressError(
                f"The address of the key store {address.name} is local:///FOLDER#NAME, and nothing else."
            )
        if not path.startswith("/") or os.path.normpath(path) != path or path == "/" or "\0" in path:
            raise AddressError(f"The key store {address.name} needs the whole path of its folder, without . and ..")
        self._ring = Ring(path, address.name, master_key)
        self._known: dict[str, tuple[tuple[int, ...], _State]] = {}  # a state, and which file it was read from
        self._ready: dict[tuple[str, str], MemoryKek] = {}

    # Looking

    def describe(self, key: str) -> KeyInfo:
        state = self._state(key)
        return KeyInfo(algorithm=state.algorithm, versions=state.versions, newest=state.versions[-1].id)

    def wrap(self, key: str, version: str, items: Sequence[ToWrap]) -> list[bytes | Refused]:
        return self._usable(key, version).wrap(items)

    def unwrap(self, key: str, version: str, items: Sequence[ToOpen]) -> list[bytearray | Refused]:
        return self._usable(key, version).unwrap(items)

    def close(self) -> None:
        self._ready.clear()
        self._known.clear()
        self._ring.forget()

    # Changing

    def create(self, key: str, algorithm: WrapAlgorithm) -> KeyInfo:
        if algorithm not in self.capabilities.algorithms:
            raise NotCapableError(f"The key store {self.address.name} makes no KEKs for {algorithm}.")
        _checked(key)
        material = new_material(algorithm)  # before the lock: a large RSA key takes seconds
        with self._ring.changed() as folder, folder.made(key) as inside:
            if inside.look(STATE) is not None:
                raise KeyExistsError(f"The key store {self.address.name} has a KEK {key} already.")
            self._add(inside, key, _State(algorithm, ()), material)
        return self.describe(key)

    def rotate(self, key: str) -> None:
        material = new_material(self._state(key).algorithm)
        with self._changed(key) as (inside, state):
            self._add(inside, key, state, material)

    def disable(self, key: str, version: str) -> None:
        def act(it: VersionInfo) -> VersionInfo:
            return replace(it, status=VersionStatus.DISABLED) if it.status is VersionStatus.ENABLED else it

        self._change(key, version, act)

    def enable(self, key: str, version: str) -> None:
        def act(it: VersionInfo) -> VersionInfo:
            if it.status is VersionStatus.SCHEDULED:
                raise NotUsableError(f"Version {version} of {key} is scheduled for destruction. Recover it first.")
            return replace(it, status=VersionStatus.ENABLED)

        self._change(key, version, act)

    def schedule_destruction(self, key: str, version: str, *, days: int) -> datetime | None:
        fewest, most = WAITING_DAYS
        if not fewest <= days <= most:
            raise NotCapableError(f"The key store {self.address.name} waits {fewest} to {most} days.")

        def act(it: VersionInfo) -> VersionInfo:
            if it.status is VersionStatus.SCHEDULED:
                return it
            return replace(it, status=VersionStatus.SCHEDULED, gone_at=_now() + timedelta(days=days))

        return self._change(key, version, act).gone_at

    def recover(self, key: str, version: str) -> None:
        def act(it: VersionInfo) -> VersionInfo:
            if it.status is not VersionStatus.SCHEDULED:
                return it
            return replace(it, status=VersionStatus.DISABLED, gone_at=None)

        self._change(key, version, act)

    def purge(self, key: str, version: str) -> None:
        with self._changed(key) as (inside, state):
            self._destroy(inside, key, state, [_named(state, key, version)])

    def reseal(self, master_key: bytes) -> int:
        """Seal the whole ring under another master key, which this object uses then; return the number of files.

        The present one stays with whoever calls: after a crash, a backend with it is asked once more.
        """

        def places(folder: Folder) -> Iterator[tuple[str, str, tuple[str, ...]]]:
            for key in folder.keks():
                with folder.below(key) as inside:
                    state = _State.from_bytes(inside.read(STATE, STATE, key))
                yield key, STATE, (STATE, key)
                alive = [it for it in state.versions if it.status is not VersionStatus.GONE]
                yield from ((key, _file(it.id), _place(key, it.id, state.algorithm)) for it in alive)

        self.close()
        return self._ring.reseal(master_key, places)

    # Inside

    def _state(self, key: str) -> _State:
        """Return what the files say now, after what is due has been done. The file is read where it has changed."""
        _checked(key)
        with self._ring.looked_at() as folder, self._inside(folder, key) as inside:
            state, is_settled = self._read_state(inside, key)
        if is_settled:
            return state
        with self._changed(key) as (_inside, state):
            return state

    def _read_state(self, inside: Folder, key: str) -> tuple[_State, bool]:
        """Return the state, and whether there is nothing to destroy."""
        found = inside.look(STATE)
        mark = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) if found else ()
        known = self._known.get(key)
        if known is not None and known[0] == mark:
            return known[1], not _due(known[1])
        state = self._load(inside, key)
        self._known[key] = mark, state
        return state, not _due(state) and not _left(inside, state)

    def _usable(self, key: str, version: str) -> MemoryKek:
        state = self._state(key)
        found = _alive(state, key, version)
        if found.status is not VersionStatus.ENABLED:
            self._ready.pop((key, version), None)
            raise NotUsableError(f"Version {version} of {key} is {found.status}.")
        if (key, version) not in self._ready:
            with self._ring.looked_at() as folder, self._inside(folder, key) as inside:
                material = inside.read(_file(version), *_place(key, version, state.algorithm))
            self._ready[key, version] = kek_of(state.algorithm, material)
        return self._ready[key, version]

    @contextmanager
    def _changed(self, key: str) -> Iterator[tuple[Folder, _State]]:
        """Hold the ring for a change of this KEK; what is due is destroyed before."""
        _checked(key)
        with self._ring.changed() as folder, self._inside(folder, key) as inside:
            state = self._load(inside, key)
            if (due := _due(state)) or _left(inside, state):
                state = self._destroy(inside, key, state, due)
            yield inside, state

    def _change(self, key: str, version: str, act: Callable[[VersionInfo], VersionInfo]) -> VersionInfo:
        with self._changed(key) as (inside, state):
            before = _alive(state, key, version)
            after = act(before)
            if after != before:
                self._save(inside, key, state.with_changed(after))
        return after

    def _add(self, inside: Folder, key: str, state: _State, material: bytes) -> None:
        """Write the material first: a version that the state names is there. What a crash leaves is written over."""
        more = state.with_new(_now())
        name = more.versions[-1].id
        inside.write(_file(name), material, *_place(key, name, state.algorithm))
        self._save(inside, key, more)

    def _destroy(self, inside: Folder, key: str, state: _State, versions: Sequence[VersionInfo]) -> _State:
        """Write the tombstones first: whoever looks after a crash finds that there is something left to destroy."""
        after = state
        for version in versions:
            if version.status is not VersionStatus.GONE:
                after = after.with_changed(replace(version, status=VersionStatus.GONE, gone_at=_now()))
        if after != state:
            self._save(inside, key, after)
        for version in _left(inside, after):
            inside.destroy(_file(version.id))
            self._ready.pop((key, version.id), None)
        return after

    def _load(self, inside: Folder, key: str) -> _State:
        if inside.look(STATE) is None:  # create() was cut short
            raise NoSuchKeyError(f"The key store {self.address.name} has no KEK {key}.")
        return _State.from_bytes(inside.read(STATE, STATE, key))

    def _save(self, inside: Folder, key: str, state: _State) -> None:
        inside.write(STATE, state.to_bytes(), STATE, key)

    @contextmanager
    def _inside(self, folder: Folder, key: str) -> Iterator[Folder]:
        with ExitStack() as stack:
            try:
                inside = stack.enter_context(folder.below(key))
            except FileNotFoundError:
                raise NoSuchKeyError(f"The key store {self.address.name} has no KEK {key}.") from None
            yield inside


def _checked(key: str) -> None:
    if not KEK_NAME.fullmatch(key):
        raise AddressError("A KEK of a local key store is named by 1 to 63 letters, digits, - and _.")


def _named(state: _State, key: str, version: str) -> VersionInfo:
    found = next((it for it in state.versions if it.id == version), None)
    if found is None:
        raise NoSuchKeyError(f"The KEK {key} has no such version.")
    return found


def _alive(state: _State, key: str, version: str) -> VersionInfo:
    found = _named(state, key, version)
    if found.status is VersionStatus.GONE:
        raise NoSuchKeyError(f"Version {version} of {key} was destroyed.")
    return found


def _due(state: _State) -> list[VersionInfo]:
    """Return the versions whose waiting time is over."""
    waiting = [it for it in state.versions if it.status is VersionStatus.SCHEDULED]
    return [it for it in waiting if it.gone_at is None or it.gone_at <= _now()]


def _left(inside: Folder, state: _State) -> list[VersionInfo]:
    """Return the versions that are gone while their files are still there."""
    gone = [it for it in state.versions if it.status is VersionStatus.GONE]
    return [it for it in gone if inside.look(_file(it.id)) is not None]
