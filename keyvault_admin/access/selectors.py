"""Reads about people that need more than one line."""

from datetime import datetime

from django.db.models import BinaryField, Count, Exists, OuterRef, QuerySet
from django.db.models.functions import Substr

from audit.sealing import EPOCH_BYTES
from keyvault_admin.access.models import BootstrapClosing, EnrolmentLink, TotpDevice, User
from keyvault_admin.access.roles import Role

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


def open_links(now: datetime) -> dict[bytes, int]:
    """Count the links that can still be used, by the epoch of the digest key; one query."""
    still = EnrolmentLink.objects.filter(used_at__isnull=True, voided_at__isnull=True, expires_at__gt=now)
    epochs = still.values_list(Substr("token_digest", 1, EPOCH_BYTES, output_field=BinaryField()))
    return {bytes(epoch): count for epoch, count in epochs.annotate(Count("pk")).order_by()}


def pending_device(person: User) -> TotpDevice | None:
    """Return the device that waits for its first code; one query."""
    return person.totp_devices.filter(confirmed=False).first()
