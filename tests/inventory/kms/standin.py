"""A server on loopback that answers as no key store should. It knows no protocol: `good` gives the right answers.

A test says how the next requests are answered (`answers`: one behaviour a request, the last one for all that follow),
and sees afterwards what was asked and when. `good` is the genuine engine behind it, or a model of one; a behaviour may
pass its answer on, bend it, or not ask it at all. TLS is by a certificate for HOST, for another name, or of another
authority.
"""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

HOST = "127.0.0.1"
TWENTY_MEGABYTES = 20 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


Good = Callable[[Request], Reply]


@dataclass(frozen=True)
class Exchange:
    """One request, and the raw way back."""

    request: Request
    good: Good
    write: Callable[[bytes], Any]
    over: threading.Event  # the server is being stopped: nothing waits any longer

    def send(self, reply: Reply) -> None:
        lines = {"Content-Length": str(len(reply.body)), **reply.headers}
        self.write(head(reply.status, lines) + reply.body)


Behaviour = Callable[[Exchange], bool | None]  # True: the connection ends


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} x", *(f"{name}: {text}" for name, text in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class StandIn:
    """The server. Use it in a `with` block."""

    def __init__(self, good: Good, *, tls: ssl.SSLContext | None = None) -> None:
        self.good = good
        self.requests: list[Request] = []
        self.connections = 0
        self._answers: list[Behaviour] = [well]
        self._over = threading.Event()
        self._server = _Server(self, tls)

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def answers(self, *behaviours: Behaviour) -> None:
        """Answer the next requests so, the last way for all that follow, and forget what was asked."""
        self._answers = list(behaviours)
        self.requests.clear()

    def __enter__(self) -> "StandIn":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Request, write: Callable[[bytes], Any]) -> bool:
        """Answer the next request; whether the connection ends with it."""
        self.requests.append(request)
        behaviour = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return bool(behaviour(Exchange(request, self.good, write, self._over)))


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False

    def __init__(self, stand_in: StandIn, tls: ssl.SSLContext | None) -> None:
        super().__init__((HOST, 0), _Handler)
        self.stand_in, self.tls = stand_in, tls

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, address = super().get_request()
        self.stand_in.connections += 1
        if self.tls is not None:  # the handshake is the handler's, so that nobody else waits for it
            sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock, address

    def handle_error(self, *_request: object) -> None:
        """Say nothing: whoever asked has gone, or agreed on no TLS."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: _Server

    def handle_one_request(self) -> None:
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(65537)
        if self.raw_requestline and self.parse_request():
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Request(self.command, self.path, dict(self.headers.items()), body)
            self.close_connection = self.server.stand_in.answer(asked, self._write)

    def _write(self, content: bytes) -> None:
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_line: object) -> None:
        """Say nothing."""


# Certificates


@dataclass(frozen=True)
class Certificates:
    ca: Path
    right: ssl.SSLContext
    other_name: ssl.SSLContext
    other_authority: ssl.SSLContext


@cache
def _authorities() -> tuple[trustme.CA, trustme.CA]:
    return trustme.CA(), trustme.CA()


def certificates(folder: Path) -> Certificates:
    """Return the ways a server can show itself; the client is to trust `ca`."""
    trusted, stranger = _authorities()
    trusted.cert_pem.write_to_path(folder / "ca.pem")
    return Certificates(
        folder / "ca.pem",
        right=_shows(trusted, HOST),
        other_name=_shows(trusted, "somebody.example"),
        other_authority=_shows(stranger, HOST),
    )


def _shows(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


# Behaviours that any protocol can meet


def well(exchange: Exchange) -> None:
    exchange.send(exchange.good(exchange.request))


def silence(exchange: Exchange) -> bool:
    """Take the request, and say nothing."""
    exchange.over.wait()
    return True


def hangs_up(_exchange: Exchange) -> bool:
    return True


def says(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer always the same; underscores in names of headers stand for hyphens."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    reply = Reply(status, body, {"Content-Type": "application/json", **named})
    return lambda exchange: exchange.send(reply)


def busy(seconds: float, status: int = 429, body: bytes = b"{}") -> Behaviour:
    return says(status, body, Retry_After=f"{seconds:.0f}")


def busy_until(seconds: float, status: int = 429) -> Behaviour:
    """The same as an HTTP date."""
    return says(status, b"{}", Retry_After=formatdate(time.time() + seconds, usegmt=True))


def drips(pause: float, *, from_head: bool = False) -> Behaviour:
    """Give the right answer, a byte after each pause: with the head, or the body alone."""

    def drip(exchange: Exchange) -> bool:
        reply = exchange.good(exchange.request)
        top = head(reply.status, {"Content-Length": str(len(reply.body)), **reply.headers})
        if not from_head:
            exchange.write(top)
        for byte in (top if from_head else b"") + reply.body:
            if exchange.over.wait(pause):
                return True
            exchange.write(bytes([byte]))
        return True

    return drip


def too_long(exchange: Exchange) -> bool:
    """Announce twenty megabytes, and send them as long as somebody reads."""
    exchange.write(head(200, {"Content-Type": "application/json", "Content-Length": str(TWENTY_MEGABYTES)}))
    exchange.write(b'{"a":"')
    return _pour(exchange, b"a" * 65536)


def too_long_in_chunks(exchange: Exchange) -> bool:
    """The same, with nothing announced."""
    exchange.write(head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}))
    return _pour(exchange, b"10000\r\n" + b"a" * 65536 + b"\r\n")


def _pour(exchange: Exchange, piece: bytes) -> bool:
    for _piece in range(TWENTY_MEGABYTES // 65536):
        exchange.write(piece)
    return True


def cut_off(exchange: Exchange) -> bool:
    """Announce the whole answer, send half of it, and hang up."""
    reply = exchange.good(exchange.request)
    exchange.write(head(reply.status, {**reply.headers, "Content-Length": str(len(reply.body))}))
    exchange.write(reply.body[: len(reply.body) // 2])
    return True


def truncated(exchange: Exchange) -> None:
    """Send half of the answer as if it were all."""
    reply = exchange.good(exchange.request)
    exchange.send(Reply(reply.status, reply.body[: len(reply.body) // 2], reply.headers))


def no_http(exchange: Exchange) -> bool:
    exchange.write(b"\x00\x16\x03 what is it that you want?\r\n" * 40)
    return True


def endless_head(exchange: Exchange) -> bool:
    """Never come to the answer: one interim response after the other."""
    while not exchange.over.wait(0.01):
        exchange.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return True


def compressed(exchange: Exchange) -> None:
    reply = exchange.good(exchange.request)
    exchange.send(Reply(reply.status, reply.body, {**reply.headers, "Content-Encoding": "gzip"}))


def with_cookie(exchange: Exchange) -> None:
    reply = exchange.good(exchange.request)
    exchange.send(Reply(reply.status, reply.body, {**reply.headers, "Set-Cookie": "follow=me; Path=/"}))


def elsewhere(address: str, status: int = 307) -> Behaviour:
    return says(status, b"", Location=address)


def echo(exchange: Exchange) -> None:
    """Repeat everything that was sent, secrets among it, as an error."""
    said = f"{dict(exchange.request.headers)} {exchange.request.body!r}"
    exchange.send(Reply(400, json.dumps({"errors": [said], "error": {"code": "Bad", "message": said}}).encode()))


def echo_no_http(exchange: Exchange) -> bool:
    """The same in place of a status line."""
    exchange.write(f"{dict(exchange.request.headers)}\r\n\r\n".encode())
    return True


def bends(change: Callable[[Any], Any], *, when: Callable[[Request], bool] = lambda _request: True) -> Behaviour:
    """Give the right answer, with its JSON changed: what `change` returns, or what it did to it in place."""

    def bend(exchange: Exchange) -> None:
        reply = exchange.good(exchange.request)
        if when(exchange.request):
            facts = json.loads(reply.body)
            changed = change(facts)
            body = json.dumps(facts if changed is None else changed).encode()
            reply = Reply(reply.status, body, reply.headers)
        exchange.send(reply)

    return bend


# Bodies that are no answer
NO_ANSWERS: Mapping[str, bytes] = {
    "empty": b"",
    "a page": b"<!doctype html><title>Welcome</title>",
    "null": b"null",
    "a list": b"[]",
    "a word": b'"yes"',
    "NaN": b'{"data": NaN}',
    "infinite": b'{"data": -Infinity}',
    "twice": b'{"data": {}, "data": {}}',
    "deep": b'{"data":' * 20_000 + b"1" + b"}" * 20_000,
    "a number of 5,000 digits": b'{"data": ' + b"9" * 5_000 + b"}",
    "no UTF-8": b'{"data": "\xff\xfe"}',
}
