"""The list of what is wrong with keys; each line leads to its key, where it stands with everything else."""

from typing import ClassVar
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import BigIntegerField, F, IntegerField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from audit.keyset import KeysetAdmin, Order
from inventory.admin.common import chip
from inventory.chips import finding_chip
from inventory.filters import CodeFilter, StandingFilter
from inventory.models import Finding


@admin.register(Finding)
class FindingAdmin(ReadOnlyAdmin, KeysetAdmin):
    list_title = "Findings"
    list_display = ("wrong", "key_found", "mend", "since")
    list_display_links = None
    list_filter = (StandingFilter, "severity", CodeFilter)
    list_select_related = ("key__owner",)
    ordering = ("severity", "pk")
    sortable_by = ("wrong", "since")
    keyset_orders: ClassVar[dict[str, Order]] = {
        "wrong": Order("wrong", F("severity"), IntegerField()),
        "since": Order("since", F("pk"), BigIntegerField(), is_unique=True),  # they are numbered as they open
    }

    def has_view_permission(self, request: HttpRequest, obj: Finding | None = None) -> bool:
        """What is wrong with a key is part of what is known of it."""
        return request.user.has_perm("inventory.view_key")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        finding = get_object_or_404(Finding, pk=object_id if object_id.isdecimal() else None)
        return redirect("admin:inventory_key_change", finding.key_id)

    @admin.display(description="What is wrong", ordering="severity")
    def wrong(self, finding: Finding) -> SafeString:
        return format_html(
            '{} {}<span class="sub">{}</span>',
            chip(finding_chip(finding, timezone.now())),
            finding.title,
            finding.sentence,
        )

    @admin.display(description="Key")
    def key_found(self, finding: Finding) -> SafeString:
        key = finding.key
        return format_html(
            '<a href="{}">{}</a><span class="sub">{} · {}</span>',
            reverse("admin:inventory_key_change", args=[key.pk]),
            key.name,
            key.owner or "no owner",
            key.environment or "no environment",
        )

    @admin.display(description="What to do")
    def mend(self, finding: Finding) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', finding.mend, finding.clause)

    @admin.display(description="Since", ordering="pk")
    def since(self, finding: Finding) -> SafeString:
        opened = date_format(finding.opened_at, "j M Y")
        if finding.closed_at is None:
            query = urlencode({"finding": finding.code})
            alike = f"{reverse('admin:inventory_key_changelist')}?{query}"
            return format_html(
                '<span class="nowrap">{}</span><span class="sub nowrap"><a href="{}">all such keys</a></span>',
                opened,
                alike,
            )
        return format_html(
            '<span class="nowrap">{}</span><span class="sub nowrap">closed {}</span>',
            opened,
            date_format(finding.closed_at, "j M Y"),
        )
