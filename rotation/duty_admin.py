"""Duties: the list of what one person did alone, and the pages by which people of every role act at once."""

from functools import partial
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import DateTimeField, F, Q
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from audit.admin_base import ReadOnlyAdmin
from audit.keyset import KeysetAdmin, Order
from inventory.admin.common import KEY_PAGES, chip, page_of
from inventory.filters import ConditionFilter
from rotation import at_once_views, duty_views
from rotation.duty_wording import doer, due_chip, places
from rotation.models import Duty, DutyState

KEY_PAGES += [
    ("<int:pk>/suspend/", at_once_views.suspend, "inventory_key_suspend"),
    ("<int:pk>/report-compromise/", at_once_views.report, "inventory_key_report_compromise"),
    ("<int:pk>/break-glass/revoke/", at_once_views.revoke_alone, "inventory_key_revoke_alone"),
    ("<int:pk>/break-glass/rotation/", at_once_views.rotate_alone, "inventory_key_rotate_alone"),
    ("<int:pk>/break-glass/kek/", at_once_views.rotate_kek_alone, "inventory_key_rotate_kek_alone"),
]


class StandingFilter(ConditionFilter):
    """How a duty stands."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [("open", "open"), ("overdue", "overdue"), ("closed", "closed")]

    def conditions(self) -> dict[str, Q]:
        return {
            "open": Q(state=DutyState.OPEN),
            "overdue": Q(state=DutyState.OPEN, due_at__lte=timezone.now()),
            "closed": Q(state=DutyState.CLOSED),
        }


class DutyAdmin(KeysetAdmin, ReadOnlyAdmin):
    list_title = "Done alone"
    list_display = ("what", "who", "done", "due", "signed_by")
    list_display_links = ("what",)
    list_filter = (StandingFilter, "kind")
    list_select_related = ("key", "done_by")
    sortable_by = ("done", "due")
    keyset_orders: ClassVar[dict[str, Order]] = {
        "done": Order("done", F("done_at"), DateTimeField(), descending=True),
        "due": Order("due", F("due_at"), DateTimeField()),
    }

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [path("<int:pk>/sign/", page(duty_views.sign), name="rotation_duty_sign"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> Any:  # noqa: ANN401 - of duties, with their signatures
        return super().get_queryset(request).prefetch_related("signatures__person")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return duty_views.page(self, request, object_id)

    def has_view_permission(self, request: HttpRequest, obj: Duty | None = None) -> bool:
        return request.user.has_perm("rotation.view_duty")

    @admin.display(description="What")
    def what(self, duty: Duty) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', duty.title, Truncator(duty.reason).chars(90))

    @admin.display(description="By")
    def who(self, duty: Duty) -> str:
        return doer(duty)

    @admin.display(description="Done", ordering="done_at")
    def done(self, duty: Duty) -> str:
        return f"{duty.done_at:%-d %b %Y, %H:%M}"

    @admin.display(description="To be signed", ordering="due_at")
    def due(self, duty: Duty) -> SafeString:
        shown = chip(due_chip(duty, timezone.now()))
        return format_html('{}<span class="sub">{}</span>', shown, f"{duty.closed_at or duty.due_at:%-d %b %Y, %H:%M}")

    @admin.display(description="Signed by")
    def signed_by(self, duty: Duty) -> str:
        said = places(duty, list(duty.signatures.all()))
        return " · ".join(
            f"{place.signature.role}: {place.signature.person}"
            if place.signature
            else f"{' or '.join(place.roles)}: missing"
            for place in said
        )
