"""Bringing back a quorum that was lost: by one person on the machine, and as loudly as can be."""

from datetime import datetime

from django.db import transaction
from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from keyvault_admin.access import names, selectors
from keyvault_admin.access.errors import InactiveError, PersonExistsError, RoleError
from keyvault_admin.access.guarded import LOST_QUORUM, give_role
from keyvault_admin.access.models import QuorumReview, User
from keyvault_admin.access.roles import Role
from keyvault_admin.access.services.enrolment import issue_enrolment_link
from keyvault_admin.access.services.letters import tell_everybody
from keyvault_admin.access.services.people import register_person
from keyvault_admin.access.services.pieces import lock_memberships, require, subject_of
from keyvault_admin.access.services.quorum import refuse_unless_lost


@transaction.atomic
def restore_quorum(
    *, username: str, role: Role, mail: str = "", full_name: str = "", actor: Actor, reason: str, now: datetime
) -> str | None:
    """Give a role because too few are left to vote; return an enrolment link, None for who is enrolled already.

    With a mail address somebody new is registered first. Everybody is told, and a review stands on the first page until
    somebody else of Security has acknowledged it.
    Events: quorum.restored; person.registered, role.granted and enrolment.issued where they apply.

    Raises: InactiveError, NameRefusedError, PersonExistsError, QuorumError, ReasonMissingError, RoleError.
    """
    require(reason)
    lock_memberships()
    refuse_unless_lost(role)
    person = _person(username, mail, full_name, actor, now)
    is_enrolled = selectors.is_enrolled(person)
    if is_enrolled and role in selectors.roles_of(person):
        raise RoleError(f"{person.username} is enrolled and has the role {role} already: name somebody else.")
    review = QuorumReview.objects.create(person=person, role=role, reason=reason, restored_at=now)  # what permits it
    give_role(person=person, role=role, permit=LOST_QUORUM, actor=actor, reason=reason, now=now)
    link = None if is_enrolled else issue_enrolment_link(person=person, actor=actor, now=now)
    subject, facts = subject_of(person), {"review": str(review), "role": role.value}
    record(Action.QUORUM_RESTORED, actor=actor, now=now, subjects=[subject], reason=reason, facts=facts)
    tell_everybody(
        subject=f"The quorum was restored: {person.username} was given the role {role}",
        lines=[
            f"Too few people were left to vote, so {person} ({person.username}) was given the role {role} by one "
            f"person alone, with {actor.id} on the machine, on {now:%-d %B %Y at %H:%M} UTC.",
            f"Why: {reason}",
            "Somebody of Security, other than the person who got the role, must look at it and acknowledge it.",
        ],
        url=reverse("admin:access_user_quorum_review", args=[review.pk]),
        now=now,
    )
    return link


def _person(username: str, mail: str, full_name: str, actor: Actor, now: datetime) -> User:
    person = User.objects.filter(username=names.username_of(username)).first()
    if person is None:
        return register_person(username=username, mail=mail, full_name=full_name, actor=actor, now=now)
    if mail and person.email != names.mail_of(mail):
        raise PersonExistsError("This name belongs to somebody with another mail address.")
    if not person.is_active:
        raise InactiveError(
            "This person is deactivated. Name somebody else; once the quorum is back, people can vote on letting this "
            "one in again."
        )
    return person
