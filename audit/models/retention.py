"""How long the log is kept, once people have decided it."""

from django.db import models
from django.db.models import Q


class Retention(models.Model):
    """The figure that people have voted for, in place of the setting. At most one row; only the worker writes it."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    days = models.IntegerField()
    revision = models.PositiveIntegerField()  # 1, 2, 3 …
    set_at = models.DateTimeField()
    set_by = models.CharField(max_length=100)  # "request:118"

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(name="audit_retention_one_row", condition=Q(id=1)),
            models.CheckConstraint(name="audit_retention_kept_a_year", condition=Q(days__gte=365)),
        ]

    def __str__(self) -> str:
        return f"{self.days:,} days"
