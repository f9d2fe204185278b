"""Pages of sign-in, enrolment, one's own second factors, sessions and password."""

from keyvault_admin.access.views.enrolment import (
    ShowLinkView,
    set_up_factor,
)
from keyvault_admin.access.views.factors import (
    AddAppView,
    AddPasskeyView,
    FactorsView,
    NewAppView,
    RecoveryCodesView,
    RemoveFactorView,
)
from keyvault_admin.access.views.passkeys import (
    OwnPasskeyChallengeView,
    PasskeyChallengeView,
    PasskeyOptionsView,
    VoteChallengeView,
)
from keyvault_admin.access.views.personal_data import (
    own_data,
)
from keyvault_admin.access.views.sessions import (
    end_other_sessions,
    end_own_session,
    own_sessions,
)
from keyvault_admin.access.views.sign_in import (
    VERIFIED_KEY,
    OwnPasswordView,
    SignInView,
    why_signed_out,
)
from keyvault_admin.access.views.single_sign_on import (
    LinkView,
    ReturnView,
    at_sign_in,
)
from keyvault_admin.access.views.step_up import (
    step_up,
)
from keyvault_admin.access.views.too_many import (
    too_many_tries,
)

__all__ = [
    "VERIFIED_KEY",
    "AddAppView",
    "AddPasskeyView",
    "FactorsView",
    "LinkView",
    "NewAppView",
    "OwnPasskeyChallengeView",
    "OwnPasswordView",
    "PasskeyChallengeView",
    "PasskeyOptionsView",
    "RecoveryCodesView",
    "RemoveFactorView",
    "ReturnView",
    "ShowLinkView",
    "SignInView",
    "VoteChallengeView",
    "at_sign_in",
    "end_other_sessions",
    "end_own_session",
    "own_data",
    "own_sessions",
    "set_up_factor",
    "step_up",
    "too_many_tries",
    "why_signed_out",
]
