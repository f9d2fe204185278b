"""KEKs whose material is in our own memory: RFC 3394 and RSA-OAEP, over batches. Who keeps it is no concern here."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

from cryptography.hazmat.primitives import keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256

from inventory.kms.base import ToOpen, ToWrap, WrapAlgorithm
from inventory.kms.errors import Refused, WrongAnswerError

_RSA_BITS = {
    WrapAlgorithm.RSA_2048_OAEP_256: 2048,
    WrapAlgorithm.RSA_3072_OAEP_256: 3072,
    WrapAlgorithm.RSA_4096_OAEP_256: 4096,
}
ALGORITHMS = (WrapAlgorithm.AES_256_KW, *_RSA_BITS)
_EXPONENT = 65537
_OAEP = OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None)
_ALTERED, _REFUSED = Refused("altered"), Refused("refused")


class MemoryKek(ABC):
    """One version of a KEK, ready for use. Kept for as long as the process lives: loading RSA costs 50 unwraps."""

    @abstractmethod
    def wrap(self, items: Sequence[ToWrap]) -> list[bytes | Refused]: ...

    @abstractmethod
    def unwrap(self, items: Sequence[ToOpen]) -> list[bytearray | Refused]: ...


class AesKw(MemoryKek):
    """RFC 3394; wraps 16 bytes or more, in eights."""

    def __init__(self, material: bytes) -> None:
        self._material = material

    def wrap(self, items: Sequence[ToWrap]) -> list[bytes | Refused]:
        material, wrap, wrapped = self._material, keywrap.aes_key_wrap, list[bytes | Refused]()
        for item in items:
            try:
                wrapped.append(wrap(material, item.dek))
            except ValueError:
                wrapped.append(_REFUSED)
        return wrapped

    def unwrap(self, items: Sequence[ToOpen]) -> list[bytearray | Refused]:
        material, unwrap, opened = self._material, keywrap.aes_key_unwrap, list[bytearray | Refused]()
        for item in items:
            try:
                opened.append(bytearray(unwrap(material, item.ciphertext)))
            except (keywrap.InvalidUnwrap, ValueError):
                opened.append(_ALTERED)
        return opened


class RsaOaep(MemoryKek):
    """RFC 8017 §7.1 with SHA-256 for both hashes and no label."""

    def __init__(self, material: bytes) -> None:
        # The seal has proved that these are the bytes that create() wrote: checking the primes anew costs 45 to 282 ms.
        loaded = serialization.load_der_private_key(material, password=None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(loaded, rsa.RSAPrivateKey):
            raise WrongAnswerError("A version of this KEK holds no RSA key.")
        self._private, self._public = loaded, loaded.public_key()

    def wrap(self, items: Sequence[ToWrap]) -> list[bytes | Refused]:
        encrypt, wrapped = self._public.encrypt, list[bytes | Refused]()
        for item in items:
            try:
                wrapped.append(encrypt(bytes(item.dek), _OAEP))
            except ValueError:
                wrapped.append(_REFUSED)
        return wrapped

    def unwrap(self, items: Sequence[ToOpen]) -> list[bytearray | Refused]:
        decrypt, opened = self._private.decrypt, list[bytearray | Refused]()
        for item in items:
            try:
                opened.append(bytearray(decrypt(item.ciphertext, _OAEP)))
            except ValueError:
                opened.append(_ALTERED)
        return opened


def kek_of(algorithm: WrapAlgorithm, material: bytes) -> MemoryKek:
    """Load what new_material() has drawn. Raises: WrongAnswerError."""
    return RsaOaep(material) if algorithm in _RSA_BITS else AesKw(material)


def new_material(algorithm: WrapAlgorithm) -> bytes:
    """Draw the material of a new version: 32 bytes, or an RSA key as PKCS #8. Large RSA keys take seconds."""
    if algorithm not in _RSA_BITS:
        return os.urandom(32)
    private = rsa.generate_private_key(_EXPONENT, _RSA_BITS[algorithm])
    return private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
