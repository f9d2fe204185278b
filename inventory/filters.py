"""The filters above the list of keys."""

from collections.abc import Iterator, Sequence
from datetime import MAXYEAR, UTC, datetime
from typing import Any

from django.contrib import admin
from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from inventory.findings import CATALOGUE, Severity, title_of
from inventory.models import Finding, Key, Owner, PolicyClause, Service, lateness
from inventory.selectors import AGE_UNKNOWN, DESTROYED_STATES, SOON, due_in_week

_DIGITS = 19  # fewer always fit 64 bits
_DIGITS_OF_SIZE = 10  # and 32


class ConditionFilter(admin.SimpleListFilter):
    """A filter whose choices are conditions; a word that it does not know filters nothing."""

    def conditions(self) -> dict[str, Q]:
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: QuerySet[Key]) -> QuerySet[Key]:
        condition = self.conditions().get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


class LatenessFilter(ConditionFilter):
    """Also takes a day ("2026-11-23"): what falls due in the week that begins then, as the chart counts it."""

    title = "due"
    parameter_name = "due"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        week = self._week()
        chosen = [(f"{week:%Y-%m-%d}", f"in the week of {week:%-d %B}")] if week else []
        return [
            ("overdue", "overdue"), ("accepted", "accepted"), ("soon", "in 30 days"), ("none", "no date"), *chosen
        ]  # fmt: skip

    def _week(self) -> datetime | None:
        try:
            week = datetime.strptime(self.value() or "", "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            return None
        return week if week.year < MAXYEAR else None

    def conditions(self) -> dict[str, Q]:
        now, week = timezone.now(), self._week()
        weeks = {f"{week:%Y-%m-%d}": due_in_week(week, now)} if week else {}
        return weeks | {
            "overdue": lateness.overdue(now),
            "accepted": lateness.accepted(now),
            "soon": lateness.due_within(now, now + SOON),
            "none": Q(rotate_by__isnull=True),
        }


class MissingFilter(ConditionFilter):
    title = "missing"
    parameter_name = "missing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [("owner", "owner"), ("age", "age")]

    def conditions(self) -> dict[str, Q]:
        return {
            "owner": Q(owner__isnull=True),
            "age": AGE_UNKNOWN,
        }


class RecordFilter(admin.SimpleListFilter):
    """One record that a link elsewhere has led to ("?service=3"). While none is chosen there is nothing to show.

    Its name is read off the rows of the page, each of which has it; only an empty page asks the database for it.
    """

    model: type[Model]
    field_name: str

    def _chosen(self) -> int | None:
        text = self.value() or ""
        return int(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS else None

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [] if self._chosen() is None else [(str(self.value()), "")]

    def choices(self, changelist: Any) -> Iterator[Any]:  # noqa: ANN401 - Django's signature
        everything, chosen = super().choices(changelist)
        yield everything
        yield {**chosen, "display": self._name(changelist.result_list)}

    def _name(self, rows: Sequence[Key]) -> str:
        if rows:
            return str(getattr(rows[0], self.field_name))
        record = self.model._default_manager.filter(pk=self._chosen()).first()
        return "not in the inventory" if record is None else str(record)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Key]) -> QuerySet[Key]:
        chosen = self._chosen()
        return queryset if chosen is None else queryset.filter(**{self.field_name: chosen})


class OwnerFilter(RecordFilter):
    title = parameter_name = field_name = "owner"
    model = Owner


class ServiceFilter(RecordFilter):
    title = parameter_name = field_name = "service"
    model = Service


class ClauseFilter(RecordFilter):
    title = parameter_name = "clause"
    field_name = "winning_clause"
    model = PolicyClause


class AlgorithmFilter(admin.SimpleListFilter):
    """The keys that a count of algorithms in use has counted: of this name, none for "none", and not destroyed."""

    title = parameter_name = "algorithm"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        chosen = self.value()
        return [(chosen, "not recorded" if chosen == "none" else chosen)] if chosen and chosen.isprintable() else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Key]) -> QuerySet[Key]:
        chosen = self.value() or ""
        if not chosen.isprintable() or not chosen:
            return queryset
        named = queryset.filter(algorithm="" if chosen == "none" else chosen)
        return named.exclude(state__in=DESTROYED_STATES)


class SizeFilter(ConditionFilter):
    """Keys of one size in bits, or of none that is recorded; while none is chosen there is nothing to show."""

    title = "size in bits"
    parameter_name = "bits"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [(chosen, "not recorded" if chosen == "none" else chosen) for chosen in self.conditions()]

    def conditions(self) -> dict[str, Q]:
        chosen = self.value() or ""
        if chosen == "none":
            return {chosen: Q(size_bits__isnull=True)}
        is_size = chosen.isascii() and chosen.isdecimal() and len(chosen) < _DIGITS_OF_SIZE
        return {chosen: Q(size_bits=int(chosen))} if is_size else {}


class FindingFilter(ConditionFilter):
    """Keys on which a finding stands open: any, a critical one, or one of the code that a link has led to."""

    title = parameter_name = "finding"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        chosen = self.value() or ""
        of_code = [(chosen, title_of(chosen))] if chosen in CATALOGUE else []
        return [("any", "any"), ("critical", "a critical one"), *of_code]

    def conditions(self) -> dict[str, Q]:
        stands = Finding.objects.filter(lateness.wrong(timezone.now()), key=OuterRef("pk"))
        chosen = self.value() or ""
        of_code = {chosen: Q(Exists(stands.filter(code=chosen)))} if chosen in CATALOGUE else {}
        return of_code | {"any": Q(Exists(stands)), "critical": Q(Exists(stands.filter(severity=Severity.CRITICAL)))}


class StandingFilter(ConditionFilter):
    """Findings that stand open and that nobody has accepted, unless somebody asks for others."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [("accepted", "accepted"), ("closed", "closed"), ("all", "open and closed")]

    def choices(self, changelist: Any) -> Iterator[Any]:  # noqa: ANN401 - Django's signature
        first, *others = super().choices(changelist)
        yield {**first, "display": "open"}
        yield from others

    def conditions(self) -> dict[str, Q]:
        chosen = self.value() or ""
        now = timezone.now()
        known = {"accepted": lateness.accepted_wrong(now), "closed": Q(closed_at__isnull=False), "all": Q()}
        return {chosen: known.get(chosen, lateness.wrong(now))}


class CodeFilter(ConditionFilter):
    title = "what is wrong"
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return sorted(((code, said.title) for code, said in CATALOGUE.items()), key=lambda choice: choice[1].casefold())

    def conditions(self) -> dict[str, Q]:
        return {code: Q(code=code) for code in CATALOGUE}
