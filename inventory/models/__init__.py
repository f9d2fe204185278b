from inventory.models.algorithm import Algorithm
from inventory.models.clause import PolicyClause
from inventory.models.draft import ImportDraft
from inventory.models.finding import Finding
from inventory.models.key import Key, KeyVersion
from inventory.models.owner import Owner
from inventory.models.service import Integration, Service, Tenant

__all__ = [
    "Algorithm",
    "Finding",
    "ImportDraft",
    "Integration",
    "Key",
    "KeyVersion",
    "Owner",
    "PolicyClause",
    "Service",
    "Tenant",
]
