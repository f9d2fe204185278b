"""The way back in for somebody who has lost every second factor; somebody else has to open it."""

from datetime import UTC, datetime

from django.db import transaction
from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import record
from keyvault_admin.access import selectors
from keyvault_admin.access.errors import NotEnrolledError
from keyvault_admin.access.guarded.warrants import Alone, Warrant, in_words
from keyvault_admin.access.models import Passkey, RecoverySheet, SingleSignOnLink, TotpDevice, User
from keyvault_admin.access.roles import VOTING, Role
from keyvault_admin.access.services.letters import page_of, tell_everybody, tell_of_change
from keyvault_admin.access.services.pieces import lock_memberships, locked, refuse_if_last, require, subject_of
from keyvault_admin.access.services.recovery import void_codes
from keyvault_admin.access.services.sessions import FACTORS_CHANGED, end_sessions
from keyvault_admin.access.services.single_sign_on import remove_link
from rotation.kinds import AlertKind
from rotation.letters import write_letter
from rotation.routing import alert_mails


@transaction.atomic
def reset_factors(*, person: User, permit: Warrant, actor: Actor, reason: str, now: datetime) -> None:
    """Remove every second factor and recovery code of a person; Security then hands them a link to enrol anew.

    An account linked for single sign-on is unlinked, and the mails say so. The password stays: whoever finds the link
    cannot sign in with it alone. Ends every session of theirs. Where the quorum is lost by it, everybody is told. Locks
    the memberships and the person. Event: factor.reset.

    Raises: InactiveError, NotEnrolledError, ReasonMissingError; LastOfRoleError when nobody else could fill a step of
    an approval, unless one person alone acts, because that is so already.
    """
    require(reason)
    lock_memberships()
    person = locked(person)
    refuse_unenrolled(person)
    if not isinstance(permit, Alone):
        refuse_if_last(person, *VOTING)
    was_enrolled = selectors.is_enrolled(person)
    removed, unlinked = _remove_all(person, now), _unlink(person, now)
    lost = [role for role in selectors.roles_missing() if was_enrolled and role in person.role_names]
    end_sessions(person=person, reason=FACTORS_CHANGED, actor=actor, now=now)
    subject = subject_of(person, before={"enrolled": was_enrolled}, after={"enrolled": False})
    facts: dict[str, JSON] = {"removed": [*removed, *unlinked], "too_few_left_of": [role.value for role in lost]}
    facts |= permit.facts
    record(Action.FACTOR_RESET, actor=actor, now=now, subjects=[subject], reason=reason, facts=facts)
    _tell(person, in_words(permit), reason, now, is_unlinked=bool(unlinked))
    if lost:
        _tell_of_lost_quorum(person, lost, in_words(permit), reason, now)


def refuse_unenrolled(person: User) -> None:
    """Raises: NotEnrolledError for who has neither a second factor nor a sheet of recovery codes to lose."""
    has_sheet = RecoverySheet.objects.filter(user=person, confirmed=True).exists()
    if not has_sheet and not selectors.is_enrolled(person):
        raise NotEnrolledError


def _tell(person: User, how: str, reason: str, now: datetime, *, is_unlinked: bool) -> None:
    own = " Your account for single sign-on was unlinked too; you can link it again then." if is_unlinked else ""
    others = ", and their account for single sign-on was unlinked," if is_unlinked else ""
    tell_of_change(
        person,
        subject="Your second factors were reset",
        what="All your second factors and recovery codes were removed, so that you can set up new ones with a link "
        f"that Security gives you.{own}",
        now=now,
    )
    write_letter(
        recipients=set(alert_mails(AlertKind.PEOPLE)) - {person.email},
        subject="Somebody's second factors were reset",
        lines=[
            f"All second factors of {person.username} were removed{others} {how}, on "
            f"{now.astimezone(UTC):%-d %B %Y at %H:%M} UTC. Reason: {reason}",
            "If nobody of you knows why, deactivate that person at once and look into the audit log.",
        ],
        url=page_of(person),
        now=now,
    )


def _tell_of_lost_quorum(person: User, lost: list[Role], how: str, reason: str, now: datetime) -> None:
    """Tell everybody: until the person has enrolled anew, too few are left for what takes several people."""
    tell_everybody(
        subject=f"Too few people of {' and '.join(lost)} can vote now",
        lines=[
            f"The second factors of {person} ({person.username}) were removed {how}, on "
            f"{now.astimezone(UTC):%-d %B %Y at %H:%M} UTC. Until they are enrolled again, fewer than two people of "
            f"{' and of '.join(lost)}, or fewer than four in all, can vote.",
            f"Why: {reason}",
            "Nothing that takes several people can be decided before. If they do not come back, bring the quorum back "
            "with manage.py restore_quorum. If nobody knows why this was done, deactivate that person at once.",
        ],
        url=reverse("admin:index"),
        now=now,
    )


def remove_everything(person: User, now: datetime) -> None:
    """Take every second factor, recovery code and link to single sign-on of a person out of use. The caller records."""
    _remove_all(person, now)
    _unlink(person, now)


def _remove_all(person: User, now: datetime) -> list[JSON]:
    removed: list[JSON] = []
    for kind in (TotpDevice, Passkey):
        in_use = kind.objects.filter(user=person, removed_at__isnull=True).only("pk").order_by("pk")
        for factor in in_use.select_for_update():
            factor.remove(now)
            removed.append(factor.ref)
    for sheet in RecoverySheet.objects.select_for_update().filter(user=person, confirmed=True).only("pk"):
        void_codes(sheet, now)
        sheet.confirmed = False
        sheet.save(update_fields=["confirmed"])
        removed.append(sheet.ref)
    return removed


def _unlink(person: User, now: datetime) -> list[JSON]:
    unlinked: list[JSON] = []
    for link in SingleSignOnLink.objects.select_for_update().filter(user=person, removed_at__isnull=True).only("pk"):
        remove_link(link, now)
        unlinked.append(link.ref)
    return unlinked
