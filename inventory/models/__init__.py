from inventory.models.clause import PolicyClause
from inventory.models.draft import ImportDraft
from inventory.models.held import HeldChange, RotationEvidence
from inventory.models.key import Key, KeyVersion
from inventory.models.owner import Owner
from inventory.models.service import Integration, Service, Tenant

__all__ = [
    "HeldChange",
    "ImportDraft",
    "Integration",
    "Key",
    "KeyVersion",
    "Owner",
    "PolicyClause",
    "RotationEvidence",
    "Service",
    "Tenant",
]
