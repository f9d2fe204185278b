"""The inventory's pages in the admin site: lists here, the pages of one key in `views`."""

from datetime import datetime
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Coalesce
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.actor import actor_of
from audit.admin_base import AuditedAdmin, ReadOnlyAdmin
from inventory import clause_views, services, views
from inventory.chips import Chip, due_chip, state_chip
from inventory.clause_wording import demands_of, scope_of
from inventory.filters import ClauseFilter, LatenessFilter, MissingFilter, OwnerFilter, ServiceFilter
from inventory.forms import OwnerForm, ServiceForm
from inventory.models import Key, Owner, PolicyClause, Service
from inventory.selectors import reaches, threat_level
from inventory.states import CAN_BE_OVERDUE


def chip(shown: Chip) -> SafeString:
    return format_html('<span class="chip {}">{}</span>', shown.look, shown.words)


def list_link(count: int, **chosen: object) -> SafeString:
    """Return a number that links to the keys it counts, if there are any."""
    if not count:
        return format_html('<span class="third">{}</span>', 0)
    query = urlencode(chosen)
    return format_html('<a href="{}?{}">{}</a>', reverse("admin:inventory_key_changelist"), query, f"{count:,}")


def _late_keys(now: datetime) -> Count:
    return Count("keys", filter=Q(keys__rotate_by__lte=now, keys__state__in=CAN_BE_OVERDUE))


@admin.register(Key)
class KeyAdmin(AuditedAdmin):
    list_title = "Inventory"
    list_display = ("key", "state_now", "environment", "algorithm_name", "owner", "age", "due")
    list_display_links = ("key",)
    list_filter = (
        LatenessFilter,
        "environment",
        "kind",
        "state",
        MissingFilter,
        OwnerFilter,
        ServiceFilter,
        ClauseFilter,
    )
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

    @admin.display(description="Age", ordering=Coalesce("last_rotated_on", "created_on"))
    def age(self, key: Key) -> SafeString | str:
        since = key.last_rotated_on or key.created_on
        return f"{(timezone.now().date() - since).days:,} d" if since else chip(Chip("soon", "unknown"))

    @admin.display(description="Due", ordering="rotate_by")
    def due(self, key: Key) -> SafeString:
        shown = chip(due_chip(key.rotate_by, key.state, timezone.now()))
        return format_html('{}<span class="sub">{}</span>', shown, key.winning_clause) if key.winning_clause else shown


@admin.register(Owner)
class OwnerAdmin(AuditedAdmin):
    form = OwnerForm
    list_display = ("handle", "kind", "mail", "key_count", "late_count", "active")
    list_filter = ("kind", "is_active")
    search_fields = ("handle", "mail")

    def has_change_permission(self, request: HttpRequest, obj: Owner | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Owner]:
        found: QuerySet[Owner] = super().get_queryset(request)
        return found.annotate(keys_held=Count("keys"), keys_late=_late_keys(timezone.now()))

    def get_readonly_fields(self, request: HttpRequest, obj: Owner | None = None) -> tuple[str, ...]:
        return ("key_count", "late_count") if obj else ()

    @admin.display(description="Active", boolean=True, ordering="is_active")
    def active(self, owner: Owner) -> bool:
        return owner.is_active

    @admin.display(description="Keys", ordering="keys_held")
    def key_count(self, owner: Owner) -> SafeString:
        return list_link(owner.keys_held, owner=owner.pk)  # type: ignore[attr-defined]

    @admin.display(description="Overdue", ordering="keys_late")
    def late_count(self, owner: Owner) -> SafeString:
        return list_link(owner.keys_late, owner=owner.pk, due="overdue")  # type: ignore[attr-defined]

    def save_model(self, request: HttpRequest, obj: Owner, form: ModelForm, change: bool) -> None:  # noqa: FBT001
        saved = services.register_owner(
            handle=obj.handle, mail=obj.mail, kind=obj.kind, actor=actor_of(request), now=timezone.now()
        )
        obj.pk = saved.pk


