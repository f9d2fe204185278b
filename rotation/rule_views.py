"""Who decides what: every guarded operation with its votes, who is told of what, and forms that ask for a change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.actor import actor_of
from audit.canonical import JSON
from audit.errors import AuditError
from audit.periods import keeping
from audit.periods.demands import STRICTEST
from audit.selectors import periods
from audit.services import Subject, record_refusal
from audit.step_up import requires_step_up
from inventory.errors import InventoryError
from rotation import approvals
from rotation.approvals.mails import INBOX
from rotation.errors import NotAskingError, RotationError, RuleRefusedError, UnknownOperationError
from rotation.kinds import ALERTS, AlertKind
from rotation.models import AlertRoute, Request
from rotation.operations import floor_of, in_force, operation_of, operations
from rotation.operations.base import Operation
from rotation.operations.rules import TOLD, VOTERS, count_voters
from rotation.requests import live_about, roles_now
from rotation.routing import route_of
from rotation.rule_forms import RetentionForm, RouteForm, RuleForm, WhyForm

AN_HOUR = timedelta(hours=1)
_RECORDED = (NotAskingError, RuleRefusedError)


@dataclass(frozen=True)
class Row:
    """One operation as the page shows it."""

    operation: Operation
    steps: Sequence[tuple[str, int, int]]  # role, votes, people who could vote now
    hours: int
    is_stricter: bool  # than the release
    waiting: Request | None  # a change of it that is asked for

    @property
    def lacks(self) -> list[str]:
        """The roles of which too few people are enrolled to fill their step."""
        return [role for role, votes, people in self.steps if people < votes]


@dataclass(frozen=True)
class Told:
    """One alert as the page shows it."""

    kind: AlertKind
    who: Sequence[str]
    addresses: Sequence[str]
    is_routed: bool
    waiting: Request | None


@dataclass(frozen=True)
class Page:
    """What a page that asks says of it."""

    title: str
    consequence: str
    operation: str
    subject: str  # "approval_rule:key.revoke"


def rules_page(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Show who decides what. Queries of its own: 10, and 1 for each operation and each alert."""
    roles = roles_now(request.user.pk or 0)
    if not roles:
        raise PermissionDenied
    waiting = _waiting()
    people = {role: count_voters(role) for role in VOTERS}
    context = {
        "title": "Who decides what",
        "rows": [_row(operation, people, waiting) for operation in operations()],
        "alerts": [_told(kind, waiting) for kind in AlertKind],
        "kept": keeping.kept_days(),
        "voted_by": keeping.voted_by().rpartition(":")[2],
        "strictest": STRICTEST,
        "retention_waiting": waiting.get(keeping.REF),
        "periods": periods().filter(dropped_at__isnull=True).order_by("number"),
        "people": people.items(),
        "may_ask": _may_ask(roles, "rule.change"),
        "inbox": INBOX,
    }
    return _render(admin, request, "rules", context)


def _waiting() -> dict[str, Request]:
    refs = [f"approval_rule:{operation.code}" for operation in operations()]
    refs += [*(f"alert_route:{kind}" for kind in AlertKind), keeping.REF]
    return {request.subject_ref: request for request in live_about(refs)}


def _row(operation: Operation, people: Mapping[str, int], waiting: Mapping[str, Request]) -> Row:
    now = in_force(operation)
    return Row(
        operation=operation,
        steps=[(step.role, step.count, people[step.role]) for step in now.steps],
        hours=now.lifetime // AN_HOUR,
        is_stricter=floor_of(now) != floor_of(operation) or now.lifetime != operation.lifetime,
        waiting=waiting.get(f"approval_rule:{operation.code}"),
    )


def _told(kind: AlertKind, waiting: Mapping[str, Request]) -> Told:
    alert, route = ALERTS[kind], route_of(kind)
    who = ["everybody"] if alert.tells_everybody else list(route.roles if route else alert.roles)
    return Told(kind, who, route.addresses if route else [], route is not None, waiting.get(f"alert_route:{kind}"))


# Asking


@requires_step_up
def ask_rule(admin: ModelAdmin, request: HttpRequest, code: str) -> HttpResponse:
    """Ask for other votes, or less time, for an operation."""
    _require(request, "rule.change")
    operation = _operation(code)
    now, floor = in_force(operation), floor_of(operation)
    votes = floor_of(now)
    form = RuleForm(
        request.POST or None,
        roles=VOTERS,
        floor=floor,
        votes=votes,
        hours=now.lifetime // AN_HOUR,
        most_hours=operation.lifetime // AN_HOUR,
    )
    page = Page(
        f"Who decides: {operation.title}",
        "The house can ask for more votes than the release does, and for less time, never for fewer votes or more "
        "time. Requests that wait already keep what they were asked with.",
        "rule.change",
        f"approval_rule:{operation.code}",
    )

    def parameters() -> dict[str, JSON]:
        return {"operation": operation.code, "votes": form.votes, "lifetime_hours": form.lifetime_hours}

    return _ask_page(admin, request, form, page, parameters)


