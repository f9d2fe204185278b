"""The first page: the posture in numbers, each of which links to the list that it counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils import timezone

from audit import selectors as audit
from audit.alerts import VERIFIED_WITHIN, not_anchored, not_shipped, not_signed
from audit.counting import COUNTED, about, count_each, shown
from inventory import selectors as inventory
from inventory.chips import Chip, due_chip
from inventory.models import Key, Owner, Service, lateness
from keyvault_admin import running
from keyvault_admin.access.roles import VOTING
from keyvault_admin.access.selectors import open_reviews
from rotation import requests
from rotation import selectors as rotation
from rotation.approval_wording import left
from rotation.models import Request
from rotation.operations import operations
from rotation.operations.showing import visible

WEEKS = 12
MOST_OVERDUE = 6
WAITING_REQUESTS = 3  # that the first page names
TABLES_DIFFER = "differs"  # from the tables of the inventory


@dataclass(frozen=True)
class Tile:
    """One number. `look` is a class of the stylesheet; `url` the list that is counted, or nothing."""

    label: str
    figure: str
    look: str
    note: str
    url: str = ""


@dataclass(frozen=True)
class Bar:
    """One week of the chart. Positions are those of its 640 x 190 drawing."""

    starts_on: datetime
    label: str
    count: int
    figure: str  # what fits above the bar: "812", "≈78k"
    words: str  # "812", "about 78,100"
    x: int
    y: int
    height: int
    is_peak: bool
    url: str


@dataclass(frozen=True)
class Step:
    """One thing that this person could do next."""

    title: str
    note: str
    url: str


def posture_context(request: HttpRequest) -> dict[str, Any]:
    """Return what the first page shows this person, by what they may see. Queries: 16 at most."""
    reviews = open_reviews()
    if not request.user.has_perm("inventory.view_key"):
        return {"reviews": reviews}
    now = timezone.now()
    counted = inventory.posture(now)
    overdue = inventory.most_overdue(now, MOST_OVERDUE)
    bars = _bars(inventory.due_by_week(now, WEEKS))
    log = _log_tile(request, now)
    return {
        "reviews": reviews,
        "now": now,
        "posture": counted,
        "overdue_count": shown(counted.overdue),
        "key_count": shown(counted.keys) if counted.keys <= COUNTED else about(counted.keys),
        "service_count": Service.objects.count(),
        "tiles": [
            *_vote_tile(request, now),
            *_key_tiles(counted),
            _findings_tile(counted),
            *_review_tile(request),
            *_duty_tile(request),
            *log,
        ],
        "bars": bars,
        "due_count": sum(bar.count for bar in bars),
        "steps": [
            *_alert_steps(now, log),
            *(Step(*said) for said in running.steps(request, _waiting(request))),
            *_duty_steps(request),
            *_vote_steps(request, now),
            *_review_steps(request),
            *_steps(request, counted, now),
            *_log_steps(log),
        ],
        "most_overdue": [(key, _due(key, now)) for key in overdue],
        "list_url": reverse("admin:inventory_key_changelist"),
        "running": running.shown(_waiting(request)),
    }


def nav_counts(request: HttpRequest) -> dict[str, str | int]:
    """Return what waits behind an entry of the navigation, by what this person may see. Queries: 1 at most."""
    return {name: shown(count) if count > COUNTED else count for name, count in _waiting(request).items()}


def _waiting(request: HttpRequest) -> dict[str, int]:
    """Count what waits, with one query a request: the navigation and the first page both ask."""
    counted: dict[str, int] | None = vars(request).get("counted_waiting")
    if counted is None:
        counted = vars(request)["counted_waiting"] = count_each(_what_waits(request))
    return counted


def _what_waits(request: HttpRequest) -> dict[str, QuerySet[Any]]:
    may, now = request.user.has_perm, timezone.now()
    waiting: dict[str, QuerySet[Any]] = running.what_waits(request)
    if may("rotation.view_request"):
        waiting["votes"] = _to_vote_on(request, now)
    if may("inventory.view_key"):
        waiting["late"] = Key.objects.filter(lateness.overdue(now))
        waiting["critical"] = inventory.critical_findings(now)
    if may("rotation.view_review"):
        waiting["reviews"] = rotation.overdue_reviews(now)
        waiting["open_reviews"] = rotation.open_reviews()
    if may("rotation.sign_review"):
        waiting["to_sign"] = rotation.reviews_to_sign(request.user.pk or 0, getattr(request.user, "role_names", ()))
    if may("rotation.view_duty"):
        waiting["duties"] = rotation.overdue_duties(now)
        waiting["open_duties"] = rotation.open_duties()
        if roles := set(getattr(request.user, "role_names", ())) & {*VOTING}:
            waiting["duties_to_sign"] = rotation.duties_to_sign(request.user.pk or 0, sorted(roles))
    if may("rotation.view_digest"):
        waiting["mail"] = rotation.undelivered(now)
    return waiting


def _due(key: Key, now: datetime) -> Chip:
    return due_chip(key.rotate_by, key.state, now, key.accepted_until)


def _key_tiles(counted: inventory.Posture) -> list[Tile]:
    keys = reverse("admin:inventory_key_changelist")
    worst = f"{shown(counted.restricted_overdue)} of restricted data" if counted.overdue else "nothing is late"
    worst += f" · {shown(counted.accepted)} accepted" if counted.accepted else ""
    return [
        Tile("Overdue", shown(counted.overdue), "late" if counted.overdue else "ok", worst, f"{keys}?due=overdue"),
        Tile(
            "Due in 30 days",
            shown(counted.due_soon),
            "soon" if counted.due_soon else "",
            _owners_words(counted),
            f"{keys}?due=soon",
        ),
        Tile(
            "Suspended",
            shown(counted.suspended),
            "hold" if counted.suspended else "",
            f"{shown(counted.compromised)} compromised",
            f"{keys}?state__exact=suspended",
        ),
        Tile(
            "Without an owner",
            shown(counted.without_owner),
            "soon" if counted.without_owner else "ok",
            f"{shown(counted.of_unknown_age)} of unknown age",
            f"{keys}?missing=owner",
        ),
    ]


def _findings_tile(counted: inventory.Posture) -> Tile:
    found, critical = counted.open_findings, counted.critical_findings
    look = "late" if critical else "soon" if found else "ok"
    note = f"{shown(critical)} critical" if found else "nothing is wrong with any record"
    note += f" · {shown(counted.accepted_findings)} accepted" if counted.accepted_findings else ""
    return Tile("Open findings", shown(found), look, note, reverse("admin:inventory_finding_changelist"))


def _owners_words(counted: inventory.Posture) -> str:
    """Name how many owners have keys that are due soon; "+" where not all of these keys were counted."""
    more = "+" if counted.due_soon > COUNTED else ""
    return f"{counted.owners_due_soon:,}{more} owner{pluralize(counted.owners_due_soon)}"


def _log_tile(request: HttpRequest, now: datetime) -> list[Tile]:
    """Say when the log was last verified and how that ended."""
    if not request.user.has_perm("audit.view_event"):
        return []
    url = reverse("admin:audit_event_changelist")
    events = f"{audit.head().number:,} events"
    looks = audit.looks()
    latest, standing, compared = looks.latest, looks.standing, looks.compared
    is_altered = bool(standing and standing.said and standing.said.outcome != "done")
    if compared and compared.said and compared.said.outcome != "done" and not is_altered:
        return [_differing_tile(compared.said.facts)]
    if latest is None or standing is None or latest.said is None or standing.said is None:
        return [Tile("Audit log", "not verified", "soon", f"{events}; run verify_audit", url)]
    hours = int((now - standing.said.at).total_seconds() // 3600)
    ago = "within the hour" if hours < 1 else f"{hours:,} h ago"
    if is_altered:
        return [Tile("Audit log", "altered", "late", f"found {ago} · {events}", url)]
    look = "ok" if now - latest.said.at < VERIFIED_WITHIN else "soon"
    return [Tile("Audit log", "verified", look, f"{ago} · {events}", url)]


def _to_vote_on(request: HttpRequest, now: datetime) -> QuerySet[Request]:
    roles = getattr(request.user, "role_names", ())
    return requests.waiting_for(request.user.pk or 0, roles).filter(expires_at__gt=now)


def _first_to_vote_on(request: HttpRequest, now: datetime) -> list[Request]:
    """Return the requests for this person's vote that expire first. Queries: 1 where there are any, once a request."""
    found: list[Request] | None = vars(request).get("first_to_vote_on")
    if found is None:
        waiting = _to_vote_on(request, now) if _waiting(request).get("votes") else Request.objects.none()
        found = list(waiting.select_related("requested_by").defer("payload")[:WAITING_REQUESTS])
        vars(request)["first_to_vote_on"] = found
    return found


