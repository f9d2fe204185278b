"""Every write about people: registering, enrolling, signing in with a code, roles, the end of accounts."""

from keyvault_admin.access.services.bootstrap import bootstrap_person
from keyvault_admin.access.services.enrolment import begin_enrolment, complete_enrolment, issue_enrolment_link
from keyvault_admin.access.services.factors import verify_code
from keyvault_admin.access.services.handing import hand_enrolment_link
from keyvault_admin.access.services.people import (
    change_password,
    deactivate_person,
    edit_person,
    end_due_accounts,
    register_person,
    set_end_date,
)
from keyvault_admin.access.services.quorum import acknowledge_review, close_bootstrap_if_complete
from keyvault_admin.access.services.restoring import restore_quorum
from keyvault_admin.access.services.roles import grant_role, grant_role_loudly, reactivate_person, revoke_role

__all__ = [
    "acknowledge_review",
    "begin_enrolment",
    "bootstrap_person",
    "change_password",
    "close_bootstrap_if_complete",
    "complete_enrolment",
    "deactivate_person",
    "edit_person",
    "end_due_accounts",
    "grant_role",
    "grant_role_loudly",
    "hand_enrolment_link",
    "issue_enrolment_link",
    "reactivate_person",
    "register_person",
    "restore_quorum",
    "revoke_role",
    "set_end_date",
    "verify_code",
]
