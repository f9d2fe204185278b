from inventory.models.clause import PolicyClause
from inventory.models.draft import ImportDraft
from inventory.models.key import Key, KeyVersion
from inventory.models.owner import Owner
from inventory.models.service import Integration, Service, Tenant
from inventory.models.threat import Threat, ThreatLevel

__all__ = [
    "ImportDraft",
    "Integration",
    "Key",
    "KeyVersion",
    "Owner",
    "PolicyClause",
    "Service",
    "Tenant",
    "Threat",
    "ThreatLevel",
]