def _vote_tile(request: HttpRequest, now: datetime) -> list[Tile]:
    """Say how many requests wait for this person's vote, where a role of theirs votes at all."""
    roles = getattr(request.user, "role_names", ())
    if not any(step.role in roles for operation in operations() for step in operation.steps):
        return []
    url, votes = reverse("admin:rotation_request_changelist"), _waiting(request).get("votes", 0)
    first = _first_to_vote_on(request, now)
    note = f"the first: {left(first[0].expires_at, now)}" if first else "nobody waits for you"
    return [Tile("Waiting for your vote", shown(votes), "run" if votes else "", note, f"{url}?view=waiting")]


def _vote_steps(request: HttpRequest, now: datetime) -> list[Step]:
    """Lead to what waits for this person's vote, the first to expire first."""
    votes = _waiting(request).get("votes", 0)
    steps = [_vote_step(asked, now) for asked in _first_to_vote_on(request, now)]
    if votes > len(steps):
        url = f"{reverse('admin:rotation_request_changelist')}?view=waiting"
        steps.append(Step(f"{shown(votes - len(steps))} more wait for your vote", "the first to expire first", url))
    return steps


def _vote_step(asked: Request, now: datetime) -> Step:
    who = asked.requested_by or asked.requested_by_ref
    missing = " and ".join(sorted(asked.waits_for))
    note = f"asked by {who} · {missing} vote missing · {left(asked.expires_at, now)}"
    return Step(visible(asked.title), note, reverse("admin:rotation_request_change", args=[asked.pk]))


