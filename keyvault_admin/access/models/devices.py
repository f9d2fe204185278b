"""Second factors: what a person has, besides the password they know."""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.db import models, transaction
from django.utils import timezone
from django_otp.models import Device, ThrottlingMixin, TimestampMixin

from audit.sealing import seal, unseal
from keyvault_admin.access import totp
from keyvault_admin.access.models.people import User

SEED_CONTEXT = "totp:user:{}"  # where a sealed seed opens
NOBODY = -1  # a key that no row has
LONGEST_WAIT = timedelta(minutes=15)  # nobody is locked out for days by somebody else's wrong codes


class SlowedDown(ThrottlingMixin):  # type: ignore[misc]
    """Waits 1, 2, 4, 8 … seconds after wrong codes, and never longer than a quarter of an hour."""

    class Meta:
        abstract = True

    def get_throttle_factor(self) -> int:
        """Seconds after the first wrong code; doubled by each further one."""
        return 1

    def verify_is_allowed(self) -> tuple[bool, dict[str, Any] | None]:
        """Whether a code is looked at now; the caller holds the row's lock."""
        is_allowed, why = super().verify_is_allowed()
        if is_allowed or timezone.now() >= self.throttling_failure_timestamp + LONGEST_WAIT:
            return True, None
        return False, why

    def count_failure(self) -> None:
        """Let the next code wait twice as long."""
        self.throttle_increment(commit=False)
        self.keep_waiting()

    def keep_waiting(self) -> None:
        """Save the wait as it stands: a code that comes too early costs what a wrong one costs."""
        self.save(update_fields=["throttling_failure_count", "throttling_failure_timestamp"])

    @classmethod
    def count_failure_of_nobody(cls) -> None:
        """Send what `count_failure` sends, about no row."""
        cls._default_manager.filter(pk=NOBODY).update(throttling_failure_count=1, throttling_failure_timestamp=None)

    def accept(self, now: datetime, *also_changed: str) -> None:
        """Save that a code was right, and forget the wrong ones before it."""
        self.last_used_at = now
        self.throttle_reset(commit=False)
        changed = ["last_used_at", "throttling_failure_count", "throttling_failure_timestamp", *also_changed]
        self.save(update_fields=changed)


class TotpDevice(TimestampMixin, SlowedDown, Device):  # type: ignore[misc]
    """An authenticator app. Its seed is stored sealed, and each of its codes is accepted once.

    django-otp finds this class by itself and keeps its confirmed rows in the session. A row is never deleted, because
    the log names it: one that is removed keeps its dates and loses its seed.
    """

    user = models.ForeignKey(User, models.PROTECT, related_name="totp_devices")
    name = models.CharField(max_length=64, default="Authenticator app")
    sealed_seed = models.BinaryField()  # audit.sealing, context "totp:user:<pk>"; empty once removed
    last_step = models.BigIntegerField(default=-1)  # only later steps are accepted
    removed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "authenticator app"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                name="access_totpdevice_one_pending",
                fields=["user"],
                condition=models.Q(confirmed=False, removed_at__isnull=True),
            ),
            models.CheckConstraint(
                name="access_totpdevice_removed_is_empty",
                condition=models.Q(removed_at__isnull=True) | models.Q(confirmed=False, sealed_seed=b""),
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

    @property
    def draw(self) -> str:
        """Return a name of this very drawing of a seed, which says nothing about it: another draw has another name."""
        return sha256(bytes(self.sealed_seed)).hexdigest()

    def seed(self) -> bytes:
        """Open the seed; a method, so that nothing shows it by listing attributes."""
        return unseal(bytes(self.sealed_seed), context=self._context)

    @property
    def _context(self) -> str:
        return SEED_CONTEXT.format(self.user_id)

    def recognises(self, code: str) -> bool:
        """Whether this is a code of now, used or not; counts nothing."""
        return totp.matching_step(self.seed(), code, timezone.now()) is not None

    def verify_token(self, token: str) -> bool:
        """Accept a code of now, once; count a wrong one. Locks the row, so one of many equal requests succeeds."""
        with transaction.atomic():
            self.refresh_from_db(from_queryset=TotpDevice.objects.select_for_update())
            now = timezone.now()
            if self.removed_at is not None:
                return False
            step = totp.matching_step(self.seed(), token, now)
            if not self.verify_is_allowed()[0]:
                self.keep_waiting()
                return False
            if step is None or step <= self.last_step:
                self.count_failure()
                return False
            self.last_step = step
            self.accept(now, "last_step")
            return True

    @classmethod
    def spend_on_nobody(cls, code: str) -> None:
        """Do as `recognises` and `verify_token` do with a wrong code, the same queries and cipher work."""
        device = cls(pk=NOBODY, user_id=NOBODY)
        device.draw_seed()
        device.recognises(code)
        with transaction.atomic():
            cls.objects.select_for_update().filter(pk=NOBODY).first()
            device.recognises(code)
            cls.count_failure_of_nobody()

    def remove(self, now: datetime) -> None:
        """Take the device out of use for good; the caller holds the row's lock."""
        self.confirmed, self.removed_at, self.sealed_seed = False, now, b""
        self.save(update_fields=["confirmed", "removed_at", "sealed_seed"])


class Passkey(TimestampMixin, Device):  # type: ignore[misc]
    """A key pair in somebody's authenticator; its public half is here. It never verifies by a token."""

    user = models.ForeignKey(User, models.PROTECT, related_name="passkeys")
    name = models.CharField(max_length=64)
    credential_id = models.BinaryField(max_length=1023, unique=True)
    public_key = models.BinaryField(max_length=1023)  # COSE_Key, RFC 9052 §7
    user_handle = models.BinaryField(max_length=64)  # what the authenticator knows the person by
    sign_count = models.BigIntegerField(default=0)  # 32 bits, unsigned; stays 0 where the authenticator counts nothing
    removed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "passkey"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                name="access_passkey_removed_or_confirmed",
                condition=models.Q(removed_at__isnull=True, confirmed=True)
                | models.Q(removed_at__isnull=False, confirmed=False),
            ),
            models.CheckConstraint(name="access_passkey_sign_count_positive", condition=models.Q(sign_count__gte=0)),
        ]

    def __str__(self) -> str:
        return f"passkey:{self.pk}"

    @property
    def ref(self) -> str:
        """Return the name the log uses for this passkey."""
        return f"passkey:{self.pk}"

    def has_gone_back(self, sign_count: int) -> bool:
        """Whether the counter says that two authenticators hold this key (Web Authentication §6.1.1)."""
        return (sign_count > 0 or self.sign_count > 0) and sign_count <= self.sign_count

    def remove(self, now: datetime) -> None:
        """Take the passkey out of use for good; the caller holds the row's lock."""
        self.confirmed, self.removed_at = False, now
        self.save(update_fields=["confirmed", "removed_at"])
