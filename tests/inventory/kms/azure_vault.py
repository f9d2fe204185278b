"""A model of Azure Key Vault and of Entra ID, for the stand-in: what the genuine clients ask of both, and no more.

The vault challenges what comes without a token (401), keeps deleted keys for DAYS, shows nothing of a disabled version,
and answers errors as the real one does: {"error": {"code": …, "innererror": {"code": …}}}.
"""

import base64
import json
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from tests.inventory.kms.standin import HOST, Reply, Request

TENANT, CLIENT = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
DAYS = 7
SHA1_HASH = SHA1()  # noqa: S303 - RSA-OAEP of the vault is with SHA-1
PADDINGS = {
    "RSA-OAEP-256": padding.OAEP(padding.MGF1(SHA256()), SHA256(), None),
    "RSA-OAEP": padding.OAEP(padding.MGF1(SHA1_HASH), SHA1_HASH, None),
}


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Refusal(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int, code: str, inner: str = "") -> None:
        self.reply = error(status, code, inner)


def error(status: int, code: str, inner: str = "") -> Reply:
    said = {"code": code, "message": "what happened", **({"innererror": {"code": inner}} if inner else {})}
    return said_as(status, {"error": said})


def said_as(status: int, facts: object) -> Reply:
    return Reply(status, json.dumps(facts).encode())


@dataclass
class Version:
    private: rsa.RSAPrivateKey
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    created: int = field(default_factory=lambda: int(time.time()))
    enabled: bool = True
    exportable: bool = False


@dataclass
class Vault:
    """Keys by name, each a list of versions, oldest first."""

    secret: str
    keys: dict[str, list[Version]] = field(default_factory=dict)
    deleted: dict[str, list[Version]] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(20))
    tokens_given: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"

    def __call__(self, request: Request) -> Reply:
        path = urlsplit(request.path).path.strip("/").split("/")
        if path[0] == TENANT:
            return self._entra(request, path[-1])
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            challenge = f'Bearer authorization="{self.url}/{TENANT}", resource="https://vault.azure.net"'
            return Reply(401, b"", {"WWW-Authenticate": challenge})
        facts = json.loads(request.body or b"{}")
        try:
            return self._keys(request.method, path, facts)
        except Refusal as refusal:
            return refusal.reply

    def _entra(self, request: Request, last: str) -> Reply:
        base = f"{self.url}/{TENANT}"
        if last == "openid-configuration":
            return said_as(200, {
                "issuer": f"{base}/v2.0", "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            })  # fmt: skip
        form = parse_qs(request.body.decode())
        shown = form.get("client_secret") or form.get("client_assertion")  # a secret, or a workload's token
        if shown != [self.secret] or form.get("client_id") != [CLIENT]:
            return said_as(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid secret."})
        self.tokens_given += 1
        return said_as(200, {"token_type": "Bearer", "expires_in": 3600, "access_token": self.token})

    def _keys(self, method: str, path: list[str], facts: dict) -> Reply:
        match (method, *path):
            case (_, "keys", name):
                return self._key(method, name)
            case (_, "keys", name, version) if version not in {"create", "versions", "rotate"}:
                return self._one(method, name, version, facts)
            case (_, "keys", name, verb):
                return self._of_key(name, verb, facts)
            case ("POST", "keys", name, version, "unwrapkey"):
                return self._unwrap(name, self._usable(self._version(name, version)), facts)
            case (_, "deletedkeys", name, *rest):
                return self._deleted(method, name, rest)
        raise Refusal(404, "NotFound")

    def _key(self, method: str, name: str) -> Reply:
        versions = self._found(name)
        if method == "GET":
            return self._shown(name, self._usable(versions[-1]))
        self.deleted[name] = self.keys.pop(name)
        return self._shown_deleted(name)

    def _one(self, method: str, name: str, version: str, facts: dict) -> Reply:
        found = self._version(name, version)
        if method == "GET":
            return self._shown(name, self._usable(found))
        found.enabled = facts["attributes"]["enabled"]
        return self._shown(name, found)

    def _of_key(self, name: str, verb: str, facts: dict) -> Reply:
        if verb == "create":
            return self._create(name, facts)
        versions = self._found(name)
        if verb == "versions":
            return said_as(200, {"value": [self._item(name, one) for one in versions], "nextLink": None})
        versions.append(Version(rsa.generate_private_key(65537, versions[-1].private.key_size)))
        return self._shown(name, versions[-1])

    def _deleted(self, method: str, name: str, rest: list[str]) -> Reply:
        if name not in self.deleted:
            raise Refusal(404, "KeyNotFound")
        if (method, rest) == ("POST", ["recover"]):
            self.keys[name] = self.deleted.pop(name)
            return self._shown(name, self.keys[name][-1])
        if method == "DELETE":
            del self.deleted[name]
            return Reply(204)
        return self._shown_deleted(name)

    def _create(self, name: str, facts: dict) -> Reply:
        if name in self.deleted:
            raise Refusal(409, "Conflict", "ObjectIsDeletedButRecoverable")
        made = Version(
            rsa.generate_private_key(65537, facts["key_size"]),
            exportable=bool(facts.get("attributes", {}).get("exportable")),
        )
        self.keys.setdefault(name, []).append(made)
        return self._shown(name, made)

    def _unwrap(self, name: str, version: Version, facts: dict) -> Reply:
        try:
            opened = version.private.decrypt(decoded(facts["value"]), PADDINGS[facts["alg"]])
        except ValueError:
            raise Refusal(400, "BadParameter") from None
        return said_as(200, {"kid": f"{self.url}/keys/{name}/{version.id}", "value": encoded(opened)})

    def _found(self, name: str) -> list[Version]:
        if name not in self.keys:
            raise Refusal(404, "KeyNotFound")
        return self.keys[name]

    def _version(self, name: str, version: str) -> Version:
        found = next((one for one in self._found(name) if one.id == version), None)
        if found is None:
            raise Refusal(404, "KeyNotFound")
        return found

    def _usable(self, version: Version) -> Version:
        if not version.enabled:
            raise Refusal(403, "Forbidden", "KeyDisabled")
        return version

    def _attributes(self, one: Version) -> dict:
        return {
            "enabled": one.enabled, "created": one.created, "updated": one.created, "recoverableDays": DAYS,
            "recoveryLevel": "CustomizedRecoverable+Purgeable", "exportable": one.exportable,
        }  # fmt: skip

    def _item(self, name: str, one: Version) -> dict:
        return {"kid": f"{self.url}/keys/{name}/{one.id}", "attributes": self._attributes(one)}

    def _bundle(self, name: str, one: Version) -> dict:
        numbers = one.private.public_key().public_numbers()
        size = one.private.key_size // 8
        return {
            "key": {
                "kid": f"{self.url}/keys/{name}/{one.id}", "kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"],
                "n": encoded(numbers.n.to_bytes(size, "big")), "e": encoded(numbers.e.to_bytes(3, "big")),
            },
            "attributes": self._attributes(one),
        }  # fmt: skip

    def _shown(self, name: str, one: Version) -> Reply:
        return said_as(200, self._bundle(name, one))

    def _shown_deleted(self, name: str) -> Reply:
        now = int(time.time())
        more = {
            "recoveryId": f"{self.url}/deletedkeys/{name}", "deletedDate": now,
            "scheduledPurgeDate": now + DAYS * 86_400,
        }  # fmt: skip
        return said_as(200, {**self._bundle(name, self.deleted[name][-1]), **more})
