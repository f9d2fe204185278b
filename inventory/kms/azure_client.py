"""The genuine clients of Azure Key Vault and Entra ID, carried by our channel: two hosts, no redirect, no proxy.

The packages' own way to the network follows the environment and redirects, tries again by rules of its own, and reads
answers of any length. `requests` lets an adapter stand in for all that; it serves both packages.
"""

import io
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from azure.core.credentials import TokenCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import (
    ClientSecretCredential,
    CredentialUnavailableError,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.keyvault.keys import KeyClient, KeyVaultKey
from azure.keyvault.keys.crypto import CryptographyClient
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from inventory.kms.base import StoreAddress
from inventory.kms.calls import Caller, retry_after
from inventory.kms.channel import REFUSALS, Answer, Channel, is_loopback, strict_json, tls_context
from inventory.kms.errors import (
    AddressError,
    BackendError,
    DeniedError,
    KeyExistsError,
    NoSuchKeyError,
    NotUsableError,
    UnavailableError,
    WrongAnswerError,
)

T = TypeVar("T")
TLS_PORT = 443
AUTHORITY = "login.microsoftonline.com"
NEEDED = {  # options by credential
    "managed": frozenset[str](),
    "workload": frozenset({"tenant", "client", "token_file"}),
    "secret": frozenset({"tenant", "client", "secret_file"}),
}
OPTIONS = frozenset({"credential", "tenant", "client", "secret_file", "token_file", "authority", "ca", "hsm", "sha1"})
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_CODE = re.compile(r"[A-Za-z]{1,40}")
_DISABLED = frozenset({"KeyDisabled", "KeyNotYetValid", "KeyExpired"})
_TAKEN = frozenset({"ObjectIsDeletedButRecoverable", "KeyAlreadyExists"})
_TOO_EARLY, _TOO_MANY, _SERVER_ERROR = 408, 429, 500


class BadRequestError(BackendError):
    """It was asked for something that makes no sense to it: a blob that was altered, most of all."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What an address names, checked. Raises: AddressError."""

    host: str
    port: int
    credential: str
    options: dict[str, str]

    @classmethod
    def of(cls, address: StoreAddress) -> "Place":
        options, kind = dict(address.options), address.options.get("credential", "")
        store = f"The key store {address.name}"
        if not address.host or address.path.strip("/") or set(options) - OPTIONS:
            raise AddressError(f"{store} is written as azure://VAULT.vault.azure.net?credential=managed#name.")
        if kind not in NEEDED or (missing := NEEDED[kind] - {name for name, text in options.items() if text}):
            needs = ", ".join(sorted(missing)) if kind in NEEDED else f"credential: {', '.join(NEEDED)}"
            raise AddressError(f"{store} needs options that are missing: {needs}.")
        files = [options[name] for name in ("secret_file", "token_file", "ca") if name in options]
        if not all(file.startswith("/") for file in files):
            raise AddressError(f"{store} names files by their whole paths.")
        if not _HOST.fullmatch(options.get("authority", AUTHORITY)):
            raise AddressError(f"{store} names its authority as a host: authority={AUTHORITY}.")
        return cls(host=address.host, port=address.port or TLS_PORT, credential=kind, options=options)

    @property
    def url(self) -> str:
        return f"https://{self.host}" + (f":{self.port}" if self.port != TLS_PORT else "")

    @property
    def authority(self) -> str:
        return self.options.get("authority", AUTHORITY)

    @property
    def hosts(self) -> frozenset[tuple[str, int]]:
        """Everybody who is ever spoken to through the channel."""
        parts = urlsplit(f"//{self.authority}")
        return frozenset({(self.host, self.port), (str(parts.hostname), parts.port or TLS_PORT)})


class _Body(io.BytesIO):
    """A body that was read already; the transport sets attributes of urllib3 on it."""


class _Adapter(BaseAdapter):
    """Carries what the packages ask for, to the hosts of a place."""

    def __init__(self, place: Place, *, store: str, caller: Caller) -> None:
        super().__init__()
        self._place, self._store, self._caller = place, store, caller
        self._channels: dict[tuple[str, int], Channel] = {}
        self.is_idempotent = True

    def send(self, request: requests.PreparedRequest, *_how: Any, **_named: Any) -> requests.Response:  # noqa: ANN401 - as requests has it
        parts = urlsplit(str(request.url))
        headers = {name: text if isinstance(text, str) else text.decode("latin-1")
                   for name, text in request.headers.items()}  # fmt: skip
        body = request.body.encode() if isinstance(request.body, str) else request.body
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        answer = self._channel(parts.scheme, str(parts.hostname), parts.port or TLS_PORT).exchange(
            str(request.method), path, headers={**headers, "Accept-Encoding": "identity", "Host": parts.netloc},
            body=body, is_idempotent=self.is_idempotent,  # type: ignore[arg-type]  # our requests stream nothing
        )  # fmt: skip
        if not parts.path.startswith(("/keys", "/deletedkeys")):
            self._refuse_busy(answer)
        response = requests.Response()
        response.status_code, response.url, response.request = answer.status, str(request.url), request
        response.raw, response.encoding = _Body(answer.body), "utf-8"
        heard = {"Content-Type": "application/json", "Retry-After": answer.retry_after,
                 "WWW-Authenticate": answer.challenge}  # fmt: skip
        response.headers = CaseInsensitiveDict({name: text for name, text in heard.items() if text})
        return response

    def _refuse_busy(self, answer: Answer) -> None:
        """Say of the token's giver what its package makes a refusal of: that it is busy, or ill."""
        if answer.status == _TOO_MANY or answer.status >= _SERVER_ERROR:
            wait = retry_after(answer.retry_after, wall=self._caller.clock.wall())
            raise UnavailableError(f"The key store {self._store}: Entra ID is not able to answer.", retry_after=wait)

    def _channel(self, scheme: str, host: str, port: int) -> Channel:
        if scheme != "https" or (host, port) not in self._place.hosts:
            raise WrongAnswerError(f"The key store {self._store} sends callers elsewhere, which is not followed.")
        if (host, port) not in self._channels:
            tls = tls_context(self._place.options.get("ca", ""), store=self._store)
            self._channels[host, port] = Channel(host, port, store=self._store, tls=tls, manners=self._caller.manners)
        return self._channels[host, port]

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()


class AzureClient:
    """One vault. Not shared by threads."""

    def __init__(self, place: Place, *, store: str, caller: Caller) -> None:
        self.place, self.store = place, store
        self._caller = caller
        self._open: _Open | None = None

    def close(self) -> None:
        if self._open is not None:
            self._open.adapter.close()
            self._open = None

    def ask(self, question: Callable[[KeyClient], T], *, is_idempotent: bool = True) -> T:
        """Return the answer to what is asked of the vault. Raises: BackendError, BadRequestError."""
        return self._asked(lambda opened: question(opened.keys), is_idempotent=is_idempotent)

    def use(self, key: KeyVaultKey, question: Callable[[CryptographyClient], T]) -> T:
        """Return the answer to what is asked of one version of a key."""
        return self._asked(lambda opened: question(opened.crypto(key)), is_idempotent=True)

    def _asked(self, question: Callable[["_Open"], T], *, is_idempotent: bool) -> T:
        self._ready()

        def once() -> T:
            opened = self._ready()
            opened.adapter.is_idempotent = is_idempotent
            try:
                return self._bounded(opened, question)
            except BackendError:
                raise
            except Exception as error:  # noqa: BLE001 - what the packages make of an odd answer is of any kind
                raise self._refusal(error) from None

        try:
            return self._caller.call(once, is_idempotent=is_idempotent)
        except DeniedError:
            self.close()  # so that a secret which was replaced in its file is read
            raise

    def _bounded(self, opened: "_Open", question: Callable[["_Open"], T]) -> T:
        """Ask within an attempt's time. A thread that is left behind keeps these connections, and closes them."""
        ended, left = threading.Event(), threading.Event()

        def work() -> T:
            try:
                return question(opened)
            finally:
                ended.set()
                if left.is_set():
                    opened.adapter.close()

        try:
            return self._caller.bounded(work)
        finally:
            if not ended.is_set():
                self._open = None
                left.set()
                if ended.is_set():
                    opened.adapter.close()

    def _ready(self) -> "_Open":
        if self._open is None:
            self._open = _Open(self.place, store=self.store, caller=self._caller)
        return self._open

    def _refusal(self, error: Exception) -> BackendError:
        """Return an error as ours, with nothing of its text but the code."""
        if isinstance(ours := _within(error, BackendError), BackendError):
            return ours  # of the channel, wrapped by a package
        if isinstance(error, CredentialUnavailableError):
            return UnavailableError(f"The key store {self.store}: this machine gives no token for its identity.")
        if isinstance(error, ClientAuthenticationError) and error.response is None:
            return DeniedError(f"The key store {self.store}: Entra ID gives no token for this credential.")
        response: Any = error.response if isinstance(error, HttpResponseError) else None
        if response is not None and int(response.status_code) >= REFUSALS:
            return self._by_status(response)
        return WrongAnswerError(
            f"The key store {self.store} answered something that cannot be read ({type(error).__name__})."
        )

    def _by_status(self, response: Any) -> BackendError:  # noqa: ANN401 - of the package
        status = int(response.status_code)
        codes = _codes(response, store=self.store)
        shown = next((code for code in reversed(codes) if _CODE.fullmatch(code)), f"status {status}")
        sentence = f"The key store {self.store} answered {shown}."
        if status in {_TOO_EARLY, _TOO_MANY} or status >= _SERVER_ERROR:
            wait = retry_after(response.headers.get("Retry-After"), wall=self._caller.clock.wall())
            return UnavailableError(sentence, retry_after=wait)
        if _DISABLED & {*codes}:
            return NotUsableError(sentence)
        if status == 409:  # noqa: PLR2004 - conflict
            return KeyExistsError(sentence) if _TAKEN & {*codes} else UnavailableError(sentence)
        kinds = {400: BadRequestError, 401: DeniedError, 403: DeniedError, 404: NoSuchKeyError}
        return kinds.get(status, WrongAnswerError)(sentence)


class _Open:
    """The clients, with one way to the network."""

    def __init__(self, place: Place, *, store: str, caller: Caller) -> None:
        self.adapter = _Adapter(place, store=store, caller=caller)
        session = requests.Session()
        session.trust_env = False
        for scheme in ("https://", "http://"):
            session.mount(scheme, self.adapter)
        transport = RequestsTransport(session=session, session_owner=False)
        self._how: dict[str, Any] = {"transport": transport, "retry_total": 0, "permit_redirects": False}
        self._credential = _credential(place, store=store, how=self._how)
        # The challenge names the cloud's domain, which a stand-in on this machine is not part of.
        self._how["verify_challenge_resource"] = not is_loopback(place.host)
        self.keys = KeyClient(place.url, self._credential, **self._how)

    def crypto(self, key: KeyVaultKey) -> CryptographyClient:
        return CryptographyClient(key, self._credential, **self._how)


def _credential(place: Place, *, store: str, how: dict[str, Any]) -> TokenCredential:
    options = place.options
    entra = {**how, "authority": f"https://{place.authority}", "disable_instance_discovery": True}
    if place.credential == "secret":
        try:
            secret = Path(options["secret_file"]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AddressError(f"The secret of the key store {store} cannot be read from its file.") from error
        if not secret:
            raise AddressError(f"The secret_file of the key store {store} is empty.")
        return ClientSecretCredential(options["tenant"], options["client"], secret, **entra)
    if place.credential == "workload":
        return WorkloadIdentityCredential(
            tenant_id=options["tenant"], client_id=options["client"], token_file_path=options["token_file"], **entra
        )
    # The metadata service of the machine answers on a link-local address without TLS, so not through our channel.
    return ManagedIdentityCredential(
        client_id=options.get("client"), retry_total=0, connection_timeout=2, read_timeout=5
    )


def _within(error: BaseException | None, kind: type[BackendError]) -> BaseException | None:
    """Return the first error of a kind in the chain of causes."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _codes(response: Any, *, store: str) -> list[str]:  # noqa: ANN401 - of the package
    """Return the codes of an error's body, the inner ones last."""
    try:
        inner: Any = strict_json(response.body(), store=store).get("error")
    except BackendError:
        return []
    codes: list[str] = []
    while isinstance(inner, dict) and len(codes) < 5:  # noqa: PLR2004 - deep enough
        codes.append(str(inner.get("code", "")))
        inner = inner.get("innererror")
    return codes
