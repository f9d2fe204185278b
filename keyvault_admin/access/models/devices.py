"""Second factors: what a person has, besides the password they know."""

import secrets
from datetime import datetime

from django.db import models, transaction
from django.utils import timezone
from django_otp.models import Device, ThrottlingMixin, TimestampMixin

from audit.sealing import seal, unseal
from keyvault_admin.access import totp
from keyvault_admin.access.models.people import User


class TotpDevice(TimestampMixin, ThrottlingMixin, Device):  # type: ignore[misc]
    """An authenticator app. Its seed is stored sealed, and each of its codes is accepted once.

    django-otp finds this class by itself and keeps its confirmed rows in the session.
    """

    user = models.ForeignKey(User, models.PROTECT, related_name="totp_devices")
    name = models.CharField(max_length=64, default="Authenticator app")
    sealed_seed = models.BinaryField()  # audit.sealing, context "totp:user:<pk>"
    last_step = models.BigIntegerField(default=-1)  # only later steps are accepted

    class Meta:
        verbose_name = "authenticator app"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                name="access_totpdevice_one_pending", fields=["user"], condition=models.Q(confirmed=False)
            ),
        ]

    def __str__(self) -> str:
        return f"totp:{self.pk}"

    @property
    def ref(self) -> str:
        """Return the name the log uses for this device."""
        return f"totp:{self.pk}"

    def draw_seed(self) -> None:
        """Give the device a new seed from the operating system; the caller saves."""
        self.sealed_seed = seal(secrets.token_bytes(totp.SEED_BYTES), context=self._context)

    def seed(self) -> bytes:
        """Open the seed; a method, so that nothing shows it by listing attributes."""
        return unseal(bytes(self.sealed_seed), context=self._context)

    @property
    def _context(self) -> str:
        return f"totp:user:{self.user_id}"

    def get_throttle_factor(self) -> int:
        """Seconds after the first wrong code; doubled by each further one."""
        return 1

    def recognises(self, code: str) -> bool:
        """Whether this is a code of now, used or not; counts nothing."""
        return totp.matching_step(self.seed(), code, timezone.now()) is not None

    def verify_token(self, token: str) -> bool:
        """Accept a code of now, once; count a wrong one. Locks the row, so one of many equal requests succeeds."""
        with transaction.atomic():
            self.refresh_from_db(from_queryset=TotpDevice.objects.select_for_update())
            now = timezone.now()
            if not self.verify_is_allowed()[0]:
                return False
            step = totp.matching_step(self.seed(), token, now)
            if step is None or step <= self.last_step:
                self._count_failure()
                return False
            self._accept(step, now)
            return True

    def _count_failure(self) -> None:
        self.throttle_increment(commit=False)
        self.save(update_fields=["throttling_failure_count", "throttling_failure_timestamp"])

    def _accept(self, step: int, now: datetime) -> None:
        self.last_step, self.last_used_at = step, now
        self.throttle_reset(commit=False)
        self.save(
            update_fields=["last_step", "last_used_at", "throttling_failure_count", "throttling_failure_timestamp"]
        )