def _review_tile(request: HttpRequest) -> list[Tile]:
    """Say how many reviews are late. Queries: none of its own, see `_waiting`."""
    if not request.user.has_perm("rotation.view_review"):
        return []
    url, waiting = reverse("admin:rotation_review_changelist"), _waiting(request)
    note = f"{shown(waiting['open_reviews'])} open" if waiting["open_reviews"] else "none is open"
    if waiting["reviews"]:
        return [Tile("Reviews overdue", shown(waiting["reviews"]), "late", note, f"{url}?state=overdue")]
    return [Tile("Reviews overdue", "0", "ok", note, f"{url}?state=open" if waiting["open_reviews"] else url)]


def _review_steps(request: HttpRequest) -> list[Step]:
    """Lead to the reviews that wait for a signature this person can give. Queries: none of its own."""
    waiting = _waiting(request).get("to_sign")
    if not waiting:
        return []
    title = "Judge and sign a review" if waiting == 1 else f"Judge and sign {shown(waiting)} reviews"
    note = "what changed the state of keys; two people of different roles answer for it"
    return [Step(title, note, f"{reverse('admin:rotation_review_changelist')}?state=open")]


def _duty_tile(request: HttpRequest) -> list[Tile]:
    """Say how much of what people did alone nobody has looked at in time, if there is any. Queries: none of its own."""
    waiting = _waiting(request)
    if not waiting.get("duties"):
        return []
    url = f"{reverse('admin:rotation_duty_changelist')}?state=overdue"
    return [Tile("Done alone, overdue", shown(waiting["duties"]), "late", f"{shown(waiting['open_duties'])} open", url)]


def _duty_steps(request: HttpRequest) -> list[Step]:
    """Lead to what somebody did alone, for whoever can sign that they have looked. Queries: none of its own."""
    waiting = _waiting(request)
    count, late = waiting.get("duties_to_sign", 0), waiting.get("duties", 0)
    if not count:
        return []
    acts = "what somebody did alone" if count == 1 else f"{shown(count)} things that people did alone"
    note = f"{shown(late)} overdue" if late else "suspended, reported or done in an emergency; signed within a day"
    return [Step(f"Look at {acts}", note, f"{reverse('admin:rotation_duty_changelist')}?state=open")]


def _differing_tile(counts: Mapping[str, Any]) -> Tile:
    """Say that the tables hold something else than the log says. That the log itself was altered would come first."""
    many = int(counts.get("differences", 0))
    note = f"{shown(many)} field{pluralize(many)} changed outside the application" if many else str(counts["problem"])
    return Tile("Audit log", TABLES_DIFFER, "late", note, reverse("admin:inventory_key_replay"))


