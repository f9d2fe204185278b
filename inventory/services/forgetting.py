"""What the inventory holds of a person who is erased."""

from datetime import datetime

from django.db import transaction
from django.db.models import Q

from audit.actor import Actor
from inventory.models import Finding, Owner
from inventory.models.owner import OwnerKind
from inventory.services.owners import edit_owner


@transaction.atomic
def forget_owners(*, user_id: int, mail: str, actor: Actor, reason: str, now: datetime) -> list[Owner]:
    """Take name and address from the owners that stand for a person: those linked to them, and who has their address.

    They stay as records that keys point at, no longer active, so that each such key says that its owner is gone. Also
    what closed findings said of them. Events: owner.edited for each; those of refresh_findings().
    """
    found = Owner.objects.filter(Q(user_id=user_id) | Q(mail=mail, kind=OwnerKind.PERSON)).order_by("pk")
    return [_forget(owner, actor=actor, reason=reason, now=now) for owner in found]


def _forget(owner: Owner, *, actor: Actor, reason: str, now: datetime) -> Owner:
    was, placeholder = owner.handle, f"erased-owner-{owner.pk}"
    forgotten = edit_owner(
        pk=owner.pk,
        changes={"handle": placeholder, "mail": "", "is_active": False},
        expected_revision=owner.revision,
        actor=actor,
        reason=reason,
        now=now,
    )
    Finding.objects.filter(closed_at__isnull=False, facts__owner=was).update(facts={"owner": placeholder})
    return forgotten
