"""What one person on the machine may do without votes: let the first people in, and bring back a lost quorum.

Each of these is told by mail, stands in the log with the word "alone", and is refused by the database itself once
there are enough people who can vote.
"""

from keyvault_admin.access.alone.bootstrap import (
    bootstrap_person,
)
from keyvault_admin.access.alone.resetting import (
    reactivate_alone,
    reset_alone,
)
from keyvault_admin.access.alone.restoring import (
    restore_quorum,
)

__all__ = ["bootstrap_person", "reactivate_alone", "reset_alone", "restore_quorum"]
