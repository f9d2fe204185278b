"""The list of KEKs."""

from functools import partial
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import CharField, DateTimeField, F
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from audit.keyset import KeysetAdmin, KeysetChangeList, Order
from inventory.admin.common import chip, page_of
from inventory.chips import due_chip
from inventory.models import Kek
from rotation.custody_pages import kek_views
from rotation.custody_pages.acts import CREATE, askable
from rotation.custody_pages.pictures import SPREAD, spread_picture
from rotation.custody_pages.wording import percent, store_of
from rotation.custody_selectors.keks import KekRow, kek_rows


class KekList(KeysetChangeList):
    def _kind(self, count: int) -> str:
        return "KEK" if count == 1 else "KEKs"


@admin.register(Kek)
class KekAdmin(KeysetAdmin, ReadOnlyAdmin):
    list_title = "Key-encrypting keys"
    list_display = ("kek", "store", "primary_now", "spread", "job", "due")
    list_display_links = ("kek",)
    list_select_related = ("key__winning_clause", "primary__version")
    search_fields = ("key__name", "uri")
    search_help_text = "Name, or address in its store"
    sortable_by = ("kek", "due")
    keyset_orders: ClassVar[dict[str, Order]] = {
        "kek": Order("kek", F("key__name"), CharField(), is_unique=True),
        "due": Order("due", F("key__rotate_by"), DateTimeField(), is_nullable=True),
    }

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [
            path("<int:pk>/rewrap/", page(kek_views.open_rewrap), name="inventory_kek_rewrap"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> Any:  # noqa: ANN401 - of KEKs, without what the web login may not read
        return super().get_queryset(request).defer("primary__canary")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_create = CREATE in askable(getattr(request.user, "role_names", ()))
        return super().changelist_view(request, {"may_create": may_create, **(extra_context or {})})

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ANN401 - Django's own
        return KekList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Count the DEKs of the KEKs on the page, and of no others."""
        listed = super().get_changelist_instance(request)
        rows = kek_rows(list(listed.result_list))
        for kek in listed.result_list:
            kek.row = rows[kek.pk]
        return listed

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return kek_views.page(self, request, object_id)

    def has_view_permission(self, request: HttpRequest, obj: Kek | None = None) -> bool:
        return request.user.has_perm("inventory.view_key")

    @admin.display(description="KEK", ordering="key__name")
    def kek(self, kek: Kek) -> SafeString:
        return format_html('{}<span class="sub mono">{}</span>', kek.key.name, kek.algorithm)

    @admin.display(description="Store")
    def store(self, kek: Kek) -> SafeString:
        scheme, store, name = store_of(kek)
        return format_html('{} <span class="third">{}</span><span class="sub mono">{}</span>', scheme, store, name)

    @admin.display(description="Primary")
    def primary_now(self, kek: Kek) -> SafeString:
        if kek.primary is None:
            return format_html('<span class="chip soon">{}</span>', "none yet")
        return format_html("v{}", kek.primary.version.number)

    @admin.display(description="DEKs by version")
    def spread(self, kek: Any) -> SafeString:  # noqa: ANN401 - a Kek with what get_changelist_instance() adds
        row: KekRow = kek.row
        return render_to_string(
            "admin/rotation/custody/spread.html", {"spread": spread_picture(row.versions), "width": SPREAD}
        )

    @admin.display(description="Re-wrap")
    def job(self, kek: Any) -> SafeString:  # noqa: ANN401 - as above
        job = kek.row.job
        if job is None:
            return format_html('<span class="third">{}</span>', "—")
        url = reverse("admin:rotation_rewrapjob_change", args=[job.pk])
        return format_html('<a class="chip run" href="{}">{} {} %</a>', url, job.get_state_display(), percent(job))

    @admin.display(description="Next due", ordering="key__rotate_by")
    def due(self, kek: Kek) -> SafeString:
        key = kek.key
        shown = chip(due_chip(key.rotate_by, key.state, timezone.now(), key.accepted_until))
        return format_html('{}<span class="sub">{}</span>', shown, key.winning_clause) if key.winning_clause else shown
