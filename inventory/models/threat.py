"""The one dial of the organisation that shortens every longest age (R65)."""

from collections.abc import Mapping
from typing import Any

from django.db import models
from django.db.models import F, Q


class Threat(models.TextChoices):
    NORMAL = "normal", "normal"
    ELEVATED = "elevated", "elevated"
    HIGH = "high", "high"


class ThreatLevel(models.Model):
    """One row. At the level "normal" the clauses hold as they are written; above it a percentage of their ages does."""

    level = models.CharField(max_length=10, choices=Threat, default=Threat.NORMAL)
    elevated_percent = models.PositiveSmallIntegerField(default=75)
    high_percent = models.PositiveSmallIntegerField(default=50)
    changed_at = models.DateTimeField(null=True, editable=False)
    revision = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        default_permissions = ()  # who may change a clause may change it, who may see one may see it
        constraints = [
            models.CheckConstraint(condition=Q(pk=1), name="threat_level_is_one_row"),
            models.CheckConstraint(condition=Q(level__in=Threat.values), name="threat_level_is_known"),
            models.CheckConstraint(
                condition=Q(high_percent__gte=1)
                & Q(high_percent__lte=F("elevated_percent"))
                & Q(elevated_percent__lte=100),
                name="threat_percents_fall",
                violation_error_message="Percentages run from 100 down to 1, and high leaves no more than elevated.",
            ),
        ]

    def __str__(self) -> str:
        return f"threat level {self.level}"

    @property
    def ref(self) -> str:
        return "threat_level:1"

    @property
    def percent(self) -> int:
        """Return what is left of a longest age now."""
        left = {Threat.ELEVATED: self.elevated_percent, Threat.HIGH: self.high_percent}
        return left.get(Threat(self.level), 100)


_RISING = (Threat.NORMAL, Threat.ELEVATED, Threat.HIGH)


def lowers(threat: ThreatLevel, changes: Mapping[str, Any]) -> bool:
    """Say whether a change leaves more of a longest age than before, at this level or at another one.

    What does not can make no key less late, whatever follows. A trigger of the database says the same.
    """
    now = {name: changes.get(name, getattr(threat, name)) for name in ("level", "elevated_percent", "high_percent")}
    return bool(
        _rank(now["level"]) < _rank(threat.level)
        or now["elevated_percent"] > threat.elevated_percent
        or now["high_percent"] > threat.high_percent
    )


def _rank(level: str) -> int:
    """Return how high a level is; the model refuses a word that is none."""
    return _RISING.index(Threat(level)) if level in _RISING else len(_RISING)
