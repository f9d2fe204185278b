"""PKCS#11 tokens: a library initialised once a process, one login and one session a token, errors in our words.

The interface is a C library inside this process. It is promised one thread at a time, so every call holds the lock of
its library; a call that hangs is left behind in its thread. A process that forks takes nothing along: the child
initialises the library anew and logs in for itself.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
from pkcs11.constants import TokenFlag
from pkcs11.exceptions import PKCS11Error

from audit.deadlines import within
from inventory.kms.errors import (
    AddressError,
    BackendError,
    DeniedError,
    NotCapableError,
    NotUsableError,
    UnavailableError,
    WrongAnswerError,
)

T = TypeVar("T")
SECONDS = 10.0
LONGEST_PIN = 255  # bytes
DENIED = (
    pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked, pkcs11.PinExpired,
    pkcs11.UserPinNotInitialized, pkcs11.FunctionRejected, pkcs11.TokenWriteProtected, pkcs11.SessionReadOnly,
)  # fmt: skip
NOT_CAPABLE = (
    pkcs11.MechanismInvalid, pkcs11.MechanismParamInvalid, pkcs11.FunctionNotSupported, pkcs11.ArgumentsBad,
    pkcs11.KeySizeRange, pkcs11.TemplateInconsistent, pkcs11.AttributeTypeInvalid, pkcs11.AttributeValueInvalid,
)  # fmt: skip
# After these nothing that was opened before is trusted: the library is initialised anew.
LOST = (
    pkcs11.NoSuchToken, pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised, pkcs11.DeviceRemoved, pkcs11.DeviceError,
    pkcs11.DeviceMemory, pkcs11.HostMemory, pkcs11.SlotIDInvalid, pkcs11.SessionHandleInvalid, pkcs11.SessionClosed,
    pkcs11.UserNotLoggedIn, pkcs11.FunctionFailed, pkcs11.FunctionCancelled, pkcs11.GeneralError,
)  # fmt: skip
NOT_USABLE = (pkcs11.KeyHandleInvalid, pkcs11.ObjectHandleInvalid, pkcs11.KeyTypeInconsistent)
_WRONG_BEFORE = TokenFlag.USER_PIN_COUNT_LOW | TokenFlag.USER_PIN_FINAL_TRY


@dataclass
class Login:
    """One session of this process at one token, which all stores of the process share."""

    token: pkcs11.Token
    session: pkcs11.Session
    users: int = 0
    mechanisms: dict[str, pkcs11.Mechanism | None] = field(default_factory=dict)  # what was asked of it before


class Library:
    """One library in this process. Hold `lock` for whatever is done with it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.is_stale = False
        self.logins: dict[str, Login] = {}
        self._loaded: Any = None  # a pkcs11.lib
        self._refused: dict[str, bytes] = {}  # token → digest of the PIN that it did not take

    def login(self, label: str, pin_file: Path) -> Login:
        """Return the login at a token, made now if there is none."""
        loaded = self._ready()
        if label not in self.logins:
            self.logins[label] = self._log_in(loaded.get_token(token_label=label), label, pin_file)
        return self.logins[label]

    def leave(self, login: Login) -> None:
        """Close the session with its last user; what is lost already needs no closing."""
        login.users -= 1
        label = login.token.label
        if login.users <= 0 and self.logins.get(label) is login and not self.is_stale:
            del self.logins[label]
            with suppress(PKCS11Error):
                login.session.close()

    def inherit(self) -> None:
        """Forget, in a child, what the parent had opened."""
        self.lock = threading.RLock()
        self.is_stale = True

    def _ready(self) -> Any:  # noqa: ANN401 - of the package
        if self._loaded is None:
            self._loaded = pkcs11.lib(self.path)
        elif self.is_stale:
            self.logins.clear()
            with suppress(PKCS11Error):  # a child that the library knows has nothing to finalise
                self._loaded.finalize()
            self._loaded.initialize()
        self.is_stale = False
        return self._loaded

    def _log_in(self, token: pkcs11.Token, label: str, pin_file: Path) -> Login:
        pin = read_pin(pin_file)
        digest = hashlib.sha256(pin.encode()).digest()
        self._refuse_another_try(token, label, digest)
        try:
            session = token.open(rw=True, user_pin=pin)
        except pkcs11.UserAlreadyLoggedIn:  # by something else in this process
            session = token.open(rw=True)
        except DENIED:
            self._refused[label] = digest
            self.is_stale = True  # the session that was opened for it has no name by which it could be closed
            raise
        self._refused.pop(label, None)
        return Login(token, session)

    def _refuse_another_try(self, token: pkcs11.Token, label: str, digest: bytes) -> None:
        """Try a PIN once. Tokens lock after a few wrong ones, and other processes may have tried the same one."""
        if self._refused.get(label) == digest:
            raise DeniedError(f"The token {label} did not take this PIN. It is not tried again: change the PIN file.")
        if token.flags & TokenFlag.USER_PIN_LOCKED:
            raise DeniedError(f"The PIN of the token {label} is locked: its security officer can set a new one.")
        if token.flags & _WRONG_BEFORE and label not in self._refused:
            raise DeniedError(
                f"Somebody gave the token {label} a wrong PIN. So that it is not locked, nothing more is tried from "
                "here: log in once with the right PIN by the tool of the token, then try again."
            )


_libraries: dict[str, Library] = {}


def library(path: str) -> Library:
    return _libraries.setdefault(path, Library(path))


def _after_fork() -> None:
    for known in _libraries.values():
        known.inherit()


os.register_at_fork(after_in_child=_after_fork)


def read_pin(file: Path) -> str:
    """Return the PIN in a file; a line end after it is no part of it. Raises: AddressError."""
    try:
        pin = file.read_bytes().rstrip(b"\r\n").decode()
    except (OSError, UnicodeDecodeError) as error:
        raise AddressError(f"The PIN cannot be read from {file}.") from error
    if not 0 < len(pin.encode()) <= LONGEST_PIN:
        raise AddressError(f"{file} holds no PIN, or more than one.")
    return pin


def in_turn(held: Library, work: Callable[[], T], *, seconds: float = SECONDS) -> T:
    """Do the work while no other thread uses the library. Raises: UnavailableError once the seconds are over."""

    def run() -> T:
        lock = held.lock
        if not lock.acquire(timeout=seconds):
            raise TimeoutError
        try:
            return work()
        finally:
            lock.release()

    try:
        return within(seconds, run)
    except TimeoutError as error:
        raise UnavailableError(f"The library {held.path} did not answer within {seconds:g} seconds.") from error


@contextmanager
def in_our_words(held: Library, store: str) -> Iterator[None]:
    """Raise what the token answers as the kind of BackendError that it is."""
    try:
        yield
    except PKCS11Error as error:
        if isinstance(error, LOST):
            held.is_stale = True
        raise kind_of(error)(f"The token of the key store {store} answered {type(error).__name__}.") from error


def kind_of(error: PKCS11Error) -> type[BackendError]:
    """Return what an answer of the token means for who asked."""
    if isinstance(error, (*LOST, pkcs11.SessionCount, pkcs11.OperationActive)):
        return UnavailableError
    for kinds, meaning in ((DENIED, DeniedError), (NOT_CAPABLE, NotCapableError), (NOT_USABLE, NotUsableError)):
        if isinstance(error, kinds):
            return meaning
    if str(error).startswith("OS exception while loading"):
        return AddressError
    return WrongAnswerError
