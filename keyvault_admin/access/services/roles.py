"""Taking a role away, which one person may do. Giving one is in `access.guarded`."""

from datetime import datetime

from django.contrib.auth.models import Group
from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from keyvault_admin.access.errors import RoleError
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import Role
from keyvault_admin.access.services.pieces import lock_memberships, refuse_if_last, require, subject_of
from keyvault_admin.access.services.sessions import end_sessions


@transaction.atomic
def revoke_role(*, person: User, role: Role, actor: Actor, reason: str, now: datetime) -> None:
    """Take a role away, also from somebody deactivated; their sessions end. Locks the memberships and the person.

    Events: role.revoked; session.ended.

    Raises: ReasonMissingError, RoleError when they have it not, LastOfRoleError when nobody could fill their step.
    """
    require(reason)
    lock_memberships()
    person = User.objects.select_for_update().get(pk=person.pk)
    before = person.role_names
    if role not in before:
        raise RoleError(f"{person} does not have the role {role}.")
    refuse_if_last(person, role)
    person.groups.remove(Group.objects.get(name=role))
    after = [name for name in before if name != role]
    subject = subject_of(person, before={"roles": list(before)}, after={"roles": list(after)})
    record(Action.ROLE_REVOKED, actor=actor, now=now, subjects=[subject], reason=reason)
    end_sessions(person=person, reason="a role was taken away", actor=actor, now=now)
