"""The filters above the list of keys."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from inventory.models import Key
from inventory.selectors import SOON
from inventory.states import CAN_BE_OVERDUE


class ConditionFilter(admin.SimpleListFilter):
    """A filter whose choices are conditions; a word that it does not know filters nothing."""

    def conditions(self) -> dict[str, Q]:
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: QuerySet[Key]) -> QuerySet[Key]:
        condition = self.conditions().get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


class LatenessFilter(ConditionFilter):
    title = "due"
    parameter_name = "due"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [("overdue", "overdue"), ("soon", "in 30 days"), ("none", "no date")]

    def conditions(self) -> dict[str, Q]:
        now = timezone.now()
        return {
            "overdue": Q(rotate_by__lte=now, state__in=CAN_BE_OVERDUE),
            "soon": Q(rotate_by__gt=now, rotate_by__lte=now + SOON, state__in=CAN_BE_OVERDUE),
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
            "age": Q(created_on__isnull=True, last_rotated_on__isnull=True),
        }
