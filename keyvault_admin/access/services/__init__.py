"""Every write about people that one person decides. What takes votes is in `access.guarded`."""

from keyvault_admin.access.services.enrolment import (
    Enrolment,
    begin_enrolment,
    complete_enrolment,
    issue_enrolment_link,
)
from keyvault_admin.access.services.factors import (
    begin_app,
    confirm_app,
    remove_factor,
    verify_code,
)
from keyvault_admin.access.services.handing import (
    hand_enrolment_link,
)
from keyvault_admin.access.services.handing_out import (
    export_person,
)
from keyvault_admin.access.services.lockout import (
    forget_old,
    record_lockout,
    tell_locked,
    unlock,
)
from keyvault_admin.access.services.passkeys import (
    passkey_options,
    register_passkey,
    verify_assertion,
)
from keyvault_admin.access.services.people import (
    change_password,
    deactivate_person,
    edit_person,
    end_due_accounts,
    register_person,
    set_end_date,
)
from keyvault_admin.access.services.pieces import (
    nobody,
)
from keyvault_admin.access.services.quorum import (
    acknowledge_review,
    close_bootstrap_if_complete,
)
from keyvault_admin.access.services.recovery import (
    make_recovery_codes,
    use_recovery_code,
)
from keyvault_admin.access.services.roles import (
    revoke_role,
)
from keyvault_admin.access.services.sessions import (
    clear_sessions,
    end_finished,
    end_session,
    end_sessions,
    open_session,
    see_session,
)
from keyvault_admin.access.services.single_sign_on import (
    know_by_link,
    link_account,
    unlink_account,
)
from keyvault_admin.access.services.step_up import (
    verify_session,
)
from keyvault_admin.access.services.tries import (
    DOOR_ENROLMENT,
    DOOR_PASSKEY,
    DOOR_SIGN_IN,
    DOOR_SINGLE_SIGN_ON,
    TRIES_OF_ADDRESS,
    count_try,
    forget_tries,
    spend,
)
from keyvault_admin.access.services.votes import (
    verify_for_vote,
)

__all__ = [
    "DOOR_ENROLMENT",
    "DOOR_PASSKEY",
    "DOOR_SIGN_IN",
    "DOOR_SINGLE_SIGN_ON",
    "TRIES_OF_ADDRESS",
    "Enrolment",
    "acknowledge_review",
    "begin_app",
    "begin_enrolment",
    "change_password",
    "clear_sessions",
    "close_bootstrap_if_complete",
    "complete_enrolment",
    "confirm_app",
    "count_try",
    "deactivate_person",
    "edit_person",
    "end_due_accounts",
    "end_finished",
    "end_session",
    "end_sessions",
    "export_person",
    "forget_old",
    "forget_tries",
    "hand_enrolment_link",
    "issue_enrolment_link",
    "know_by_link",
    "link_account",
    "make_recovery_codes",
    "nobody",
    "open_session",
    "passkey_options",
    "record_lockout",
    "register_passkey",
    "register_person",
    "remove_factor",
    "revoke_role",
    "see_session",
    "set_end_date",
    "spend",
    "tell_locked",
    "unlink_account",
    "unlock",
    "use_recovery_code",
    "verify_assertion",
    "verify_code",
    "verify_for_vote",
    "verify_session",
]
