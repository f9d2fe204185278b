"""Reads about people that need more than one line."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from django.conf import settings
from django.contrib.auth.models import Group
from django.db.models import BinaryField, Count, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Substr
from django_otp import devices_for_user

from audit.canonical import JSON, canonical
from audit.sealing import EPOCH_BYTES
from keyvault_admin.access.models import (
    BootstrapClosing,
    EnrolmentLink,
    Passkey,
    PersonSession,
    QuorumReview,
    RecoveryCode,
    RecoverySheet,
    SingleSignOnLink,
    TotpDevice,
    User,
)
from keyvault_admin.access.models.sessions import stored_key
from keyvault_admin.access.roles import VOTING, Role

QUORUM = 2  # people of Security and of DevOps, all of them different, who must be enrolled before bootstrapping ends

REVISION_BYTES = 6  # of a digest: a number that JSON can say exactly


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


def count_factors(person: User) -> int:
    """Return how many confirmed second factors of any kind the person has; one query for each kind.

    A link to single sign-on is none: whether it stands for one is the provider's to say, each time anew.
    """
    return sum(not isinstance(device, SingleSignOnLink) for device in devices_for_user(person, confirmed=True))


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


def roles_missing() -> list[Role]:
    """Return the roles of which one more enrolled person would bring the quorum nearer; at most three queries."""
    missing = [role for role in VOTING if enrolled_with(role).count() < QUORUM]
    if missing or enrolled_with(*VOTING).count() >= 2 * QUORUM:
        return missing
    return list(VOTING)  # two of each, but some of them are the same people


def roles_of(person: User) -> set[str]:
    """Return the names of a person's roles as they are now; one query."""
    return set(Group.objects.filter(user=person).values_list("name", flat=True))


def open_reviews() -> list[QuorumReview]:
    """Return the restored quorums that nobody has acknowledged yet, oldest first; one query."""
    return list(QuorumReview.objects.filter(acknowledged_at__isnull=True).select_related("person"))


def is_bootstrap_closed() -> bool:
    """Whether enough people could vote once, so that one person alone gives nobody a role any more; one query."""
    return BootstrapClosing.objects.exists()


def is_bootstrap_open() -> bool:
    """Whether bootstrap_admin may still grant roles; closed once and for good. At most four queries."""
    return not BootstrapClosing.objects.exists() and not has_quorum()


def open_link(link_id: int, now: datetime) -> EnrolmentLink | None:
    """Return the link with its person while it can be used, else None; one query."""
    link = EnrolmentLink.objects.select_related("user").filter(pk=link_id).first()
    if link is None or not link.is_open(now) or not link.user.is_active or link.user.has_ended(now.date()):
        return None
    return link


def open_links(now: datetime) -> dict[bytes, int]:
    """Count the links that can still be used, by the epoch of the digest key; one query."""
    still = EnrolmentLink.objects.filter(used_at__isnull=True, voided_at__isnull=True, expires_at__gt=now)
    epochs = still.values_list(Substr("token_digest", 1, EPOCH_BYTES, output_field=BinaryField()))
    return {bytes(epoch): count for epoch, count in epochs.annotate(Count("pk")).order_by()}


def unused_codes() -> dict[bytes, int]:
    """Count the recovery codes that can still be used, by the epoch of the digest key; one query."""
    still = RecoveryCode.objects.filter(used_at__isnull=True, voided_at__isnull=True)
    epochs = still.values_list(Substr("code_digest", 1, EPOCH_BYTES, output_field=BinaryField()))
    return {bytes(epoch): count for epoch, count in epochs.annotate(Count("pk")).order_by()}


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


def links_of(person: User) -> QuerySet[SingleSignOnLink]:
    """Return the person's link to the provider of single sign-on that is configured, if any. No query by itself."""
    links: QuerySet[SingleSignOnLink] = SingleSignOnLink.objects.all()
    return links.filter(user=person, issuer=settings.OIDC_ISSUER, removed_at__isnull=True)


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


def is_provided(person: User) -> bool:
    """Whether the person has a confirmed second factor, also where the account is out of use; two queries."""
    return any(kind.objects.filter(user=person, confirmed=True).exists() for kind in (TotpDevice, Passkey))


def held_factors(person: User) -> dict[str, int | bool]:
    """Count what a person would lose by a reset, also for the worker, who may see no more; four queries."""
    return {
        "apps": person.totp_devices.filter(confirmed=True).count(),
        "passkeys": person.passkeys.filter(confirmed=True).count(),
        "codes": usable_codes(person).count(),
        "is_linked": SingleSignOnLink.objects.filter(user=person, confirmed=True).exists(),
    }


def revision_of(person: User) -> int:
    """Return a number that changes with whatever decides what a person may do; five queries.

    The first 48 bits of the SHA-256 of canonical JSON: roles, whether active, the last day, and what they have to
    sign in with, each by its number. People have no counter of changes; this needs none, and goes back when they do.
    """
    factors = [
        f"{kind._meta.model_name}:{pk}"
        for kind in (TotpDevice, Passkey, RecoverySheet, SingleSignOnLink)
        for pk in kind.objects.filter(user=person, confirmed=True).order_by("pk").values_list("pk", flat=True)
    ]
    said: dict[str, JSON] = {
        "roles": sorted(roles_of(person)),
        "active": person.is_active,
        "ends_on": person.ends_on,
        "factors": factors,
    }
    return int.from_bytes(sha256(canonical(said)).digest()[:REVISION_BYTES])
