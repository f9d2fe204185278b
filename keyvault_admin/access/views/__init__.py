"""Pages of sign-in, enrolment, one's own second factors and the change of one's own password."""

from keyvault_admin.access.views.enrolment import ShowLinkView, set_up_factor
from keyvault_admin.access.views.factors import (
    AddAppView,
    AddPasskeyView,
    FactorsView,
    NewAppView,
    RecoveryCodesView,
    RemoveFactorView,
)
from keyvault_admin.access.views.passkeys import OwnPasskeyChallengeView, PasskeyChallengeView, PasskeyOptionsView
from keyvault_admin.access.views.sign_in import VERIFIED_KEY, OwnPasswordView, SignInView

__all__ = [
    "VERIFIED_KEY",
    "AddAppView",
    "AddPasskeyView",
    "FactorsView",
    "NewAppView",
    "OwnPasskeyChallengeView",
    "OwnPasswordView",
    "PasskeyChallengeView",
    "PasskeyOptionsView",
    "RecoveryCodesView",
    "RemoveFactorView",
    "ShowLinkView",
    "SignInView",
    "set_up_factor",
]
