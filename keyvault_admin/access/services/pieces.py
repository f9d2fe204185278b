"""What the services about people share.

Names and addresses of people never enter the hashed part of an event: subjects are references, facts are references
and names of roles.
"""

from collections.abc import Mapping
from datetime import datetime

from audit.canonical import JSON
from audit.services import Subject
from keyvault_admin.access.errors import (
    InactiveError,
)
from keyvault_admin.access.models import User


def locked(person: User) -> User:
    """Return the person, locked.

    Raises: InactiveError.
    """
    found = User.objects.select_for_update().get(pk=person.pk)
    if not found.is_active:
        raise InactiveError("This person is deactivated.")
    return found


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
