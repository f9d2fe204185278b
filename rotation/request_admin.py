"""The inbox of approvals: what waits for my vote, what I asked, what is open, what was decided."""

from enum import StrEnum
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.db.models import DateTimeField, F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from audit.keyset import AFTER, BEFORE, KeysetAdmin, KeysetChangeList, Order
from inventory.admin.common import chip, page_of
from inventory.filters import ConditionFilter
from rotation import approval_views, asking_views, requests
from rotation.approval_wording import state_chip, title_of_operation, until_chip
from rotation.custody_pages import questions
from rotation.models import LIVE, Request, RequestState
from rotation.operations import operations
from rotation.operations.showing import visible

VIEW = "view"


class View(StrEnum):
    """What somebody looks at; the values stand in addresses."""

    WAITING = "waiting"
    ASKED = "asked"
    OPEN = "open"
    DECIDED = "decided"


NEWEST_FIRST = (View.ASKED, View.DECIDED)
_TABS = {
    View.WAITING: "For your vote",
    View.ASKED: "You asked",
    View.OPEN: "All open",
    View.DECIDED: "Decided",
}


class Tab(NamedTuple):
    view: str
    words: str
    url: str
    is_current: bool


class OperationFilter(ConditionFilter):
    """What is asked for."""

    title = parameter_name = "operation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [(operation.code, operation.title) for operation in operations()]

    def conditions(self) -> dict[str, Q]:
        return {operation.code: Q(operation=operation.code) for operation in operations()}


class StateFilter(ConditionFilter):
    """How it stands."""

    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [(state.value, str(state.label)) for state in RequestState]

    def conditions(self) -> dict[str, Q]:
        return {state.value: Q(state=state) for state in RequestState}


class InboxList(KeysetChangeList):
    """One view of the inbox; which one stands in the address, and its rows come from the admin."""

    view: View

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet:  # noqa: ANN401 - Django's own
        self.view = view_of(request)
        self.filter_params.pop(VIEW, None)
        if self.params.get(VIEW) != self.view:
            self.params.pop(VIEW, None)
        return super().get_queryset(request, exclude_parameters)

    def _chosen_order(self) -> Order:
        """Where no column was clicked: what is over, and what one asked, the newest first; else what expires first."""
        order = super()._chosen_order()
        is_newest_first = self.view in NEWEST_FIRST and ORDER_VAR not in self.params
        return self.model_admin.keyset_orders["asked"] if is_newest_first else order

    def get_ordering_field_columns(self) -> dict[int, Literal["desc", "asc"]]:
        """Say which column the rows are sorted by; the stock one looks at the model where none was clicked."""
        return {self.list_display.index(self.order.name): "desc" if self.order.descending else "asc"}

    @property
    def tabs(self) -> list[Tab]:
        drop = [AFTER, BEFORE, ORDER_VAR]
        return [
            Tab(view, words, self.get_query_string({VIEW: view.value}, remove=drop), view is self.view)
            for view, words in _TABS.items()
        ]


class RequestAdmin(KeysetAdmin, ReadOnlyAdmin):
    list_title = "Approvals"
    list_display = ("what", "asked", "standing", "until")
    list_display_links = ("what",)
    list_filter = (OperationFilter, StateFilter)
    list_select_related = ("requested_by",)
    search_fields = ("title",)
    search_help_text = "Key, person or rule that it is about"
    sortable_by = ("asked", "until")
    actions = ("decide_together",)
    keyset_orders: ClassVar[dict[str, Order]] = {
        "until": Order("until", F("expires_at"), DateTimeField()),
        "asked": Order("asked", F("requested_at"), DateTimeField(), descending=True),
    }

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [
            *asking_views.patterns(page),
            *questions.patterns(page),
            path("together/", page(approval_views.together), name="rotation_request_together"),
            path("<int:pk>/vote/", page(approval_views.vote), name="rotation_request_vote"),
            path("<int:pk>/withdraw/", page(approval_views.withdraw), name="rotation_request_withdraw"),
            path("<int:pk>/retry/", page(approval_views.retry), name="rotation_request_retry"),
            path("<int:pk>/progress/", page(approval_views.progress), name="rotation_request_progress"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Request]:
        """Return the requests of the view that was chosen, without their payloads."""
        return _rows(view_of(request), request).defer("payload")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Let rows be ticked where each of them waits for this person's vote, and nowhere else."""
        return super().get_actions(request) if view_of(request) is View.WAITING else {}

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ANN401 - Django's own
        return InboxList

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return approval_views.decision(self, request, object_id)

    def has_view_permission(self, request: HttpRequest, obj: Request | None = None) -> bool:
        return request.user.has_perm("rotation.view_request")

    @admin.action(description="Decide on those ticked, together")
    def decide_together(self, request: HttpRequest, chosen: QuerySet[Request]) -> HttpResponse:
        """Lead to the page that lists what was ticked; nothing is decided yet."""
        keys = chosen.order_by("expires_at", "pk").values_list("pk", flat=True)[: approval_views.MOST_TOGETHER]
        query = {"requests": ",".join(map(str, keys))}
        return redirect(reverse("admin:rotation_request_together", query=query))

    @admin.display(description="What")
    def what(self, request: Request) -> SafeString:
        return format_html(
            '{}<span class="sub">{} · “{}”</span>',
            visible(request.title),
            title_of_operation(request.operation),
            visible(_short(request.reason)),
        )

    @admin.display(description="Asked", ordering="requested_at")
    def asked(self, request: Request) -> SafeString:
        who = request.requested_by or request.requested_by_ref
        return format_html('{}<span class="sub">{}</span>', who, f"{request.requested_at:%-d %b %Y, %H:%M}")

    @admin.display(description="Waits for")
    def standing(self, request: Request) -> SafeString:
        if request.state != RequestState.OPEN:
            return chip(state_chip(request))
        roles = [(f"{role} vote",) for role in sorted(request.waits_for)]
        return format_html(
            '<span class="chips">{}</span>', format_html_join(" ", '<span class="chip soon">{}</span>', roles)
        )

    @admin.display(description="Until", ordering="expires_at")
    def until(self, request: Request) -> SafeString:
        if request.closed_at is not None:
            return format_html('<span class="second">ended {}</span>', f"{request.closed_at:%-d %b %Y, %H:%M}")
        return chip(until_chip(request, timezone.now()))


def view_of(request: HttpRequest) -> View:
    """Return what somebody looks at: without a choice what waits for them, if anything does, else what is open.

    Queries: 1 without a choice, once a request.
    """
    known: View | None = vars(request).get("inbox_view")
    if known is None:
        chosen = request.GET.get(VIEW, "")
        if chosen not in set(View):
            waits = bool(request.user.pk) and _rows(View.WAITING, request).exists()
            chosen = View.WAITING if waits else View.OPEN
        known = vars(request)["inbox_view"] = View(chosen)
    return known


def _rows(view: View, request: HttpRequest) -> QuerySet[Request]:
    person = request.user.pk or 0
    if view is View.WAITING:
        return approval_views.to_vote_on(request, timezone.now())
    if view is View.ASKED:
        return requests.asked_by(person)
    return requests.decided() if view is View.DECIDED else Request.objects.filter(state__in=LIVE)


def _short(text: str, most: int = 90) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
