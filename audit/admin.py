"""The log in the admin site: to read, never to change."""

from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from audit import certificate_admin, export_views, period_admin
from audit.actions import Outcome
from audit.admin_base import ReadOnlyAdmin
from audit.explorer import finding, views
from audit.explorer.filters import ActionFilter, EventChangeList, OutcomeFilter, WhenFilter
from audit.keyset import KeysetAdmin, Order
from audit.models import Certificate, Event, ExportCursor, Period
from audit.selectors import ReadEvent

LOOKS: dict[str, str] = {Outcome.REFUSED: "soon", Outcome.FAILED: "late"}

admin.register(ExportCursor)(export_views.ExportCursorAdmin)
admin.register(Period)(period_admin.PeriodAdmin)
admin.register(Certificate)(certificate_admin.CertificateAdmin)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin, KeysetAdmin):
    list_title = "Audit log"
    empty_words = "The first sign-in will be the first event."
    list_display = ("what_happened", "who", "recorded", "ended")
    list_display_links = ("what_happened",)
    list_filter = (ActionFilter, OutcomeFilter, WhenFilter)
    keyset_orders: ClassVar[dict[str, Order]] = {"log": finding.ORDER}
    search_fields = ("number",)  # shows the field; the list reads the address
    search_help_text = "Number, id, or key:12"
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[EventChangeList]:  # noqa: ANN401 - Django's own signature
        return EventChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        return queryset, False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list. That it was read is an event, with what was asked and once in a quarter of an hour."""
        response = super().changelist_view(request, extra_context)
        listed = (getattr(response, "context_data", None) or {}).get("cl")
        if listed is not None:
            views.note_reading(request, facts=listed.asked.facts(found=bool(listed.page.rows)))
        return response

    def get_urls(self) -> list[URLPattern]:
        door = self.admin_site.admin_view
        return [
            path("", door(self.changelist_view), name="audit_event_changelist"),
            path("choose/", door(require_POST(partial(views.choose, self))), name="audit_event_choose"),
            path("<int:number>/change/", door(self.event_view), name="audit_event_change"),
        ]

    def event_view(self, request: HttpRequest, number: int) -> HttpResponse:
        return views.event(self, request, number)

    @admin.display(description="what happened")
    def what_happened(self, row: Event) -> SafeString:
        told = _told(row)
        word = f" · {told.said.action}" if told.said else ""
        return format_html('{}<span class="sub">event {}{}</span>', told.sentence, f"{row.number:,}", word)

    @admin.display(description="who")
    def who(self, row: Event) -> SafeString | None:
        told = _told(row)
        if told.said is None:
            return None
        query = urlencode({"who": told.said.actor_id})
        alike = f"{reverse('admin:audit_event_changelist')}?{query}"
        return format_html('<a href="{}">{}</a><span class="sub">{}</span>', alike, told.who, told.said.actor_role)

    @admin.display(description="recorded (UTC)")
    def recorded(self, row: Event) -> SafeString | None:
        stamped = _told(row).stamped
        if stamped is None:
            return None
        day, clock = date_format(stamped.recorded_at, "j M Y"), date_format(stamped.recorded_at, "H:i:s")
        return format_html('<span class="nowrap">{}</span><span class="sub">{}</span>', day, clock)

    @admin.display(description="outcome")
    def ended(self, row: Event) -> SafeString | None:
        said = _told(row).said
        if said is None:
            return None
        if said.outcome == Outcome.DONE:
            return format_html('<span class="second">{}</span>', said.outcome)
        return format_html('<span class="chip {}">{}</span>', LOOKS.get(said.outcome, "rest"), said.outcome)


def _told(row: Event) -> ReadEvent:
    told: ReadEvent = vars(row)["told"]  # set by EventChangeList
    return told
