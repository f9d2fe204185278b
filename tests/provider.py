"""A provider of OpenID Connect for tests: true to the standard on loopback over TLS, and it can be told to lie.

Source: OpenID Connect Core 1.0 §3.1, RFC 7636, RFC 7515, RFC 7517, RFC 7518 §3 and §6.
"""

import base64
import hashlib
import hmac
import html
import ipaddress
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from tests import canaries

CLIENT_ID, NAME = "keyvault-admin", "Example"
GONE = object()  # as a claim: leave it out


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8))


@cache
def rsa_key(name: str = "good", bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_jwk(key: rsa.RSAPrivateKey, kid: str = "rsa") -> dict[str, str]:
    public = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": _number(public.n), "e": _number(public.e)}


def ec_jwk(kid: str = "ec") -> dict[str, str]:
    public = ec_key().public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "kid": kid, "x": b64(public.x.to_bytes(32)), "y": b64(public.y.to_bytes(32))}


def signed(header: dict[str, Any], claims: dict[str, Any], key: object) -> str:
    """Return a compact JWS, signed as the type of the key says: RSA, EC, bytes (HMAC), or None for no signature."""
    body = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{body}.{b64(_signature(body.encode(), key))}"


def _signature(body: bytes, key: object) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(body, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return b"".join(n.to_bytes(32) for n in decode_dss_signature(key.sign(body, ec.ECDSA(hashes.SHA256()))))
    return hmac.digest(key, body, "sha256") if isinstance(key, bytes) else b""


@dataclass
class Lies:
    """What this provider does otherwise than it should; nothing, as it is made."""

    claims: dict[str, Any] = field(default_factory=dict)  # instead of the true ones; GONE leaves one out
    header: dict[str, Any] = field(default_factory=dict)
    key: object = field(default_factory=rsa_key)
    keys: list[Any] | None = None  # the JWKS
    token: str | None = None  # instead of a token
    status: int = 200  # of the token endpoint
    body: bytes | None = None  # of the token endpoint
    jwks_body: bytes | None = None
    wait: float = 0  # seconds before the token endpoint answers
    drip: float = 0  # seconds between the bytes of its answer
    drip_of_head: float = 0  # seconds between ten bytes of a header, before it answers
    forgets_pkce: bool = False
    answer: dict[str, str] = field(default_factory=dict)  # more in the address the browser is sent back to


@dataclass
class Provider:
    """A running provider. `subject` is who signs in there next."""

    port: int
    ca_file: Path
    subject: str = "00u-alice"
    lies: Lies = field(default_factory=Lies)
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    asked: list[dict[str, str]] = field(default_factory=list)  # what browsers came with
    paths: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"https://localhost:{self.port}"

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return the settings of a site that trusts this provider."""
        return {
            "OIDC_ISSUER": self.issuer,
            "OIDC_NAME": NAME,
            "OIDC_RP_CLIENT_ID": CLIENT_ID,
            "OIDC_RP_CLIENT_SECRET": self.secret,
            "OIDC_OP_AUTHORIZATION_ENDPOINT": f"{self.issuer}/authorize",
            "OIDC_OP_TOKEN_ENDPOINT": f"{self.issuer}/token",
            "OIDC_OP_JWKS_ENDPOINT": f"{self.issuer}/jwks",
            "OIDC_VERIFY_SSL": str(self.ca_file),
            **more,
        }

    def environ(self, **more: str) -> dict[str, str]:
        """Return the same as variables of the environment."""
        return {
            "KEYVAULT_OIDC_ISSUER": self.issuer,
            "KEYVAULT_OIDC_NAME": NAME,
            "KEYVAULT_OIDC_CLIENT_ID": CLIENT_ID,
            "KEYVAULT_OIDC_CLIENT_SECRET": self.secret,
            "KEYVAULT_OIDC_AUTHORIZATION_ENDPOINT": f"{self.issuer}/authorize",
            "KEYVAULT_OIDC_TOKEN_ENDPOINT": f"{self.issuer}/token",
            "KEYVAULT_OIDC_JWKS_ENDPOINT": f"{self.issuer}/jwks",
            "KEYVAULT_OIDC_CA_PATH": str(self.ca_file),
            **more,
        }

    def visit(self, address: str) -> str:
        """Go to the address as a browser, sign in there, and return the address one is sent back to."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(f"{address}&allowed=1", verify=str(self.ca_file), allow_redirects=False, timeout=5)
        assert answer.status_code == 302, answer.text
        return str(answer.headers["Location"])

    def authorize(self, asked: dict[str, str]) -> str:
        """Return where the browser goes next; remember what the code was given for."""
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(32)
        canaries.know("authorization code", code)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], **self.lies.answer})}"

    def exchange(self, form: dict[str, str], authorization: str) -> tuple[int, bytes]:
        """Return the answer of the token endpoint: RFC 6749 §4.1.3, RFC 7636 §4.6."""
        given_for = self.codes.pop(form.get("code", ""), None)
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        is_ours = authorization == "Basic " + base64.b64encode(f"{CLIENT_ID}:{self.secret}".encode()).decode()
        if (
            not is_ours
            or form.get("grant_type") != "authorization_code"
            or given_for is None
            or form.get("redirect_uri") != given_for["redirect_uri"]
            or (challenge != given_for["code_challenge"] and not self.lies.forgets_pkce)
        ):
            return 400, json.dumps({"error": "invalid_grant", "error_description": f"not {form.get('code')}"}).encode()
        token = self.lies.token if self.lies.token is not None else self.token(given_for["nonce"])
        access = secrets.token_urlsafe(32)
        for what, secret in (("id token", token), ("access token", access)):
            if len(secret) > 20:
                canaries.know(what, secret)
        said = {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": token}
        return self.lies.status, self.lies.body if self.lies.body is not None else json.dumps(said).encode()

    def token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": self.subject, "aud": CLIENT_ID, "iat": now, "exp": now + 300}
        claims |= {"nonce": nonce, **self.lies.claims}
        header = {"typ": "JWT", "alg": "RS256", "kid": "rsa", **self.lies.header}
        true = {name: claim for name, claim in claims.items() if claim is not GONE}
        return signed({name: text for name, text in header.items() if text is not GONE}, true, self.lies.key)

    def jwks(self) -> bytes:
        keys = self.lies.keys if self.lies.keys is not None else [rsa_jwk(rsa_key()), ec_jwk()]
        return self.lies.jwks_body if self.lies.jwks_body is not None else json.dumps({"keys": keys}).encode()


class _Handler(BaseHTTPRequestHandler):
    provider: Provider
    timeout = 10

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = {name: texts[0] for name, texts in parse_qs(address.query).items()}
        self.provider.paths.append(address.path)
        if address.path == "/jwks":
            self._send(200, self.provider.jwks())
        elif address.path != "/authorize":
            self._send(404, b"{}")
        elif "allowed" in asked:
            self.provider.asked.append(asked)
            self._send(302, b"", Location=self.provider.authorize(asked))
        else:
            self._send(200, _page(asked), **{"Content-Type": "text/html; charset=utf-8"})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.provider.paths.append(self.path)
        time.sleep(self.provider.lies.wait)
        if self.provider.lies.drip_of_head:
            self._begin_slowly()
        form = {name: texts[0] for name, texts in parse_qs(content).items()}
        status, body = self.provider.exchange(form, self.headers.get("Authorization", ""))
        more = {"Location": f"{self.provider.issuer}/elsewhere"} if status in range(300, 400) else {}
        self._send(status, body, **more)

    def _begin_slowly(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(10):
            self.wfile.write(b"x")
            time.sleep(self.provider.lies.drip_of_head)
        self.wfile.write(b"\r\n\r\n")

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        if not self.provider.lies.drip:
            self.wfile.write(body)
            return
        for each in body:
            self.wfile.write(bytes([each]))
            time.sleep(self.provider.lies.drip)

    def log_message(self, *_: object) -> None:
        """Say nothing: what is asked here holds secrets."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Who goes away before the answer is complete is what some tests are about."""


def _page(asked: dict[str, str]) -> bytes:
    fields = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(text)}">'
        for name, text in {**asked, "allowed": "1"}.items()
    )
    page = f'<h1>{NAME}</h1><form action="/authorize">{fields}<button>Sign in at {NAME}</button></form>'
    return f'<!DOCTYPE html><html lang="en"><title>{NAME}</title><link rel="icon" href="data:,">{page}</html>'.encode()


def certify(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine that signs itself; return its file and that of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    begins = datetime.now(UTC) - timedelta(days=2)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "provider.pem", folder / "provider-key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@contextmanager
def running(folder: Path) -> Iterator[Provider]:
    """Run a provider; its certificate is in the folder."""
    certificate, key = certify(folder)
    server = _Server(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    provider = Provider(server.server_address[1], certificate)
    canaries.know("secret of the client", provider.secret)
    server.RequestHandlerClass = type("Handler", (_Handler,), {"provider": provider})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
