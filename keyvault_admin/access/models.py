"""People, their one-time-code devices and their enrolment links."""

import secrets
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, NoReturn

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models, transaction
from django.utils import timezone
from django_otp.models import Device, ThrottlingMixin, TimestampMixin

from audit.sealing import seal, unseal
from keyvault_admin.access import names, totp
from keyvault_admin.access.errors import NameRefusedError, NeverDeletedError


class PeopleQuerySet(models.QuerySet["User"]):
    """People; deleting them is refused here and by the database."""

    def delete(self) -> NoReturn:
        raise NeverDeletedError


class UserManager(BaseUserManager["User"]):
    """Creates and finds people by their normalised name."""

    def get_queryset(self) -> PeopleQuerySet:
        return PeopleQuerySet(self.model, using=self._db)

    def get_by_natural_key(self, username: str | None) -> "User":
        """Return the person of that name, however it is typed.

        Raises: User.DoesNotExist, also for what cannot be a name.
        """
        try:
            return self.get(username=names.username_of(username or ""))
        except NameRefusedError as error:
            raise User.DoesNotExist from error

    def create_user(
        self,
        username: str,
        email: str,
        password: str | None = None,
        *,
        full_name: str = "",
        **facts: Any,  # noqa: ANN401
    ) -> "User":
        """Insert a person; without a password nobody can sign in as them. Tests and services use this, doors do not.

        Raises: NameRefusedError.
        """
        user = self.model(
            username=names.username_of(username), email=names.mail_of(email), full_name=full_name, **facts
        )
        user.set_password(password)
        user.save(force_insert=True, using=self._db)
        return user


class User(AbstractBaseUser, PermissionsMixin):  # type: ignore[django-manager-missing]
    """A person. Groups are roles; the log refers to the primary key, so a row is never deleted."""

    username = models.CharField("user name", max_length=64, unique=True)
    email = models.EmailField("mail address", unique=True)
    full_name = models.CharField("name", max_length=150, blank=True)
    is_active = models.BooleanField("active", default=True)
    date_joined = models.DateTimeField("registered", default=timezone.now)

    objects: ClassVar[UserManager] = UserManager()
    otp_device: "TotpDevice | None"  # set at sign-in and by django-otp's middleware: what verified this session

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["email"]

    class Meta:
        verbose_name = "person"
        verbose_name_plural = "people"
        default_permissions = ("view",)  # no form adds, changes or deletes people
        ordering = ["username"]
        constraints = [
            models.CheckConstraint(
                name="access_user_username_normal",
                condition=models.Q(username__regex=names.USERNAME_PATTERN),
                violation_error_message="The user name is not in its normal form.",
            ),
            models.CheckConstraint(
                name="access_user_email_normal",
                condition=models.Q(email__regex=names.MAIL_PATTERN),
                violation_error_message="The mail address is not in its normal form.",
            ),
        ]

    def __str__(self) -> str:
        return self.full_name or self.username

    def clean(self) -> None:
        self.username, self.email = names.normalise(self.username), names.normalise(self.email)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> NoReturn:  # noqa: FBT001, FBT002
        raise NeverDeletedError

    def get_full_name(self) -> str:
        return str(self)

    def get_short_name(self) -> str:
        return self.username

    @property
    def ref(self) -> str:
        """Return the name the log uses for this person."""
        return f"user:{self.pk}"

    @property
    def is_staff(self) -> bool:
        """The admin's own first question; its site asks for a second factor and a role besides."""
        return self.is_active

    @cached_property
    def role_names(self) -> tuple[str, ...]:
        """Return the person's roles in alphabetical order; one query an object."""
        return tuple(sorted(group.name for group in self.groups.all()))

    @property
    def role(self) -> str:
        """Return the roles as the log writes them: "DevOps+Security"."""
        return "+".join(self.role_names)


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
