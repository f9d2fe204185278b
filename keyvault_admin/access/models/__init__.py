"""People, their second factors and their enrolment links."""

from keyvault_admin.access.models.devices import TotpDevice
from keyvault_admin.access.models.enrolment import BootstrapClosing, EnrolmentLink
from keyvault_admin.access.models.people import PeopleQuerySet, User, UserManager

__all__ = ["BootstrapClosing", "EnrolmentLink", "PeopleQuerySet", "TotpDevice", "User", "UserManager"]
