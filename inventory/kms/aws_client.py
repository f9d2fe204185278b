"""Calls of AWS KMS: boto3 signs and reads them, our channel carries them, and refusals become errors of ours.

boto3's own way to the network follows the environment (proxies, certificates, profiles) and reads answers of any
length; the event `before-send` lets another one stand in for it.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader

from inventory.kms.base import StoreAddress
from inventory.kms.calls import Caller, retry_after
from inventory.kms.channel import OK, Channel, is_loopback, strict_json, tls_context
from inventory.kms.errors import (
    AddressError,
    BackendError,
    DeniedError,
    KeyExistsError,
    NoSuchKeyError,
    NotCapableError,
    NotUsableError,
    UnavailableError,
    WrongAnswerError,
)

OPTIONS = frozenset({"endpoint", "credentials_file", "ca"})
Answer = dict[str, Any]
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]{1,2}")
_CODE = re.compile(r"[A-Za-z.]{1,60}")
_SERVER_ERROR = 500
NOTHING = (b"", b"null")  # what comes back where there is nothing to say
_LOADER = Loader()  # of the descriptions of services, which take long to read: once a process
KINDS: dict[str, type[BackendError]] = {
    "AccessDeniedException": DeniedError,
    "ExpiredTokenException": DeniedError,
    "IncompleteSignature": DeniedError,
    "IncompleteSignatureException": DeniedError,
    "InvalidClientTokenId": DeniedError,
    "InvalidSignatureException": DeniedError,
    "MissingAuthenticationTokenException": DeniedError,
    "NotAuthorized": DeniedError,
    "OptInRequired": DeniedError,
    "UnrecognizedClientException": DeniedError,
    "LimitExceededException": DeniedError,  # of keys, or of rotations by hand
    "NotFoundException": NoSuchKeyError,
    "AlreadyExistsException": KeyExistsError,
    "DisabledException": NotUsableError,
    "KMSInvalidStateException": NotUsableError,
    "InvalidKeyUsageException": NotCapableError,
    "UnsupportedOperationException": NotCapableError,
    "ConflictException": UnavailableError,  # a rotation is going on
    "DependencyTimeoutException": UnavailableError,
    "InternalFailure": UnavailableError,
    "KMSInternalException": UnavailableError,
    "KeyUnavailableException": UnavailableError,
    "RequestExpired": UnavailableError,
    "RequestLimitExceeded": UnavailableError,
    "ServiceUnavailable": UnavailableError,
    "Throttling": UnavailableError,
    "ThrottlingException": UnavailableError,
    "TooManyRequestsException": UnavailableError,
}
NOT_THIS_BLOB = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


class NotThisBlobError(BackendError):
    """It opens every blob of this key with its context, and this is none."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What an address names, checked. Raises: AddressError."""

    region: str
    endpoint: str
    credentials_file: Path
    ca: str

    @classmethod
    def of(cls, address: StoreAddress) -> "Place":
        options, region = address.options, address.host
        written = f"It is written as aws://eu-central-1?credentials_file=/path#{address.name}."
        if set(options) - OPTIONS or address.port or address.path.strip("/"):
            raise AddressError(f"The address of the key store {address.name} says more than is known. {written}")
        if not _REGION.fullmatch(region):
            raise AddressError(f"The address of the key store {address.name} names no region. {written}")
        if not options.get("credentials_file", "").startswith("/"):
            raise AddressError(f"The key store {address.name} needs the option credentials_file. {written}")
        endpoint = options.get("endpoint", f"https://kms.{region}.amazonaws.com")
        try:
            parts = urlsplit(endpoint)
            host, _port = parts.hostname or "", parts.port
        except ValueError:  # as in parse_address()
            raise AddressError(f"The endpoint of the key store {address.name} cannot be read as a URL.") from None
        if not host or parts.username or parts.path.strip("/") or parts.query or parts.fragment:
            raise AddressError(f"The endpoint of the key store {address.name} is written as https://host:port.")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
            raise AddressError(f"The key store {address.name} is not on this machine, so it needs TLS.")
        return cls(
            region=region,
            endpoint=f"{parts.scheme}://{parts.netloc}",
            credentials_file=Path(options["credentials_file"]),
            ca=options.get("ca", ""),
        )


