"""Bootstrapping: the first people, before anybody can vote."""

from datetime import datetime

from django.db import transaction

from audit.actor import Actor
from keyvault_admin.access import names, selectors
from keyvault_admin.access.errors import (
    BootstrapClosedError,
    PersonExistsError,
)
from keyvault_admin.access.guarded import BOOTSTRAP, give_role
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import Role
from keyvault_admin.access.services.enrolment import issue_enrolment_link
from keyvault_admin.access.services.people import register_person
from keyvault_admin.access.services.quorum import close_bootstrap_if_complete

REASON = "one of the first people"


@transaction.atomic
def bootstrap_person(
    *, username: str, mail: str, full_name: str, role: Role, actor: Actor, now: datetime
) -> str | None:
    """Register whoever is new, grant the role and return an enrolment link; None when the person is enrolled already.

    Raises: BootstrapClosedError, NameRefusedError, PersonExistsError when the name belongs to another address.
    """
    if not selectors.is_bootstrap_open():
        raise BootstrapClosedError(
            "Two people of Security and two of DevOps are enrolled: this command has done its work and stays closed. "
            "Roles are granted by two people from now on."
        )
    person = User.objects.filter(username=names.username_of(username)).first()
    if person is None:
        person = register_person(username=username, mail=mail, full_name=full_name, actor=actor, now=now)
    elif person.email != names.mail_of(mail):
        raise PersonExistsError("This name belongs to somebody with another mail address.")
    give_role(person=person, role=role, permit=BOOTSTRAP, actor=actor, reason=REASON, now=now)
    if selectors.is_enrolled(person):
        close_bootstrap_if_complete(actor=actor, now=now)
        return None
    return issue_enrolment_link(person=person, actor=actor, now=now)
