"""Exceptions to clauses: what they may be for and how long, and how they end. They are granted by votes alone."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.errors import ExceptionLengthError, ExceptionOverError, KeyGoneError, NotBoundError
from inventory.examining import around_new, examined
from inventory.excepting import exception_limits
from inventory.findings import findings, title_of
from inventory.models import ExceptionState, Key, PolicyClause, PolicyException
from inventory.policy import Limit, Rule, accepted_until, covers, longest_exception
from inventory.selectors import DESTROYED_STATES, rules, share_clauses
from inventory.services.findings import refresh_findings
from inventory.services.keys import DERIVED, derive, require

AT_ONCE = 1_000


@dataclass(frozen=True, kw_only=True)
class ExceptionTerms:
    """What people agree to: what is done instead, what risk remains, and until when."""

    compensating_control: str
    residual_risk: str
    until: datetime  # 00:00 UTC of the day from which the key counts again


def limit_of(key: Key) -> Limit:
    """Return how long an exception for this key may last. Queries: 1. Raises: LookupError where nothing limits."""
    limit = longest_exception(key.facts, exception_limits())
    if limit is None:
        raise LookupError(f"nothing limits exceptions for {key.ref}")
    return limit


def check_exception(key: Key, clause: PolicyClause, until: datetime, now: datetime) -> Limit:
    """Return the limit that an exception keeps to which would be granted now. Queries: 1.

    Raises: KeyGoneError, NotBoundError, ExceptionLengthError.
    """
    if key.state in DESTROYED_STATES:
        raise KeyGoneError(key.name)
    if not clause.is_in_force or not covers(clause.scope, key.facts):
        raise NotBoundError(key.name, clause.label)
    limit = limit_of(key)
    latest = now + timedelta(days=limit.longest_days)
    if not now < until <= latest:
        raise ExceptionLengthError(key.name, limit.label, limit.longest_days, f"{latest:%-d %B %Y}")
    return limit


def effect_of_exception(
    key: Key, clause: PolicyClause, until: datetime, now: datetime
) -> tuple[datetime | None, list[str]]:
    """Return until when the key would be accepted, and the titles of the findings that would be. Queries: 10.

    Nothing is written.
    """
    with_it = [
        replace(rule, excepted={**rule.excepted, key.pk: until}) if rule.clause_id == clause.pk else rule
        for rule in rules()
    ]
    ((examined_key, around),) = examined([key.pk], around_new(now))
    excepted = {**around.excepted, clause.pk: until}
    wrong = findings(examined_key, replace(around, excepted=excepted))
    titles = [title_of(one.code) for one in wrong if one.accepted_until]
    return accepted_until(key.facts, with_it, key.pk), titles


def follow(key: Key, clauses: Sequence[Rule]) -> None:
    """Work out and save until when a locked key is accepted, after an exception of it began or ended. Queries: 1."""
    derive(key, clauses)
    key.save(update_fields=[name for name in DERIVED if name != "revision"])


@transaction.atomic
def end_exception(*, pk: int, actor: Actor, reason: str, now: datetime) -> PolicyException:
    """End an exception before its day: from now on the key counts by the clause. One person may.

    Locks the key, then the exception. Events: exception.ended, and those of refresh_findings().
    Raises: ExceptionOverError.
    """
    require(reason)
    share_clauses()
    of_key = PolicyException.objects.values_list("key", flat=True).get(pk=pk)
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=of_key)
    found = PolicyException.objects.select_for_update(of=("self",)).select_related("clause").get(pk=pk)
    if found.state != ExceptionState.STANDING:
        raise ExceptionOverError(found.get_state_display())
    found.state, found.closed_at, found.closed_because = ExceptionState.ENDED, now, reason
    found.closed_by_id = _person(actor)
    found.save(update_fields=["state", "closed_at", "closed_because", "closed_by"])
    before = accepted_words(key)
    follow(key, rules())
    record(Action.EXCEPTION_ENDED, actor=actor, now=now, reason=reason, subjects=[_over(key, [found], before)])
    refresh_findings(keys=[key.pk], actor=actor, now=now)
    return found


@dataclass(frozen=True, kw_only=True)
class Expired:
    """What one run did."""

    exceptions: int
    keys: int


@transaction.atomic
def expire_exceptions(*, actor: Actor, now: datetime) -> Expired:
    """Close the exceptions whose day has come. Their keys count as overdue since that moment, with or without this run.

    Idempotent, and nothing that it closed stands again, whatever the clock does. Locks the keys; of what somebody else
    is changing at this moment the next run takes care. Events: exception.expired, for up to 1,000 keys each, and those
    of refresh_findings(). Queries: 2 where nothing has run out.
    """
    if not PolicyException.objects.filter(state=ExceptionState.STANDING, until__lte=now).exists():
        return Expired(exceptions=0, keys=0)
    share_clauses()
    over = _run_out(now)
    PolicyException.objects.filter(pk__in=[one.pk for found in over.values() for one in found]).update(
        state=ExceptionState.EXPIRED, closed_at=now
    )
    clauses = rules()
    subjects = [_followed(key, found, clauses) for key, found in over.items()]
    for batch in batches(subjects):
        record(Action.EXCEPTION_EXPIRED, actor=actor, now=now, reason="its last day has come", subjects=batch)
    refresh_findings(keys=[key.pk for key in over], actor=actor, now=now)
    return Expired(exceptions=sum(len(found) for found in over.values()), keys=len(over))


def _run_out(now: datetime) -> dict[Key, list[PolicyException]]:
    """Lock the keys of exceptions that have run out, and return these by key: at most AT_ONCE of them."""
    due = PolicyException.objects.filter(state=ExceptionState.STANDING, until__lte=now)
    pks = due.order_by("until", "pk").values("key")[:AT_ONCE]
    locked = Key.objects.filter(pk__in=pks).order_by("pk")
    keys = {key.pk: key for key in locked.select_for_update(of=("self",), skip_locked=True, no_key=True)}
    found: defaultdict[Key, list[PolicyException]] = defaultdict(list)
    for one in due.filter(key__in=keys).select_related("clause").order_by("pk").select_for_update(of=("self",)):
        found[keys[one.key_id]].append(one)
    return found


def _followed(key: Key, found: Sequence[PolicyException], clauses: Sequence[Rule]) -> Subject:
    before = accepted_words(key)
    follow(key, clauses)
    return _over(key, found, before)


def _over(key: Key, found: Sequence[PolicyException], before: dict[str, JSON]) -> Subject:
    """Describe for the log which exceptions of a key are over, and until when it is accepted now."""
    refs: dict[str, JSON] = {
        "exceptions": [one.ref for one in found],
        "excepted_from": [one.clause.ref for one in found],
    }
    return Subject(ref=key.ref, label=key.name, before=refs | before, after=accepted_words(key))


def accepted_words(key: Key) -> dict[str, JSON]:
    """Return as the log writes it until when a key is accepted."""
    return {"accepted_until": key.accepted_until.isoformat() if key.accepted_until else None}


def _person(actor: Actor) -> int | None:
    """Return the id of the person who acts, None for a command."""
    kind, _, number = actor.id.partition(":")
    return int(number) if kind == "user" else None
