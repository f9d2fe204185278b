"""The periods of the log in the admin site, and what is shown in place of an event that was dropped with one."""

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit import selectors
from audit.admin_base import ReadOnlyAdmin
from audit.models import Period

GONE = 410  # it was here, and is not any more


class PeriodAdmin(ReadOnlyAdmin):
    """Read by whoever may read the log."""

    list_title = "Log periods"
    list_display = ("number", "held", "newest_event", "state", "closed", "dropped", "file")
    list_display_links = None
    sortable_by = ()
    empty_words = (
        "When the oldest events need not be kept any longer, manage.py close_audit_period exports them; "
        "docs/retention.md says how."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Period]:
        return selectors.periods()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Period | None = None) -> bool:
        return request.user.has_perm("audit.view_event")

    def get_urls(self) -> list[URLPattern]:
        return [path("", self.admin_site.admin_view(self.changelist_view), name="audit_period_changelist")]

    @admin.display(description="events")
    def held(self, period: Period) -> str:
        return f"{period.first:,} to {period.last:,}"

    @admin.display(description="newest event")
    def newest_event(self, period: Period) -> str:
        return f"{period.newest_at:%-d %b %Y}"

    @admin.display(description="state")
    def state(self, period: Period) -> SafeString:
        looks, words = ("rest", "dropped") if period.is_dropped else ("ok", "closed, still here")
        return format_html('<span class="chip {}">{}</span>', looks, words)

    @admin.display(description="closed")
    def closed(self, period: Period) -> SafeString:
        return format_html("{}<br>{}", f"{period.closed_at:%-d %b %Y %H:%M}", _mono(period.closed_by))

    @admin.display(description="dropped")
    def dropped(self, period: Period) -> SafeString | None:
        if period.dropped_at is None:
            return None
        return format_html("{}<br>{}", f"{period.dropped_at:%-d %b %Y %H:%M}", _mono(period.dropped_by))

    @admin.display(description="export, and its SHA-256")
    def file(self, period: Period) -> SafeString:
        return format_html("{}<br>{}", period.export_name, _mono(bytes(period.export_digest).hex()))


def dropped_event(request: HttpRequest, site: AdminSite, number: int) -> TemplateResponse | None:
    """Say where an event is that was dropped with its period; None when it was not. The door has asked who asks."""
    period = selectors.period_of(number)
    if period is None or not period.is_dropped:
        return None
    context = {
        **site.each_context(request),
        "title": f"Event {number:,} was dropped with its period",
        "number": number,
        "period": period,
        "digest": bytes(period.export_digest).hex(),
    }
    return TemplateResponse(request, "admin/audit/period/dropped_event.html", context, status=GONE)


def _mono(text: str) -> SafeString:
    return format_html('<span class="mono second">{}</span>', text)
