"""An enrolment link that somebody of Security hands over."""

from datetime import datetime

from django.db import transaction

from audit.actor import Actor
from keyvault_admin.access.models import User
from keyvault_admin.access.services.enrolment import issue_enrolment_link
from keyvault_admin.access.services.letters import tell_of_link
from keyvault_admin.access.services.pieces import refuse_own


@transaction.atomic
def hand_enrolment_link(*, person: User, actor: Actor, now: datetime) -> str:
    """Return a one-time link to be handed over, and tell its person by mail that it exists, never what it is.

    Whoever opens the link becomes that person, so a link that went to somebody else is noticed.
    Locks the person. Event: enrolment.issued.

    Raises: InactiveError, AlreadyEnrolledError, OwnAccountError.
    """
    refuse_own(person, actor, "issues a link to themselves")
    link = issue_enrolment_link(person=person, actor=actor, now=now)
    tell_of_link(person=person, now=now)
    return link
