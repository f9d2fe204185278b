"""OpenBao's transit engine, on the real server over TLS."""

from pathlib import Path

from inventory.kms import open_store
from inventory.kms.base import Backend, WrapAlgorithm
from tests.bao import bao, missing
from tests.inventory.kms.rigs import Rig


class OpenBaoRig(Rig):
    name = "openbao"
    algorithms = (WrapAlgorithm.AES_256_GCM96,)

    @classmethod
    def missing(cls) -> str:
        return missing()

    def start(self, folder: Path) -> None:
        self._token_file = folder / "token"
        self._token_file.write_text(bao().new_token())

    def open(self) -> Backend:
        return open_store(bao().store(self._token_file))
