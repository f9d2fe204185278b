"""The local key ring, in a folder of the test."""

import os
import sys
from pathlib import Path

from inventory.kms import open_store
from inventory.kms.base import Backend, WrapAlgorithm, parse_address
from tests import canaries
from tests.inventory.kms.rigs import Rig

LARGER = (WrapAlgorithm.RSA_3072_OAEP_256, WrapAlgorithm.RSA_4096_OAEP_256)


class LocalRig(Rig):
    name = "local"
    algorithms = (
        WrapAlgorithm.AES_256_KW,
        WrapAlgorithm.RSA_2048_OAEP_256,
        *(LARGER if "tests.full" in sys.modules else ()),  # which are only slower
    )

    def start(self, folder: Path) -> None:
        self._ring = folder / "ring"
        self._ring.mkdir(mode=0o700)
        self._master_key = os.urandom(32)
        canaries.know("master key", self._master_key)

    def open(self) -> Backend:
        return open_store(parse_address(f"local://{self._ring}#rig"), master_key=self._master_key)
