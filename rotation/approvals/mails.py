"""Mail about requests. It says what the decision page says and the first digits of the digest; it opens nothing."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.conf import settings
from django.contrib.auth import get_user_model

from rotation.approvals.pieces import payload_of
from rotation.letters import write_letter
from rotation.models import Digest, Request
from rotation.operations import operation_of
from rotation.operations.showing import as_shown, visible
from rotation.requests import mails_of, voters_mails

LISTED = 50  # requests named in one mail; the rest are counted
INBOX = "/rotation/request/"
_SUBJECT = Digest._meta.get_field("subject").max_length or 200


def page_of(request: Request) -> str:
    """Return the address of the decision page."""
    return f"{settings.SITE_URL}{INBOX}{request.pk}/change/"


def tell_voters(requests: Sequence[Request], *, now: datetime) -> int:
    """Tell who can fill a missing step that it waits for them: one mail for each, however many requests there are."""
    if len(requests) == 1:
        return _tell_of(requests[0], "Your vote", voters_mails(requests[0]), now)
    theirs: dict[tuple[str, ...], list[Request]] = defaultdict(list)
    for alike in _alike(requests).values():
        theirs[tuple(voters_mails(alike[0]))] += alike
    return sum(_tell_of_many(alike, mails, now) for mails, alike in theirs.items())


def remind_voters(request: Request, *, now: datetime) -> int:
    """Tell who can fill a missing step that the time is running out."""
    return _tell_of(request, "Still your vote", voters_mails(request), now)


def tell_requester(requests: Sequence[Request], what: str, because: str = "", *, now: datetime) -> int:
    """Tell who asked what became of it, in a few words: "was approved". One mail for each person."""
    asked: dict[int, list[Request]] = defaultdict(list)
    for request in requests:
        if request.requested_by_id is not None:
            asked[request.requested_by_id].append(request)
    return sum(_tell_outcome(theirs, what, because, mails_of({person}), now) for person, theirs in asked.items())


def _alike(requests: Sequence[Request]) -> Mapping[tuple[object, ...], list[Request]]:
    """Return the requests by what decides who can vote, while none of them has votes."""
    found: dict[tuple[object, ...], list[Request]] = defaultdict(list)
    for request in requests:
        payload = payload_of(request)
        found[payload.steps, payload.excluded, payload.requested_by].append(request)
    return found


def _tell_of(request: Request, call: str, mails: Sequence[str], now: datetime) -> int:
    description = as_shown(operation_of(request.operation).describe(payload_of(request)))
    lines = [
        *description.sentences,
        *(_said(line.label, line.before, line.text) for line in description.lines),
        f"Asked by {_asker(request)}: {request.reason}",
        f"It expires on {request.expires_at:%-d %B %Y at %H:%M} UTC. The page must show the digest "
        f"{request.short_digest}; if it shows another one, do not vote and tell Security.",
    ]
    return write_letter(
        recipients=mails, subject=_cut(f"{call}: {description.title}"), lines=lines, url=page_of(request), now=now
    )


def _tell_of_many(requests: Sequence[Request], mails: Sequence[str], now: datetime) -> int:
    first = requests[0]
    more = len(requests) - LISTED
    lines = [
        f"{len(requests):,} requests wait for your vote, asked by {_asker(first)}: {first.reason}",
        *(f"{visible(request.title)} (digest {request.short_digest})" for request in requests[:LISTED]),
        *([f"… and {more:,} more."] if more > 0 else []),
        f"They expire on {first.expires_at:%-d %B %Y at %H:%M} UTC. What they are about is on their pages.",
    ]
    title = operation_of(first.operation).title
    return write_letter(
        recipients=mails,
        subject=_cut(f"Your vote on {len(requests):,} requests: {title}"),
        lines=lines,
        url=settings.SITE_URL + INBOX,
        now=now,
    )


def _tell_outcome(requests: Sequence[Request], what: str, because: str, mails: Sequence[str], now: datetime) -> int:
    first, is_one = requests[0], len(requests) == 1
    titles = [f"{visible(request.title)} (digest {request.short_digest})" for request in requests[:LISTED]]
    more = [f"… and {len(requests) - LISTED:,} more."] if len(requests) > LISTED else []
    return write_letter(
        recipients=mails,
        subject=_cut(
            f"{visible(first.title)} {what}" if is_one else f"{len(requests):,} of your requests: each {what}"
        ),
        lines=[f"What you asked for {what}. {because}".strip(), *titles, *more],
        url=page_of(first) if is_one else settings.SITE_URL + INBOX,
        now=now,
    )


def _asker(request: Request) -> str:
    if request.requested_by_id is None:
        return request.requested_by_ref
    found = get_user_model().objects.filter(pk=request.requested_by_id).values_list("full_name", "username").first()
    return (found[0] or found[1]) if found else request.requested_by_ref


def _said(label: str, before: str, text: str) -> str:
    return f"{label}: {before} → {text}" if before else f"{label}: {text}"


def _cut(subject: str) -> str:
    flat = " ".join(subject.split())  # a line break in a header would be another header
    return flat if len(flat) <= _SUBJECT else f"{flat[: _SUBJECT - 1]}…"
