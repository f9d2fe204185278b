"""People, their second factors, enrolment links and sessions, and what is remembered of locked sign-ins."""

from keyvault_admin.access.models.devices import (
    NOBODY,
    Passkey,
    TotpDevice,
)
from keyvault_admin.access.models.enrolment import (
    BootstrapClosing,
    EnrolmentLink,
)
from keyvault_admin.access.models.lockout import (
    Lockout,
)
from keyvault_admin.access.models.people import (
    PeopleQuerySet,
    User,
    UserManager,
)
from keyvault_admin.access.models.quorum import (
    QuorumReview,
)
from keyvault_admin.access.models.recovery import (
    RecoveryCode,
    RecoverySheet,
)
from keyvault_admin.access.models.sessions import (
    Ending,
    PersonSession,
)
from keyvault_admin.access.models.single_sign_on import (
    SingleSignOnLink,
)

__all__ = [
    "NOBODY",
    "BootstrapClosing",
    "Ending",
    "EnrolmentLink",
    "Lockout",
    "Passkey",
    "PeopleQuerySet",
    "PersonSession",
    "QuorumReview",
    "RecoveryCode",
    "RecoverySheet",
    "SingleSignOnLink",
    "TotpDevice",
    "User",
    "UserManager",
]
