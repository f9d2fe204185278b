"""The inventory's pages in the admin site."""

from inventory.admin.exceptions import PolicyExceptionAdmin
from inventory.admin.findings import FindingAdmin
from inventory.admin.keys import KeyAdmin
from inventory.admin.policy import AlgorithmAdmin, PolicyClauseAdmin
from inventory.admin.records import OwnerAdmin, ServiceAdmin, VendorAdmin

__all__ = [
    "AlgorithmAdmin",
    "FindingAdmin",
    "KeyAdmin",
    "OwnerAdmin",
    "PolicyClauseAdmin",
    "PolicyExceptionAdmin",
    "ServiceAdmin",
    "VendorAdmin",
]
