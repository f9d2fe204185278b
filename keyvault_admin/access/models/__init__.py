"""People, their second factors, their enrolment links and what is remembered of locked sign-ins."""

from keyvault_admin.access.models.devices import TotpDevice
from keyvault_admin.access.models.enrolment import BootstrapClosing, EnrolmentLink
from keyvault_admin.access.models.lockout import Lockout
from keyvault_admin.access.models.people import PeopleQuerySet, User, UserManager

__all__ = ["BootstrapClosing", "EnrolmentLink", "Lockout", "PeopleQuerySet", "TotpDevice", "User", "UserManager"]
