"""What the house has decided about approvals and alerts, beyond what the release says. People vote on each row."""

from django.db import models
from django.db.models import Q


class ApprovalRule(models.Model):
    """More votes than an operation needs at least, or less time for them. Without a row the release's word holds.

    Only the worker writes it, while a request of `rule.change` about this operation is carried out (a trigger looks).
    A request keeps the steps it was asked with, whatever becomes of the rule.
    """

    operation = models.CharField(max_length=50, unique=True)  # its code
    votes = models.JSONField(default=dict)  # {"Security": 2}; a role that is not named keeps what the release asks
    lifetime_hours = models.PositiveSmallIntegerField(null=True)  # null: as the release has it
    revision = models.PositiveIntegerField()  # 1, 2, 3 …
    set_at = models.DateTimeField()
    set_by = models.CharField(max_length=100)  # "request:118"

    class Meta:
        default_permissions = ()
        ordering = ["operation"]
        constraints = [
            models.CheckConstraint(
                condition=Q(lifetime_hours__isnull=True) | Q(lifetime_hours__gte=1), name="approvalrule_an_hour_or_more"
            ),
        ]

    def __str__(self) -> str:
        return self.operation

    @property
    def ref(self) -> str:
        return f"approval_rule:{self.operation}"


class AlertRoute(models.Model):
    """Who is told of one kind of alert. Without a row, those whom the release names (rotation.kinds.ALERTS)."""

    kind = models.CharField(max_length=40, unique=True)
    roles = models.JSONField(default=list)  # names of roles
    addresses = models.JSONField(default=list)  # mail addresses besides, also of nobody who has an account here
    revision = models.PositiveIntegerField()
    set_at = models.DateTimeField()
    set_by = models.CharField(max_length=100)

    class Meta:
        default_permissions = ()
        ordering = ["kind"]
        constraints = [
            models.CheckConstraint(condition=~Q(roles=[], addresses=[]), name="alertroute_tells_somebody"),
        ]

    def __str__(self) -> str:
        return self.kind

    @property
    def ref(self) -> str:
        return f"alert_route:{self.kind}"
