"""A PKCS#11 token, on SoftHSM."""

from pathlib import Path

from inventory.kms import open_store
from inventory.kms.base import Backend, WrapAlgorithm, parse_address
from tests.inventory.kms import softhsm
from tests.inventory.kms.rigs import Rig


class Pkcs11Rig(Rig):
    name = "pkcs11"
    algorithms = (WrapAlgorithm.AES_256_KW, WrapAlgorithm.AES_256_KWP)  # RSA-OAEP is SHA-1 there, and nothing else

    @classmethod
    def missing(cls) -> str:
        return softhsm.MISSING

    def start(self, folder: Path) -> None:
        self._address = softhsm.new_token("suite")

    def open(self) -> Backend:
        return open_store(parse_address(f"{self._address}#rig"))
