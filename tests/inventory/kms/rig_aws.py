"""AWS KMS, on moto's server."""

import secrets
from functools import cache
from pathlib import Path

from moto.server import ThreadedMotoServer

from inventory.kms import open_store
from inventory.kms.base import Backend, WrapAlgorithm, parse_address
from tests import canaries
from tests.inventory.kms.rigs import Rig


@cache
def moto_server() -> str:
    """Start the one server of this process, which ends with it, and return its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    return "http://{}:{}".format(*server.get_host_and_port())


class AwsRig(Rig):
    name = "aws"
    algorithms = (WrapAlgorithm.AWS_SYMMETRIC,)

    def start(self, folder: Path) -> None:
        self.credentials = folder / "credentials"
        secret = secrets.token_urlsafe(30)
        canaries.know("secret access key", secret.encode())
        self.credentials.write_text(f"AKIDEXAMPLE\n{secret}\n")
        self.address = f"aws://eu-central-1?endpoint={moto_server()}&credentials_file={self.credentials}"

    def open(self) -> Backend:
        return open_store(parse_address(f"{self.address}#rig"))