@requires_step_up
def ask_route(admin: ModelAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    """Ask that others are told of an alert."""
    _require(request, "alerts.change")
    if kind not in AlertKind.values:
        raise Http404
    alert = AlertKind(kind)
    route = route_of(alert) or AlertRoute(kind=alert, roles=list(ALERTS[alert].roles), addresses=[])
    tells_everybody = ALERTS[alert].tells_everybody
    form = RouteForm(request.POST or None, told=TOLD, tells_everybody=tells_everybody, route=route)
    page = Page(
        f"Who is told when {alert.label}",
        "Everybody is told of this, and that stays so. You can have further addresses told."
        if tells_everybody
        else "At least one role is told. Where a role has nobody any more, those are told whom the release names.",
        "alerts.change",
        route.ref,
    )

    def parameters() -> dict[str, JSON]:
        return {"kind": alert.value, "roles": form.cleaned_data.get("roles", []), "addresses": form.entered}

    return _ask_page(admin, request, form, page, parameters)


@requires_step_up
def ask_retention(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Ask that the log is kept for another time."""
    _require(request, "retention.change")
    form = RetentionForm(request.POST or None, initial={"days": keeping.kept_days()})
    page = Page(
        "How long the log is kept",
        f"{STRICTEST} asks for {STRICTEST.days} days at least. A shorter time than now lets events be exported and "
        "dropped that must stay today.",
        "retention.change",
        keeping.REF,
    )
    return _ask_page(admin, request, form, page, lambda: {"days": form.cleaned_data["days"]})


@requires_step_up
def ask_drop(admin: ModelAdmin, request: HttpRequest, number: int) -> HttpResponse:
    """Ask that the events of a closed period leave the database."""
    _require(request, "period.drop")
    form = WhyForm(request.POST or None)
    page = Page(
        f"Drop period {number} of the log",
        "Its events leave the database for good, and only the exported file holds them then. Once people have voted "
        "for it, the owner of the database carries it out on the machine, with the file at hand.",
        "period.drop",
        f"audit_period:{number}",
    )
    return _ask_page(admin, request, form, page, lambda: {"period": number})


def _ask_page(admin: ModelAdmin, request: HttpRequest, form: Form, page: Page, parameters: Any) -> HttpResponse:  # noqa: ANN401
    """Show the form; when it is sent and can be asked, lead to the request that now waits for votes."""
    if request.method == "POST" and form.is_valid():
        try:
            asked = approvals.ask(
                operation=page.operation,
                parameters=parameters(),
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
                now=timezone.now(),
            )
        except (RotationError, InventoryError, AuditError) as error:
            _record_refusal(request, page, error)
            form.add_error(None, str(error))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, "Asked. Nothing is done before people have voted; they are told by mail.")
            return redirect(f"{INBOX}{asked.pk}/change/")
    waiting = live_about([page.subject]).first()
    context = {"title": page.title, "form": form, "page": page, "waiting": waiting, "inbox": INBOX}
    return _render(admin, request, "ask", context)


def _operation(code: str) -> Operation:
    try:
        return operation_of(code)
    except UnknownOperationError as error:
        raise Http404 from error


def _may_ask(roles: set[str], code: str) -> bool:
    return bool(roles & set(operation_of(code).askers))


def _require(request: HttpRequest, code: str) -> None:
    """Raises: PermissionDenied for who may not ask for this; the engine asks once more."""
    if not _may_ask(roles_now(request.user.pk or 0), code):
        raise PermissionDenied


def _record_refusal(request: HttpRequest, page: Page, error: Exception) -> None:
    if isinstance(error, _RECORDED):
        record_refusal(
            operation_of(page.operation).action,
            actor=actor_of(request),
            now=timezone.now(),
            subjects=[Subject(ref=page.subject)],
            facts={"refused": str(error)},
        )


def _render(admin: ModelAdmin, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    context = {**admin.admin_site.each_context(request), "opts": admin.opts, **context}
    return TemplateResponse(request, f"admin/rotation/approvalrule/{template}.html", context)