def _bars(weeks: list[inventory.Week]) -> list[Bar]:
    """Lay the weeks out: 52 wide each, the tallest 130 high, on a base line at 160."""
    tallest = max((week.count for week in weeks), default=0) or 1
    keys = reverse("admin:inventory_key_changelist")
    bars = []
    for number, week in enumerate(weeks):
        height = round(130 * week.count / tallest)
        begins_month = number == 0 or week.starts_on.day <= 7  # noqa: PLR2004 - days of a week
        bars.append(
            Bar(
                starts_on=week.starts_on,
                label=f"{week.starts_on:%-d %b}" if begins_month else f"{week.starts_on:%-d}",
                count=week.count,
                figure=f"≈{week.count // 1_000:,}k" if week.is_estimate else f"{week.count:,}",
                words=about(week.count) if week.is_estimate else f"{week.count:,}",
                x=10 + 52 * number,
                y=160 - height,
                height=height,
                is_peak=week.count == tallest,
                url=f"{keys}?due={week.starts_on:%Y-%m-%d}",
            )
        )
    return bars


def _steps(request: HttpRequest, counted: inventory.Posture, now: datetime) -> list[Step]:
    """Say what this person could do next, the most pressing first. Queries: 3 at most."""
    keys = reverse("admin:inventory_key_changelist")
    may = request.user.has_perm
    steps = _own_steps(request, now, keys)
    if counted.compromised and may("inventory.change_key"):
        few = f"{shown(counted.compromised)} key{pluralize(counted.compromised)}"
        steps.append(
            Step(f"Replace what is compromised: {few}", "find out what they opened", f"{keys}?state__exact=compromised")
        )
    if counted.overdue and may("inventory.import_keys"):
        few = f"{shown(counted.overdue)} key{pluralize(counted.overdue)}"
        note = "their owners have been told by mail; the oldest first"
        steps.append(Step(f"See to what is overdue: {few}", note, f"{keys}?due=overdue"))
    if counted.without_owner and may("inventory.change_key"):
        few = f"{shown(counted.without_owner)} key{pluralize(counted.without_owner)}"
        steps.append(Step(f"Name an owner for {few}", "until then Security is told instead", f"{keys}?missing=owner"))
    if counted.of_unknown_age and may("inventory.change_key"):
        few = f"{shown(counted.of_unknown_age)} key{pluralize(counted.of_unknown_age)}"
        steps.append(Step(f"Find out the age of {few}", "without it no clause can date them", f"{keys}?missing=age"))
    if may("inventory.import_keys"):
        note = "a CSV file from any spreadsheet; you see what it would do before it does it"
        steps.append(Step("Import an inventory", note, reverse("admin:inventory_key_import")))
    return steps


def _alert_steps(now: datetime, log: list[Tile]) -> list[Step]:
    """Say that the log was altered, that it differs, is not signed, or that what is signed stays here. Queries: 4."""
    if not log:
        return []
    found = [alert for alert in (not_signed(now), not_anchored(now), not_shipped(now)) if alert]
    steps = []
    if log[0].figure == TABLES_DIFFER:
        steps = [Step("Find out who wrote into the database", log[0].note, log[0].url)]
    elif log[0].look == "late":
        steps = [Step("Find out who altered the audit log", "verify_audit names the first bad event", log[0].url)]
    return [*steps, *(Step(alert.said, alert.mend, reverse("admin:audit_event_changelist")) for alert in found)]


def _log_steps(log: list[Tile]) -> list[Step]:
    """Ask for a verification while nobody knows how the log stands."""
    if not log or log[0].look != "soon":
        return []
    title = "Verify the audit log again" if log[0].figure == "verified" else "Verify the audit log"
    note = "every night by itself while beat and worker run; or on the server: manage.py verify_audit"
    return [Step(title, note, log[0].url)]


def _own_steps(request: HttpRequest, now: datetime, keys: str) -> list[Step]:
    """Lead an owner to their own keys, late ones first."""
    owner = Owner.objects.filter(user_id=request.user.pk).first() if request.user.pk else None
    if owner is None:
        return []
    held, late = inventory.held_by(owner, now)
    if late:
        note = f"of {shown(held)} that you answer for; the mail you got says how"
        return [Step(f"Rotate your overdue keys: {shown(late)}", note, f"{keys}?owner={owner.pk}&due=overdue")]
    if held:
        return [Step(f"Your keys: {shown(held)}", "none of them is late", f"{keys}?owner={owner.pk}")]
    return []
