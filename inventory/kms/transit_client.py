"""Calls of one transit mount of OpenBao or Vault, with manners: JSON in, JSON out, refusals as errors of ours."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from inventory.kms import transit
from inventory.kms.base import StoreAddress
from inventory.kms.calls import Caller, retry_after
from inventory.kms.channel import Answer, Channel, is_loopback, strict_json, tls_context
from inventory.kms.errors import (
    AddressError,
    BackendError,
    DeniedError,
    NoSuchKeyError,
    UnavailableError,
    WrongAnswerError,
)
from inventory.kms.token_files import TokenFile

PORT = 8200
OPTIONS = frozenset({"token_file", "ca", "namespace", "tls"})
BUSY = frozenset({412, 429, 472, 473})  # behind its leader, too many requests, a standby
T = TypeVar("T")
Result = dict[str, Any]
_PATH = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")


class TooManyItemsError(BackendError):
    """The server takes fewer strings in a request than were sent."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What an address names, checked. Raises: AddressError."""

    host: str
    port: int
    mount: str
    token_file: Path
    ca: str
    namespace: str
    has_tls: bool

    @classmethod
    def of(cls, address: StoreAddress) -> "Place":
        options, store = address.options, address.name
        mount, namespace = address.path.strip("/"), options.get("namespace", "").strip("/")
        if set(options) - OPTIONS:
            raise AddressError(f"The key store {store} has an option that is not known: {', '.join(sorted(OPTIONS))}.")
        if not address.host or not _is_path(mount) or not (namespace == "" or _is_path(namespace)):
            raise AddressError(f"The key store {store} needs a host and a mount: openbao://bao.internal:8200/transit.")
        if not options.get("token_file", "").startswith("/"):
            raise AddressError(f"The key store {store} needs the option token_file: the whole path of a file.")
        has_tls = options.get("tls", "on") != "off"
        if not has_tls and not is_loopback(address.host):
            raise AddressError(f"The key store {store} is not on this machine, so it needs TLS.")
        return cls(
            host=address.host,
            port=address.port or PORT,
            mount=mount,
            token_file=Path(options["token_file"]),
            ca=options.get("ca", ""),
            namespace=namespace,
            has_tls=has_tls,
        )


def _is_path(text: str) -> bool:
    return bool(_PATH.fullmatch(text)) and not any(part.strip(".") == "" for part in text.split("/"))


class TransitClient:
    """One mount. Not shared by threads."""

    def __init__(self, place: Place, *, store: str, caller: Caller) -> None:
        self.place, self.store = place, store
        self._caller = caller
        self._token = TokenFile(place.token_file, store=store)
        self._channel: Channel | None = None

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def ask(self, method: str, path: str, content: Result | None = None, *, is_idempotent: bool = True) -> Result:
        return self.asked(method, path, content, lambda answer: answer, is_idempotent=is_idempotent)

    def asked(
        self,
        method: str,
        path: str,
        content: Result | None,
        read: Callable[[Result], T],
        *,
        is_idempotent: bool = True,
    ) -> T:
        """Return what `read` makes of the answer; what it finds wrong counts as a failure of the store."""
        body = None if content is None else json.dumps(content, separators=(",", ":")).encode("ascii")

        def once() -> T:
            answer = self._exchange(method, path, body, is_idempotent=is_idempotent)
            return read(self._understood(answer, path))

        self._token.text()  # a missing file is no fault of the store
        try:
            return self._caller.call(once, is_idempotent=is_idempotent)
        except DeniedError:
            if not self._token.is_renewed():
                raise
        return self._caller.call(once, is_idempotent=is_idempotent)

    def _exchange(self, method: str, path: str, body: bytes | None, *, is_idempotent: bool) -> Answer:
        place = self.place
        if self._channel is None:
            tls = tls_context(place.ca, store=self.store) if place.has_tls else None
            self._channel = Channel(place.host, place.port, store=self.store, tls=tls, manners=self._caller.manners)
        headers = {"X-Vault-Token": self._token.text(), "X-Vault-Request": "true", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if place.namespace:
            headers["X-Vault-Namespace"] = place.namespace
        target = f"/v1/{place.mount}/{path}"
        return self._channel.exchange(method, target, headers=headers, body=body, is_idempotent=is_idempotent)

    def _understood(self, answer: Answer, path: str) -> Result:
        """Return the JSON of an answer, be it of a batch that failed in part. Raises: BackendError."""
        if answer.status == HTTPStatus.NO_CONTENT:
            return {}
        if answer.status == HTTPStatus.OK:
            return strict_json(answer.body, store=self.store)
        if answer.status == HTTPStatus.BAD_REQUEST:
            said = strict_json(answer.body, store=self.store)
            if transit.is_of_a_batch(said):
                return said
            raise self._bad(transit.errors_of(said), path)
        raise self._refusal(answer, path)

    def _bad(self, texts: list[str], path: str) -> BackendError:
        if any(transit.TOO_MANY_STRINGS in text for text in texts):
            return TooManyItemsError("Too many strings.")
        if transit.says_no_such_key(texts):
            return self._no_key(path)
        return BackendError(f"The key store {self.store} refuses what it was asked (400). Its own log says why.")

    def _refusal(self, answer: Answer, path: str) -> BackendError:
        store, status = self.store, answer.status
        if status == HTTPStatus.FORBIDDEN:
            return DeniedError(
                f"The key store {store} denies it (403): is the token valid, and its policy as it should?"
            )
        if status == HTTPStatus.NOT_FOUND:
            return self._no_key(path)
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return TooManyItemsError("Too much.")
        if status in BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = retry_after(answer.retry_after, wall=self._caller.clock.wall())
            sealed = " It may be sealed." if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
            return UnavailableError(
                f"The key store {store} is not able to answer ({status}).{sealed}", retry_after=wait
            )
        return WrongAnswerError(f"The key store {store} answered with a status that transit does not have ({status}).")

    def _no_key(self, path: str) -> NoSuchKeyError:
        name = path.split("/")[1]
        return NoSuchKeyError(f"The key store {self.store} has no key {name}, or no transit engine at its mount.")
