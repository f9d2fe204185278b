"""What about people is decided by votes: roles, coming back, losing second factors, being erased.

Only `access.operations` carries these out, for a request that people have voted on, and `access.alone`, for one person
on the machine while votes are not to be had.
"""

from keyvault_admin.access.guarded.erasure import (
    Erased,
    erase_person,
)
from keyvault_admin.access.guarded.factors import (
    reset_factors,
)
from keyvault_admin.access.guarded.roles import (
    give_role,
    grant_role,
    reactivate_person,
)
from keyvault_admin.access.guarded.warrants import (
    BOOTSTRAP,
    LOST_QUORUM,
    Alone,
    Warrant,
)

__all__ = [
    "BOOTSTRAP",
    "LOST_QUORUM",
    "Alone",
    "Erased",
    "Warrant",
    "erase_person",
    "give_role",
    "grant_role",
    "reactivate_person",
    "reset_factors",
]
