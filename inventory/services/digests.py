"""Finding a key by its material, which is never kept: a keyed digest of it is, where it cannot be guessed.

The digest is HMAC-SHA-256 under the digest key and the label "reuse" of the secret without the white space around it,
or, for whatever has a public key, of SHA-256 over its SubjectPublicKeyInfo. The same material has the same digest in
every record of one epoch of the digest key, so it also shows one key used in two places; it is looked for under every
epoch still configured. Material is named `material` here, hidden from tracebacks,
and leaves no function but as its digest.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.db import connection, transaction
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.sealing import keyed_digest, keyed_digests
from audit.selectors import count_done_by
from audit.services import Subject, record
from inventory.algorithms.weaknesses import key_weaknesses
from inventory.credentials import can_be_guessed, certificate_of, public_key_of
from inventory.errors import GuessableError, TooManyLookupsError
from inventory.examining import touched_by
from inventory.material import MaterialError
from inventory.material.certificates import facts_of_certificate
from inventory.material.facts import UNREADABLE
from inventory.models import Key, KeyVersion
from inventory.selectors import share_clauses
from inventory.services.findings import refresh_findings
from inventory.services.judged import Judged, judged_subject
from inventory.services.keys import require

_LABEL = "reuse"
LOOKUPS_AN_HOUR = 10
SHOWN_KEYS = 20  # that share the material of one token


@sensitive_variables()
def digest_of_secret(material: bytes, *, kind: str) -> bytes:
    """Return the reuse digest of a secret of a key of that kind. Raises: GuessableError."""
    secret = material.strip()
    if can_be_guessed(secret, kind):
        raise GuessableError
    return keyed_digest(secret, label=_LABEL)


def digest_of_public_key(spki_sha256: bytes) -> bytes:
    """Return the reuse digest of whatever has this public key, given by the SHA-256 of its SubjectPublicKeyInfo."""
    return keyed_digest(spki_sha256, label=_LABEL)


def digests_of_public_key(spki_sha256: bytes) -> tuple[bytes, ...]:
    """Return the reuse digests as which a public key may have been kept, under every epoch of the digest key."""
    return keyed_digests(spki_sha256, label=_LABEL)


@transaction.atomic
@sensitive_variables()
def register_material_digest(*, pk: int, material: bytes, actor: Actor, reason: str, now: datetime) -> Key:
    """Make the current version of a key findable by its material, which is dropped here and now.

    `material` is a secret, or PEM or an OpenSSH line with a certificate, a public or a private key. Locks the key.
    Events: key.digest_registered, which says what kind of digest, never the digest, and what public material shows,
    before and after; those of refresh_findings().
    Raises: GuessableError, MaterialError.
    """
    require(reason)
    share_clauses()
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
    spki = public_key_of(material)
    if spki:
        digests, seen = digests_of_public_key(sha256(spki).digest()), _seen_in(material, spki)
    else:
        digests, seen = (digest_of_secret(material, kind=key.kind),), Judged()
    del material
    had_the_same = touched_by([key.pk])
    kept = _keep(key, digests, seen)
    record(
        Action.KEY_DIGEST_REGISTERED,
        actor=actor,
        now=now,
        reason=reason,
        subjects=[kept],
        facts={"version": key.current_number, "of": "public key" if spki else "secret"},
    )
    refresh_findings(keys=had_the_same, actor=actor, now=now)
    return key


@sensitive_variables()
def _seen_in(material: bytes, spki: bytes) -> Judged:
    """Judge a certificate, or else the public key alone. Raises: MaterialError."""
    certificate = certificate_of(material)
    if certificate is None:
        return Judged(tuple(sorted(key_weaknesses(load_der_public_key(spki)))))
    try:
        facts = facts_of_certificate(certificate, where="the certificate")
    except UNREADABLE as error:
        raise MaterialError("This certificate cannot be read in full.", "Enter its public key instead.") from error
    return Judged(tuple(sorted(facts.weaknesses)), facts.ends_on)


def _keep(key: Key, digests: Sequence[bytes], seen: Judged) -> Subject:
    """Keep the first of the digests, and what was seen; return what changes by it.

    Material that the version has already, be it under another epoch of the digest key, is judged anew.
    """
    version = KeyVersion.objects.get(key=key, number=key.current_number)
    version.key = key
    before = Judged.of(version)
    is_known = bytes(version.reuse_digest or b"") in digests
    (seen.after(before) if is_known else seen).keep_with(version)
    version.reuse_digest = digests[0]
    version.save(update_fields=["reuse_digest", "weaknesses", "expires_on"])
    return judged_subject(version, before)


@transaction.atomic
@sensitive_variables()
def find_token(*, material: bytes, actor: Actor, now: datetime) -> Sequence[Key]:
    """Return the keys that have, or had, this material; none when nothing with it is recorded.

    Ten an hour a person, counted in the log. Event: token.looked_up with the keys found, never the token.
    Raises: TooManyLookupsError.
    """
    _within_limit(actor, now)
    spki = public_key_of(material)
    digests = keyed_digests(sha256(spki).digest() if spki else material.strip(), label=_LABEL)
    del material
    holders = KeyVersion.objects.filter(reuse_digest__in=digests).values("key")
    keys = list(Key.objects.filter(pk__in=holders).select_related("owner", "service").order_by("pk")[:SHOWN_KEYS])
    record(
        Action.TOKEN_LOOKED_UP,
        actor=actor,
        now=now,
        subjects=[Subject(ref=key.ref, label=key.name) for key in keys],
        facts={"found": len(keys)},
    )
    return keys


def _within_limit(actor: Actor, now: datetime) -> None:
    """One look-up of a person at a time, so that several at once are counted one after the other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('inventory.find_token'), hashtext(%s))", [actor.id])
    if count_done_by(actor.id, Action.TOKEN_LOOKED_UP, since=now - timedelta(hours=1)) >= LOOKUPS_AN_HOUR:
        raise TooManyLookupsError(LOOKUPS_AN_HOUR)
