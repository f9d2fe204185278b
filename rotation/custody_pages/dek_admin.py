"""The health of tenants and integrations: the current version of each DEK, how old, under what, and what is wrong."""

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import CharField, DateField, DateTimeField, F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from audit.counting import count_each, shown
from audit.keyset import KeysetAdmin, KeysetChangeList, Order
from inventory.admin.common import chip, page_of
from inventory.chips import Chip, due_chip
from inventory.filters import ConditionFilter, RecordFilter
from inventory.models import DekVersion, Integration, Key, Tenant, lateness
from inventory.selectors import search
from inventory.terms import KeyKind
from rotation.custody_pages import dek_views
from rotation.custody_selectors.deks import DekFacts, behind, current_deks, dek_facts, stuck, unconfirmed

SINCE = Coalesce("key__last_rotated_on", "key__created_on")


def conditions() -> dict[str, Q]:
    """Return what can be wrong with a DEK, by the word that stands in addresses."""
    late = Key.objects.filter(lateness.overdue(timezone.now()), kind=KeyKind.DEK)
    return {
        "late": Q(key__in=late),
        "behind": behind(),
        "quarantined": stuck(),
        "unconfirmed": unconfirmed(),
        "unbound": Q(binding__isnull=True, cleared_at__isnull=True),
    }


WORDS = {
    "late": "overdue",
    "behind": "behind the primary",
    "quarantined": "in quarantine",
    "unconfirmed": "handed out, not confirmed",
    "unbound": "never opened here",
}


class HealthFilter(ConditionFilter):
    """What is wrong with a DEK."""

    title = parameter_name = "health"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return list(WORDS.items())

    def conditions(self) -> dict[str, Q]:
        return conditions()


