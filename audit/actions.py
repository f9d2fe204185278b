"""The vocabulary of the log: what can happen, and how it ended.

Grammar: `noun.past_participle`, lower-case ASCII with underscores, the noun in the singular. The noun is what the event
is about; its subjects say which ones. `*.executed` is special: the database takes such an event from the worker's role
alone. A refused attempt keeps the action it attempted and has the outcome "refused"; only where no action was reached
(a sign-in) is there a word of its own.

A value that was written once stands in the log for ever: it is never renamed and never used for something else.
A word that goes out of use stays here with a comment, so that it cannot return with another meaning.
"""

from enum import StrEnum


class Action(StrEnum):
    """Everything that leaves an event."""

    # Keys
    KEY_REGISTERED = "key.registered"
    KEY_IMPORTED = "key.imported"
    KEY_EDITED = "key.edited"
    KEY_ACTIVATED = "key.activated"
    KEY_SUSPENDED = "key.suspended"
    KEY_REACTIVATED = "key.reactivated"
    KEY_DEACTIVATED = "key.deactivated"
    KEY_COMPROMISED = "key.compromised"
    KEY_DESTROYED = "key.destroyed"
    KEY_ROTATED = "key.rotated"
    KEY_FLAGGED_OVERDUE = "key.flagged_overdue"
    FINDING_OPENED = "finding.opened"  # the subjects are the keys; before and after are the codes that are open
    FINDING_CLOSED = "finding.closed"

    # What keys belong to, and the rules over them
    OWNER_REGISTERED = "owner.registered"
    OWNER_EDITED = "owner.edited"
    SERVICE_REGISTERED = "service.registered"
    SERVICE_EDITED = "service.edited"
    CLAUSE_REGISTERED = "clause.registered"
    CLAUSE_EDITED = "clause.edited"
    INVENTORY_IMPORTED = "inventory.imported"

    # Mail
    NOTICE_DELIVERED = "notice.delivered"
    NOTICE_FAILED = "notice.failed"

    # People and their sessions
    PERSON_REGISTERED = "person.registered"
    PERSON_ENROLLED = "person.enrolled"
    PERSON_PASSWORD_CHANGED = "person.password_changed"  # noqa: S105 - a word, no password
    PERSON_DEACTIVATED = "person.deactivated"
    PERSON_ERASED = "person.erased"  # their identity key is destroyed; the chain still verifies
    ENROLMENT_ISSUED = "enrolment.issued"
    ROLE_GRANTED = "role.granted"
    BOOTSTRAP_CLOSED = "bootstrap.closed"
    SESSION_OPENED = "session.opened"
    SESSION_CLOSED = "session.closed"
    SESSION_REFUSED = "session.refused"

    # The log and the installation
    AUDIT_VERIFIED = "audit.verified"
    DEMO_SEEDED = "demo.seeded"

    # Guarded operations
    REQUEST_EXECUTED = "request.executed"


class Outcome(StrEnum):
    """How it ended."""

    DONE = "done"
    REFUSED = "refused"  # a rule said no; nothing was changed
    FAILED = "failed"  # it was tried and went wrong
