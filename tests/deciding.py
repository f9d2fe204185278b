"""Deciding on what was asked, as people and the worker do; for tests that begin with a question and end with a key."""

from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import totp
from rotation import approvals
from rotation.approvals import Proof
from rotation.models import LIVE, Request
from tests.conftest import _become
from tests.people import give_device

WORKER = Actor.system("worker")
IMPORTER = Actor.system("command:import_inventory")  # who asks, where nobody in person does


def by(person):
    return Actor(kind="person", id=person.ref, role=person.role)


def request_of(asked):
    """Return the request as it is now."""
    return Request.objects.get(pk=asked.pk)


def waiting(operation=None):
    """Return the one request that waits."""
    live = Request.objects.filter(state__in=LIVE)
    return (live.filter(operation=operation) if operation else live).get()


def proof_of(person):
    """Return a code that is accepted now, whatever was used before; the clock of codes is the real one."""
    device = person.totp_devices.filter(confirmed=True).first() or give_device(person)
    device.last_step = -1
    device.save(update_fields=["last_step"])
    return Proof(code=totp.code_at(device.seed(), totp.step_at(timezone.now())))


def vote(asked, person, *, approves=True, comment="", now=None):
    now = now or timezone.now()
    request = request_of(asked)
    approvals.vote(
        pk=request.pk,
        digest=bytes(request.digest),
        approves=approves,
        comment=comment or ("looked at it" if approves else "not so"),
        proof=proof_of(person),
        actor=by(person),
        now=now,
    )
    return request_of(asked)


def carry_out(asked, *, now=None):
    """Carry it out as the worker; return the request as it is then."""
    with _become("worker"):
        return approvals.carry_out(pk=asked.pk, actor=WORKER, now=now or timezone.now())


def approve(asked, person, *, now=None):
    """Vote for it, and have the worker do it; return the request as it is then."""
    vote(asked, person, now=now)
    return carry_out(asked, now=now)


def reject(asked, person, *, now=None):
    return vote(asked, person, approves=False, now=now)


def withdraw(asked, person, *, now=None):
    return approvals.withdraw(pk=asked.pk, actor=by(person), reason="a mistake", now=now or timezone.now())
