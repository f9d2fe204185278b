"""Reads of requests: what waits for whom, whose votes are missing, and who could give them."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Count, Exists, OuterRef, QuerySet

from audit import canonical
from rotation.models import LIVE, Request, RequestState, Vote

_VOTERS = "SELECT role, person FROM unnest(%s::text[]) role, public.rotation_voters(role)"


# Lists


def waiting_for(person: int, roles: Sequence[str]) -> QuerySet[Request]:
    """Return the open requests that lack a vote of one of these roles which this person may give, next to expire first.

    The columns are those that triggers keep. No query by itself.
    """
    voted = Vote.objects.filter(request=OuterRef("pk"), person_id=person, voided_at__isnull=True)
    found = Request.objects.filter(state=RequestState.OPEN, waits_for__overlap=list(roles))
    found = found.exclude(barred__contains=[f"user:{person}"]).exclude(Exists(voted))
    return found.order_by("expires_at", "pk")


def asked_by(person: int) -> QuerySet[Request]:
    """Return what this person asked for, newest first. No query by itself."""
    return Request.objects.filter(requested_by_id=person)


def decided() -> QuerySet[Request]:
    """Return the requests that are over, newest first. No query by itself."""
    return Request.objects.exclude(state__in=LIVE)


def about(ref: str) -> QuerySet[Request]:
    """Return the requests about a record ("key:12"), newest first. No query by itself."""
    return Request.objects.filter(targets__ref=ref)


def live_about(refs: Sequence[str]) -> QuerySet[Request]:
    """Return the requests about some records that are not over, oldest first. No query by itself."""
    return Request.objects.filter(targets__ref__in=list(refs), state__in=LIVE).order_by("pk").distinct()


# Votes


def standing_votes(request: Request) -> QuerySet[Vote]:
    """Return the votes that are not void, the first one first. No query by itself."""
    return Vote.objects.filter(request=request, voided_at__isnull=True).order_by("voted_at", "pk")


def missing_steps(request: Request) -> dict[str, int]:
    """Return how many votes of each role are still missing; nothing once all are there. Queries: 1."""
    approvals = standing_votes(request).filter(is_approval=True).order_by()
    given = dict(approvals.values_list("role").annotate(Count("pk")))
    wanted: dict[str, int] = {}
    for step in _said(request)["steps"]:
        wanted[step["role"]] = wanted.get(step["role"], 0) + step["count"]
    return {role: count - given.get(role, 0) for role, count in wanted.items() if count > given.get(role, 0)}


def voters(request: Request, roles: Sequence[str]) -> dict[str, set[int]]:
    """Return who could vote for each role now: enrolled, not barred, and without a vote on it yet. Queries: 2."""
    voted = set(standing_votes(request).values_list("person_id", flat=True))
    barred = _barred(request)
    found: dict[str, set[int]] = {role: set() for role in roles}
    with connection.cursor() as cursor:
        cursor.execute(_VOTERS, [list(roles)])
        for role, person in cursor.fetchall():
            if person not in voted and f"user:{person}" not in barred:
                found[role].add(person)
    return found


def fillable_step(request: Request, person: int) -> str | None:
    """Return the role for which this person would vote, None where they fill no missing step. Queries: 3.

    Of two that are open to them, the one after which other people can fill the rest; else the one with fewer others.
    """
    missing = missing_steps(request)
    could = voters(request, list(missing))
    others = {role: people - {person} for role, people in could.items()}

    def worth(role: str) -> tuple[int, int, str]:
        rest = {**missing, role: missing[role] - 1}
        return -len(_unmatched(rest, others)), -len(others[role]), role

    return max((role for role, people in could.items() if person in people), key=worth, default=None)


def unfillable(request: Request) -> tuple[str, ...]:
    """Return the roles of missing steps that nobody could fill as things are, each once. Queries: 3."""
    missing = missing_steps(request)
    return tuple(dict.fromkeys(_unmatched(missing, voters(request, list(missing)))))


def voters_mails(request: Request) -> list[str]:
    """Return the addresses of everybody who can fill a missing step. Queries: 4."""
    missing = missing_steps(request)
    people = set().union(*voters(request, list(missing)).values())
    return mails_of(people)


def mails_of(people: set[int]) -> list[str]:
    """Return the addresses of those of them who are active. Queries: 1."""
    found = get_user_model().objects.filter(pk__in=people, is_active=True).exclude(email="")
    return sorted(found.values_list("email", flat=True))


def roles_now(person: int) -> set[str]:
    """Return the roles that somebody active has, as they are now. Queries: 1."""
    found = get_user_model().objects.filter(pk=person, is_active=True, groups__isnull=False)
    return set(found.values_list("groups__name", flat=True))


def _said(request: Request) -> Mapping[str, Any]:
    said: Mapping[str, Any] = canonical.read(bytes(request.payload))
    return said


def _barred(request: Request) -> set[str]:
    return {request.requested_by_ref, *_said(request)["excluded"]}


def _unmatched(missing: Mapping[str, int], could: Mapping[str, set[int]]) -> list[str]:
    """Return the roles of the places that stay empty when as many as possible are filled by different people.

    A maximum matching by augmenting paths (Kuhn): a request has a handful of places.
    """
    places = [role for role, count in missing.items() for _ in range(count)]
    held: dict[int, int] = {}  # person → place

    def seat(place: int, tried: set[int]) -> bool:
        for person in could[places[place]] - tried:
            tried.add(person)
            if person not in held or seat(held[person], tried):
                held[person] = place
                return True
        return False

    return [places[place] for place in range(len(places)) if not seat(place, set())]