class ScopeFilter(RecordFilter):
    """A tenant or an integration that a link has led to."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self._chosen()
        return queryset if chosen is None else queryset.filter(**{f"key__{self.field_name}": chosen})

    def _name(self, rows: Any) -> str:  # noqa: ANN401 - of DEK versions
        return super()._name([row.key for row in rows])


class TenantFilter(ScopeFilter):
    title = parameter_name = field_name = "tenant"
    model = Tenant


class IntegrationFilter(ScopeFilter):
    title = parameter_name = field_name = "integration"
    model = Integration


class DekList(KeysetChangeList):
    def _kind(self, count: int) -> str:
        return "DEK" if count == 1 else "DEKs"

    def url_for_result(self, result: Any) -> str:  # noqa: ANN401 - a DekVersion
        return reverse("admin:inventory_key_change", args=[result.key_id])

    @property
    def health(self) -> Iterator[tuple[str, str, str, str]]:
        """Count what is wrong with all of them: label, figure, look and address. Queries: 1."""
        every = {name: current_deks().filter(condition) for name, condition in conditions().items()}
        looks = {"late": "late", "quarantined": "late", "behind": "soon", "unconfirmed": "soon", "unbound": ""}
        for name, count in count_each(every).items():
            url = f"{reverse(dek_views.LIST)}?health={name}"
            yield WORDS[name].capitalize(), shown(count), looks[name] if count else "ok", url


@admin.register(DekVersion)
class DekAdmin(KeysetAdmin, ReadOnlyAdmin):
    list_title = "Tenants and integrations"
    list_display = ("dek", "tenant", "integration", "age", "due", "under", "health")
    list_display_links = ("dek",)
    list_filter = (HealthFilter, TenantFilter, IntegrationFilter)
    list_select_related = ("key__tenant", "key__integration", "key__winning_clause")
    search_fields = ("key__search__text",)
    search_help_text = "Tenant, integration, secret, owner"
    sortable_by = ("dek", "age", "due")
    keyset_orders: ClassVar[dict[str, Order]] = {
        "due": Order("due", F("key__rotate_by"), DateTimeField(), is_nullable=True),
        "dek": Order("dek", F("key__name"), CharField(), is_unique=True),
        "age": Order("age", SINCE, DateField(), is_nullable=True),
    }

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [
            path("", self.admin_site.admin_view(self.changelist_view), name="inventory_dekversion_changelist"),
            path("add/", page(dek_views.new_dek), name="inventory_dekversion_add"),
            path("<int:pk>/reencrypted/", page(dek_views.confirm_reencrypted), name="inventory_dekversion_reencrypted"),
            path("hand-out/<int:pk>/", page(dek_views.confirm_hand_out), name="inventory_dekversion_hand_out"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[DekVersion]:
        return current_deks()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DekVersion], search_term: str
    ) -> tuple[QuerySet[DekVersion], bool]:
        found = search(Key.objects.filter(kind=KeyKind.DEK), search_term) if search_term.strip() else None
        return (queryset if found is None else queryset.filter(key__in=found)), False

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ANN401 - Django's own
        return DekList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Look up what the DEKs on the page are wrapped by, and no others."""
        listed = super().get_changelist_instance(request)
        facts = dek_facts(list(listed.result_list))
        for row in listed.result_list:
            row.facts = facts[row.pk]
        return listed

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        said = {"may_create": request.user.has_perm("inventory.create_dek")}
        return super().changelist_view(request, {**said, **(extra_context or {})})

    def has_view_permission(self, request: HttpRequest, obj: DekVersion | None = None) -> bool:
        return request.user.has_perm("inventory.view_key")

    @admin.display(description="DEK", ordering="key__name")
    def dek(self, row: DekVersion) -> SafeString:
        return format_html('{}<span class="sub">version {}</span>', row.key.name, row.number)

    @admin.display(description="Tenant")
    def tenant(self, row: DekVersion) -> str | None:
        return str(row.key.tenant) if row.key.tenant else None

    @admin.display(description="Integration")
    def integration(self, row: DekVersion) -> SafeString | None:
        if row.key.integration:
            return format_html("{}", row.key.integration)
        return format_html('<span class="mono">{}</span>', row.key.secret_name) if row.key.secret_name else None

    @admin.display(description="Age", ordering=SINCE)
    def age(self, row: DekVersion) -> SafeString | str:
        since = row.key.last_rotated_on or row.key.created_on
        if since is None:
            return chip(Chip("soon", "unknown"))
        return f"{(timezone.now().date() - since).days:,} d"

    @admin.display(description="Due", ordering="key__rotate_by")
    def due(self, row: DekVersion) -> SafeString:
        key = row.key
        return chip(due_chip(key.rotate_by, key.state, timezone.now(), key.accepted_until))

    @admin.display(description="Wrapped under")
    def under(self, row: Any) -> SafeString:  # noqa: ANN401 - a DekVersion with what get_changelist_instance() adds
        facts: DekFacts = row.facts
        if not facts.wrappings:
            return format_html('<span class="third">{}</span>', "nothing")
        found = ((one.kek.key.name, one.number) for one in facts.wrappings[:2])
        return format_html_join("", '{} <span class="third">v{}</span> ', found)

    @admin.display(description="Health")
    def health(self, row: Any) -> SafeString:  # noqa: ANN401 - as above
        return format_html(
            '<span class="chips">{}</span>',
            format_html_join(" ", "{}", ((chip(one),) for one in health_chips(row.facts))),
        )


def health_chips(facts: DekFacts) -> list[Chip]:
    """Say what is wrong with a version of a DEK, or that nothing is."""
    row, found = facts.row, []
    if row.cleared_at:
        return [Chip("rest", "cleared")]
    if facts.is_stuck:
        found.append(Chip("late", "in quarantine"))
    if facts.wrappings and all(one.is_behind for one in facts.wrappings):
        found.append(Chip("soon", "behind the primary"))
    if row.binding is None:
        found.append(Chip("soon", "never opened here"))
    return found or [Chip("ok", "in order")]