class _Raw:
    """A body that was read already, as botocore asks for it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_how: object) -> Iterator[bytes]:
        yield self._body


class AwsClient:
    """KMS of one region. Not shared by threads."""

    def __init__(self, place: Place, *, store: str, caller: Caller) -> None:
        self.place, self.store = place, store
        self._caller = caller
        self._client: Any = None
        self._channel: Channel | None = None
        self._is_idempotent = True

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._client = self._channel = None

    def ask(self, operation: str, *, is_idempotent: bool = True, **arguments: Any) -> Answer:  # noqa: ANN401 - of AWS
        """Return the answer to one operation. Raises: BackendError, NotThisBlobError."""
        client = self._ready()

        def once() -> Answer:
            self._is_idempotent = is_idempotent
            try:
                answer: Answer = getattr(client, operation)(**arguments)
            except ClientError as error:
                raise self._refusal(error) from None
            except BackendError:
                raise
            except Exception as error:  # noqa: BLE001 - what botocore makes of an odd answer is of any kind
                raise WrongAnswerError(
                    f"The key store {self.store} answered something that cannot be read ({type(error).__name__})."
                ) from None
            return answer

        try:
            return self._caller.call(once, is_idempotent=is_idempotent)
        except DeniedError:
            self.close()  # so that credentials which were replaced in their file are read
            raise

    def _ready(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        if self._client is None:
            key, secret, *token = self._credentials()
            # Nothing of the environment: no profile, no files of a home directory.
            bare = {"profile": None, "config_file": os.devnull, "credentials_file": os.devnull, "ca_bundle": None}
            session = botocore.session.Session(
                session_vars={name: (None, None, value, None) for name, value in bare.items()}
            )
            session.register_component("data_loader", _LOADER)
            self._client = boto3.session.Session(botocore_session=session).client(
                "kms", region_name=self.place.region, endpoint_url=self.place.endpoint, aws_access_key_id=key,
                aws_secret_access_key=secret, aws_session_token=token[0] if token else None,
                config=Config(retries={"total_max_attempts": 1}, proxies={}, parameter_validation=True),
            )  # fmt: skip
            self._client.meta.events.register("before-send.kms", self._send)
        return self._client

    def _credentials(self) -> list[str]:
        file = self.place.credentials_file
        try:
            found = file.read_text(encoding="ascii").split()
        except (OSError, ValueError) as error:
            raise AddressError(f"The credentials of the key store {self.store} cannot be read from {file}.") from error
        if len(found) not in {2, 3}:
            raise AddressError(f"{file} holds an access key's id and secret, one a line, and a session token if any.")
        return found

    def _send(self, request: Any, **_event: object) -> AWSResponse:  # noqa: ANN401 - of botocore
        """Carry one signed request within the manners."""
        parts = urlsplit(request.url)
        if self._channel is None:
            has_tls = parts.scheme == "https"
            tls = tls_context(self.place.ca, store=self.store) if has_tls else None
            port = parts.port or (443 if has_tls else 80)
            self._channel = Channel(str(parts.hostname), port, store=self.store, tls=tls, manners=self._caller.manners)
        headers = {name: text.decode("latin-1") if isinstance(text, bytes) else str(text)
                   for name, text in request.headers.items()}  # fmt: skip
        answer = self._channel.exchange(
            request.method, parts.path or "/", headers={**headers, "Host": parts.netloc}, body=request.body,
            is_idempotent=self._is_idempotent,
        )  # fmt: skip
        if answer.status == OK and answer.body not in NOTHING:
            strict_json(answer.body, store=self.store)  # botocore takes what stands twice, and is at a loss with a list
        heard = {"Retry-After": answer.retry_after} if answer.retry_after else {}
        return AWSResponse(request.url, answer.status, heard, _Raw(answer.body))

    def _refusal(self, error: ClientError) -> BackendError:
        """Return it as an error of ours, with nothing of its text but the code."""
        said = error.response if isinstance(error.response, dict) else {}
        code = str(said.get("Error", {}).get("Code", ""))
        meta = said.get("ResponseMetadata", {})
        if code in NOT_THIS_BLOB:
            return NotThisBlobError("Not this blob.")
        status = meta.get("HTTPStatusCode", 0)
        kind = KINDS.get(code)
        if kind is None:
            kind = UnavailableError if status == 429 or status >= _SERVER_ERROR else WrongAnswerError  # noqa: PLR2004 - too many
        wait = retry_after(meta.get("HTTPHeaders", {}).get("retry-after"), wall=self._caller.clock.wall())
        shown = code if _CODE.fullmatch(code) else f"status {status}"
        return kind(f"The key store {self.store} answered {shown}.", retry_after=wait)
