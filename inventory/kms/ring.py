"""The files of a local key ring: sealed, bound to their place, written whole or not at all.

    ring.id            16 bytes drawn once ‖ an empty text, sealed: it tells a wrong master key from altered files
    ring.lock          held by whoever changes anything
    KEK/state          algorithm and versions of a KEK, and what became of each, as JSON, sealed
    KEK/VERSION.key    the material of one version, sealed; written once and overwritten when it is destroyed

Sealed means: 12-byte nonce ‖ ciphertext ‖ 16-byte tag of AES-256-GCM, under HKDF-SHA-256 of the master key with the 16
bytes as its salt, and with the file's place (KEK, version, algorithm) as additional data. So a file of another ring,
another KEK or another version does not open. Source: RFC 5869, SP 800-38D §8.2.2.
"""

import contextlib
import errno
import fcntl
import os
import re
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from inventory.kms.errors import AddressError, DeniedError, UnavailableError, WrongAnswerError

KEY_BYTES = 32
RING, LOCK = "ring.id", "ring.lock"
LARGEST_FILE = 1024 * 1024
LOCK_SECONDS = 8.0
KEK_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,62}")  # no dot: none of these is a way to another folder
_SALT_BYTES, _NONCE_BYTES = 16, 12
_LABEL = b"keyvault-admin/local-ring/v1"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe in place of a file keeps nobody waiting
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Sealer:
    """AES-256-GCM under what a master key and the ring's salt give. The first key seals; each of them may open."""

    def __init__(self, salt: bytes, *master_keys: bytes) -> None:
        derived = [
            HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=_LABEL).derive(master_key)
            for master_key in master_keys
        ]
        self._gcms = [AESGCM(key) for key in derived]

    def seal(self, content: bytes, *place: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._gcms[0].encrypt(nonce, content, _bound(place))

    def open(self, sealed: bytes, *place: str) -> bytes:
        """Raises: WrongAnswerError."""
        for gcm in self._gcms:
            with contextlib.suppress(InvalidTag, ValueError):
                return gcm.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(place))
        raise WrongAnswerError(
            f"A file of the key ring ({'/'.join(place)}) was altered, or belongs elsewhere. Restore it from a backup."
        )


def _bound(place: tuple[str, ...]) -> bytes:
    parts = [_LABEL, *(part.encode() for part in place)]
    return b"".join(struct.pack(">Q", len(part)) + part for part in parts)


@dataclass(frozen=True)
class Folder:
    """An open folder of the ring, and what seals its files."""

    fd: int
    sealer: Sealer

    @contextmanager
    def below(self, kek: str) -> Iterator["Folder"]:
        """Open the folder of a KEK. Raises: FileNotFoundError."""
        with _opened(kek, _FOLDER, dir_fd=self.fd) as fd:
            _ours(os.fstat(fd), kek)
            yield Folder(fd, self.sealer)

    @contextmanager
    def made(self, kek: str) -> Iterator["Folder"]:
        """Make the folder of a KEK where there is none, and open it."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(kek, 0o700, dir_fd=self.fd)
            os.fsync(self.fd)
        with self.below(kek) as inside:
            yield inside

    def keks(self) -> list[str]:
        return _keks(self.fd)

    def read(self, name: str, *place: str) -> bytes:
        return self.sealer.open(_content(self.fd, name), *place)

    def write(self, name: str, content: bytes, *place: str, overwrite: bool = False) -> None:
        _replace(self.fd, name, self.sealer.seal(content, *place), overwrite=overwrite)

    def look(self, name: str) -> os.stat_result | None:
        """Return what tells one content of a file from the next; nothing where there is no such file."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def destroy(self, name: str) -> None:
        """Overwrite a file and remove it; what a medium has copied elsewhere is out of reach."""
        try:
            with _opened(name, _WRITE, dir_fd=self.fd) as fd:
                _overwrite(fd)
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        os.fsync(self.fd)


