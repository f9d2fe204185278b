"""Azure Key Vault: the genuine clients, against a model of the vault over TLS with its challenge."""

import secrets
import sys
from pathlib import Path

from inventory.kms import open_store
from inventory.kms.base import Backend, WrapAlgorithm, parse_address
from tests import canaries
from tests.inventory.kms.azure_vault import CLIENT, TENANT, Vault
from tests.inventory.kms.rigs import Rig
from tests.inventory.kms.standin import HOST, StandIn, certificates

RSA = (WrapAlgorithm.RSA_2048_OAEP_256, WrapAlgorithm.RSA_3072_OAEP_256, WrapAlgorithm.RSA_4096_OAEP_256)


class AzureRig(Rig):
    name = "azure"
    algorithms = RSA if "tests.full" in sys.modules else RSA[:1]  # larger keys are only slower

    def start(self, folder: Path) -> None:
        secret = secrets.token_urlsafe(30)
        canaries.know("client secret", secret.encode())
        shown = certificates(folder)
        self.vault = Vault(secret)
        self.stand_in = StandIn(self.vault, tls=shown.right)
        self.vault.port = self.stand_in.port
        self.stand_in.__enter__()
        (folder / "secret").write_text(secret)
        self.address = (
            f"azure://{HOST}:{self.vault.port}?credential=secret&tenant={TENANT}&client={CLIENT}"
            f"&secret_file={folder}/secret&authority={HOST}:{self.vault.port}&ca={shown.ca}"
        )

    def stop(self) -> None:
        self.stand_in.__exit__()

    def open(self) -> Backend:
        return open_store(parse_address(f"{self.address}#rig"))
