"""Requests and votes as rows, for tests of what reads them: nobody was asked. And an operation upon nothing real."""

import secrets
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from django.utils import timezone

from audit import canonical
from audit.actions import Action
from audit.actor import Actor
from inventory.errors import InventoryError
from rotation import approvals
from rotation.models import Request, RequestTarget, Vote
from rotation.operations.base import Description, Draft, Line, Operation, Payload, Step, Target
from rotation.operations.payloads import write_payload
from tests.people import give_device
from tests.rotation.approval_world import declared

THING = "test.thing"


@dataclass
class World:
    """Things that have a number and a revision, and what was done to them."""

    revisions: dict = field(default_factory=lambda: defaultdict(lambda: 1))
    done: list = field(default_factory=list)
    refuses: str = ""
    breaks: bool = False

    def target(self, number):
        return Target(ref=f"thing:{number}", label=f"thing {number}", revision=self.revisions[number])

    def draft(self, parameters, *, now, hold):
        if self.refuses:
            raise InventoryError(self.refuses)
        return Draft(targets=[self.target(parameters["number"])])

    def execute(self, payload, permit, actor, now):
        if self.breaks:
            raise InventoryError("The paint ran out.")
        self.done.append((payload, permit))


def describe(payload):
    facts = payload.facts
    colour = facts.get("colour", "blue")
    return Description(
        title=f"Turn {payload.targets[0].label} into {colour}",
        sentences=[
            f"It will be {facts.get('colour', 'blue')} for {facts.get('days', 3)} days.",
            "Two services see it.",
        ],
        lines=[
            Line(label="Colour", text=colour, before=facts.get("before", "red")),
            Line(label="Ticket", text="the ticket", url=facts.get("url", "https://example.org/4711")),
            Line(label="Used by", text=facts.get("consumers", "crm-sync, data-warehouse")),
        ],
    )


@contextmanager
def thing():
    """Declare the operation, and give what it acts upon."""
    world = World()
    declaration = Operation(
        code=THING,
        title="Paint a thing",
        action=Action.KEY_EDITED,
        askers=("Security", "DevOps"),
        steps=(Step("Security"), Step("DevOps")),
        draft=world.draft,
        describe=describe,
        execute=world.execute,
    )
    with declared(declaration):
        yield world


def execute(request, as_role):
    """Carry it out as the worker does."""
    with as_role("worker"):
        return approvals.carry_out(pk=request.pk, actor=Actor.system("worker"), now=timezone.now())


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


def asked(operation, person, *, title=None, key=None, world=None, number=7, refs=(), **said):
    """Write down a request of a person, with its targets; in a world, to paint the thing of that number."""
    if world is not None:
        said = {"targets": (world.target(number),), "parameters": {"number": number}} | said
    if refs:
        said["targets"] = tuple(Target(ref=ref, label=ref, revision=1) for ref in refs)
    payload = payload_for(operation, person, **said)
    title = title or (describe(payload).title if operation == THING else "Do a thing")
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
