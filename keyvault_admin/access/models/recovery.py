"""Recovery codes: a sheet of paper that stands in for a lost device."""

from django.db import models
from django_otp.models import Device, TimestampMixin

from keyvault_admin.access.models.devices import SlowedDown
from keyvault_admin.access.models.people import User


class RecoverySheet(TimestampMixin, SlowedDown, Device):  # type: ignore[misc]
    """The recovery codes of one person; the row stays when its codes are made again, so that sessions stay verified."""

    user = models.OneToOneField(User, models.PROTECT, related_name="recovery_sheet")
    name = models.CharField(max_length=64, default="Recovery codes")

    class Meta:
        verbose_name = "recovery codes"
        default_permissions = ()

    def __str__(self) -> str:
        return f"recovery:{self.pk}"

    @property
    def ref(self) -> str:
        """Return the name the log uses for these codes."""
        return f"recovery:{self.pk}"


class RecoveryCode(models.Model):
    """One code, good once. Only a keyed digest of it is stored, bound to the person."""

    sheet = models.ForeignKey(RecoverySheet, models.PROTECT, related_name="codes")
    code_digest = models.BinaryField(unique=True)  # HMAC-SHA-256
    made_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    voided_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="access_recoverycode_used_or_voided",
                condition=models.Q(used_at__isnull=True) | models.Q(voided_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"recovery-code:{self.pk}"
