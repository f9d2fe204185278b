"""Second factors that are lost, and people who were deactivated, while too few are left to vote on it."""

from datetime import date, datetime

from django.db import transaction

from audit.actor import Actor
from keyvault_admin.access import selectors
from keyvault_admin.access.errors import QuorumError
from keyvault_admin.access.guarded import BOOTSTRAP, LOST_QUORUM, reactivate_person, reset_factors
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import VOTING
from keyvault_admin.access.services.enrolment import issue_enrolment_link
from keyvault_admin.access.services.pieces import lock_memberships, refuse_if_last


@transaction.atomic
def reset_alone(*, person: User, even_if_last: bool, actor: Actor, reason: str, now: datetime) -> str:
    """Remove every second factor of a person and return a link to enrol anew, to be shown once.

    Only while there is no quorum yet, or where it is lost: everybody is told then. Events: factor.reset,
    enrolment.issued.

    Raises: InactiveError, NotEnrolledError, ReasonMissingError; QuorumError where people could vote on it;
    LastOfRoleError where nobody else could vote, unless `even_if_last`.
    """
    lock_memberships()
    if selectors.is_bootstrap_closed() and not selectors.roles_missing():
        raise QuorumError("Enough people are enrolled to vote on this: nothing is lost. Ask them.")
    if not even_if_last:
        refuse_if_last(person, *VOTING)
    warrant = LOST_QUORUM if selectors.is_bootstrap_closed() else BOOTSTRAP
    reset_factors(person=person, permit=warrant, actor=actor, reason=reason, now=now)
    return issue_enrolment_link(person=person, actor=actor, now=now)


@transaction.atomic
def reactivate_alone(*, person: User, ends_on: date | None, actor: Actor, reason: str, now: datetime) -> None:
    """Let somebody back in while there is no quorum yet. Event: person.reactivated.

    Raises: as guarded.reactivate_person(); QuorumError once bootstrapping has ended.
    """
    lock_memberships()
    if selectors.is_bootstrap_closed():
        raise QuorumError("People vote on who comes back. Ask them.")
    reactivate_person(person=person, ends_on=ends_on, permit=BOOTSTRAP, actor=actor, reason=reason, now=now)
