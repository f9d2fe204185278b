"""The two questions to the provider, and the checks of its token. The only module that needs the extra `oidc`.

mozilla-django-oidc brings the frame: its settings, the order of the steps and the comparison of the nonce. It checks
neither issuer nor audience, follows redirects, reads answers of any length, allows no clock to differ, and puts the
answer of a refusal into its error; all that is replaced here. Its views, its middleware and its way to find or create
people are not used.

Source: OpenID Connect Core 1.0 §3.1.3.7; RFC 6749 §2.3.1; RFC 8725.
"""

import json
import time
from typing import Any
from urllib.parse import quote_plus

import jwt
import requests
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.views.decorators.debug import sensitive_variables
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from requests.auth import HTTPBasicAuth
from urllib3.exceptions import HTTPError

from audit.deadlines import within
from keyvault_admin.access.errors import SingleSignOnError

LONGEST_ANSWER = 256 * 1024  # bytes
PIECE = 16 * 1024
SMALLEST_RSA = 2048  # bits
TOO_SLOW = "the provider's answer came too slowly"
DEMANDED = ["iss", "sub", "aud", "exp", "iat", "nonce"]
# What a token or a key can be wrong in, before anything of it is believed.
MALFORMED = (jwt.PyJWTError, SuspiciousOperation, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class ProviderClient(OIDCAuthenticationBackend):  # type: ignore[misc] # it has no types
    """Speaks to the provider of the settings, and to no address that an answer names. Never a sign-in backend."""

    @sensitive_variables()
    def claims(self, *, code: str, verifier: str, return_address: str, nonce: str) -> dict[str, Any]:
        """Return what the provider's token says, once it is certain that it is theirs, for us, and for this question.

        Raises: SingleSignOnError.
        """
        answer = self.get_token({"code": code, "code_verifier": verifier, "redirect_uri": return_address})
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SingleSignOnError("the answer holds no token")
        try:
            claims: dict[str, Any] = self.verify_token(token, nonce=nonce)
        except MALFORMED as error:
            raise SingleSignOnError(_fault(error)) from None  # its text may quote the token
        return claims

    @sensitive_variables()
    def get_token(self, payload: dict[str, str]) -> dict[str, Any]:
        """Exchange the code for the token, with both proofs: the client's secret and the verifier of PKCE."""
        form = {"grant_type": "authorization_code", **payload}
        client = HTTPBasicAuth(quote_plus(self.OIDC_RP_CLIENT_ID), quote_plus(self.OIDC_RP_CLIENT_SECRET))
        return _ask("POST", self.OIDC_OP_TOKEN_ENDPOINT, data=form, auth=client)

    def retrieve_matching_jwk(self, token: str) -> jwt.PyJWK:
        """Return the one key of the provider that may have signed this token, for the algorithm of the settings."""
        name = jwt.get_unverified_header(token)["kid"]
        keys = _ask("GET", self.OIDC_OP_JWKS_ENDPOINT)["keys"]
        fitting = [key for key in keys if key.get("kid") == name and self._may_sign(key)]
        if len(fitting) != 1:
            raise SingleSignOnError("the provider has no such key")
        key = jwt.PyJWK(fitting[0], algorithm=self.OIDC_RP_SIGN_ALGO)
        if getattr(key.key, "key_size", 0) < (SMALLEST_RSA if key.key_type == "RSA" else 256):
            raise SingleSignOnError("the provider's key is too short")
        return key

    def _may_sign(self, key: dict[str, Any]) -> bool:
        algorithm = self.OIDC_RP_SIGN_ALGO
        family = ("RSA", None) if algorithm == "RS256" else ("EC", "P-256")
        return (
            (key.get("kty"), key.get("crv")) == family
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
        )

    @sensitive_variables()
    def get_payload_data(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        """Check the signature by the one algorithm of the settings, whatever the token names, and whom it is for."""
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[self.OIDC_RP_SIGN_ALGO],
            issuer=settings.OIDC_ISSUER,
            leeway=settings.CLOCK_SKEW,
            options={"require": DEMANDED, "verify_aud": False},
        )
        us = self.OIDC_RP_CLIENT_ID
        if claims["aud"] not in (us, [us]) or claims.get("azp", us) != us:
            raise jwt.InvalidAudienceError
        return claims


FAULTS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "the token is too old",
    jwt.ImmatureSignatureError: "the token is of the future",
    jwt.InvalidIssuerError: "the token is of another issuer",
    jwt.InvalidAudienceError: "the token is for somebody else",
    jwt.InvalidAlgorithmError: "the token is signed by another algorithm",
    jwt.MissingRequiredClaimError: "the token lacks a claim",
    jwt.InvalidSignatureError: "the signature is wrong",
    SuspiciousOperation: "the nonce is another one",
}


def _fault(error: Exception) -> str:
    """Return what was wrong in words of ours: those of the error may quote what was brought."""
    return next((words for kind, words in FAULTS.items() if isinstance(error, kind)), "the token is malformed")


@sensitive_variables()
def _ask(method: str, address: str, **content: Any) -> dict[str, Any]:  # noqa: ANN401 - what requests takes
    """Return the provider's JSON, or give up once OIDC_TIMEOUT is over, however the answer comes.

    Raises: SingleSignOnError, which quotes nothing of the answer.
    """
    try:
        return within(settings.OIDC_TIMEOUT, lambda: _answer(method, address, content))
    except TimeoutError:
        raise SingleSignOnError(TOO_SLOW) from None


@sensitive_variables()
def _answer(method: str, address: str, content: dict[str, Any]) -> dict[str, Any]:
    """Ask for JSON, without redirects and without any proxy or password of the environment."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    wait: float = settings.OIDC_TIMEOUT
    ends = time.monotonic() + wait
    try:
        with requests.Session() as session:
            session.trust_env = False
            asked = session.request(
                method,
                address,
                headers=headers,
                timeout=wait,
                verify=settings.OIDC_VERIFY_SSL,
                allow_redirects=False,
                stream=True,
                **content,
            )
            with asked as answer:  # the session closes no connection whose answer was not read to its end
                if answer.status_code != requests.codes.ok:
                    raise SingleSignOnError(f"the provider answered {answer.status_code}")
                said = json.loads(_read(answer, ends))
    except (requests.RequestException, HTTPError, OSError):
        raise SingleSignOnError("the provider could not be asked") from None
    except (ValueError, RecursionError):
        raise SingleSignOnError("the provider's answer is malformed") from None
    if not isinstance(said, dict):
        raise SingleSignOnError("the provider's answer is malformed")
    return said


def _read(answer: requests.Response, ends: float) -> bytes:
    """Return the body, piece by piece as it arrives, so that neither its length nor its slowness is the provider's."""
    body = b""
    while piece := answer.raw.read1(PIECE):
        body += piece
        if len(body) > LONGEST_ANSWER:
            raise SingleSignOnError("the provider's answer is too long")
        if time.monotonic() > ends:
            raise SingleSignOnError(TOO_SLOW)
    return body
