"""KEKs in a PKCS#11 token, as `pkcs11:///usr/lib/softhsm/libsofthsm2.so?token=keks&pin_file=/run/secrets/pin#name`.

Each version is an AES-256 key or an RSA key pair that the token made, sensitive and not extractable: see token_keys.
Under AES a DEK passes through the token as an object of the session, which is destroyed before the call returns. Under
RSA it is wrapped here, under the public half, and opened by the token. `&sha1=old,older` names KEKs whose DEKs were
wrapped with RSA-OAEP and SHA-1: they are opened, and nothing new is wrapped so.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass

from inventory.kms import tokens
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
    UnavailableError,
)
from inventory.kms.token_keys import AES, OAEP, PASSING, RSA_BITS, TokenKeys, TokenVersion, oaep, public_half

T = TypeVar("T")
Opener = Callable[[bytes], bytearray]
_OPTIONS = {"token", "pin_file", "sha1"}
_SHORTEST, _LONGEST = 16, 4096  # bytes of a DEK wrapped by AES
# What a token says of a blob that was altered. The last two it says of anything, so then the key is tried out.
_BAD_BLOB = (
    pkcs11.WrappedKeyInvalid, pkcs11.WrappedKeyLenRange, pkcs11.EncryptedDataInvalid, pkcs11.EncryptedDataLenRange,
    pkcs11.DataInvalid, pkcs11.DataLenRange,
)  # fmt: skip
_UNCLEAR = (pkcs11.GeneralError, pkcs11.FunctionFailed)


class Pkcs11Backend(Backend):
    """A token. `seconds`: how long one call of its library may take."""

    scheme: ClassVar[str] = "pkcs11"
    capabilities: ClassVar[Capabilities] = Capabilities(
        algorithms=(*AES, *RSA_BITS), binds_context=False, rewraps=False, most_items=100, purges=Scope.VERSION,
        death=Death.REFUSES,
    )  # fmt: skip

    def __init__(
        self, address: StoreAddress, *, master_key: bytes | None = None, seconds: float = tokens.SECONDS
    ) -> None:
        super().__init__(address, master_key=master_key)
        options = address.options
        self._label, self._pin_file = options.get("token", ""), Path(options.get("pin_file", ""))
        path = Path(address.path)
        if address.host or not (self._label and self._pin_file.is_absolute() and path.is_absolute()):
            raise AddressError(
                f"The address of the key store {address.name} is written as "
                f"pkcs11:///path/of/library.so?token=label&pin_file=/path#{address.name}."
            )
        if unknown := set(options) - _OPTIONS:
            raise AddressError(f"A key store pkcs11 has no option {min(unknown)[:30]!r}.")
        self._sha1 = frozenset(filter(None, options.get("sha1", "").split(",")))
        self._library = tokens.library(str(path))
        self._login: tokens.Login | None = None
        self._seconds = seconds

    def describe(self, key: str) -> KeyInfo:
        return self._do(lambda keys: _info(_known(keys, key)))

    def wrap(self, key: str, version: str, items: Sequence[ToWrap]) -> list[bytes | Refused]:
        def work(keys: TokenKeys) -> list[bytes | Refused]:
            found = _usable(keys, key, version)
            if found.algorithm not in self.capabilities.algorithms:
                raise NotCapableError(f"Nothing new is wrapped under {key}: it is there to open RSA-OAEP with SHA-1.")
            return [_wrapped(keys, found, bytes(item.dek)) for item in items]

        return self._do(work)

    def unwrap(self, key: str, version: str, items: Sequence[ToOpen]) -> list[bytearray | Refused]:
        def work(keys: TokenKeys) -> list[bytearray | Refused]:
            found = _usable(keys, key, version)
            return [self._opened(keys, found, item.ciphertext) for item in items]

        return self._do(work)

    def create(self, key: str, algorithm: WrapAlgorithm) -> KeyInfo:
        def work(keys: TokenKeys) -> KeyInfo:
            if keys.numbers(key):
                raise KeyExistsError(f"The token has objects of the name {key} already.")
            keys.make(key, 1, algorithm)
            return _info(_known(keys, key))

        if algorithm not in self.capabilities.algorithms:
            raise NotCapableError(f"Tokens make no keys for {algorithm} here.")
        return self._do(work)

    def rotate(self, key: str) -> None:
        def work(keys: TokenKeys) -> None:
            newest = _known(keys, key)[-1]
            if newest.algorithm not in self.capabilities.algorithms:
                raise NotCapableError(f"No new version is made of {key}: it is there to open RSA-OAEP with SHA-1.")
            keys.make(key, newest.number + 1, newest.algorithm)

        self._do(work)

    def purge(self, key: str, version: str) -> None:
        self._do(lambda keys: keys.destroy(key, _version(keys, key, version).number))

    def close(self) -> None:
        login, self._login = self._login, None
        if login is not None:
            tokens.in_turn(self._library, lambda: self._library.leave(login), seconds=self._seconds)

    def _do(self, work: Callable[[TokenKeys], T]) -> T:
        def with_login() -> T:
            with tokens.in_our_words(self._library, self.address.name):
                login = self._library.login(self._label, self._pin_file)
                if login is not self._login:
                    login.users += 1
                    self._login = login
                if login.token.slot.get_token().serial != login.token.serial:
                    raise pkcs11.DeviceRemoved
                return work(TokenKeys(login, self._sha1))

        return tokens.in_turn(self._library, with_login, seconds=self._seconds)

    def _opened(self, keys: TokenKeys, found: TokenVersion, ciphertext: bytes) -> bytearray | Refused:
        if not _could_be(found, ciphertext):
            return Refused("altered")
        try:
            return _open(keys, found, ciphertext)
        except _BAD_BLOB:
            return Refused("altered")
        except _UNCLEAR as error:
            drawn = os.urandom(32)
            if _open(keys, found, _wrapped(keys, found, drawn)) == drawn:
                return Refused("altered")  # for the key opens what it should
            raise UnavailableError(f"The token of the key store {self.address.name} fails.") from error


def _known(keys: TokenKeys, name: str) -> list[TokenVersion]:
    """Return all versions, oldest first. Raises: NoSuchKeyError."""
    if not (numbers := keys.numbers(name)):
        raise NoSuchKeyError(f"The token has no key of the name {name}.")
    return [keys.version(name, number) for number in numbers]


def _version(keys: TokenKeys, name: str, version: str) -> TokenVersion:
    if (found := keys.named(name, version)) is None:
        raise NoSuchKeyError(f"The token has no version {version[:20]} of the key {name}.")
    return found


def _usable(keys: TokenKeys, name: str, version: str) -> TokenVersion:
    found = _version(keys, name, version)
    if not found.is_usable:
        raise NotUsableError(f"Version {version} of the key {name} was destroyed in the token.")
    return found


def _info(known: list[TokenVersion]) -> KeyInfo:
    newest = next((one for one in reversed(known) if one.is_usable), known[-1])
    return KeyInfo(
        algorithm=newest.algorithm,
        versions=tuple(VersionInfo(id=str(one.number), status=_status(one)) for one in known),
        newest=str(newest.number),
        is_exportable=any(one.is_exportable for one in known),
    )


def _status(one: TokenVersion) -> VersionStatus:
    if one.key is None:
        return VersionStatus.GONE
    return VersionStatus.DISABLED if one.is_buried else VersionStatus.ENABLED  # buried: its purge was interrupted


def _could_be(found: TokenVersion, ciphertext: bytes) -> bool:
    """Whether a ciphertext has a length that this key makes. Libraries are not trusted with others."""
    if found.algorithm in AES:
        return len(ciphertext) % 8 == 0 and _SHORTEST <= len(ciphertext) <= _LONGEST
    return len(ciphertext) == len(bytes(found.key[Attribute.MODULUS]).lstrip(b"\0"))


def _wrapped(keys: TokenKeys, found: TokenVersion, dek: bytes) -> bytes:
    if found.algorithm not in AES:
        return public_half(found.key).encrypt(dek, oaep(is_sha1=found.algorithm not in RSA_BITS))
    mechanism = keys.mechanism(found.algorithm)
    passing = keys.login.session.create_object({**PASSING, Attribute.VALUE: dek})
    try:
        return bytes(found.key.wrap_key(passing, mechanism=mechanism))
    finally:
        passing.destroy()


def _open(keys: TokenKeys, found: TokenVersion, ciphertext: bytes) -> bytearray:
    if found.algorithm not in AES:
        hashes = OAEP["SHA-256" if found.algorithm in RSA_BITS else "SHA-1"]
        mechanism = pkcs11.Mechanism.RSA_PKCS_OAEP
        return bytearray(found.key.decrypt(ciphertext, mechanism=mechanism, mechanism_param=hashes))
    passing: Any = found.key.unwrap_key(
        ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, ciphertext, mechanism=keys.mechanism(found.algorithm),
        label=None, store=False, capabilities=0,
        template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False},
    )  # fmt: skip
    try:
        return bytearray(passing[Attribute.VALUE])
    finally:
        passing.destroy()