class Ring:
    """One folder of KEKs. Every error of the file system becomes one of ours."""

    def __init__(self, path: str, name: str, master_key: bytes | None) -> None:
        self.path = path
        self._name = name
        self._master_key = master_key
        self._sealers: dict[bytes, Sealer] = {}  # by content of the file `ring`

    def forget(self) -> None:
        self._sealers.clear()

    @contextmanager
    def looked_at(self) -> Iterator[Folder]:
        """Open the ring to read it. Raises: BackendError; FileNotFoundError for a KEK that is not there."""
        with self._told(), self._entered() as fd:
            if _is_there(fd, RING):
                yield Folder(fd, self._sealer(_content(fd, RING)))
            else:
                self._key()
                self._refuse_lost(fd)
                yield Folder(fd, Sealer(b""))  # nothing is in it yet, so there is nothing to open

    @contextmanager
    def changed(self) -> Iterator[Folder]:
        """Open the ring to write, alone; the first time, make it. Raises: BackendError."""
        with self._told(), self._entered() as fd, _locked(fd, self._name):
            if not _is_there(fd, RING):
                self._refuse_lost(fd)
                salt = os.urandom(_SALT_BYTES)
                _replace(fd, RING, salt + Sealer(salt, self._key()).seal(b"", RING))
            yield Folder(fd, self._sealer(_content(fd, RING)))

    def reseal(self, master_key: bytes, places: Callable[[Folder], Iterable[tuple[str, str, tuple[str, ...]]]]) -> int:
        """Seal every file anew under another master key; return how many. Run again after a crash, it goes on.

        PLACES gives folder, name and place of each file, and reads what it needs for that through its argument.
        """
        with self._told(), self._entered() as fd, _locked(fd, self._name):
            salt = _content(fd, RING)[:_SALT_BYTES]
            both = Folder(fd, Sealer(salt, master_key, self._key()))
            files = list(places(both))
            for kek, name, place in files:
                with both.below(kek) as inside:
                    inside.write(name, inside.read(name, *place), *place, overwrite=True)
            _replace(fd, RING, salt + both.sealer.seal(b"", RING), overwrite=True)
        self._master_key = master_key
        self.forget()
        return len(files)

    def _key(self) -> bytes:
        if self._master_key is None or len(self._master_key) != KEY_BYTES:
            raise DeniedError(f"This process holds no master key, which the key ring {self._name} is sealed under.")
        return self._master_key

    def _sealer(self, content: bytes) -> Sealer:
        if content not in self._sealers:
            sealer = Sealer(content[:_SALT_BYTES], self._key())
            try:
                sealer.open(content[_SALT_BYTES:], RING)
            except WrongAnswerError:
                raise DeniedError(
                    f"The master key of this process does not open the key ring {self._name}, or its file {RING} was "
                    "altered. Give the master key that the ring was made with."
                ) from None
            self._sealers[content] = sealer
        return self._sealers[content]

    def _refuse_lost(self, fd: int) -> None:
        """Raises: WrongAnswerError where there are KEKs and no file that says what they are sealed under."""
        if _keks(fd):
            raise WrongAnswerError(f"The key ring {self._name} has lost its file {RING}. Restore it from a backup.")

    @contextmanager
    def _entered(self) -> Iterator[int]:
        with _opened(self.path, _FOLDER) as fd:
            _ours(os.fstat(fd), self.path)
            yield fd

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise UnavailableError(f"The key ring {self._name} is not there, or a file of it is missing.") from error
        except PermissionError as error:
            raise DeniedError(f"This process may not read or write the key ring {self._name}.") from error
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise AddressError(
                    f"In the key ring {self._name}, a symbolic link or a file stands where something else should. "
                    "Links are not followed."
                ) from error
            raise UnavailableError(f"The key ring {self._name} failed: {os.strerror(error.errno or 0)}.") from error


@contextmanager
def _opened(name: str, flags: int, *, dir_fd: int | None = None) -> Iterator[int]:
    fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _ours(found: os.stat_result, name: str) -> None:
    """Raises: AddressError unless it is a folder or plain file, our own, and shut to everybody else."""
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise AddressError(f"{name} of the key ring is neither a folder nor a plain file.")
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise AddressError(
            f"{name} of the key ring is open to others, or somebody else's. Folders need mode 700, files 600, and the "
            "owner that this process runs as."
        )


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _keks(folder: int) -> list[str]:
    return sorted(filter(KEK_NAME.fullmatch, os.listdir(folder)))


def _content(folder: int, name: str) -> bytes:
    with _opened(name, _READ, dir_fd=folder) as fd:
        _ours(os.fstat(fd), name)
        content = b"".join(iter(lambda: os.read(fd, LARGEST_FILE), b""))
    if len(content) > LARGEST_FILE:
        raise WrongAnswerError(f"{name} of the key ring is far too large to be one of its files.")
    return content


def _replace(folder: int, name: str, content: bytes, *, overwrite: bool = False) -> None:
    """Write a file so that after a crash it is the old one or the new one, and nothing between.

    OVERWRITE: what it held before is overwritten then. Not for what somebody may be reading: nobody waits for a reader.
    """
    draft = f".{name}.new"
    if _is_there(folder, draft):  # of a process that died; we hold the lock
        os.unlink(draft, dir_fd=folder)
    with _opened(draft, _MAKE, dir_fd=folder) as fd:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    with contextlib.ExitStack() as stack:
        earlier = stack.enter_context(_opened(name, _WRITE, dir_fd=folder)) if overwrite else None
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
        if earlier is not None:
            _overwrite(earlier)


def _overwrite(fd: int) -> None:
    os.pwrite(fd, os.urandom(os.fstat(fd).st_size), 0)
    os.fsync(fd)


@contextmanager
def _locked(folder: int, name: str) -> Iterator[None]:
    with _opened(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder) as fd:
        _ours(os.fstat(fd), LOCK)
        ends = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends:
                    raise UnavailableError(f"Another process is at work in the key ring {name}.") from None
                time.sleep(0.02)
        yield
