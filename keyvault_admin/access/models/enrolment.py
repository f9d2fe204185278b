"""Enrolment links, and the end of bootstrapping."""

from datetime import datetime

from django.db import models

from keyvault_admin.access.models.people import User


class EnrolmentLink(models.Model):
    """Permission to set up a first second factor, once and for a limited time. Only a keyed digest of it is stored."""

    token_digest = models.BinaryField(unique=True)  # keyed digest of the 32-byte token: audit.sealing
    user = models.ForeignKey(User, models.PROTECT, related_name="enrolment_links")
    issued_by = models.CharField(max_length=100)  # the actor's id: "command:bootstrap_admin", "user:3"
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    voided_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="access_enrolmentlink_expires_later", condition=models.Q(expires_at__gt=models.F("created_at"))
            ),
            models.CheckConstraint(
                name="access_enrolmentlink_used_or_voided",
                condition=models.Q(used_at__isnull=True) | models.Q(voided_at__isnull=True),
            ),
            models.UniqueConstraint(
                name="access_enrolmentlink_one_open",
                fields=["user"],
                condition=models.Q(used_at__isnull=True, voided_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"link:{self.pk}"

    @property
    def ref(self) -> str:
        """Return the name the log uses for this link."""
        return f"link:{self.pk}"

    def is_open(self, now: datetime) -> bool:
        """Whether the link can still be used."""
        return self.used_at is None and self.voided_at is None and self.created_at <= now < self.expires_at


class BootstrapClosing(models.Model):
    """The moment since which bootstrap_admin refuses. At most one row; no role may change or delete it."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    closed_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(name="access_bootstrapclosing_one_row", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return f"closed {self.closed_at:%Y-%m-%d}"
