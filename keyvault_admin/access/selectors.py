"""Reads about people that need more than one line."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from keyvault_admin.access.models import (
    BootstrapClosing,
    EnrolmentLink,
    Passkey,
    PersonSession,
    RecoveryCode,
    RecoverySheet,
    TotpDevice,
    User,
)
from keyvault_admin.access.models.sessions import stored_key
from keyvault_admin.access.roles import Role

QUORUM = 2  # people of Security and of DevOps, all of them different, who must be enrolled before bootstrapping ends


def has_factor() -> Q:
    """Return the condition that a person has an authenticator app or a passkey; recovery codes alone do not count."""
    apps = TotpDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
    return Exists(apps) | Exists(Passkey.objects.filter(user=OuterRef("pk"), confirmed=True))


def enrolled(people: QuerySet[User]) -> QuerySet[User]:
    """Keep those who are active and have a confirmed second factor. No query by itself."""
    return people.filter(has_factor(), is_active=True)


def enrolled_with(*roles: Role) -> QuerySet[User]:
    """Return who is enrolled and holds one of the roles. No query by itself."""
    membership = User.groups.through.objects.filter(user=OuterRef("pk"), group__name__in=roles)
    return enrolled(User.objects.filter(Exists(membership)))


def is_enrolled(person: User) -> bool:
    """Whether the person has a confirmed second factor, recovery codes not counted; one query."""
    return User.objects.filter(has_factor(), pk=person.pk).exists()


def has_quorum() -> bool:
    """Whether two of Security and two of DevOps are enrolled, four different people; at most three queries.

    Somebody in both roles fills one place only, hence the third count (Hall's condition for two sets).
    """
    counts = (
        enrolled_with(Role.SECURITY).count() >= QUORUM,
        enrolled_with(Role.DEVOPS).count() >= QUORUM,
        enrolled_with(Role.SECURITY, Role.DEVOPS).count() >= 2 * QUORUM,
    )
    return all(counts)


def is_bootstrap_open() -> bool:
    """Whether bootstrap_admin may still grant roles; closed once and for good. At most four queries."""
    return not BootstrapClosing.objects.exists() and not has_quorum()


def open_link(link_id: int, now: datetime) -> EnrolmentLink | None:
    """Return the link with its person while it can be used, else None; one query."""
    link = EnrolmentLink.objects.select_related("user").filter(pk=link_id).first()
    return link if link and link.is_open(now) and link.user.is_active else None


def pending_device(person: User) -> TotpDevice | None:
    """Return the device that waits for its first code; one query."""
    return person.totp_devices.filter(confirmed=False, removed_at__isnull=True).first()


def session_of(session_key: str) -> PersonSession | None:
    """Return the row of the session that a browser shows the key of; one query."""
    return PersonSession.objects.filter(session_id=stored_key(session_key)).first()


def open_sessions(person: User, now: datetime) -> list[PersonSession]:
    """Return where the person is signed in, the latest click first; one query."""
    return [session for session in PersonSession.objects.filter(person=person) if session.over(now) is None]


def usable_codes(person: User) -> QuerySet[RecoveryCode]:
    """Return the recovery codes that would still sign this person in. No query by itself."""
    codes = RecoveryCode.objects.filter(sheet__user=person, sheet__confirmed=True)
    return codes.filter(used_at__isnull=True, voided_at__isnull=True)


@dataclass(frozen=True)
class Factors:
    """What a person can sign in with besides their password."""

    apps: Sequence[TotpDevice]
    passkeys: Sequence[Passkey]
    sheet: RecoverySheet | None
    codes_left: int

    @property
    def is_one(self) -> bool:
        """Whether the next removal would take the last one."""
        return len(self.apps) + len(self.passkeys) == 1


def factors_of(person: User) -> Factors:
    """Return the factors of a person, oldest first; four queries."""
    return Factors(
        apps=list(person.totp_devices.filter(confirmed=True).order_by("pk")),
        passkeys=list(person.passkeys.filter(confirmed=True).order_by("pk")),
        sheet=RecoverySheet.objects.filter(user=person, confirmed=True).first(),
        codes_left=usable_codes(person).count(),
    )


def people_of(*roles: Role) -> QuerySet[User]:
    """Return the active people who hold one of the roles, enrolled or not. No query by itself."""
    membership = User.groups.through.objects.filter(user=OuterRef("pk"), group__name__in=roles)
    return User.objects.filter(Exists(membership), is_active=True)
