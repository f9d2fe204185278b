"""What the services about people share.

Names and addresses of people never enter the hashed part of an event: subjects are references, facts are references
and names of roles.
"""

from collections.abc import Mapping
from datetime import datetime

from django.db import connection

from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject
from keyvault_admin.access import selectors
from keyvault_admin.access.errors import InactiveError, LastOfRoleError, OwnAccountError, ReasonMissingError
from keyvault_admin.access.models import NOBODY, User
from keyvault_admin.access.roles import VOTING, Role

# What the worker may read of a person: neither the password's hash nor when they last signed in.
KNOWN_TO_WORKERS = ("username", "email", "full_name", "is_active", "date_joined", "ends_on")


def locked(person: User) -> User:
    """Return the person, locked, with what the worker may know of them.

    Raises: InactiveError.
    """
    found = User.objects.select_for_update().only(*KNOWN_TO_WORKERS).get(pk=person.pk)
    if not found.is_active:
        raise InactiveError("This person is deactivated.")
    return found


def nobody() -> User:
    """Return a person who is not there: whoever checks a second factor of theirs sends the same statements in vain.

    For a sign-in whose password was wrong, so that the time taken tells nothing.
    """
    return User(pk=NOBODY)


def require(reason: str) -> None:
    """Raises: ReasonMissingError."""
    if not reason.strip():
        raise ReasonMissingError


def refuse_own(person: User, actor: Actor, what: str) -> None:
    """Raises: OwnAccountError when the person acts on their own account."""
    if person.ref in {actor.id, actor.on_behalf_of}:
        raise OwnAccountError(f"Nobody {what}. Ask somebody else of Security.")


def lock_memberships() -> None:
    """Let one transaction at a time change who can vote, so that no two of them each leave the other as the last.

    Taken before any row is locked or read: each statement after it sees what the one before has committed.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('access.memberships'))")


def refuse_if_last(person: User, *roles: Role) -> None:
    """Refuse to lose the person in these roles where nobody could fill their step; one query for each voting role.

    The caller holds `lock_memberships`. Somebody whose account has an end date counts only where all of them have one:
    the beat ends such an account whoever is left.

    Raises: LastOfRoleError.
    """
    for role in VOTING:
        if role not in roles:
            continue
        holders = list(selectors.enrolled_with(role).only("ends_on"))
        lasting = [holder for holder in holders if holder.ends_on is None] or holders
        if {holder.pk for holder in lasting} == {person.pk}:
            raise LastOfRoleError(role)


def void_links(person: User, now: datetime) -> None:
    """Shut every open enrolment link of the person."""
    person.enrolment_links.filter(used_at__isnull=True, voided_at__isnull=True).update(voided_at=now)


def subject_of(
    person: User,
    *,
    before: Mapping[str, JSON] | None = None,
    after: Mapping[str, JSON] | None = None,
) -> Subject:
    """Return the person as the subject of an event."""
    return Subject(ref=person.ref, before=before or {}, after=after or {})
