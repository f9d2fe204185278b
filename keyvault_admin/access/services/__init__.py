"""Every write about people: registering, enrolling, signing in with a code, roles, deactivating."""

from keyvault_admin.access.services.bootstrap import bootstrap_person
from keyvault_admin.access.services.enrolment import begin_enrolment, complete_enrolment, issue_enrolment_link
from keyvault_admin.access.services.factors import verify_code, verify_code_of_nobody
from keyvault_admin.access.services.lockout import forget_old, record_lockout, tell_locked, unlock
from keyvault_admin.access.services.people import change_password, deactivate_person, grant_role, register_person
from keyvault_admin.access.services.quorum import close_bootstrap_if_complete
from keyvault_admin.access.services.tries import DOOR_ENROLMENT, DOOR_SIGN_IN, count_try, forget_tries

__all__ = [
    "DOOR_ENROLMENT",
    "DOOR_SIGN_IN",
    "begin_enrolment",
    "bootstrap_person",
    "change_password",
    "close_bootstrap_if_complete",
    "complete_enrolment",
    "count_try",
    "deactivate_person",
    "forget_old",
    "forget_tries",
    "grant_role",
    "issue_enrolment_link",
    "record_lockout",
    "register_person",
    "tell_locked",
    "unlock",
    "verify_code",
    "verify_code_of_nobody",
]
