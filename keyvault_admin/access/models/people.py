"""People: registered, deactivated, never deleted."""

from collections.abc import Iterable
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.utils import timezone

from keyvault_admin.access import names
from keyvault_admin.access.errors import NameRefusedError, NeverDeletedError

if TYPE_CHECKING:
    from keyvault_admin.access.models.devices import Passkey, TotpDevice
    from keyvault_admin.access.models.recovery import RecoverySheet
    from keyvault_admin.access.models.single_sign_on import SingleSignOnLink


class PeopleQuerySet(models.QuerySet["User"]):
    """People; deleting them is refused here and by the database.

    They are inserted without the column of superusers: web may not write it, and the database's default is no.
    """

    def _insert(self, objs: Iterable["User"], fields: Iterable[Any], **options: Any) -> Any:  # noqa: ANN401 - Django's own signature
        return super()._insert(objs, [field for field in fields if field.name != "is_superuser"], **options)  # type: ignore[misc]

    def delete(self) -> NoReturn:
        raise NeverDeletedError


class UserManager(BaseUserManager["User"]):
    """Creates and finds people by their normalised name."""

    def get_queryset(self) -> PeopleQuerySet:
        return PeopleQuerySet(self.model, using=self._db)

    def _insert(self, objs: Iterable["User"], fields: Iterable[Any], **options: Any) -> Any:  # noqa: ANN401 - Django's own signature
        return self.get_queryset()._insert(objs, fields, **options)

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


class Standing(NamedTuple):
    """What a person may do, and by which roles; permissions as "app.codename"."""

    roles: tuple[str, ...]
    permissions: frozenset[str]


class User(AbstractBaseUser, PermissionsMixin):  # type: ignore[django-manager-missing]
    """A person. Groups are roles; the log refers to the primary key, so a row is never deleted."""

    username = models.CharField("user name", max_length=64, unique=True)
    email = models.EmailField("mail address", unique=True)
    full_name = models.CharField("name", max_length=150, blank=True)
    is_active = models.BooleanField("active", default=True)
    date_joined = models.DateTimeField("registered", default=timezone.now)
    ends_on = models.DateField("works until", null=True, blank=True)  # the last day, in UTC; null: without end
    is_superuser = models.BooleanField("superuser", default=False, db_default=False)  # opens nothing; see has_perm

    objects: ClassVar[UserManager] = UserManager()
    # Set at sign-in and by django-otp's middleware: what verified this session.
    otp_device: "TotpDevice | Passkey | RecoverySheet | SingleSignOnLink | None"

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["email"]

    class Meta:
        verbose_name = "person"
        verbose_name_plural = "people"
        base_manager_name = "objects"
        default_permissions = ("view",)  # no form of the stock admin writes people
        permissions = [("manage_people", "Can add, change and deactivate people")]
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
    def is_erased(self) -> bool:
        """Whether the record stands for somebody whose personal data was erased."""
        return self.pk is not None and self.email == names.erased_names(self.pk)[1]

    def has_perm(self, perm: str, obj: Any = None) -> bool:  # noqa: ANN401 - Django's own signature
        """Whether one of the person's roles holds the permission. Being superuser adds nothing."""
        return self.is_active and perm in self.get_all_permissions(obj)

    def has_module_perms(self, app_label: str) -> bool:
        return any(code.partition(".")[0] == app_label for code in self.get_all_permissions())

    def has_ended(self, today: date) -> bool:
        """Whether the account's last day is over, even where nobody has deactivated it yet."""
        return self.ends_on is not None and self.ends_on < today

    @property
    def is_staff(self) -> bool:
        """The admin's own first question; its site asks for a second factor and a role besides."""
        return self.is_active

    @cached_property
    def standing(self) -> Standing:
        """Return the person's roles and what these hold; one query an object."""
        held = self.groups.values_list("name", "permissions__content_type__app_label", "permissions__codename")
        rows = list(held.order_by("name"))
        return Standing(
            roles=tuple(dict.fromkeys(name for name, _, _ in rows)),
            permissions=frozenset(f"{app}.{code}" for _, app, code in rows if code),
        )

    @cached_property
    def role_names(self) -> tuple[str, ...]:
        """Return the person's roles in alphabetical order; where a list has prefetched the groups, without a query."""
        if "groups" in getattr(self, "_prefetched_objects_cache", {}):
            return tuple(sorted(group.name for group in self.groups.all()))
        return self.standing.roles

    @property
    def role(self) -> str:
        """Return the roles as the log writes them: "DevOps+Security"."""
        return "+".join(self.role_names)
