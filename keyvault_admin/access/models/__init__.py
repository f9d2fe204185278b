"""People, their second factors and their enrolment links."""

from keyvault_admin.access.models.devices import Passkey, TotpDevice
from keyvault_admin.access.models.enrolment import BootstrapClosing, EnrolmentLink
from keyvault_admin.access.models.people import PeopleQuerySet, User, UserManager
from keyvault_admin.access.models.recovery import RecoveryCode, RecoverySheet

__all__ = [
    "BootstrapClosing",
    "EnrolmentLink",
    "Passkey",
    "PeopleQuerySet",
    "RecoveryCode",
    "RecoverySheet",
    "TotpDevice",
    "User",
    "UserManager",
]
