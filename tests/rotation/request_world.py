"""Requests and votes as rows, for tests of what reads them: nobody was asked, and nothing is carried out."""

import secrets
from datetime import timedelta
from hashlib import sha256

from django.utils import timezone

from audit import canonical
from rotation.models import Request, RequestState, RequestTarget, Vote
from rotation.operations.base import Payload, Step, Target
from rotation.operations.payloads import write_payload
from tests.conftest import _become
from tests.people import give_device

BOTH = (Step("Security"), Step("DevOps"))


def payload_for(operation, person, *, now=None, lasting=timedelta(hours=20), targets=None, **said):
    """Return what somebody asks for."""
    now = now or timezone.now()
    wanted = {
        "operation": operation,
        "targets": targets or (Target(ref=f"thing:{secrets.randbelow(10**9)}", label="thing", revision=1),),
        "parameters": {},
        "facts": {},
        "steps": BOTH,
        "excluded": (),
        "reason": "because it is needed",
        "requested_by": person if isinstance(person, str) else person.ref,
        "requested_at": canonical.timestamp(now),
        "expires_at": canonical.timestamp(now + lasting),
        "is_break_glass": False,
        "nonce": secrets.token_hex(16),
    }
    return Payload(**wanted | said)


def row_of(payload, *, title="Do a thing", person=None, key=None):
    """Return the row of a payload, not saved."""
    raw = write_payload(payload)
    return Request(
        operation=payload.operation,
        payload=raw,
        digest=sha256(raw).digest(),
        title=title,
        subject_ref=payload.targets[0].ref,
        key=key,
        reason=payload.reason,
        requested_by=person,
        requested_by_ref=payload.requested_by,
        requested_at=canonical.parse_timestamp(payload.requested_at),
        expires_at=canonical.parse_timestamp(payload.expires_at),
        is_break_glass=payload.is_break_glass,
    )


def asked(operation, person, *, title="Do a thing", key=None, refs=(), **said):
    """Write down a request of a person, with its targets; `refs` gives these by name alone."""
    if refs:
        said["targets"] = tuple(Target(ref=ref, label=ref, revision=1) for ref in refs)
    payload = payload_for(operation, person, **said)
    made = row_of(payload, title=title, person=None if isinstance(person, str) else person, key=key)
    made.save(force_insert=True)
    RequestTarget.objects.bulk_create(RequestTarget(request=made, ref=target.ref) for target in payload.targets)
    made.refresh_from_db()
    return made


def voted(request, person, role, *, approves=True, comment=""):
    """Write down a vote, with a second factor of the person."""
    device = person.totp_devices.filter(confirmed=True).first() or give_device(person)
    return Vote.objects.create(
        request=request,
        person=person,
        role=role,
        is_approval=approves,
        comment=comment or ("" if approves else "no"),
        digest=request.digest,
        verified_by=device.ref,
        voted_at=timezone.now(),
    )


def begun(request):
    """Let the worker begin with a request that has its votes; return it as it is then."""
    now, of_it = timezone.now(), Request.objects.filter(pk=request.pk)
    of_it.update(state=RequestState.APPROVED, approved_at=now)
    with _become("worker"):
        of_it.update(state=RequestState.EXECUTING, leased_until=now + timedelta(minutes=5))
    request.refresh_from_db()
    return request