@admin.register(Service)
class ServiceAdmin(AuditedAdmin):
    form = ServiceForm
    list_display = ("name", "description", "key_count", "late_count")
    search_fields = ("name",)

    def has_change_permission(self, request: HttpRequest, obj: Service | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Service]:
        found: QuerySet[Service] = super().get_queryset(request)
        return found.annotate(keys_held=Count("keys"), keys_late=_late_keys(timezone.now()))

    def get_readonly_fields(self, request: HttpRequest, obj: Service | None = None) -> tuple[str, ...]:
        return ("key_count", "late_count") if obj else ()

    @admin.display(description="Keys", ordering="keys_held")
    def key_count(self, service: Service) -> SafeString:
        return list_link(service.keys_held, service=service.pk)  # type: ignore[attr-defined]

    @admin.display(description="Overdue", ordering="keys_late")
    def late_count(self, service: Service) -> SafeString:
        return list_link(service.keys_late, service=service.pk, due="overdue")  # type: ignore[attr-defined]

    def save_model(self, request: HttpRequest, obj: Service, form: ModelForm, change: bool) -> None:  # noqa: FBT001
        saved = services.register_service(
            name=obj.name, description=obj.description, actor=actor_of(request), now=timezone.now()
        )
        obj.pk = saved.pk


@admin.register(PolicyClause)
class PolicyClauseAdmin(ReadOnlyAdmin):
    list_display = ("label", "demand", "requirement", "covered_count", "won_count", "in_force")
    list_filter = ("source", "is_in_force")
    ordering = ("source", "section", "code")

    def get_urls(self) -> list[URLPattern]:
        def page(view: Any) -> Any:  # noqa: ANN401 - views of differing arguments
            @wraps(view)  # with what the door declares of itself
            def with_admin(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponse:  # noqa: ANN401 - as above
                return view(self, request, *arguments, **named)  # type: ignore[no-any-return]

            return self.admin_site.admin_view(with_admin)

        return [
            path("add/", page(clause_views.register), name="inventory_policyclause_add"),
            path("threat-level/", page(clause_views.threat), name="inventory_policyclause_threat"),
            path("conflicts/", page(clause_views.conflicts), name="inventory_policyclause_conflicts"),
            path("<int:pk>/edit/", page(clause_views.edit), name="inventory_policyclause_edit"),
            path("<int:pk>/retire/", page(clause_views.retire), name="inventory_policyclause_retire"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return clause_views.page(self, request, object_id)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_change = request.user.has_perm("inventory.change_policyclause")
        return super().changelist_view(request, {"threat": threat_level(), "may_change": may_change})

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Count the keys of all clauses on the page with one query."""
        shown = super().get_changelist_instance(request)
        reached = reaches(shown.result_list)
        for clause in shown.result_list:
            clause.reach = reached[clause.pk]
        return shown

    @admin.display(description="In force", boolean=True, ordering="is_in_force")
    def in_force(self, clause: PolicyClause) -> bool:
        return clause.is_in_force

    @admin.display(description="Clause", ordering="source")
    def label(self, clause: PolicyClause) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', clause.label, clause.document)

    @admin.display(description="Demands", ordering="longest_age_days")
    def demand(self, clause: PolicyClause) -> SafeString:
        demands = "; ".join(demands_of(clause))
        return format_html('{}<span class="sub">{}</span>', demands, scope_of(clause))

    @admin.display(description="Covers")
    def covered_count(self, clause: PolicyClause) -> str:
        return f"{clause.reach.covered:,}"  # type: ignore[attr-defined]

    @admin.display(description="Decides for")
    def won_count(self, clause: PolicyClause) -> SafeString:
        return list_link(clause.reach.won, clause=clause.pk)  # type: ignore[attr-defined]
