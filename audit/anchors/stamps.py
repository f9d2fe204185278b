"""Anchor `rfc3161+https://host/path?ca=/path/ca.pem&certificate=/path/tsa.pem`: a time stamp of somebody else.

A time-stamping authority signs that it saw the SHA-256 of a note at a time. The answer is kept as the receipt, in
base64, so that anybody checks it with `openssl ts -verify`. `ca` holds the roots that we trust, and intermediates;
`certificate` the authority's own, which then need not come with the answer. http will do: the stamp is signed.
Source: RFC 3161. Needs the extra `tsa`.
"""

import base64
import http.client
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from cryptography import x509

from audit.anchors.base import SECONDS, Anchor, AnchorError, SentCheckpoint, need_extra, options_of, parts_of
from audit.deadlines import within

OPTIONS = frozenset({"ca", "certificate"})
MOST_BYTES = 12 * 1024  # of an answer; a stamp with a chain of certificates has half of it
WHOLE_SECONDS = 2 * SECONDS
CLOCKS_DIFFER = timedelta(minutes=5)
SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_WRITTEN = "An anchor rfc3161: of KEYVAULT_ANCHORS is written as rfc3161+https://host/path?ca=/path/of/ca.pem."


class StampAnchor(Anchor):
    """A time-stamping authority."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        need_extra("tsa", "rfc3161_client")
        self.parts = parts_of(name, has_options=True)
        options = options_of(self.parts, OPTIONS)
        self.ca = Path(options.get("ca", ""))
        self.certificate = Path(options["certificate"]) if "certificate" in options else None
        is_given = self.certificate is None or self.certificate.is_absolute()
        if not (self.parts.hostname and self.ca.is_absolute() and is_given):
            raise AnchorError(_WRITTEN)

    def deliver(self, sent: SentCheckpoint, *, now: datetime) -> str:
        """Have the note stamped and check the stamp; return the answer in base64."""
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

        verifier = self._verifier()
        asked = TimestampRequestBuilder().data(sent.note.encode()).hash_algorithm(HashAlgorithm.SHA256)
        request = asked.nonce(nonce=True).cert_request(cert_request=self.certificate is None).build()
        try:
            answer = within(WHOLE_SECONDS, lambda: _answer(self.parts, request.as_bytes()))
        except (OSError, http.client.HTTPException) as error:
            problem = getattr(error, "strerror", None) or type(error).__name__
            raise AnchorError(
                f"The time-stamping authority {self.parts.hostname} did not answer: {problem}."
            ) from error
        _check(answer, request, verifier, sent, now)
        return base64.b64encode(answer).decode()

    def _verifier(self) -> Any:  # noqa: ANN401 - a builder of the extra
        from rfc3161_client import VerifierBuilder

        builder = VerifierBuilder()
        for one in _certificates(self.ca):
            add = builder.add_root_certificate if one.issuer == one.subject else builder.add_intermediate_certificate
            builder = add(one)
        if self.certificate is not None:
            builder = builder.tsa_certificate(_certificates(self.certificate)[0])
        return builder


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AnchorError(f"The file {path} holds no certificates in PEM that can be read.") from error


def _answer(parts: SplitResult, request: bytes) -> bytes:
    """Post the request; return the body of the answer. No redirect is followed. Raises: OSError, HTTPException."""
    host, kind = parts.hostname or "", "application/timestamp-"
    there = (
        http.client.HTTPSConnection(host, parts.port, timeout=SECONDS, context=ssl.create_default_context())
        if parts.scheme == "rfc3161+https"
        else http.client.HTTPConnection(host, parts.port, timeout=SECONDS)
    )
    try:
        headers = {"Content-Type": f"{kind}query", "Accept": f"{kind}reply"}
        there.request("POST", parts.path or "/", body=request, headers=headers)
        with there.getresponse() as response:
            status, body = response.status, response.read(MOST_BYTES + 1)
    finally:
        there.close()
    if status != http.HTTPStatus.OK:
        raise AnchorError(f"The time-stamping authority {host} answered with HTTP status {status}.")
    if len(body) > MOST_BYTES:
        raise AnchorError(f"The time-stamping authority {host} answered with more than {MOST_BYTES:,} bytes.")
    return body


def _check(answer: bytes, request: Any, builder: Any, sent: SentCheckpoint, now: datetime) -> None:  # noqa: ANN401 - of the extra
    """Refuse what is not our stamp of now, signed by whom we trust. Raises: AnchorError."""
    from rfc3161_client import VerificationError, decode_timestamp_response

    try:
        stamped = decode_timestamp_response(answer)
        if stamped.status != 0:
            raise AnchorError(f"The time-stamping authority granted no stamp (status {stamped.status}).")
        if stamped.tst_info.message_imprint.hash_algorithm != SHA256:
            raise AnchorError("The time stamp is over another kind of digest than was asked for.")
        builder.nonce(request.nonce).build().verify_message(stamped, sent.note.encode())
        at = stamped.tst_info.gen_time
    except (ValueError, VerificationError) as error:
        raise AnchorError(f"The answer is no time stamp that can be trusted: {str(error)[:200]}.") from error
    if abs(at - now) > CLOCKS_DIFFER:
        raise AnchorError(f"The time stamp is of {at:%Y-%m-%d %H:%M:%S} UTC, and this machine's clock says otherwise.")
