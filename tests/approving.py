"""Carrying guarded operations through, as people and the worker do: asked, voted on, executed.

`permitted` gives a test that changes a state by hand what the database demands: a request about the key, approved by
two people with a second factor, and being carried out.
"""

import secrets
from contextlib import contextmanager
from datetime import timedelta

from django.utils import timezone

from audit.actions import Action
from rotation import approvals
from rotation.models import Request, RequestState
from rotation.operations.base import Target
from tests.conftest import _become, make_person
from tests.rotation.approval_world import actor_for, again, carry_out, vote
from tests.rotation.request_world import asked, begun, voted

# By which operation each word for a change comes about.
OPERATIONS = {
    Action.KEY_DESTROYED: "key.destroy",
    Action.KEY_REACTIVATED: "key.reactivate",
    Action.KEY_COMPROMISED: "key.revoke",
    Action.KEY_DEACTIVATED: "key.revoke",
    Action.KEY_ROTATED: "key.rotation",
    Action.KEY_DATES_CHANGED: "key.dates",
}


def as_worker():
    """Be the worker for a block: who does what time does, and carries out what was approved."""
    return _become("worker")


def voters():
    """Return somebody of Security, one more, and somebody of DevOps: the first asks, the others vote."""
    token = secrets.token_hex(4)
    return (
        make_person(f"asks-{token}", "Security"),
        make_person(f"votes-s-{token}", "Security"),
        make_person(f"votes-d-{token}", "DevOps"),
    )


def carried_through(operation, parameters, *, asker, by, reason="because", now=None):
    """Ask as one person, approve as others with a code each, carry out as the worker; return what became of it.

    `now` is that of the business: votes and execution come one and two minutes later.
    """
    now = now or timezone.now()
    request = approvals.ask(operation=operation, parameters=parameters, actor=actor_for(asker), reason=reason, now=now)
    for person in by:
        vote(person, request, now=now + timedelta(minutes=1))
    if again(request).state == RequestState.APPROVED:
        with as_worker():
            carry_out(request, now=now + timedelta(minutes=2))
    return again(request)


def executing(operation, *keys, people=None):
    """Return a request about the keys that the worker is carrying out at this moment."""
    asker, security, devops = people or voters()
    targets = tuple(Target(ref=key.ref, label=key.name, revision=key.revision) for key in keys)
    request = asked(operation, asker, key=keys[0], targets=targets)
    voted(request, security, "Security")
    voted(request, devops, "DevOps")
    return begun(request)


@contextmanager
def permitted(action, *keys, people=None):
    """Be the worker, who carries out a request for this change of the keys; yield what its event says of that.

    With `db` only: the role changes inside the transaction.
    """
    request = executing(OPERATIONS[action], *keys, people=people)
    with as_worker():
        yield {"request": request.ref}
    over(request)


@contextmanager
def permitted_by(operation, asker, parameters):
    """Be the worker, who carries out a request of those parameters, about no record. With `db` only."""
    _, security, devops = voters()
    request = asked(operation, asker, parameters=parameters)
    voted(request, security, "Security")
    voted(request, devops, "DevOps")
    begun(request)
    with as_worker():
        yield
    over(request)


def over(request):
    """Close a request, so that another one about the same keys can be asked."""
    with as_worker():
        now = timezone.now()
        Request.objects.filter(pk=request.pk).update(
            state=RequestState.EXECUTED, closed_at=now, leased_until=None, next_attempt_at=None
        )
