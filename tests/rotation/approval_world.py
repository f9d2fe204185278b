"""Small guarded operations on real records, and people who ask for them, vote on them and carry them out."""

from contextlib import contextmanager
from datetime import timedelta

from django.utils import timezone

from audit.actions import Action
from audit.actor import Actor, Identity
from inventory import services
from inventory.errors import InventoryError
from inventory.models import Key
from rotation import approvals
from rotation.approvals import Proof
from rotation.models import Request
from rotation.operations import _OPERATIONS, register
from rotation.operations.base import DEVOPS, SECURITY, Description, Draft, Line, Operation, Step, Target
from tests.people import give_device, next_code

WORKER = Actor.system("worker")
NOTE = "test.note"  # Security and DevOps
ONE_VOTE = "test.one_vote"  # DevOps alone
TWICE = "test.twice"  # two of Security and one of DevOps
AT_MACHINE = "test.at_machine"


class OwnRuleError(Exception):
    """A rule of a family that the engine does not know."""


def draft(parameters, *, now, hold):
    keys = Key.objects.select_for_update(of=("self",), no_key=True) if hold else Key.objects
    key = keys.get(pk=parameters["key"])
    if key.notes == "refuse the draft":
        raise InventoryError("A rule says that this key stays as it is.")
    target = Target(ref=key.ref, label=key.name, revision=key.revision)
    excluded = [f"user:{one}" for one in parameters.get("excluded", [])]
    return Draft(targets=[target], facts={"before": key.notes, "after": parameters["note"]}, excluded=excluded)


def describe(payload):
    (target,) = payload.targets
    return Description(
        title=f"Note on {target.label}",
        sentences=[f"The note of {target.label} will be replaced."],
        lines=[Line(label="Note", text=payload.facts["after"], before=payload.facts["before"])],
    )


def execute(payload, permit, actor, now):
    (target,) = payload.targets
    services.edit_key(
        pk=int(target.ref.removeprefix("key:")),
        changes={"notes": payload.parameters["note"]},
        expected_revision=target.revision,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


def operation(code, **changes):
    said = {
        "title": "Write a note",
        "action": Action.KEY_EDITED,
        "askers": (SECURITY, DEVOPS),
        "steps": (Step(SECURITY), Step(DEVOPS)),
        "draft": draft,
        "describe": describe,
        "execute": execute,
        "owner_may_ask": True,
        "refusals": (OwnRuleError,),
    }
    return Operation(code=code, **said | changes)


@contextmanager
def declared(*more):
    """Declare the operations of the tests, and forget them."""
    known = dict(_OPERATIONS)
    try:
        register(operation(NOTE))
        register(operation(ONE_VOTE, steps=(Step(DEVOPS),)))
        register(operation(TWICE, steps=(Step(SECURITY, 2), Step(DEVOPS))))
        register(operation(AT_MACHINE, at_machine=True))
        for one in more:
            register(one)
        yield
    finally:
        _OPERATIONS.clear()
        _OPERATIONS.update(known)


def actor_for(person, **how):
    """Return the actor of a door, as if the person had just come in."""
    who = Identity(name=person.full_name, mail=person.email, address="", agent="")
    return Actor(kind="person", id=person.ref, role=person.role, identity=who, **how)


def ask(person, key, *, operation=NOTE, note="new", reason="because", now=None, **how):
    parameters = {"key": key.pk, "note": note, **how.pop("parameters", {})}
    actor = person if isinstance(person, Actor) else actor_for(person)
    return approvals.ask(
        operation=operation, parameters=parameters, actor=actor, reason=reason, now=now or timezone.now(), **how
    )


def proof_of(person):
    """Return a proof that will be accepted now."""
    device = person.totp_devices.filter(confirmed=True).first() or give_device(person)
    return Proof(code=next_code(device))


def vote(person, request, *, approves=True, comment="", digest=None, proof=None, now=None, actor=None):
    if not person.totp_devices.filter(confirmed=True).exists():
        give_device(person)
    return approvals.vote(
        pk=request.pk,
        digest=digest or bytes(request.digest),
        approves=approves,
        comment=comment or ("" if approves else "no"),
        proof=proof or proof_of(person),
        actor=actor or actor_for(person),
        now=now or timezone.now(),
    )


def carry_out(request, *, now=None, actor=WORKER):
    """Carry it out; call as the worker."""
    return approvals.carry_out(pk=request.pk, actor=actor, now=now or timezone.now())


def again(request):
    """Return the request as it is now."""
    return Request.objects.get(pk=request.pk)


def later(**how):
    return timezone.now() + timedelta(**how)
