"""Deciding about deciding: the votes that an operation takes, and who is told of an alert."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection
from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.permits import Permit
from rotation import guarded
from rotation.errors import RuleRefusedError
from rotation.kinds import ALERTS, AlertKind
from rotation.models import AlertRoute, ApprovalRule
from rotation.operations import floor_of, operation_of, register
from rotation.operations.base import (
    DEVOPS,
    ENGINEERING,
    MANAGEMENT,
    SECURITY,
    Description,
    Draft,
    Line,
    Operation,
    Payload,
    Step,
    Target,
)
from rotation.rules import Demand, demanded

VOTERS = (SECURITY, DEVOPS, MANAGEMENT, ENGINEERING)  # the roles that can be given a vote
TOLD = (*VOTERS, "Auditor")
MOST_VOTES = 5  # of one role
MOST_ADDRESSES = 10
BOTH = (Step(SECURITY), Step(DEVOPS))
AN_HOUR = timedelta(hours=1)


# The votes that an operation takes


def _draft_rule(parameters: Mapping[str, Any], *, now: datetime, hold: bool) -> Draft:
    operation, votes, hours = operation_of(parameters["operation"]), parameters["votes"], parameters["lifetime_hours"]
    rules = ApprovalRule.objects.filter(operation=operation.code)
    rule = (rules.select_for_update() if hold else rules).first()
    _check_votes(operation, votes)
    _check_lifetime(operation, hours)
    is_now = _demanded(operation, rule)
    will_be = _demanded(operation, ApprovalRule(votes=votes, lifetime_hours=hours))
    if is_now == will_be:
        raise RuleRefusedError(f"{operation.title}: this is what holds already, so there is nothing to change.")
    _check_people(will_be.votes)
    facts: dict[str, JSON] = {
        "title": operation.title,
        "votes_before": dict(is_now.votes),
        "votes_after": dict(will_be.votes),
        "hours_before": is_now.lifetime // AN_HOUR,
        "hours_after": will_be.lifetime // AN_HOUR,
        "voters": {role: count_voters(role) for role in will_be.votes},
    }
    target = Target(ref=f"approval_rule:{operation.code}", label=operation.title, revision=rule.revision if rule else 0)
    return Draft(targets=[target], facts=facts)


def _demanded(operation: Operation, rule: ApprovalRule | None) -> Demand:
    return demanded(rule, floor=floor_of(operation), lifetime=operation.lifetime)


def _check_votes(operation: Operation, votes: Mapping[str, Any]) -> None:
    """Raises: RuleRefusedError for fewer votes than the release asks, too many, or of who has none to give."""
    floor = floor_of(operation)
    for role, count in votes.items():
        if role not in VOTERS:
            raise RuleRefusedError(f"{role} gives no votes. Choose among {', '.join(VOTERS)}.")
        if type(count) is not int or not floor.get(role, 1) <= count <= MOST_VOTES:
            raise RuleRefusedError(
                f"{operation.title}: {role} gives at least {floor.get(role, 1)} and at most {MOST_VOTES} votes. A rule "
                "of the house asks for more than the release does, never for less."
            )


def _check_lifetime(operation: Operation, hours: Any) -> None:  # noqa: ANN401 - as the payload says it
    most = operation.lifetime // AN_HOUR
    if hours is not None and (type(hours) is not int or not 1 <= hours <= most):
        raise RuleRefusedError(f"{operation.title}: a request waits for 1 to {most} hours, and never longer.")


def _check_people(votes: Mapping[str, int]) -> None:
    """Raises: RuleRefusedError where a step could never be filled: nobody could take such a rule back either."""
    for role, count in votes.items():
        if (are := count_voters(role)) < count:
            raise RuleRefusedError(
                f"{count} votes of {role} are more than there are people: {are} of them are enrolled. Have others "
                "enrolled first."
            )


def count_voters(role: str) -> int:
    """Return how many people could give a vote of this role now. Queries: 1."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM public.rotation_voters(%s)", [role])
        (count,) = cursor.fetchone()
    return int(count)


def votes_in_words(votes: Mapping[str, int]) -> str:
    """Return "1 DevOps and 2 Security"."""
    return " and ".join(f"{count} {role}" for role, count in sorted(votes.items()))


def _hours(count: int) -> str:
    return f"{count} hour{'' if count == 1 else 's'}"


def _describe_rule(payload: Payload) -> Description:
    facts: Mapping[str, Any] = payload.facts
    before, after = facts["votes_before"], facts["votes_after"]
    looser = any(count > after.get(role, 0) for role, count in before.items())
    sentences = [
        f"Whoever asks to “{facts['title']}” needs {votes_in_words(after)} from then on, within "
        f"{_hours(facts['hours_after'])}. Requests that wait already keep what they were asked with.",
    ]
    if looser or facts["hours_after"] > facts["hours_before"]:
        sentences.append("This takes back part of what the house had added. What the release asks at least stays.")
    enrolled = ", ".join(f"{count} of {role}" for role, count in facts["voters"].items())
    return Description(
        title=f"Change who decides: {facts['title']}",
        sentences=sentences,
        lines=[
            Line(label="Operation", text=facts["title"], url=reverse("admin:rotation_approvalrule_changelist")),
            Line(label="Votes", text=votes_in_words(after), before=votes_in_words(before)),
            Line(label="Waits for", text=_hours(facts["hours_after"]), before=_hours(facts["hours_before"])),
            Line(label="Who could vote when it was asked", text=enrolled),
        ],
    )


