"""The keys of a PKCS#11 token: by which labels they are found, how they are made, and what the token can do with them.

Version 3 of the KEK `orders` is the key object with label and CKA_ID `orders/v3`. Beside it stands a data object of the
same label and the application `keyvault-admin orders`: it says the algorithm and outlives the key, so that no number is
given twice; a second one, once the key was destroyed.
"""

import os
import re
from dataclasses import dataclass
from typing import Any

import pkcs11
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from inventory.kms.base import WrapAlgorithm
from inventory.kms.errors import AddressError, NotCapableError, WrongAnswerError
from inventory.kms.tokens import NOT_CAPABLE, Login

AES = (WrapAlgorithm.AES_256_KW, WrapAlgorithm.AES_256_KWP)
RSA_BITS = {
    WrapAlgorithm.RSA_2048_OAEP_256: 2048,
    WrapAlgorithm.RSA_3072_OAEP_256: 3072,
    WrapAlgorithm.RSA_4096_OAEP_256: 4096,
}
OAEP = {"SHA-256": (Mechanism.SHA256, pkcs11.MGF.SHA256, None), "SHA-1": (Mechanism.SHA_1, pkcs11.MGF.SHA1, None)}
PASSING = {  # a DEK while the token has it
    Attribute.CLASS: ObjectClass.SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
    Attribute.TOKEN: False,
    Attribute.EXTRACTABLE: True,
    Attribute.SENSITIVE: False,
}
_GUARDED = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
_LEDGER, _GRAVE = "keyvault-admin {}", "keyvault-admin destroyed {}"  # applications of data objects
_NAME = re.compile(r"[0-9A-Za-z._-]{1,100}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_AES_BITS, _SHA1_BITS = 256, 2048
_KEYS = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY)
# SoftHSM calls RFC 5649 what the standard has renamed since; what a token means by it is asked, never assumed.
_CALLED = {
    WrapAlgorithm.AES_256_KW: (Mechanism.AES_KEY_WRAP,),
    WrapAlgorithm.AES_256_KWP: (Mechanism.AES_KEY_WRAP_KWP, Mechanism.AES_KEY_WRAP_PAD),
}


@dataclass(frozen=True)
class TokenVersion:
    """One version of a KEK, as the token has it."""

    number: int
    key: Any  # the secret or private key; None where there is none
    algorithm: WrapAlgorithm
    is_buried: bool  # noted as destroyed
    is_exportable: bool

    @property
    def is_usable(self) -> bool:
        return self.key is not None and not self.is_buried


