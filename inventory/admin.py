"""The inventory's pages in the admin site: lists here, the pages of one key in `views`."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Coalesce
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.actor import actor_of
from audit.admin_base import AuditedAdmin, ReadOnlyAdmin
from inventory import services, views
from inventory.algorithms import Judgement, judge_rows
from inventory.chips import Chip, algorithm_chip, due_chip, severity_chip, state_chip, status_chip
from inventory.filters import (
    AlgorithmFilter,
    ClauseFilter,
    CodeFilter,
    FindingFilter,
    LatenessFilter,
    MissingFilter,
    OpenFilter,
    OwnerFilter,
    ServiceFilter,
    SizeFilter,
)
from inventory.forms import OwnerForm, ServiceForm
from inventory.models import Algorithm, Finding, Key, Owner, PolicyClause, Service
from inventory.states import CAN_BE_OVERDUE
from inventory.terms import Access, KeyKind


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
        FindingFilter,
        OwnerFilter,
        ServiceFilter,
        ClauseFilter,
        AlgorithmFilter,
        SizeFilter,
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


@admin.register(Finding)
class FindingAdmin(ReadOnlyAdmin):
    """What is wrong with keys; each leads to the page of its key, where it stands with everything else."""

    list_title = "Findings"
    list_display = ("key_found", "wrong", "mend", "clause", "since")
    list_display_links = None
    list_filter = (CodeFilter, "severity", OpenFilter, "key__environment")
    list_select_related = ("key__owner",)
    sortable_by = ("since",)

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

    @admin.display(description="What is wrong")
    def wrong(self, finding: Finding) -> SafeString:
        return format_html(
            '{} {}<span class="sub">{}</span>', chip(severity_chip(finding.severity)), finding.title, finding.sentence
        )

    @admin.display(description="What to do")
    def mend(self, finding: Finding) -> str:
        return finding.mend

    @admin.display(description="Since", ordering="pk")
    def since(self, finding: Finding) -> SafeString:
        closed = (
            format_html('<span class="sub">closed {}</span>', date_format(finding.closed_at, "j M Y"))
            if finding.closed_at
            else ""
        )
        return format_html("{}{}", date_format(finding.opened_at, "j M Y"), closed)


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


@admin.register(Algorithm)
class AlgorithmAdmin(ReadOnlyAdmin):
    list_title = "Algorithms"
    list_display = ("label", "use", "existing_now", "new_now", "bits_number", "pq_safe", "source_said")
    list_display_links = None
    list_filter = ("use", "source_status")
    list_per_page = 100  # the table is read as a whole
    search_fields = ("algorithm", "parameters", "source")
    sortable_by = ()

    def get_urls(self) -> list[URLPattern]:
        def page(request: HttpRequest) -> HttpResponse:
            return views.what_falls_when(self, request)

        falls = path("falls/", self.admin_site.admin_view(page), name="inventory_algorithm_falls")
        return [falls, *super().get_urls()]

    def has_view_permission(self, request: HttpRequest, obj: Algorithm | None = None) -> bool:
        """The table belongs to the written policies."""
        return request.user.has_perm("inventory.view_policyclause")

    @admin.display(description="Algorithm")
    def label(self, algorithm: Algorithm) -> SafeString:
        parameters = algorithm.parameters or "—"
        return format_html('{}<span class="sub">{}</span>', algorithm.algorithm.replace("|", ", "), parameters)

    @admin.display(description="Existing keys")
    def existing_now(self, algorithm: Algorithm) -> SafeString:
        return chip(algorithm_chip(self._judged(algorithm)))

    @admin.display(description="New keys")
    def new_now(self, algorithm: Algorithm) -> SafeString:
        return chip(status_chip(self._judged(algorithm).status_new))

    @admin.display(description="Bits")
    def bits_number(self, algorithm: Algorithm) -> int | None:
        return algorithm.classical_bits

    @admin.display(description="Source")
    def source_said(self, algorithm: Algorithm) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', algorithm.source, algorithm.get_source_status_display())

    def _judged(self, algorithm: Algorithm) -> Judgement:
        return judge_rows([algorithm.row], timezone.now().date())
