"""The list of exceptions: what stands, what ends soon, what is over."""

from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import DateTimeField, F, Q
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from audit.admin_base import ReadOnlyAdmin
from audit.keyset import KeysetAdmin, Order
from inventory import exception_views
from inventory.admin.common import chip, page_of
from inventory.exception_wording import ENDING_DAYS, exception_chip
from inventory.filters import ConditionFilter
from inventory.models import ExceptionState, PolicyException

_SHOWN_CONTROL = 160


class HoldsFilter(ConditionFilter):
    """What stands, unless somebody asks for others."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [("ending", f"ending within {ENDING_DAYS} days"), ("over", "over"), ("all", "all")]

    def choices(self, changelist: Any) -> Any:  # noqa: ANN401 - Django's signature
        first, *others = super().choices(changelist)
        yield {**first, "display": "standing"}
        yield from others

    def conditions(self) -> dict[str, Q]:
        now, chosen = timezone.now(), self.value() or ""
        standing = Q(state=ExceptionState.STANDING, until__gt=now)
        known = {
            "ending": standing & Q(until__lte=now + timedelta(days=ENDING_DAYS)),
            "over": ~Q(state=ExceptionState.STANDING) | Q(until__lte=now),
            "all": Q(),
        }
        return {chosen: known.get(chosen, standing)}


@admin.register(PolicyException)
class PolicyExceptionAdmin(ReadOnlyAdmin, KeysetAdmin):
    list_title = "Exceptions"
    list_display = ("key_name", "clause_label", "instead", "until_day", "state_now")
    list_display_links = ("key_name",)
    list_filter = (HoldsFilter,)
    list_select_related = ("key__owner", "clause")
    search_fields = ("key__name",)
    search_help_text = "Key"
    ordering = ("until", "pk")
    sortable_by = ("until_day",)
    keyset_orders: ClassVar[dict[str, Order]] = {"until_day": Order("until_day", F("until"), DateTimeField())}

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [
            path("<int:pk>/end/", page(exception_views.end), name="inventory_policyexception_end"),
            path("ask/<int:pk>/", page(exception_views.ask), name="inventory_policyexception_ask"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return exception_views.page(self, request, object_id)

    @admin.display(description="Key")
    def key_name(self, exception: PolicyException) -> SafeString:
        key = exception.key
        return format_html('{}<span class="sub">{}</span>', key.name, key.owner or "no owner")

    @admin.display(description="Excepted from")
    def clause_label(self, exception: PolicyException) -> SafeString:
        clause = exception.clause
        url = reverse("admin:inventory_policyclause_change", args=[clause.pk])
        return format_html('<a href="{}">{}</a><span class="sub">{}</span>', url, clause.label, clause.requirement)

    @admin.display(description="What is done instead")
    def instead(self, exception: PolicyException) -> str:
        return Truncator(exception.compensating_control).chars(_SHOWN_CONTROL)

    @admin.display(description="Until", ordering="until")
    def until_day(self, exception: PolicyException) -> SafeString:
        return format_html('<span class="nowrap">{}</span>', date_format(exception.until, "j M Y"))

    @admin.display(description="State")
    def state_now(self, exception: PolicyException) -> SafeString:
        return chip(exception_chip(exception, timezone.now()))
