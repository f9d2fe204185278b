"""Every write about people: registering, enrolling, second factors, signing in with one, roles, deactivating."""

from keyvault_admin.access.services.bootstrap import bootstrap_person
from keyvault_admin.access.services.enrolment import (
    Enrolment,
    begin_enrolment,
    complete_enrolment,
    issue_enrolment_link,
)
from keyvault_admin.access.services.factors import begin_app, confirm_app, remove_factor, verify_code
from keyvault_admin.access.services.passkeys import passkey_options, register_passkey, verify_assertion
from keyvault_admin.access.services.people import change_password, deactivate_person, grant_role, register_person
from keyvault_admin.access.services.quorum import close_bootstrap_if_complete
from keyvault_admin.access.services.recovery import make_recovery_codes, use_recovery_code
from keyvault_admin.access.services.reset import reset_factors
from keyvault_admin.access.services.sessions import (
    clear_sessions,
    end_finished,
    end_session,
    end_sessions,
    open_session,
    see_session,
)
from keyvault_admin.access.services.step_up import verify_session

__all__ = [
    "Enrolment",
    "begin_app",
    "begin_enrolment",
    "bootstrap_person",
    "change_password",
    "clear_sessions",
    "close_bootstrap_if_complete",
    "complete_enrolment",
    "confirm_app",
    "deactivate_person",
    "end_finished",
    "end_session",
    "end_sessions",
    "grant_role",
    "issue_enrolment_link",
    "make_recovery_codes",
    "open_session",
    "passkey_options",
    "register_passkey",
    "register_person",
    "remove_factor",
    "reset_factors",
    "see_session",
    "use_recovery_code",
    "verify_assertion",
    "verify_code",
    "verify_session",
]
