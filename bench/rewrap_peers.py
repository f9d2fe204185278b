"""The peer of bench.rewrap: OpenBao re-wraps on its side, and clients store what it gives back.

The smallest client: it reads ciphertexts from the same table, has them re-wrapped (transit/rewrap, a key that is not
derived, over TLS on loopback, one connection for each client), and stores them with the statements, constraints,
triggers and event of the floor, in batches of as many as one request takes. It opens nothing and compares nothing.
`audited`: another server, which writes each request and answer into a file, as whoever runs one in production has it.
"""

import http.client
import json
import secrets
import ssl
from base64 import b64encode
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.inventory import tell
from bench.processes import closed, side_by_side
from bench.rewrap_deks import add
from bench.rewrap_floor import Row, bare_batches, spans

if TYPE_CHECKING:
    from inventory.models import Kek, KekVersion
    from tests.bao import Bao

CLIENTS = 2
MOST_ITEMS = 400  # in a request: it takes 1,000 strings by default, two an item and some besides
AUDIT = """
audit "file" "to-file" {{
  options {{
    file_path = "{place}/audit.log"
  }}
}}
"""
READ = """
SELECT dek_version_id, wrapped FROM inventory_wrapping
 WHERE kek_version_id = %b AND dek_version_id > %b AND dek_version_id <= %b ORDER BY dek_version_id LIMIT %b
"""


class Transit:
    """One connection to a transit engine."""

    def __init__(self, port: int, ca: str, token: str, key: str) -> None:
        self.where, self.token, self.key = (port, ca), token, key
        self.connection: http.client.HTTPSConnection | None = None

    def __call__(self, rows: Sequence[Row]) -> list[bytes]:
        """Have DEKs re-wrapped under the newest version."""
        asked = [{"ciphertext": row[1].decode()} for row in rows]
        return self.ask("rewrap", asked)

    def sealed(self, dek_ids: Sequence[bytes]) -> list[tuple[bytes, bytes | None]]:
        """Have a new DEK wrapped for each."""
        asked = [{"plaintext": b64encode(secrets.token_bytes(32)).decode()} for _ in dek_ids]
        return [(one, None) for one in self.ask("encrypt", asked)]

    def ask(self, what: str, items: Sequence[dict[str, str]]) -> list[bytes]:
        parts = (items[start : start + MOST_ITEMS] for start in range(0, len(items), MOST_ITEMS))
        return [one for part in parts for one in self._asked(what, part)]

    def _asked(self, what: str, items: Sequence[dict[str, str]]) -> list[bytes]:
        if self.connection is None:
            port, ca = self.where
            context = ssl.create_default_context(cafile=ca)
            self.connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
        headers = {"X-Vault-Token": self.token, "Content-Type": "application/json"}
        path = f"/v1/transit/{what}/{self.key}"
        self.connection.request("POST", path, json.dumps({"batch_input": items}), headers)
        answer = json.loads(self.connection.getresponse().read())
        return [one["ciphertext"].encode() for one in answer["data"]["batch_results"]]


class Peer:
    """A server with a key of its own, and as many DEKs under it; each run brings them one version further."""

    def __init__(self, dsn: str, deks: int, batch: int, *, is_audited: bool) -> None:
        self.dsn, self.batch, self.number = dsn, batch, 0
        self.server, self.name = started(is_audited=is_audited), f"peer-{secrets.token_hex(4)}"
        self.server.ask("POST", f"transit/keys/{self.name}", {"type": "aes256-gcm96"})
        self.kek = self._record()
        self.version = self._next()
        add(dsn, self.version, deks, CLIENTS, self._client.sealed)
        assert (audited_bytes(self.server) > 0) == is_audited
        tell(f"peer{', audited' if is_audited else ''}: {deks:,} DEKs made")

    def run(self) -> float:
        """Rotate, then let the clients share the DEKs out; return the seconds that they took."""
        self.server.ask("POST", f"transit/keys/{self.name}/rotate")
        old, self.version = self.version, self._next()
        closed()
        shares = spans(self.dsn, old.pk, CLIENTS)
        versions = (old.pk, self.version.pk)
        acts = [partial(bare_batches, self.dsn, versions, self._client, span, self.batch, read=READ) for span in shares]
        return side_by_side(acts)

    @property
    def _client(self) -> Transit:
        return Transit(self.server.port, str(self.server.place / "ca.pem"), self.server.root, self.name)

    def _record(self) -> "Kek":
        from inventory.models import Kek, Key
        from inventory.terms import KeyKind

        key = Key.objects.create(name=self.name, kind=KeyKind.KEK)
        return Kek.objects.create(key=key, uri=f"openbao:peer/{self.name}", algorithm="AES-256-GCM96")

    def _next(self) -> "KekVersion":
        from django.utils import timezone

        from inventory.models import KekVersion, KeyVersion

        self.number += 1
        version = KeyVersion.objects.create(key=self.kek.key, number=self.number)
        return KekVersion.objects.create(
            version=version, kek=self.kek, store_id=str(self.number), status_at=timezone.now()
        )


def started(*, is_audited: bool) -> "Bao":
    """Start an OpenBao of its own, which ends with this process."""
    import atexit

    from tests.bao import Bao

    server = Bao()
    atexit.register(server.stop)
    if is_audited:
        with (server.place / "bao.hcl").open("a", encoding="utf-8") as configuration:
            configuration.write(AUDIT.format(place=server.place))
    server.start()
    server.set_up()
    return server


def audited_bytes(server: "Bao") -> int:
    """Return how much a server has written about what it was asked."""
    log = server.place / "audit.log"
    return log.stat().st_size if log.exists() else 0
