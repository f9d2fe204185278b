"""Syslog servers on this machine, over TCP and TLS."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from queue import Queue
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Collector:
    """A syslog server on this machine: it reads what one sender has to say and closes."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.heard: Queue[bytes] = Queue()
        self.broken: Queue[bytes] = Queue()  # what came before a connection broke
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._context = context
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            said = b""
            try:
                with self._context.wrap_socket(caller, server_side=True) if self._context else caller as there:
                    while more := there.recv(4096):
                        said += more
                    self.heard.put(said)
            except OSError:  # the sender was killed, or wants no certificate of ours
                self.broken.put(said)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)


def make_authority(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that its own file vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "collector")])
    began = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), began, began + timedelta(9))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "collector.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


def messages_in(said: bytes) -> Iterator[bytes]:
    """Yield the messages of a stream that are there to their end, by octet counting (RFC 6587 §3.4.1)."""
    while said:
        length, blank, rest = said.partition(b" ")
        if not blank or len(rest) < int(length):
            return
        yield rest[: int(length)]
        said = rest[int(length) :]
