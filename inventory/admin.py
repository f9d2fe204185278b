"""The inventory's pages in the admin site: lists here, the pages of one key in `views`."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
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
from inventory import held_views, services, views
from inventory.chips import Chip, due_chip, state_chip
from inventory.filters import ClauseFilter, LatenessFilter, MissingFilter, OpenFilter, OwnerFilter, ServiceFilter
from inventory.forms import OwnerForm, ServiceForm
from inventory.models import HeldChange, Key, Owner, PolicyClause, Service
from inventory.states import CAN_BE_OVERDUE
from inventory.terms import Access, KeyKind
from inventory.wording import held_chip, held_sentence, requester


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
            path("<int:pk>/report-rotation/", page(held_views.report), name="inventory_key_report_rotation"),
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


@admin.register(HeldChange)
class HeldChangeAdmin(ReadOnlyAdmin):
    list_title = "Changes to confirm"
    list_display = ("key_name", "what", "who", "asked", "state_now")
    list_display_links = ("key_name",)
    list_filter = (OpenFilter, "kind")
    list_select_related = ("key", "requested_by", "evidence")
    search_fields = ("key__name",)
    search_help_text = "Key"
    sortable_by = ("asked",)

    def get_urls(self) -> list[URLPattern]:
        def page(view: Any) -> Any:  # noqa: ANN401 - views of differing arguments
            return self.admin_site.admin_view(lambda request, *args, **kwargs: view(self, request, *args, **kwargs))

        return [
            path("<int:pk>/confirm/", page(held_views.confirm), name="inventory_heldchange_confirm"),
            path("<int:pk>/reject/", page(held_views.reject), name="inventory_heldchange_reject"),
            path("<int:pk>/withdraw/", page(held_views.withdraw), name="inventory_heldchange_withdraw"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return held_views.decision(self, request, object_id)

    @admin.display(description="Key")
    def key_name(self, held: HeldChange) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', held.key.name, held.get_kind_display())

    @admin.display(description="What would happen")
    def what(self, held: HeldChange) -> str:
        return held_sentence(held)

    @admin.display(description="Asked by")
    def who(self, held: HeldChange) -> str:
        return requester(held)

    @admin.display(description="Asked", ordering="requested_at")
    def asked(self, held: HeldChange) -> datetime:
        return held.requested_at

    @admin.display(description="State")
    def state_now(self, held: HeldChange) -> SafeString:
        return chip(held_chip(held.state))


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
    list_display = ("label", "demand", "requirement", "won_count", "in_force")
    list_filter = ("source", "is_in_force")
    fields = readonly_fields = (
        "document",
        "section",
        "text",
        "requirement",
        "demand",
        "covers",
        "won_count",
        "in_force",
    )

    @admin.display(description="In force", boolean=True, ordering="is_in_force")
    def in_force(self, clause: PolicyClause) -> bool:
        return clause.is_in_force

    @admin.display(description="Clause", ordering="source")
    def label(self, clause: PolicyClause) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', clause.label, clause.document)

    @admin.display(description="Demands", ordering="longest_age_days")
    def demand(self, clause: PolicyClause) -> str:
        age = [f"rotation every {clause.longest_age_days} days"] if clause.longest_age_days else []
        return "; ".join([*age, *(f"after {event}" for event in clause.on_events)])

    @admin.display(description="Speaks of")
    def covers(self, clause: PolicyClause) -> str:
        kinds = [str(KeyKind(kind).label) for kind in clause.kinds]
        access = [f"access to {Access(opened).label}" for opened in clause.access]
        said = (kinds, clause.environments, clause.classifications, access)
        return "; ".join(", ".join(values) for values in said if values) or "every key"

    @admin.display(description="Decides for", ordering="keys_decided")
    def won_count(self, clause: PolicyClause) -> SafeString:
        return list_link(clause.keys_decided, clause=clause.pk)  # type: ignore[attr-defined]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyClause]:
        clauses = PolicyClause.objects.annotate(keys_decided=Count("keys_won"))
        return clauses.order_by("source", "section", "code")
