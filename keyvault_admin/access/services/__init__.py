"""Every write about people: registering, enrolling, signing in with a code, roles, deactivating."""

from keyvault_admin.access.services.bootstrap import bootstrap_person
from keyvault_admin.access.services.enrolment import begin_enrolment, complete_enrolment, issue_enrolment_link
from keyvault_admin.access.services.factors import verify_code
from keyvault_admin.access.services.people import change_password, deactivate_person, grant_role, register_person
from keyvault_admin.access.services.quorum import close_bootstrap_if_complete

__all__ = [
    "begin_enrolment",
    "bootstrap_person",
    "change_password",
    "close_bootstrap_if_complete",
    "complete_enrolment",
    "deactivate_person",
    "grant_role",
    "issue_enrolment_link",
    "register_person",
    "verify_code",
]
