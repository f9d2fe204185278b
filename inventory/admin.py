"""The inventory's pages in the admin site: lists here, the pages of one key in `views`."""

from datetime import datetime
from functools import partial, wraps
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import CharField, Count, DateField, DateTimeField, F, Model, Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.actor import actor_of
from audit.admin_base import AuditedAdmin, ReadOnlyAdmin
from audit.keyset import KeysetAdmin, Order
from inventory import clause_views, export_views, held_views, import_views, records_views, services, views
from inventory.algorithms import Judgement, judge_rows
from inventory.chips import Chip, algorithm_chip, due_chip, state_chip, status_chip
from inventory.clause_wording import demands_of, scope_of
from inventory.filters import (
    AlgorithmFilter,
    ClauseFilter,
    LatenessFilter,
    MissingFilter,
    OpenFilter,
    OwnerFilter,
    ServiceFilter,
    SizeFilter,
)
from inventory.forms import EditOwnerForm, EditServiceForm, EditVendorForm, OwnerForm, ServiceForm, VendorForm
from inventory.models import Algorithm, HeldChange, Key, Owner, PolicyClause, Service, Vendor
from inventory.selectors import SINCE, reaches, search, threat_level
from inventory.states import CAN_BE_OVERDUE
from inventory.wording import held_chip, held_sentence, requester


def chip(shown: Chip) -> SafeString:
    return format_html('<span class="chip {}">{}</span>', shown.look, shown.words)


def list_link(count: int, **chosen: object) -> SafeString:
    """Return a number that links to the keys it counts, if there are any."""
    if not count:
        return format_html('<span class="third">{}</span>', 0)
    query = urlencode(chosen)
    return format_html('<a href="{}?{}">{}</a>', reverse("admin:inventory_key_changelist"), query, f"{count:,}")


def _page(model_admin: admin.ModelAdmin, view: Any) -> Any:  # noqa: ANN401 - views of differing arguments
    """Make a view a page of the admin site; what it declares of itself (`requires_step_up`) stays on it."""
    shown = wraps(view)(lambda request, *args, **kwargs: view(model_admin, request, *args, **kwargs))
    return model_admin.admin_site.admin_view(shown)


class EditedWithReason(AuditedAdmin):
    """A record whose change asks why: the form of the change is another one than that of the registration."""

    edit_form: type[ModelForm]

    def get_form(
        self,
        request: HttpRequest,
        obj: Model | None = None,
        change: bool = False,  # noqa: FBT001, FBT002
        **how: Any,  # noqa: ANN401
    ) -> type[ModelForm]:
        if change and self.has_change_permission(request, obj):
            how["form"] = self.edit_form
        return super().get_form(request, obj, change, **how)


def _changes(form: ModelForm) -> dict[str, Any]:
    """Return what somebody changed, without why."""
    return {name: form.cleaned_data[name] for name in form.changed_data if name != "reason"}


def _late_keys(now: datetime) -> Count:
    return Count("keys", filter=Q(keys__rotate_by__lte=now, keys__state__in=CAN_BE_OVERDUE))


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
    keyset_orders: ClassVar[dict[str, Order]] = {
        "due": Order("due", F("rotate_by"), DateTimeField(), is_nullable=True),
        "key": Order("key", F("name"), CharField(), is_unique=True),
        "age": Order("age", SINCE, DateField(), is_nullable=True),
    }

    def get_urls(self) -> list[URLPattern]:
        page = partial(_page, self)
        return [
            path("token/", page(records_views.find_token), name="inventory_key_find_token"),
            path("<int:pk>/digest/", page(records_views.register_digest), name="inventory_key_digest"),
            path("export/", page(export_views.export), name="inventory_key_export"),
            path("import/", page(import_views.upload), name="inventory_key_import"),
            path("import/<int:pk>/", page(import_views.preview), name="inventory_key_import_preview"),
            path("<int:pk>/edit/", page(views.edit), name="inventory_key_edit"),
            path("<int:pk>/suspend/", page(views.suspend), name="inventory_key_suspend"),
            path("<int:pk>/activate/", page(views.activate), name="inventory_key_activate"),
            path("<int:pk>/report-rotation/", page(held_views.report), name="inventory_key_report_rotation"),
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
class OwnerAdmin(EditedWithReason):
    form, edit_form = OwnerForm, EditOwnerForm
    list_display = ("handle", "kind", "mail", "key_count", "late_count", "active")
    list_filter = ("kind", "is_active")
    search_fields = ("handle", "mail")

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
        who, now = actor_of(request), timezone.now()
        if change:
            changes = _changes(form)
            if "user" in changes:
                changes["user_id"] = changes.pop("user") and form.cleaned_data["user"].pk
            services.edit_owner(pk=obj.pk, changes=changes, actor=who, reason=form.cleaned_data["reason"], now=now)
            return
        saved = services.register_owner(handle=obj.handle, mail=obj.mail, kind=obj.kind, actor=who, now=now)
        obj.pk = saved.pk


@admin.register(Service)
class ServiceAdmin(EditedWithReason):
    form, edit_form = ServiceForm, EditServiceForm
    list_display = ("service", "tier_number", "team", "data", "key_count", "late_count")
    list_display_links = ("service",)
    list_filter = ("tier",)
    list_select_related = ("team", "vendor")
    search_fields = ("name",)

    def get_urls(self) -> list[URLPattern]:
        uncovered = path("uncovered/", _page(self, records_views.uncovered), name="inventory_service_uncovered")
        return [uncovered, *super().get_urls()]

    @admin.display(description="Service", ordering="name")
    def service(self, service: Service) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', service.name, service.description)

    @admin.display(description="Tier", ordering="tier")
    def tier_number(self, service: Service) -> int | None:
        return service.tier

    @admin.display(description="Data")
    def data(self, service: Service) -> str:
        return ", ".join(service.data_classes)

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
        who, now = actor_of(request), timezone.now()
        if change:
            services.edit_service(
                pk=obj.pk, changes=_changes(form), actor=who, reason=form.cleaned_data["reason"], now=now
            )
            return
        saved = services.register_service(
            name=obj.name,
            description=obj.description,
            team=obj.team,
            tier=obj.tier,
            data_classes=obj.data_classes,
            vendor=obj.vendor,
            actor=who,
            now=now,
        )
        obj.pk = saved.pk


@admin.register(Vendor)
class VendorAdmin(EditedWithReason):
    form, edit_form = VendorForm, EditVendorForm
    list_display = ("name", "notes", "key_count", "service_count")
    search_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Vendor]:
        found: QuerySet[Vendor] = super().get_queryset(request)
        return found.annotate(keys_held=Count("keys", distinct=True), services_run=Count("services", distinct=True))

    @admin.display(description="Keys", ordering="keys_held")
    def key_count(self, vendor: Vendor) -> int:
        return int(vendor.keys_held)  # type: ignore[attr-defined]

    @admin.display(description="Services", ordering="services_run")
    def service_count(self, vendor: Vendor) -> int:
        return int(vendor.services_run)  # type: ignore[attr-defined]

    def save_model(self, request: HttpRequest, obj: Vendor, form: ModelForm, change: bool) -> None:  # noqa: FBT001
        who, now = actor_of(request), timezone.now()
        if change:
            services.edit_vendor(
                pk=obj.pk, changes=_changes(form), actor=who, reason=form.cleaned_data["reason"], now=now
            )
            return
        obj.pk = services.register_vendor(name=obj.name, notes=obj.notes, actor=who, now=now).pk


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
