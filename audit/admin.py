"""The log in the admin site: to read, never to change."""

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from audit import period_admin, selectors
from audit.actions import Action, Outcome
from audit.admin_base import ReadOnlyAdmin
from audit.models import Event
from audit.selectors import ReadEvent

COUNTED_EVENTS = 10_000


class ActionFilter(admin.SimpleListFilter):
    """What happened, from the vocabulary: asking the table for its distinct values would read all of it."""

    title = "what happened"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        return [(action.value, action.value.replace(".", " ").replace("_", " ")) for action in Action]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset.filter(action=self.value()) if self.value() else queryset


class OutcomeFilter(admin.SimpleListFilter):
    """How it ended."""

    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        return [(outcome.value, outcome.value) for outcome in Outcome]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset.filter(outcome=self.value()) if self.value() else queryset


class CappedPaginator(Paginator):
    """Counts no further than 10,000, so that the first page costs the same however long the log is."""

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Event] = self.object_list  # type: ignore[assignment]
        return rows[: COUNTED_EVENTS + 1].count()


class EventChangeList(ChangeList):
    """Reads the events of its page from their bytes; one more query for the identities."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        for row, told in zip(rows, selectors.read(rows), strict=True):
            vars(row)["told"] = told
        self.result_list = rows


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_title = "Audit log"
    list_display = ("number", "server_time", "what_happened", "who", "outcome")
    list_display_links = ("number", "what_happened")
    list_filter = (ActionFilter, OutcomeFilter)
    ordering = ("-number",)
    paginator = CappedPaginator
    search_fields = ("number",)  # shows the field; `get_search_results` does the work
    search_help_text = "Number, id, or key:12"
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ANN401
        return EventChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        return (queryset & selectors.about(search_term) if search_term.strip() else queryset), False

    def get_urls(self) -> list[URLPattern]:
        listed, shown = self.admin_site.admin_view(self.changelist_view), self.admin_site.admin_view(self.event_view)
        return [
            path("", listed, name="audit_event_changelist"),
            path("<int:number>/change/", shown, name="audit_event_change"),
        ]

    def event_view(self, request: HttpRequest, number: int) -> TemplateResponse:
        """Show one event as its bytes tell it, with its proof."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        event = selectors.event(number)
        if event is None:
            dropped = period_admin.dropped_event(request, self.admin_site, number)
            if dropped is None:
                raise Http404("There is no such event.")
            return dropped
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": event.sentence, "event": event}
        return TemplateResponse(request, "admin/audit/event/event.html", context)

    @admin.display(description="recorded")
    def server_time(self, row: Event) -> Any:  # noqa: ANN401 - the admin formats it
        told = _told(row).stamped
        return told.recorded_at if told else None

    @admin.display(description="what happened")
    def what_happened(self, row: Event) -> str:
        return _told(row).sentence

    @admin.display(description="who")
    def who(self, row: Event) -> str:
        told = _told(row)
        return f"{told.who} ({told.said.actor_role})" if told.said and told.said.actor_role else told.who

    @admin.display(description="outcome")
    def outcome(self, row: Event) -> str:
        told = _told(row)
        return told.said.outcome if told.said else ""


def _told(row: Event) -> ReadEvent:
    told: ReadEvent = vars(row)["told"]  # set by EventChangeList
    return told
