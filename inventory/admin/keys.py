"""Keys: the list here, the pages of one key in `views`."""

from functools import partial
from typing import ClassVar

from django.contrib import admin
from django.db.models import CharField, DateField, DateTimeField, F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.keyset import KeysetAdmin, Order
from inventory import export_views, held_views, import_views, records_views, replay_views, views
from inventory.admin.common import KEY_PAGES, chip, page_of
from inventory.chips import Chip, due_chip, state_chip
from inventory.filters import (
    AlgorithmFilter,
    ClauseFilter,
    FindingFilter,
    LatenessFilter,
    MissingFilter,
    OwnerFilter,
    ServiceFilter,
    SizeFilter,
)
from inventory.models import Key
from inventory.selectors import SINCE, search


@admin.register(Key)
class KeyAdmin(KeysetAdmin):
    list_title = "Inventory"
    list_display = ("key", "state_now", "environment", "algorithm_name", "owner", "age", "due")
    list_display_links = ("key",)
    list_filter = (
        LatenessFilter,
        "environment",
        "kind",
        "state",
        MissingFilter,
        FindingFilter,
        OwnerFilter,
        ServiceFilter,
        ClauseFilter,
        AlgorithmFilter,
        SizeFilter,
    )
    list_select_related = ("owner", "service", "winning_clause")
    search_fields = ("search__text",)
    search_help_text = "Name, service, person, algorithm, place"
    sortable_by = ("key", "age", "due")
    keyset_orders: ClassVar[dict[str, Order]] = {
        "due": Order("due", F("rotate_by"), DateTimeField(), is_nullable=True),
        "key": Order("key", F("name"), CharField(), is_unique=True),
        "age": Order("age", SINCE, DateField(), is_nullable=True),
    }

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [
            path("token/", page(records_views.find_token), name="inventory_key_find_token"),
            path("<int:pk>/digest/", page(records_views.register_digest), name="inventory_key_digest"),
            path("export/", page(export_views.export), name="inventory_key_export"),
            path("import/", page(import_views.upload), name="inventory_key_import"),
            path("import/<int:pk>/", page(import_views.preview), name="inventory_key_import_preview"),
            path("import/<int:pk>/progress/", page(import_views.progress), name="inventory_key_import_progress"),
            path("replay/", page(replay_views.what_the_log_says), name="inventory_key_replay"),
            path("<int:pk>/as-of/", page(replay_views.as_of), name="inventory_key_as_of"),
            path("<int:pk>/edit/", page(views.edit), name="inventory_key_edit"),
            path("<int:pk>/activate/", page(views.activate), name="inventory_key_activate"),
            path("<int:pk>/report-rotation/", page(held_views.report), name="inventory_key_report_rotation"),
            *[path(route, page(view), name=name) for route, view, name in KEY_PAGES],
            *super().get_urls(),
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Key], search_term: str
    ) -> tuple[QuerySet[Key], bool]:
        return search(queryset, search_term), False

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: object = None) -> HttpResponse:
        return views.register(self, request)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return views.dossier(self, request, object_id)

    def has_change_permission(self, request: HttpRequest, obj: Key | None = None) -> bool:
        return False  # no form of the stock admin writes a key

    @admin.display(description="Key", ordering="name")
    def key(self, key: Key) -> SafeString:
        service = f" · {key.service}" if key.service else ""
        return format_html('{}<span class="sub">{}{}</span>', key.name, key.get_kind_display(), service)

    @admin.display(description="State", ordering="state")
    def state_now(self, key: Key) -> SafeString:
        return chip(state_chip(key.state))

    @admin.display(description="Algorithm", ordering="algorithm")
    def algorithm_name(self, key: Key) -> SafeString | None:
        return format_html('<span class="mono">{}</span>', key.algorithm) if key.algorithm else None

    @admin.display(description="Age", ordering=SINCE)
    def age(self, key: Key) -> SafeString | str:
        since = key.last_rotated_on or key.created_on
        return f"{(timezone.now().date() - since).days:,} d" if since else chip(Chip("soon", "unknown"))

    @admin.display(description="Due", ordering="rotate_by")
    def due(self, key: Key) -> SafeString:
        shown = chip(due_chip(key.rotate_by, key.state, timezone.now(), key.accepted_until))
        return format_html('{}<span class="sub">{}</span>', shown, key.winning_clause) if key.winning_clause else shown
