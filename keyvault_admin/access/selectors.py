"""Reads about people that need more than one line."""

from datetime import datetime

from django.contrib.auth.models import Group
from django.db.models import Exists, OuterRef, QuerySet
from django_otp import devices_for_user

from keyvault_admin.access.models import BootstrapClosing, EnrolmentLink, QuorumReview, TotpDevice, User
from keyvault_admin.access.roles import VOTING, Role

QUORUM = 2  # people of Security and of DevOps, all of them different, who must be enrolled before bootstrapping ends


def enrolled(people: QuerySet[User]) -> QuerySet[User]:
    """Keep those who are active and have a confirmed second factor. No query by itself."""
    device = TotpDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
    return people.filter(Exists(device), is_active=True)


def enrolled_with(*roles: Role) -> QuerySet[User]:
    """Return who is enrolled and holds one of the roles. No query by itself."""
    membership = User.groups.through.objects.filter(user=OuterRef("pk"), group__name__in=roles)
    return enrolled(User.objects.filter(Exists(membership)))


def is_enrolled(person: User) -> bool:
    """Whether the person has a confirmed second factor; one query."""
    return person.totp_devices.filter(confirmed=True).exists()


def count_factors(person: User) -> int:
    """Return how many confirmed second factors of any kind the person has; one query for each kind."""
    return sum(1 for _ in devices_for_user(person, confirmed=True))


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


def mails_of(*roles: Role) -> list[str]:
    """Return the addresses of the active people who have one of the roles, of all active people without any; one query.

    Somebody may have been registered without ever getting a role; they are told too.
    """
    people = User.objects.filter(is_active=True)
    people = people.filter(groups__name__in=roles) if roles else people
    return sorted(people.values_list("email", flat=True).distinct().order_by("email"))


def open_reviews() -> list[QuorumReview]:
    """Return the restored quorums that nobody has acknowledged yet, oldest first; one query."""
    return list(QuorumReview.objects.filter(acknowledged_at__isnull=True).select_related("person"))


def is_bootstrap_open() -> bool:
    """Whether bootstrap_admin may still grant roles; closed once and for good. At most four queries."""
    return not BootstrapClosing.objects.exists() and not has_quorum()


def open_link(link_id: int, now: datetime) -> EnrolmentLink | None:
    """Return the link with its person while it can be used, else None; one query."""
    link = EnrolmentLink.objects.select_related("user").filter(pk=link_id).first()
    if link is None or not link.is_open(now) or not link.user.is_active or link.user.has_ended(now.date()):
        return None
    return link


def pending_device(person: User) -> TotpDevice | None:
    """Return the device that waits for its first code; one query."""
    return person.totp_devices.filter(confirmed=False).first()
