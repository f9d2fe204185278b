"""Passkeys: what a browser is asked, and whether its answer holds. Knows no database and no session.

Source: W3C Web Authentication Level 3, §7.1 and §7.2; every check and all cryptography are those of `webauthn`.
"""

import ipaddress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    options_to_json_dict,
    parse_authentication_credential_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from keyvault_admin.access.errors import PasskeyRefusedError

LIFETIME = timedelta(minutes=5)  # of a challenge
ANSWER_CHARACTERS = 16_000
ALGORITHMS = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,  # all that the chips of many Windows machines can do
]
# The library checks the structure of what it is given, but not of everything inside: wrong base64, CBOR or types.
MALFORMED = (WebAuthnException, ValueError, TypeError, KeyError, IndexError, AttributeError)


@dataclass(frozen=True)
class NewPasskey:
    """What a browser made: the credential's id, its public key as COSE_Key (RFC 9052 §7) and its counter."""

    credential_id: bytes
    public_key: bytes = field(repr=False)
    sign_count: int


@dataclass(frozen=True)
class Assertion:
    """An answer whose signature is still to be checked."""

    credential_id: bytes
    user_handle: bytes | None
    answer: str = field(repr=False)


def host() -> str:
    """Return the name that passkeys are bound to, the relying party's id."""
    return urlsplit(settings.SITE_URL).hostname or ""


def are_possible() -> bool:
    """Whether the site has a name: browsers make no passkeys for an address."""
    try:
        ipaddress.ip_address(host())
    except ValueError:
        return bool(host())
    return False


def _origin() -> str:
    parts = urlsplit(settings.SITE_URL)
    return f"{parts.scheme}://{parts.netloc}"


def creation_options(
    *, challenge: bytes, handle: bytes, username: str, full_name: str, known: list[bytes]
) -> dict[str, Any]:
    """Return what `navigator.credentials.create` is asked: a discoverable credential, so that signing in names nobody.

    The authenticators that hold one of the known credentials already make no second one.
    """
    options = generate_registration_options(
        rp_id=host(),
        rp_name=settings.OTP_TOTP_ISSUER,
        user_id=handle,
        user_name=username,
        user_display_name=full_name,
        challenge=challenge,
        timeout=int(LIFETIME.total_seconds() * 1000),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.PREFERRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=credential_id) for credential_id in known],
        supported_pub_key_algs=ALGORITHMS,
    )
    return options_to_json_dict(options)


def request_options(*, challenge: bytes) -> dict[str, Any]:
    """Return what `navigator.credentials.get` is asked; it says nothing about who has which passkey.

    Whether the authenticator knows its user is asked for and not demanded: the password is the other factor.
    """
    options = generate_authentication_options(
        rp_id=host(),
        challenge=challenge,
        timeout=int(LIFETIME.total_seconds() * 1000),
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    return options_to_json_dict(options)


def checked_creation(answer: str, *, challenge: bytes) -> NewPasskey:
    """Return the passkey that a browser made for this challenge, on our own pages.

    Raises: PasskeyRefusedError.
    """
    try:
        made = verify_registration_response(
            credential=parse_registration_credential_json(answer),
            expected_challenge=challenge,
            expected_rp_id=host(),
            expected_origin=_origin(),
            supported_pub_key_algs=ALGORITHMS,
        )
    except MALFORMED as error:
        raise PasskeyRefusedError from error
    return NewPasskey(made.credential_id, made.credential_public_key, made.sign_count)


def parsed_assertion(answer: str) -> Assertion:
    """Return which credential an answer claims to be of; nothing is checked yet.

    Raises: PasskeyRefusedError.
    """
    try:
        parsed = parse_authentication_credential_json(answer)
    except MALFORMED as error:
        raise PasskeyRefusedError from error
    return Assertion(parsed.raw_id, parsed.response.user_handle, answer)


def checked_sign_count(assertion: Assertion, *, challenge: bytes, public_key: bytes) -> int:
    """Return the authenticator's counter from an answer to this challenge, signed by this key, on our own pages.

    The caller compares the counter, because it holds the row's lock.

    Raises: PasskeyRefusedError.
    """
    try:
        checked = verify_authentication_response(
            credential=assertion.answer,
            expected_challenge=challenge,
            expected_rp_id=host(),
            expected_origin=_origin(),
            credential_public_key=public_key,
            credential_current_sign_count=0,
        )
    except MALFORMED as error:
        raise PasskeyRefusedError from error
    return checked.new_sign_count
