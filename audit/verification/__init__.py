"""Whether the log is what was written and signed. `verify` looks at everything in one snapshot and constant memory.

    links       the first pass: numbers, digests, leaves, over blocks of bytes as the database joins them
    leaves      the tree from the leaves, beside the stored tiles
    copies      the second pass: columns, subject index and identities against the bytes
    sections    both passes over up to 65,536 events, alone; helpers: in processes of their own, on all cores
    signed      the stored checkpoints; outside: those from elsewhere, and the keys
    diagnosis   what the first bad event looks like; damage: in which words
    verifying   all of it together; results: how it is told and recorded

Nothing in the database is believed: digests, the tree and signatures are computed here. But whoever owns the database
can replace all of it consistently, the public keys too; that shows against a checkpoint and a key from outside alone.
"""

from audit.chain import Position
from audit.verification import results
from audit.verification.damage import MEANINGS, Damage, Finding
from audit.verification.outside import Outside, OutsideError, read_checkpoints, read_keys
from audit.verification.verifying import Progress, Verdict, verify

__all__ = [
    "MEANINGS",
    "Damage",
    "Finding",
    "Outside",
    "OutsideError",
    "Position",
    "Progress",
    "Verdict",
    "read_checkpoints",
    "read_keys",
    "results",
    "verify",
]
