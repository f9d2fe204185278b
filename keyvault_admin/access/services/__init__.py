"""Every write about people: registering, enrolling, signing in with a code, roles, deactivating."""

from keyvault_admin.access.services.bootstrap import bootstrap_person
from keyvault_admin.access.services.enrolment import begin_enrolment, complete_enrolment, issue_enrolment_link
from keyvault_admin.access.services.factors import verify_code
from keyvault_admin.access.services.people import change_password, deactivate_person, grant_role, register_person
from keyvault_admin.access.services.quorum import close_bootstrap_if_complete
from keyvault_admin.access.services.sessions import (
    clear_sessions,
    end_finished,
    end_session,
    end_sessions,
    open_session,
    see_session,
    verify_session,
)

__all__ = [
    "begin_enrolment",
    "bootstrap_person",
    "change_password",
    "clear_sessions",
    "close_bootstrap_if_complete",
    "complete_enrolment",
    "deactivate_person",
    "end_finished",
    "end_session",
    "end_sessions",
    "grant_role",
    "issue_enrolment_link",
    "open_session",
    "register_person",
    "see_session",
    "verify_code",
    "verify_session",
]
