from inventory.models import lateness
from inventory.models.algorithm import Algorithm
from inventory.models.clause import PolicyClause
from inventory.models.consumer import KeyConsumer
from inventory.models.custody import DekVersion, HandOut, Kek, KekVersion, KekVersionHold, Wrapping
from inventory.models.draft import ImportDraft
from inventory.models.evidence import RotationEvidence
from inventory.models.exception import ExceptionLimit, ExceptionState, PolicyException
from inventory.models.finding import Finding
from inventory.models.header import HeaderMapping
from inventory.models.key import Key, KeyVersion
from inventory.models.own import OwnKey
from inventory.models.owner import Owner
from inventory.models.parent import KeyParent
from inventory.models.search import KeySearch
from inventory.models.service import Integration, Service, Tenant
from inventory.models.threat import Threat, ThreatLevel
from inventory.models.vendor import Vendor

__all__ = [
    "Algorithm",
    "DekVersion",
    "ExceptionLimit",
    "ExceptionState",
    "Finding",
    "HandOut",
    "HeaderMapping",
    "ImportDraft",
    "Integration",
    "Kek",
    "KekVersion",
    "KekVersionHold",
    "Key",
    "KeyConsumer",
    "KeyParent",
    "KeySearch",
    "KeyVersion",
    "OwnKey",
    "Owner",
    "PolicyClause",
    "PolicyException",
    "RotationEvidence",
    "Service",
    "Tenant",
    "Threat",
    "ThreatLevel",
    "Vendor",
    "Wrapping",
    "lateness",
]