class TokenKeys:
    """The KEKs that one login reaches. `sha1`: names of those whose DEKs were wrapped with RSA-OAEP and SHA-1."""

    def __init__(self, login: Login, sha1: frozenset[str]) -> None:
        self.login = login
        self._session = login.session
        self._sha1 = sha1

    # Finding

    def numbers(self, name: str) -> list[int]:
        """Return the numbers that versions of a KEK have, or had."""
        _refuse_odd(name)
        found = [one for kind in _KEYS for one in self._found({Attribute.CLASS: kind, Attribute.TOKEN: True})]
        for application in (_LEDGER, _GRAVE):
            found += self._notes(application.format(name))
        starts = f"{name}/v"
        labels = {one[Attribute.LABEL] for one in found}
        ends = (label.removeprefix(starts) for label in labels if label.startswith(starts))
        return sorted(int(end) for end in ends if _NUMBER.fullmatch(end))

    def named(self, name: str, version: str) -> TokenVersion | None:
        """Return a version by its id, found by its label alone; None if it never was."""
        _refuse_odd(name)
        if not _NUMBER.fullmatch(version):
            return None
        found = self.version(name, int(version))
        is_known = found.key is not None or found.is_buried or self._notes(_LEDGER.format(name), f"{name}/v{version}")
        return found if is_known else None

    def version(self, name: str, number: int) -> TokenVersion:
        label = f"{name}/v{number}"
        keys = [one for kind in _KEYS for one in self._labelled(kind, label)]
        if len(keys) > 1:
            raise WrongAnswerError(f"The token has {len(keys)} keys of the label {label}: which one is meant?")
        key = keys[0] if keys else None
        return TokenVersion(
            number=number,
            key=key,
            algorithm=self._algorithm(name, label, key),
            is_buried=bool(self._notes(_GRAVE.format(name), label)),
            is_exportable=key is not None and bool(key[Attribute.EXTRACTABLE]),
        )

    def _algorithm(self, name: str, label: str, key: Any) -> WrapAlgorithm:  # noqa: ANN401 - of the library
        """Read the algorithm from the note and hold the key against it; a key without a note speaks for itself."""
        notes = [
            bytes(note[Attribute.VALUE]).decode("ascii", "replace") for note in self._notes(_LEDGER.format(name), label)
        ]
        if key is None:
            return WrapAlgorithm(next((note for note in notes if note in {*WrapAlgorithm}), AES[0]))
        possible = _possible(key, is_sha1=name in self._sha1)
        if not possible or (notes and notes[0] not in possible):
            raise WrongAnswerError(f"The key {label} of the token is not of an algorithm that a KEK of it can have.")
        return WrapAlgorithm(notes[0]) if notes else possible[0]

    def _found(self, attributes: dict[Attribute, Any]) -> list[Any]:
        return list(self._session.get_objects(attributes))

    def _labelled(self, kind: ObjectClass, label: str) -> list[Any]:
        return self._found({Attribute.CLASS: kind, Attribute.TOKEN: True, Attribute.LABEL: label})

    def _notes(self, application: str, label: str = "") -> list[Any]:
        labelled = {Attribute.LABEL: label} if label else {}
        return self._found({Attribute.CLASS: ObjectClass.DATA, Attribute.APPLICATION: application, **labelled})

    # Making and destroying

    def make(self, name: str, number: int, algorithm: WrapAlgorithm) -> None:
        """Take the number, then make the key: a crash in between leaves a number without a key, for good."""
        self.mechanism(algorithm)
        label = f"{name}/v{number}"
        self._note(_LEDGER.format(name), label, algorithm.encode())
        if algorithm in AES:
            self._session.generate_key(
                KeyType.AES, 256, id=label.encode(), label=label, store=True,
                capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP, template=_GUARDED,
            )  # fmt: skip
        else:
            _generate_rsa(self._session, RSA_BITS[algorithm], label=label)

    def destroy(self, name: str, number: int) -> None:
        """Note the number as destroyed, then destroy the key: a crash in between leaves what is never used again."""
        label = f"{name}/v{number}"
        if not self._notes(_GRAVE.format(name), label):
            self._note(_GRAVE.format(name), label, b"destroyed")
        for kind in (*_KEYS, ObjectClass.PUBLIC_KEY):
            for one in self._labelled(kind, label):
                one.destroy()

    def _note(self, application: str, label: str, said: bytes) -> None:
        self._session.create_object(
            {
                Attribute.CLASS: ObjectClass.DATA,
                Attribute.TOKEN: True,
                Attribute.PRIVATE: True,
                Attribute.MODIFIABLE: False,
                Attribute.APPLICATION: application,
                Attribute.LABEL: label,
                Attribute.VALUE: said,
            }
        )

    # Asking the token what it can do

    def mechanism(self, algorithm: WrapAlgorithm) -> Mechanism:
        """Return the token's name for an algorithm, tried out once a login. Raises: NotCapableError."""
        known = self.login.mechanisms
        if algorithm not in known:
            known[algorithm] = self._tried_aes(algorithm) if algorithm in AES else self._tried_rsa()
        if (found := known[algorithm]) is None:
            raise NotCapableError(f"The token {self.login.token.label} cannot do {algorithm}.")
        return found

    def _tried_aes(self, algorithm: WrapAlgorithm) -> Mechanism | None:
        """Wrap under a key drawn here, and compare with what RFC 3394 or RFC 5649 makes of it."""
        kek, dek = os.urandom(32), os.urandom(32)
        wrap = keywrap.aes_key_wrap if algorithm is AES[0] else keywrap.aes_key_wrap_with_padding
        offered = self.login.token.slot.get_mechanisms()
        for mechanism in _CALLED[algorithm]:
            if mechanism in offered and self._wraps(kek, dek, mechanism) == wrap(kek, dek):
                return mechanism
        return None

    def _wraps(self, kek: bytes, dek: bytes, mechanism: Mechanism) -> bytes:
        made: list[Any] = []
        try:
            key = {**PASSING, Attribute.KEY_TYPE: KeyType.AES, Attribute.WRAP: True, Attribute.VALUE: kek}
            made.append(self._session.create_object(key))
            made.append(self._session.create_object({**PASSING, Attribute.VALUE: dek}))
            return bytes(made[0].wrap_key(made[1], mechanism=mechanism))
        except NOT_CAPABLE:
            return b""
        finally:
            for one in made:
                one.destroy()

    def _tried_rsa(self) -> Mechanism | None:
        """Open, by a key pair of this session, what was wrapped here with SHA-256: tokens do not list their hashes."""
        if Mechanism.RSA_PKCS_OAEP not in self.login.token.slot.get_mechanisms():
            return None
        dek, pair = os.urandom(32), _generate_rsa(self._session, 2048)
        try:
            blob = public_half(pair[1]).encrypt(dek, oaep())
            opened = pair[1].decrypt(blob, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=OAEP["SHA-256"])
        except NOT_CAPABLE:
            return None
        finally:
            for one in pair:
                one.destroy()
        return Mechanism.RSA_PKCS_OAEP if opened == dek else None


def _refuse_odd(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise AddressError("The name of a KEK in a token is made of letters, digits, ., - and _.")


def _generate_rsa(session: pkcs11.Session, bits: int, *, label: str = "") -> tuple[Any, Any]:
    """Make a key pair, of the session alone if it has no label."""
    return session.generate_keypair(
        KeyType.RSA, bits, id=label.encode(), label=label, store=bool(label),
        capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT, private_template=_GUARDED,
    )  # fmt: skip


def _possible(key: Any, *, is_sha1: bool) -> list[WrapAlgorithm]:  # noqa: ANN401 - of the library
    """Return what a KEK with this key can be, the likeliest first."""
    if key.object_class is ObjectClass.SECRET_KEY:
        return list(AES) if key.key_type is KeyType.AES and key.key_length == _AES_BITS else []
    if key.key_type is not KeyType.RSA:
        return []
    bits = int.from_bytes(key[Attribute.MODULUS], "big").bit_length()
    if is_sha1:
        return [WrapAlgorithm.RSA_2048_OAEP] if bits == _SHA1_BITS else []
    return [algorithm for algorithm, size in RSA_BITS.items() if size == bits]


def public_half(key: Any) -> rsa.RSAPublicKey:  # noqa: ANN401 - of the library
    """Return it from the private key: a public object beside it could be somebody else's."""
    modulus, exponent = (int.from_bytes(key[one], "big") for one in (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT))
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def oaep(*, is_sha1: bool = False) -> padding.OAEP:
    hashed = SHA1() if is_sha1 else SHA256()  # noqa: S303 - to see whether a token still opens what is wrapped so
    return padding.OAEP(mgf=padding.MGF1(algorithm=hashed), algorithm=hashed, label=None)
