"""People, their second factors and their enrolment links."""

from keyvault_admin.access.models.devices import TotpDevice
from keyvault_admin.access.models.enrolment import BootstrapClosing, EnrolmentLink
from keyvault_admin.access.models.people import PeopleQuerySet, User, UserManager
from keyvault_admin.access.models.quorum import QuorumReview

__all__ = ["BootstrapClosing", "EnrolmentLink", "PeopleQuerySet", "QuorumReview", "TotpDevice", "User", "UserManager"]
