"""The log as Django reads it, and what stands beside it."""

from audit.models.certificates import Certificate, CertificateKind
from audit.models.checkpoints import Anchoring, SignedCheckpoint, SigningEpoch, Tile
from audit.models.exports import ExportCursor
from audit.models.log import Event, EventSubject, Head, IdentityKey
from audit.models.periods import Period
from audit.models.retention import Retention

__all__ = [
    "Anchoring",
    "Certificate",
    "CertificateKind",
    "Event",
    "EventSubject",
    "ExportCursor",
    "Head",
    "IdentityKey",
    "Period",
    "Retention",
    "SignedCheckpoint",
    "SigningEpoch",
    "Tile",
]
