"""A PostgreSQL with a certificate of a CA of the test, and a line to it that is listened in on.

The certificate, whether there is TLS at all, and how the password is asked for can be changed while it runs. The
embedded PostgreSQL is built without TLS, so this one is of the system.
"""

import os
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from keyvault_admin.local.engine import HOST, choose_port
from keyvault_admin.local.places import Places, give, owned_folder, settle
from keyvault_admin.local.postgres import SUPERUSER, Postgres
from tests import canaries

TYPES = {20: "change", 21: "alert", 22: "handshake", 23: "data"}  # of TLS records
SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # "do you speak TLS?", the first words of every client


def programs():
    """Return the folder of a PostgreSQL of the system that speaks TLS; None where there is none."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin"), Path("/usr/bin")]
    found = [place for place in places if (place / "initdb").exists() and _speaks_tls(place)]
    return max(found, key=lambda place: (place / "postgres").stat().st_mtime, default=None)


def _speaks_tls(place):
    built = subprocess.run([place / "postgres", "--describe-config"], capture_output=True, text=True, check=False)
    return "ssl_library" in built.stdout or b"libssl" in (place / "postgres").read_bytes()


class TlsPostgres(Postgres):
    """An instance of its own, beside that of the run."""

    def __init__(self, where):
        base = settle(Path(os.environ["KEYVAULT_LOCAL_ENV"]).parent)
        self.folder = base.engines / f"tls-{secrets.token_hex(6)}"
        self.folder.mkdir()
        self.folder.chmod(0o711)
        places = Places(var=self.folder, engines=self.folder, account=base.account)
        self._programs = where
        super().__init__(places, port=choose_port(None), password=secrets.token_urlsafe(24), durable=False)
        canaries.know("password of the other superuser", self.password)
        self.authority = trustme.CA()
        self._issued = {}

    def prepare(self):
        """Make its data folder as the embedded one is made, as far as an older one can."""
        home = owned_folder(self.places, "postgres")
        self._data, password = home / "data", home / "password"
        password.write_text(self.password)
        give(self.places, password)
        account = self.places.account
        subprocess.run(
            [self._programs / "initdb", "-D", self._data, "-U", SUPERUSER, f"--pwfile={password}", "--no-sync",
             "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"],
            check=True, capture_output=True, cwd=home, umask=0o077, **(account.options() if account else {}),
        )  # fmt: skip

    @property
    def server(self):
        return {"host": HOST, "port": str(self.port), "user": SUPERUSER, "password": self.password}

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder)

    def change(self, *, names=("localhost",), is_expired=False, has_tls=True, asks="scram-sha-256"):
        """Let it show another certificate, or none, and ask for the password in another way."""
        how = (tuple(names), is_expired)
        if how not in self._issued:
            end = datetime.now(UTC) - timedelta(hours=1) if is_expired else None
            begin = end - timedelta(days=1) if end else None
            self._issued[how] = self.authority.issue_cert(*names, not_before=begin, not_after=end)
        leaf = self._issued[how]
        self._write("server.crt", b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        self._write("server.key", leaf.private_key_pem.bytes())
        rules = f"host all {SUPERUSER} 127.0.0.1/32 scram-sha-256\n"
        self._write("pg_hba.conf", (rules + (f"host all all 127.0.0.1/32 {asks}\n" if asks else "")).encode())
        with self.connect() as superuser:
            superuser.execute(f"ALTER SYSTEM SET ssl = {'on' if has_tls else 'off'}")
            superuser.execute("ALTER SYSTEM SET log_connections = on")
            superuser.execute("SELECT pg_reload_conf()")
        self._wait_until_so(names, is_expired=is_expired, has_tls=has_tls)

    def _write(self, name, content):
        path = self._data / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        give(self.places, path)

    def _wait_until_so(self, names, *, is_expired, has_tls):
        """A server tells new connections what it was told a moment ago."""
        ours = self._issued[tuple(names), is_expired].cert_chain_pems[0].bytes()
        deadline = time.monotonic() + 10
        while self._shown() != (ours if has_tls else b""):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _shown(self):
        """Return the certificate that it shows to whoever asks, as PEM; nothing where it speaks no TLS."""
        with closing(socket.create_connection((HOST, self.port), timeout=5)) as plain:
            plain.sendall(SSL_REQUEST)
            if plain.recv(1) != b"S":
                return b""
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain) as line:
                return ssl.DER_cert_to_PEM_cert(line.getpeercert(binary_form=True)).encode()

    def ca_file(self, folder):
        return pem(folder / "ca.pem", self.authority)

    def said(self):
        """Return its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def pem(path, authority):
    authority.cert_pem.write_to_path(str(path))
    return str(path)


class Line:
    """A line to a server that keeps what the client says, as it stands on the wire."""

    def __init__(self, port):
        self._to = port
        self._listening = socket.create_server((HOST, 0))
        self.port = self._listening.getsockname()[1]
        self._said, self._open = [], []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def said(self):
        """Return what each client has said, once all of them have left."""
        for thread in self._threads[1:]:
            thread.join(10)
        return [b"".join(one) for one in self._said]

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._open.append(client)
                server = socket.create_connection((HOST, self._to))
                self._open.append(server)
                self._said.append([])
                for one, other, kept in ((client, server, self._said[-1]), (server, client, None)):
                    thread = threading.Thread(target=_carry, args=(one, other, kept), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)  # which wakes who listens
        self._threads[0].join(10)
        for thread in self._threads[1:]:
            thread.join(10)
        for one in (self._listening, *self._open):
            one.close()


def _carry(one, other, kept):
    with suppress(OSError):
        while said := one.recv(65_536):
            if kept is not None:
                kept.append(said)
            other.sendall(said)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@contextmanager
def overheard(port):
    line = Line(port)
    try:
        yield line
    finally:
        line.close()


def records(said):
    """Return kind and length of each TLS record that a client has sent after its first question."""
    assert said[:8] == SSL_REQUEST, said[:8].hex()
    found, rest = [], said[8:]
    while rest:
        length = int.from_bytes(rest[3:5])
        found.append((TYPES[rest[0]], length))
        rest = rest[5 + length :]
    return found
