"""Changing clauses, the threat level and exceptions as the worker does: under a request that people approved."""

from contextlib import contextmanager

from inventory import services
from inventory.guarded import clauses, exceptions
from inventory.models import Key, PolicyClause, ThreatLevel
from inventory.models.threat import lowers
from inventory.permits import Permit
from inventory.services.exceptions import ExceptionTerms
from rotation.models import Request
from rotation.operations.base import Step, Target
from tests.approving import over
from tests.conftest import _become, make_person
from tests.rotation.request_world import asked, begun, voted

SECURITY_AND_DEVOPS = ("Security", "DevOps")
MANAGEMENT_AND_SECURITY = ("Management", "Security")


def permit_for(operation, ref, *, roles=SECURITY_AND_DEVOPS, key=None, revision=0):
    """Return a request about a record that the worker is carrying out at this moment, and what it permits."""
    number = Request.objects.count()
    people = [make_person(f"{role.lower()}-{number}", role) for role in roles]
    asker = make_person(f"asks-{number}", "Security")
    targets, steps = (Target(ref=ref, label=ref, revision=revision),), tuple(Step(role) for role in roles)
    request = asked(operation, asker, key=key, targets=targets, steps=steps)
    for person, role in zip(people, roles, strict=True):
        voted(request, person, role)
    begun(request)
    return request, Permit(request=request.ref, asked_by=asker.ref, approved_by=[person.ref for person in people])


@contextmanager
def carried_out(operation, ref, **how):
    """Be the worker, who carries out such a request; yield what it permits."""
    request, permit = permit_for(operation, ref, **how)
    with _become("worker"):
        yield permit
    over(request)


def register_clause(*, code, **how):
    with carried_out("clause.register", f"new_clause:{code}") as permit:
        return clauses.register_clause(code=code, permit=permit, **how)


def edit_clause(*, pk, **how):
    with carried_out("clause.edit", f"clause:{pk}") as permit:
        return clauses.edit_clause(pk=pk, permit=permit, **how)


def retire_clause(*, pk, **how):
    with carried_out("clause.retire", f"clause:{pk}") as permit:
        return clauses.retire_clause(pk=pk, permit=permit, **how)


def set_threat_level(*, changes, **how):
    """Raise it at once, or lower it under a request."""
    if not lowers(ThreatLevel.objects.get(), changes):
        return services.set_threat_level(changes=changes, **how)
    with carried_out("threat_level.lower", "threat_level:1") as permit:
        return clauses.lower_threat_level(changes=changes, permit=permit, **how)


def grant(key, clause="s4-production-90", *, until, now, actor, reason="the vendor is late", **said):
    """Grant an exception of a key from a clause, given by its code, until a moment."""
    terms = ExceptionTerms(
        until=until,
        compensating_control=said.get("compensating_control", "reachable from two hosts only"),
        residual_risk=said.get("residual_risk", "a stolen token works for longer"),
    )
    excepted = PolicyClause.objects.get(code=clause)
    with carried_out(
        "exception.grant", key.ref, roles=MANAGEMENT_AND_SECURITY, key=Key.objects.get(pk=key.pk)
    ) as permit:
        return exceptions.grant_exception(
            key=key.pk, clause=excepted.pk, terms=terms, permit=permit, actor=actor, reason=reason, now=now
        )
