"""The independent check (fsck): every invariant derived anew from database and key stores, believing no service.

    results      what one invariant came to, in words and for programs
    wrappings    1, 3: every DEK is wrapped, and lies where it may
    opening      2: every DEK opens, where it is by then
    states       5: every state follows from the log by legal steps
    decisions    6: what was carried out had been decided
    waiting      7: nothing waits that nobody does
    canaries     8: no known plaintext lies anywhere
    running      all of them (4, the log itself, is audit.verification) in one snapshot; the event

All read one moment of the database and write nothing; what the stores refuse is looked up once more as it is now. Where
they need a rule they read it as data (inventory.states) or as what people have signed (the payload of a request); they
call none of the code that changes anything.
"""

from rotation.fsck.results import Result
from rotation.fsck.running import Options, Report, keep, run

__all__ = ["Options", "Report", "Result", "keep", "run"]
