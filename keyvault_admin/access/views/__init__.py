"""Pages of sign-in, enrolment and the change of one's own password."""

from keyvault_admin.access.views.enrolment import ShowLinkView, set_up_factor
from keyvault_admin.access.views.sign_in import VERIFIED_KEY, OwnPasswordView, SignInView
from keyvault_admin.access.views.too_many import too_many_tries

__all__ = ["VERIFIED_KEY", "OwnPasswordView", "ShowLinkView", "SignInView", "set_up_factor", "too_many_tries"]
