"""The end of bootstrapping, and a quorum that was lost later."""

from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from keyvault_admin.access import selectors
from keyvault_admin.access.errors import QuorumError, ReviewError
from keyvault_admin.access.models import BootstrapClosing, QuorumReview, User
from keyvault_admin.access.roles import Role
from keyvault_admin.access.services.pieces import require, subject_of


@transaction.atomic
def close_bootstrap_if_complete(*, actor: Actor, now: datetime) -> None:
    """Close bootstrapping for good once the quorum is enrolled. Event: bootstrap.closed."""
    if BootstrapClosing.objects.exists() or not selectors.has_quorum():
        return
    closing, is_new = BootstrapClosing.objects.get_or_create(pk=1, defaults={"closed_at": now})
    if is_new:
        record(Action.BOOTSTRAP_CLOSED, actor=actor, now=now, facts={"closed_at": closing.closed_at.isoformat()})


def refuse_unless_lost(role: Role) -> None:
    """Raises: QuorumError unless two and two were enrolled once, are no longer, and one more of this role helps."""
    if not BootstrapClosing.objects.exists():
        raise QuorumError("The quorum has never been reached, so it cannot be lost: use bootstrap_admin.")
    missing = selectors.roles_missing()
    if not missing:
        raise QuorumError(
            "Two people of Security and two of DevOps are enrolled: nothing is lost. Ask them, with grant_role."
        )
    if role not in missing:
        raise QuorumError(f"Another person of {role} would not bring the quorum back. Missing: {', '.join(missing)}.")


@transaction.atomic
def acknowledge_review(*, review: QuorumReview, person: User, comment: str, actor: Actor, now: datetime) -> None:
    """Put somebody's name and comment under a restored quorum. Locks the review. Event: quorum.reviewed.

    Raises: ReasonMissingError; ReviewError for who got the role by it, for who is not of Security, and the second time.
    """
    require(comment)
    review = QuorumReview.objects.select_for_update(of=("self",)).select_related("person").get(pk=review.pk)
    if review.acknowledged_at is not None:
        raise ReviewError("Somebody has acknowledged this already.")
    if review.person_id == person.pk:
        raise ReviewError("You got the role yourself: somebody else of Security must look at it.")
    if not selectors.enrolled_with(Role.SECURITY).filter(pk=person.pk).exists():
        raise ReviewError("Somebody of Security must look at it.")
    review.acknowledged_at, review.acknowledged_by, review.comment = now, person, comment
    review.save(update_fields=["acknowledged_at", "acknowledged_by", "comment"])
    subject = subject_of(review.person)
    facts = {"review": str(review), "role": review.role}
    record(Action.QUORUM_REVIEWED, actor=actor, now=now, subjects=[subject], reason=comment, facts=facts)
