"""What is remembered of a locked sign-in, so that the person can be told."""

from django.db import models

from keyvault_admin.access.models.people import User


class Lockout(models.Model):
    """Sign-in under one name was closed for a while. Written for names of nobody too, so that both cost the same."""

    person = models.ForeignKey(User, models.PROTECT, null=True, related_name="lockouts")
    locked_at = models.DateTimeField(db_index=True)
    told_at = models.DateTimeField(null=True)  # when the mail to the person was accepted

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="access_lockout_told_somebody",
                condition=models.Q(told_at__isnull=True) | models.Q(person__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"lockout:{self.pk}"
