"""What votes decide about the work itself: rules of approval, who is told of what. For `rotation.operations` alone."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.permits import Permit
from rotation.kinds import ALERTS, AlertKind
from rotation.models import AlertRoute, ApprovalRule


@transaction.atomic
def set_rule(
    *,
    operation: str,
    votes: Mapping[str, int],
    lifetime_hours: int | None,
    permit: Permit,
    actor: Actor,
    reason: str,
    now: datetime,
) -> ApprovalRule:
    """Write down how many votes an operation takes from now on, and for how long it waits for them. Locks the row.

    The caller has compared it with what the release asks; whoever asks compares again. Event: approval_rule.changed.
    """
    rule = ApprovalRule.objects.select_for_update().filter(operation=operation).first()
    rule = rule or ApprovalRule(operation=operation, revision=0)
    before: dict[str, JSON] = {"votes": dict(rule.votes), "lifetime_hours": rule.lifetime_hours}
    rule.votes, rule.lifetime_hours = dict(votes), lifetime_hours
    rule.revision, rule.set_at, rule.set_by = rule.revision + 1, now, permit.request
    _save(rule, ["votes", "lifetime_hours"])
    after: dict[str, JSON] = {"votes": dict(votes), "lifetime_hours": lifetime_hours}
    subject = Subject(ref=rule.ref, label=operation, before=before, after=after)
    record(Action.APPROVAL_RULE_CHANGED, actor=actor, now=now, subjects=[subject], reason=reason, facts=permit.facts)
    return rule


@transaction.atomic
def set_route(
    *,
    kind: AlertKind,
    roles: Sequence[str],
    addresses: Sequence[str],
    permit: Permit,
    actor: Actor,
    reason: str,
    now: datetime,
) -> AlertRoute:
    """Write down who is told of an alert from now on. Locks the row. Event: alert_route.changed.

    The event counts the addresses and does not repeat them: the log never holds who they are.
    """
    route = AlertRoute.objects.select_for_update().filter(kind=kind).first()
    is_new = route is None
    route = route or AlertRoute(kind=kind, revision=0)
    was = list(ALERTS[kind].roles) if is_new else route.roles
    before: dict[str, JSON] = {"roles": was, "addresses": len(route.addresses)}
    route.roles, route.addresses = list(roles), list(addresses)
    route.revision, route.set_at, route.set_by = route.revision + 1, now, permit.request
    _save(route, ["roles", "addresses"])
    after: dict[str, JSON] = {"roles": list(roles), "addresses": len(addresses)}
    subject = Subject(ref=route.ref, label=kind.label, before=before, after=after)
    record(Action.ALERT_ROUTE_CHANGED, actor=actor, now=now, subjects=[subject], reason=reason, facts=permit.facts)
    return route


def _save(row: ApprovalRule | AlertRoute, fields: list[str]) -> None:
    if row._state.adding:
        row.save(force_insert=True)
    else:
        row.save(update_fields=[*fields, "revision", "set_at", "set_by"])