def _execute_rule(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    said: Mapping[str, Any] = payload.parameters
    guarded.set_rule(
        operation=said["operation"],
        votes=said["votes"],
        lifetime_hours=said["lifetime_hours"],
        permit=permit,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


# Who is told of an alert


def _draft_route(parameters: Mapping[str, Any], *, now: datetime, hold: bool) -> Draft:
    kind, roles, addresses = AlertKind(parameters["kind"]), parameters["roles"], parameters["addresses"]
    routes = AlertRoute.objects.filter(kind=kind)
    route = (routes.select_for_update() if hold else routes).first()
    _check_route(kind, roles, addresses)
    were = (route.roles, route.addresses) if route else (list(ALERTS[kind].roles), [])
    if were == (roles, addresses):
        raise RuleRefusedError("This is who is told already, so there is nothing to change.")
    facts: dict[str, JSON] = {
        "alert": kind.label,
        "everybody": ALERTS[kind].tells_everybody,
        "roles_before": were[0],
        "addresses_before": were[1],
        "outside": outside(addresses),
    }
    target = Target(ref=f"alert_route:{kind}", label=kind.label, revision=route.revision if route else 0)
    return Draft(targets=[target], facts=facts)


def _check_route(kind: AlertKind, roles: Sequence[str], addresses: Sequence[str]) -> None:
    """Raises: RuleRefusedError for a route that leads to nobody, or where nothing leads."""
    if any(role not in TOLD for role in roles) or len(set(roles)) != len(roles):
        raise RuleRefusedError("Choose among the five roles, each once.")
    if not roles and not ALERTS[kind].tells_everybody:
        raise RuleRefusedError("At least one role is told: an address alone may be nobody's one day.")
    if roles and ALERTS[kind].tells_everybody:
        raise RuleRefusedError("Everybody is told of this already. Addresses can be added, and no role taken away.")
    if len(addresses) > MOST_ADDRESSES or len(set(addresses)) != len(addresses):
        raise RuleRefusedError(f"At most {MOST_ADDRESSES} addresses, each once.")
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError as error:
            raise RuleRefusedError(f"{address} is no mail address.") from error
        if address != address.lower() or len(address) > 254:  # noqa: PLR2004 - the longest address there is
            raise RuleRefusedError(f"{address}: write it in small letters, and in at most 254 of them.")


def outside(addresses: Sequence[str]) -> list[JSON]:
    """Return the addresses that are of nobody who has an active account here. Queries: 1."""
    people = get_user_model().objects.filter(email__in=addresses, is_active=True)
    known = set(people.values_list("email", flat=True))
    return [address for address in addresses if address not in known]


def _told(everybody: bool, roles: Sequence[str], addresses: Sequence[str]) -> str:  # noqa: FBT001 - as the facts say
    who = ["everybody"] if everybody else [f"everybody of {role}" for role in roles]
    return ", ".join([*who, *addresses]) or "nobody"


def _describe_route(payload: Payload) -> Description:
    facts: Mapping[str, Any] = payload.facts
    said: Mapping[str, Any] = payload.parameters
    sentences = [
        f"From then on {_told(facts['everybody'], said['roles'], said['addresses'])} is told when {facts['alert']}."
    ]
    if facts["outside"]:
        sentences.append(
            f"{', '.join(facts['outside'])}: nobody with an account here has this address. What these mails say, names "
            "of people and keys among it, leaves this installation for whoever reads there."
        )
    return Description(
        title="Change who is told of an alert",
        sentences=sentences,
        lines=[
            Line(label="Alert", text=facts["alert"], url=reverse("admin:rotation_approvalrule_changelist")),
            Line(
                label="Told",
                text=_told(facts["everybody"], said["roles"], said["addresses"]),
                before=_told(facts["everybody"], facts["roles_before"], facts["addresses_before"]),
            ),
        ],
    )


def _execute_route(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    said: Mapping[str, Any] = payload.parameters
    guarded.set_route(
        kind=AlertKind(said["kind"]),
        roles=said["roles"],
        addresses=said["addresses"],
        permit=permit,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


register(
    Operation(
        code="rule.change",
        title="Change who decides what",
        action=Action.APPROVAL_RULE_CHANGED,
        askers=(SECURITY,),
        steps=BOTH,
        draft=_draft_rule,
        describe=_describe_rule,
        execute=_execute_rule,
    )
)
register(
    Operation(
        code="alerts.change",
        title="Change who is told of an alert",
        action=Action.ALERT_ROUTE_CHANGED,
        askers=(SECURITY,),
        steps=BOTH,
        draft=_draft_route,
        describe=_describe_route,
        execute=_execute_route,
    )
)
