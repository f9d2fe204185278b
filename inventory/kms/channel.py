"""HTTP to one key store, within the manners: one host, no redirect, no proxy, no cookie, nothing of the environment.

http.client and not a package on top of it: those count a time-out anew with each piece of an answer, read answers of
any length, follow redirects and look for proxies and passwords in the environment, each of which had to be undone.
"""

import io
import ipaddress
import json
import select
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Any, NoReturn

from audit.deadlines import within
from inventory.kms.calls import Manners, too_slow
from inventory.kms.errors import AddressError, UnavailableError, WrongAnswerError

PIECE = 64 * 1024
OK, REDIRECTS, REFUSALS = 200, 300, 400


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back, whole."""

    status: int
    retry_after: str | None  # as the header says it
    body: bytes = field(repr=False)
    challenge: str | None = None  # as the header WWW-Authenticate says it


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by name or by a literal address; nothing is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls_context(ca: str, *, store: str) -> ssl.SSLContext:
    """Return a context that verifies chain and name: by the authorities in the file, or by the system's for "".

    Not create_default_context(), which writes session keys to a file that the environment names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca:
            context.load_verify_locations(cafile=ca)
        else:
            context.load_default_certs()
    except OSError as error:  # missing, unreadable, or no certificate in it
        raise AddressError(f"The file of certificate authorities of the key store {store} cannot be read.") from error
    return context


class _Reader(io.RawIOBase):
    """Reads from a socket until a moment, however the pieces come."""

    def __init__(self, timed: "_TimedSocket") -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer, as io declares it
        sock = self._timed.wait()
        return sock.recv_into(buffer)


class _TimedSocket:
    """What http.client needs of a socket, each step within what is left until `ends`. The channel closes the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.ends = 0.0

    def wait(self) -> socket.socket:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def sendall(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[self.wait().send(view) :]

    def close(self) -> None:
        """Leave it open: an answer may still be read from it."""


class Channel:
    """One connection, kept between calls and made anew when it is gone. Not shared by threads."""

    def __init__(self, host: str, port: int, *, store: str, tls: ssl.SSLContext | None, manners: Manners) -> None:
        """Open nothing yet. Without TLS the host must be this machine, and what its name leads to as well."""
        self.host, self.port, self.store = host, port, store
        self._tls, self._manners = tls, manners
        self._sock: socket.socket | None = None

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def exchange(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None, is_idempotent: bool
    ) -> Answer:
        """Ask once. What is not idempotent goes over a fresh connection, so that a stale one leaves no doubt.

        Errors repeat nothing of what was sent or answered. Raises: UnavailableError, WrongAnswerError, AddressError.
        """
        ends = time.monotonic() + self._manners.attempt
        kept = False
        try:
            if not is_idempotent or not self._is_fresh():
                self._connect(ends)
            answer, kept = self._ask(method, path, headers, body, ends)
        except (OSError, HTTPException, ValueError) as error:
            self._explain(error)
        finally:
            if not kept:
                self.close()
        return answer

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, ends: float
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether the connection can be kept."""
        assert self._sock is not None  # noqa: S101 - connected above
        timed = _TimedSocket(self._sock)
        timed.ends = ends
        connection = HTTPConnection(self.host, self.port)
        connection.sock = timed
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        self._refuse_oddities(response)
        content = self._read(response)
        answer = Answer(
            status=response.status,
            retry_after=response.getheader("Retry-After"),
            body=content,
            challenge=response.getheader("WWW-Authenticate"),
        )
        return answer, not response.will_close

    def _refuse_oddities(self, response: HTTPResponse) -> None:
        if response.status < OK or REDIRECTS <= response.status < REFUSALS:
            raise WrongAnswerError(
                f"The key store {self.store} sends callers elsewhere, which is not followed. Name the address of the "
                "active node, or of what stands before it."
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise WrongAnswerError(f"The key store {self.store} answered in an encoding that was not asked for.")

    def _read(self, response: HTTPResponse) -> bytes:
        most = self._manners.most_bytes
        content = bytearray()
        if (response.length or 0) <= most:
            while len(content) <= most and (piece := response.read(min(PIECE, most + 1 - len(content)))):
                content += piece
        if len(content) > most or (response.length or 0) > most:
            raise WrongAnswerError(f"The key store {self.store} answered at greater length than any answer has.")
        if response.length:
            raise ConnectionError  # it ended before its Content-Length
        return bytes(content)

    def _is_fresh(self) -> bool:
        """Whether the connection of before is open still: one with something to read was closed, or is out of step."""
        if self._sock is None:
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return not poll.poll(0)

    def _connect(self, ends: float) -> None:
        self.close()
        ends = min(ends, time.monotonic() + self._manners.connect)
        trouble: OSError = TimeoutError()
        for family, address in self._addresses():
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                self._sock = self._agreed(sock, address, ends)
            except OSError as error:
                sock.close()
                trouble = error
            else:
                return
        raise trouble

    def _agreed(self, sock: socket.socket, address: Any, ends: float) -> socket.socket:  # noqa: ANN401 - by family
        timed = _TimedSocket(sock)
        timed.ends = ends
        timed.wait().connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return sock
        timed.wait()  # the whole handshake is within the time-out of the socket
        return self._tls.wrap_socket(sock, server_hostname=self.host)

    def _addresses(self) -> list[tuple[socket.AddressFamily, Any]]:
        look = partial(socket.getaddrinfo, self.host, self.port, type=socket.SOCK_STREAM)
        found = within(self._manners.connect, look)
        if self._tls is None:
            found = [line for line in found if is_loopback(str(line[4][0]))]
        if not found:
            raise AddressError(f"The key store {self.store} is not on this machine, so it needs TLS.")
        return [(line[0], line[4]) for line in found]

    def _explain(self, error: Exception) -> NoReturn:
        """Raise an error of ours: the texts of these may quote what was sent or answered."""
        if isinstance(error, ssl.SSLCertVerificationError):
            raise WrongAnswerError(
                f"The key store {self.store} showed a certificate that is not trusted, or is for another name."
            ) from None
        if isinstance(error, UnicodeError):
            raise AddressError(f"The key store {self.store} has a host that is no name of any.") from None
        if isinstance(error, TimeoutError):
            raise too_slow(self.store) from None
        if isinstance(error, OSError | IncompleteRead):  # closed before any answer, or within it
            raise UnavailableError(f"The key store {self.store} cannot be reached.") from None
        raise WrongAnswerError(f"The key store {self.store} answered something that is not HTTP.") from None


def strict_json(body: bytes, *, store: str) -> dict[str, Any]:
    """Return an answer's JSON object. Raises: WrongAnswerError for anything else, NaN and names that stand twice."""
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise WrongAnswerError(f"The key store {store} answered something that cannot be read.") from None
    if not isinstance(found, dict):
        raise WrongAnswerError(f"The key store {store} answered something that cannot be read.")
    return found


def _refuse(_constant: str) -> NoReturn:
    raise ValueError


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found
