"""Sessions: opened, seen, verified again, ended. A session that is ended is deleted, not only ignored."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Q, QuerySet
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.services import MAX_SUBJECTS, Subject, record
from keyvault_admin.access.models import PersonSession, User
from keyvault_admin.access.models.sessions import Ending, stored_key
from keyvault_admin.access.services.pieces import subject_of

FACTORS_CHANGED = "their second factors were changed"
REASONS = {
    Ending.IDLE: "nobody clicked for too long",
    Ending.TOO_LONG: "it was open for too long",
    Ending.CLOCK: "the clock was set back",
    Ending.CODES: "too many wrong codes",
}


@sensitive_variables("session_key")
@transaction.atomic
def open_session(*, person: User, session_key: str, verified_by: str, actor: Actor, now: datetime) -> PersonSession:
    """Write down where the person has signed in, in place of whoever was signed in there; two queries.

    The event is session.opened, which the sign-in itself records.
    """
    PersonSession.objects.filter(session_id=stored_key(session_key)).delete()
    opened = PersonSession(
        session_id=stored_key(session_key), person=person, opened_at=now, last_seen_at=now, verified_by=verified_by
    )
    opened.seal_origin(actor.identity)
    opened.save(force_insert=True)
    return opened


def see_session(*, pk: int, now: datetime) -> bool:
    """Write down that somebody clicked; return whether this was the click to write down. One query.

    The guard keeps it to one in a minute, whatever arrives at once, and never turns the time back.
    """
    due = PersonSession.objects.filter(pk=pk, last_seen_at__lte=now - settings.SESSION_SEEN_EVERY)
    return due.update(last_seen_at=now) == 1


@sensitive_variables("keep")
@transaction.atomic
def end_sessions(*, person: User, reason: str, actor: Actor, now: datetime, keep: str = "") -> int:
    """End every session of the person but the one of the key KEEP; return how many there were.

    Event: session.ended with their number, where there was one. Whoever keeps one after a change of password or second
    factor gives it a new id besides (`request.session.cycle_key()`).
    """
    doomed = PersonSession.objects.filter(person=person)
    if keep:
        doomed = doomed.exclude(session_id=stored_key(keep))
    return _end(doomed, person, reason, actor, now)


@transaction.atomic
def end_session(*, person: User, pk: int, reason: str, actor: Actor, now: datetime) -> bool:
    """End one session of the person; return whether there was one. Event: session.ended."""
    return _end(PersonSession.objects.filter(person=person, pk=pk), person, reason, actor, now) == 1


@transaction.atomic
def end_finished(*, session: PersonSession, ending: Ending, actor: Actor, now: datetime) -> None:
    """End a session that is over, for the reason that was found. Event: session.ended."""
    _end(PersonSession.objects.filter(pk=session.pk), session.person, REASONS[ending], actor, now)


def _end(doomed: QuerySet[PersonSession], person: User, reason: str, actor: Actor, now: datetime) -> int:
    """Delete the sessions themselves; the database takes the rows of the person with them."""
    count, _ = Session.objects.filter(pk__in=doomed.order_by().values("session_id")).delete()
    if count:
        facts = {"count": count}
        record(Action.SESSION_ENDED, actor=actor, now=now, subjects=[subject_of(person)], reason=reason, facts=facts)
    return count


@dataclass(frozen=True)
class Cleared:
    """What a sweep has removed: sessions of people, and others (enrolment links, half a single sign-on)."""

    of_people: int
    others: int


@transaction.atomic
def clear_sessions(*, actor: Actor, now: datetime) -> Cleared:
    """Delete what is over, so that no clock that is set back finds it again; three queries and an event.

    Event: session.ended, with everybody whose session it was.
    """
    is_over = (
        Q(last_seen_at__lte=now - settings.SESSION_IDLE)
        | Q(opened_at__lte=now - settings.SESSION_ABSOLUTE)
        | Q(last_seen_at__gt=now + settings.CLOCK_SKEW)
    )
    over = list(PersonSession.objects.filter(is_over).order_by("person_id").values_list("session_id", "person_id"))
    count, _ = Session.objects.filter(pk__in=[stored for stored, _ in over]).delete()
    if count:
        people = list(dict.fromkeys(person for _, person in over))[:MAX_SUBJECTS]
        subjects = [Subject(ref=f"user:{person}") for person in people]
        facts = {"count": count}
        record(Action.SESSION_ENDED, actor=actor, now=now, subjects=subjects, reason="they were over", facts=facts)
    others, _ = Session.objects.filter(expire_date__lte=now).delete()
    return Cleared(of_people=count, others=others)
