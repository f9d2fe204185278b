"""The inventory's pages in the admin site: lists here, the pages of one key in `views`."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.actor import actor_of
from audit.admin_base import AuditedAdmin, ReadOnlyAdmin
from inventory import services, views
from inventory.chips import Chip, due_chip, state_chip
from inventory.filters import LatenessFilter, MissingFilter
from inventory.forms import OwnerForm, ServiceForm
from inventory.models import Key, Owner, PolicyClause, Service


def chip(shown: Chip) -> SafeString:
    return format_html('<span class="chip {}">{}</span>', shown.look, shown.words)


@admin.register(Key)
class KeyAdmin(AuditedAdmin):
    list_display = ("key", "state_now", "environment", "algorithm", "owner", "age", "due")
    list_display_links = ("key",)
    list_filter = (LatenessFilter, "environment", "kind", "state", MissingFilter)
    list_select_related = ("owner", "service", "winning_clause")
    search_fields = ("search_text",)
    search_help_text = "Name, service, person, algorithm, place"
    sortable_by = ("key", "age", "due")

    def get_urls(self) -> list[URLPattern]:
        def page(view: Any) -> Any:  # noqa: ANN401 - views of differing arguments
            return self.admin_site.admin_view(lambda request, *args, **kwargs: view(self, request, *args, **kwargs))

        return [
            path("import/", page(views.upload), name="inventory_key_import"),
            path("import/<int:pk>/", page(views.preview), name="inventory_key_import_preview"),
            path("<int:pk>/edit/", page(views.edit), name="inventory_key_edit"),
            path("<int:pk>/suspend/", page(views.suspend), name="inventory_key_suspend"),
            path("<int:pk>/activate/", page(views.activate), name="inventory_key_activate"),
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return views.register(self, request)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return views.dossier(self, request, object_id)

    def has_change_permission(self, request: HttpRequest, obj: Key | None = None) -> bool:  # type: ignore[override]
        return False  # no form of the stock admin writes a key

    @admin.display(description="Key", ordering="name")
    def key(self, key: Key) -> SafeString:
        service = f" · {key.service}" if key.service else ""
        return format_html("{}<small>{}{}</small>", key.name, key.get_kind_display(), service)

    @admin.display(description="State", ordering="state")
    def state_now(self, key: Key) -> SafeString:
        return chip(state_chip(key.state))

    @admin.display(description="Age", ordering="created_on")
    def age(self, key: Key) -> str:
        since = key.last_rotated_on or key.created_on
        return f"{(timezone.now().date() - since).days:,} d" if since else "unknown"

    @admin.display(description="Due", ordering="rotate_by")
    def due(self, key: Key) -> SafeString:
        because = str(key.winning_clause or "no clause demands a rotation")
        return format_html("{}<small>{}</small>", chip(due_chip(key.rotate_by, key.state, timezone.now())), because)


@admin.register(Owner)
class OwnerAdmin(AuditedAdmin):
    form = OwnerForm
    list_display = ("handle", "kind", "mail", "is_active")
    list_filter = ("kind", "is_active")
    search_fields = ("handle", "mail")

    def has_change_permission(self, request: HttpRequest, obj: Owner | None = None) -> bool:  # type: ignore[override]
        return False

    def save_model(self, request: HttpRequest, obj: Owner, form: ModelForm, change: bool) -> None:  # type: ignore[override]  # noqa: FBT001
        saved = services.register_owner(
            handle=obj.handle, mail=obj.mail, kind=obj.kind, actor=actor_of(request), now=timezone.now()
        )
        obj.pk = saved.pk


@admin.register(Service)
class ServiceAdmin(AuditedAdmin):
    form = ServiceForm
    list_display = ("name", "description")
    search_fields = ("name",)

    def has_change_permission(self, request: HttpRequest, obj: Service | None = None) -> bool:  # type: ignore[override]
        return False

    def save_model(self, request: HttpRequest, obj: Service, form: ModelForm, change: bool) -> None:  # type: ignore[override]  # noqa: FBT001
        saved = services.register_service(
            name=obj.name, description=obj.description, actor=actor_of(request), now=timezone.now()
        )
        obj.pk = saved.pk


@admin.register(PolicyClause)
class PolicyClauseAdmin(ReadOnlyAdmin):
    list_display = ("label", "document", "demand", "requirement", "is_in_force")
    list_filter = ("source", "is_in_force")

    @admin.display(description="Clause", ordering="source")
    def label(self, clause: PolicyClause) -> str:
        return clause.label

    @admin.display(description="Demands", ordering="longest_age_days")
    def demand(self, clause: PolicyClause) -> str:
        age = [f"rotation every {clause.longest_age_days} days"] if clause.longest_age_days else []
        return "; ".join([*age, *(f"after {event}" for event in clause.on_events)])

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyClause]:
        return PolicyClause.objects.order_by("source", "section", "code")
