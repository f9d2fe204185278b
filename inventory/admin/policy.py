"""The rules over keys: clauses and algorithms."""

from collections.abc import Iterator
from functools import wraps
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.postgres.expressions import ArraySubquery
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from inventory import clause_views, views
from inventory.admin.common import chip, list_link
from inventory.algorithms import Judgement, judge_rows
from inventory.chips import Chip, algorithm_chip, status_chip
from inventory.clause_wording import demands_of, scope_of
from inventory.counts import reaches
from inventory.models import Algorithm, PolicyClause
from inventory.selectors import threat_level


class SourceFilter(admin.SimpleListFilter):
    """Which of the policies. The first row names them all; only an empty page asks for them."""

    title = parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [(source, source) for source in [self.value()] if source]

    def has_output(self) -> bool:
        return True

    def choices(self, changelist: Any) -> Iterator[Any]:  # noqa: ANN401 - Django's signature
        rows = changelist.result_list
        self.lookup_choices = [(source, source) for source in (rows[0].sources if rows else _sources())]
        yield from super().choices(changelist)

    def queryset(self, request: HttpRequest, queryset: QuerySet[PolicyClause]) -> QuerySet[PolicyClause]:
        return queryset.filter(source=self.value()) if self.value() else queryset


def _sources() -> QuerySet[Any, Any]:
    return PolicyClause.objects.order_by("source").values_list("source", flat=True).distinct()


class ClauseList(ChangeList):
    """All clauses on one page, read at once: policies have dozens, so nothing is counted first."""

    def get_results(self, request: HttpRequest) -> None:
        self.result_list = list(self.queryset)
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_admin_actions = self.multi_page = False
        self.can_show_all = True
        self.paginator = Paginator(self.result_list, max(self.result_count, 1))


@admin.register(PolicyClause)
class PolicyClauseAdmin(ReadOnlyAdmin):
    list_display = ("label", "demand", "requirement", "covered_count", "won_count", "in_force")
    list_filter = (SourceFilter, "is_in_force")
    ordering = ("source", "section", "code")
    show_facets = admin.ShowFacets.NEVER  # each would be a count of its own

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

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyClause]:
        found: QuerySet[PolicyClause] = super().get_queryset(request).annotate(sources=ArraySubquery(_sources()))
        return found

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return clause_views.page(self, request, object_id)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_change = request.user.has_perm("inventory.change_policyclause")
        return super().changelist_view(request, {"threat": threat_level(), "may_change": may_change})

    def get_changelist(self, request: HttpRequest, **named: Any) -> type[ChangeList]:  # noqa: ANN401 - Django's own
        return ClauseList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Count the keys of all clauses on the page with one query."""
        shown = super().get_changelist_instance(request)
        reached = reaches(shown.result_list)
        for clause in shown.result_list:
            clause.reach = reached[clause.pk]
        return shown

    @admin.display(description="State", ordering="is_in_force")
    def in_force(self, clause: PolicyClause) -> SafeString:
        return chip(Chip("ok", "in force") if clause.is_in_force else Chip("rest", "retired"))

    @admin.display(description="Clause", ordering="source")
    def label(self, clause: PolicyClause) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', clause.label, clause.document)

    @admin.display(description="Demands", ordering="longest_age_days")
    def demand(self, clause: PolicyClause) -> SafeString:
        demands = "; ".join(demands_of(clause))
        return format_html('{}<span class="sub">{}</span>', demands, scope_of(clause))

    @admin.display(description="Covers")
    def covered_count(self, clause: PolicyClause) -> str:
        return str(clause.reach.words[0])  # type: ignore[attr-defined]

    @admin.display(description="Decides for")
    def won_count(self, clause: PolicyClause) -> SafeString:
        return list_link(clause.reach.won, clause=clause.pk)  # type: ignore[attr-defined]


@admin.register(Algorithm)
class AlgorithmAdmin(ReadOnlyAdmin):
    list_title = "Algorithms"
    list_display = ("label", "uses", "existing_now", "new_now", "bits_number", "pq_safe", "source_said")
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
        parameters = algorithm.parameters.replace("|", ", ") or "—"
        return format_html('{}<span class="sub">{}</span>', algorithm.algorithm.replace("|", ", "), parameters)

    @admin.display(description="Use")
    def uses(self, algorithm: Algorithm) -> str:
        return algorithm.use.replace("|", ", ")

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
