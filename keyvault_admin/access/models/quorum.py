"""What a restored quorum leaves behind until somebody has looked at it."""

from django.db import models
from django.db.models import F, Q

from keyvault_admin.access.models.people import User


class QuorumReview(models.Model):
    """A role that one person gave on the machine because too few were left to vote. No role may delete the row."""

    person = models.ForeignKey(User, models.PROTECT, related_name="+")  # who got the role
    role = models.CharField(max_length=20)
    reason = models.CharField(max_length=500)
    restored_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    comment = models.CharField(max_length=500, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ["restored_at", "pk"]
        constraints = [
            models.CheckConstraint(
                name="access_quorumreview_whole",
                condition=Q(acknowledged_at__isnull=True, acknowledged_by__isnull=True, comment="")
                | Q(acknowledged_at__isnull=False, acknowledged_by__isnull=False) & ~Q(comment=""),
            ),
            models.CheckConstraint(
                name="access_quorumreview_by_another",
                condition=Q(acknowledged_by__isnull=True) | ~Q(acknowledged_by=F("person")),
            ),
        ]

    def __str__(self) -> str:
        return f"quorum-review:{self.pk}"
