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
    KEY_DATES_CHANGED = "key.dates_changed"  # of its period of use; each moves a state when its time comes
    KEY_ROTATION_REPORTED = "key.rotation_reported"  # done elsewhere; it counts once the request for it is executed
    # Out of use: what waits for a second person is a request.
    KEY_CHANGE_HELD = "key.change_held"
    KEY_CHANGE_REJECTED = "key.change_rejected"
    KEY_CHANGE_WITHDRAWN = "key.change_withdrawn"
    KEY_CHANGE_VOIDED = "key.change_voided"
    KEY_FLAGGED_OVERDUE = "key.flagged_overdue"
    FINDING_OPENED = "finding.opened"  # the subjects are the keys; before and after are the codes that are open
    FINDING_CLOSED = "finding.closed"
    KEY_DIGEST_REGISTERED = "key.digest_registered"
    TOKEN_LOOKED_UP = "token.looked_up"  # noqa: S105 - a word; the token itself is never recorded
    KEY_MATERIAL_JUDGED = "key.material_judged"  # known material shows something else: weaknesses, or its last day
    KEY_MATERIAL_REFUSED = "key.material_refused"  # somebody brought a private key; always with the outcome "refused"

    # What keys belong to, and the rules over them
    OWNER_REGISTERED = "owner.registered"
    OWNER_EDITED = "owner.edited"
    SERVICE_REGISTERED = "service.registered"
    SERVICE_EDITED = "service.edited"
    TENANT_REGISTERED = "tenant.registered"
    INTEGRATION_REGISTERED = "integration.registered"
    VENDOR_REGISTERED = "vendor.registered"
    VENDOR_EDITED = "vendor.edited"
    CLAUSE_REGISTERED = "clause.registered"
    CLAUSE_EDITED = "clause.edited"
    CLAUSE_RETIRED = "clause.retired"
    THREAT_LEVEL_CHANGED = "threat_level.changed"
    EXCEPTION_GRANTED = "exception.granted"  # the subject is the key
    EXCEPTION_ENDED = "exception.ended"  # before its day, by a person
    EXCEPTION_EXPIRED = "exception.expired"
    INVENTORY_IMPORT_CONFIRMED = "inventory.import_confirmed"
    INVENTORY_IMPORTED = "inventory.imported"
    INVENTORY_EXPORT_BEGUN = "inventory.export_begun"  # before the first byte leaves
    INVENTORY_EXPORTED = "inventory.exported"  # after the last one, with its digest
    INVENTORY_REPLAY_ASKED = "inventory.replay_asked"  # that a worker compares tables and log; what comes of it follows
    INVENTORY_REPLAYED = "inventory.replayed"  # tables compared with the log; failed where they differ
    INVENTORY_RECONSTRUCTED = "inventory.reconstructed"  # written to a file, as the log tells it of a moment
    KEY_REPLAYED = "key.replayed"  # a few keys compared with the log; failed where they differ

    # KEKs, DEKs and what wraps what
    KEK_LINKED = "kek.linked"  # a record of the inventory to a key in a store
    KEK_ROTATED = "kek.rotated"  # seen in the store and taken into use; key.rotated says what it did to the record
    KEK_VERSION_CLOSED = "kek.version_closed"  # it takes no wraps any more; nothing was under it
    KEK_VERSION_OPENED = "kek.version_opened"  # it takes wraps again
    KEK_VERSION_SEEN = "kek.version_seen"  # its status in the store is another one than before
    KEK_VERSION_SHOWN_DEAD = "kek.version_shown_dead"  # tried, and it opens nothing; failed where it still does
    KEK_ROLLED_BACK = "kek.rolled_back"  # always refused: the store shows an older version than before
    KEK_HELD = "kek.held"  # something outside needs this version
    KEK_RELEASED = "kek.released"
    DEK_CREATED = "dek.created"
    DEK_IMPORTED = "dek.imported"  # wrapped ones, which others have made
    DEK_HANDED_OUT = "dek.handed_out"  # wrapped; the facts say to which service
    DEK_HAND_OUT_CONFIRMED = "dek.hand_out_confirmed"  # the service uses that copy no more
    DEK_REENCRYPTED = "dek.reencrypted"  # nothing is encrypted under this version any more, says somebody
    DEK_CLEARED = "dek.cleared"  # the wrappings of a version are gone; the facts say what that does not reach
    DEK_OPENED = "dek.opened"  # with the outcome "refused" alone: what came is not this row's
    ORDER_OPENED = "order.opened"  # something is to be done in a key store
    ORDER_BEGUN = "order.begun"  # the intent, before the store is asked to do what cannot be asked twice
    ORDER_DONE = "order.done"
    ORDER_FAILED = "order.failed"
    ORDER_RETRIED = "order.retried"
    ORDER_CANCELLED = "order.cancelled"
    REWRAP_OPENED = "rewrap.opened"
    REWRAP_BATCH_DONE = "rewrap.batch_done"  # first and last DEK, how many, a digest over (DEK, old, new)
    REWRAP_QUARANTINED = "rewrap.quarantined"  # DEKs that could not be brought over, and why
    REWRAP_RELEASED = "rewrap.released"  # from quarantine
    REWRAP_PAUSED = "rewrap.paused"
    REWRAP_RESUMED = "rewrap.resumed"
    REWRAP_CHANGED = "rewrap.changed"  # how fast, how many at once
    REWRAP_SUPERSEDED = "rewrap.superseded"
    REWRAP_STOPPED = "rewrap.stopped"
    REWRAP_FINISHED = "rewrap.finished"  # its certificate is written
    SOURCE_REGISTERED = "source.registered"
    SOURCE_RETIRED = "source.retired"
    SOURCE_COUNTED = "source.counted"  # failed where it cannot be reached
    SOURCE_BATCH_BEGUN = "source.batch_begun"  # the intent, before the other database is written to
    CERTIFICATE_MADE = "certificate.made"
    CERTIFICATE_SIGNED = "certificate.signed"  # by the signer
    CENSUS_CHECKED = "census.checked"  # every invariant was derived anew (fsck); failed where one does not hold

    # Mail
    NOTICE_DELIVERED = "notice.delivered"
    NOTICE_FAILED = "notice.failed"

    # People and their sessions
    PERSON_REGISTERED = "person.registered"
    PERSON_ENROLLED = "person.enrolled"
    PERSON_PASSWORD_CHANGED = "person.password_changed"  # noqa: S105 - a word, no password
    PERSON_EDITED = "person.edited"  # which facts, never what they are
    PERSON_END_SET = "person.end_set"  # the last day of an account, or that it has none any more
    PERSON_DEACTIVATED = "person.deactivated"
    PERSON_REACTIVATED = "person.reactivated"
    PERSON_ERASED = "person.erased"  # their identity key is destroyed; the chain still verifies
    PERSON_EXPORTED = "person.exported"  # everything held about them was handed out
    ENROLMENT_ISSUED = "enrolment.issued"
    FACTOR_ADDED = "factor.added"
    FACTOR_REMOVED = "factor.removed"
    FACTOR_RESET = "factor.reset"  # all of a person's, by somebody else
    PASSKEY_ASSERTED = "passkey.asserted"  # with the outcome "refused" alone: its counter had gone back
    RECOVERY_CODE_MADE = "recovery_code.made"
    RECOVERY_CODE_USED = "recovery_code.used"
    SINGLE_SIGN_ON_LINKED = "single_sign_on.linked"  # an account at the provider to a person, by themselves
    SINGLE_SIGN_ON_UNLINKED = "single_sign_on.unlinked"
    SINGLE_SIGN_ON_USED = "single_sign_on.used"  # the provider has identified somebody; session.opened may follow
    ROLE_GRANTED = "role.granted"
    ROLE_REVOKED = "role.revoked"
    QUORUM_RESTORED = "quorum.restored"  # by a command, because too few were left to vote; somebody must look at it
    QUORUM_REVIEWED = "quorum.reviewed"
    BOOTSTRAP_CLOSED = "bootstrap.closed"
    SESSION_OPENED = "session.opened"
    SESSION_CLOSED = "session.closed"
    SESSION_REFUSED = "session.refused"
    SESSION_VERIFIED = "session.verified"  # the second factor once more, for a sensitive door
    SESSION_ENDED = "session.ended"  # by a change, by hand, or because it was over; signing out is session.closed
    SIGN_IN_LOCKED = "sign_in.locked"  # the last allowed try under one name from one address was wrong
    SIGN_IN_UNLOCKED = "sign_in.unlocked"  # by a command, before its time

    # Reviews that people sign
    REVIEW_OPENED = "review.opened"  # with its seed and sample
    REVIEW_ITEM_JUDGED = "review.item_judged"
    REVIEW_FOLLOW_UP_ASKED = "review.follow_up_asked"  # the subject is the key, the reason says what was found
    REVIEW_SIGNED = "review.signed"
    REVIEW_SIGNATURE_VOIDED = "review.signature_voided"  # what it was over has changed
    REVIEW_COMPLETED = "review.completed"
    REVIEW_FLAGGED_OVERDUE = "review.flagged_overdue"

    # What one person does alone, and who looks at it afterwards
    KEY_COMPROMISE_REPORTED = "key.compromise_reported"  # by anybody; what it did to the state is an event of its own
    GLASS_BROKEN = "glass.broken"  # one person asked for what nobody votes on; the facts name the request
    DUTY_OPENED = "duty.opened"  # somebody has to look at what was done to the subject; the facts name the duty
    DUTY_SIGNED = "duty.signed"  # the reason says what they found
    DUTY_CLOSED = "duty.closed"
    DUTY_FLAGGED_OVERDUE = "duty.flagged_overdue"

    # The log and the installation
    AUDIT_VERIFIED = "audit.verified"
    AUDIT_EXPORT_BEGUN = "audit.export_begun"  # before the first byte of the log leaves
    AUDIT_EXPORTED = "audit.exported"  # after the last one, with its digest
    AUDIT_SHIPPED = "audit.shipped"  # to a SIEM, up to the number that the facts say; refused or failed when it stops
    AUDIT_READ = "audit.read"  # an event, or the list as it was filtered; once in a quarter of an hour
    CHECKPOINT_MADE = "checkpoint.made"  # by the signer, over all events before this one
    CHECKPOINT_ANCHORED = "checkpoint.anchored"  # a place outside took it, or did not for a week
    SIGNING_KEY_EPOCH_BEGUN = "signing_key.epoch_begun"  # the first checkpoint under another signing key
    AUDIT_PERIOD_CLOSED = "audit.period_closed"  # its events are exported and may be dropped
    AUDIT_PERIOD_DROPPED = "audit.period_dropped"  # by the owner of the database; the export alone holds them
    AUDIT_RETENTION_CHANGED = "audit.retention_changed"  # how many days events are kept
    MASTER_KEY_NOTED = "master_key.noted"  # the worker holds another one than the log knew: its id, where it is kept
    SEALING_KEY_ROTATED = "sealing_key.rotated"  # the subject says what was sealed anew, the facts how many rows
    DEMO_SEEDED = "demo.seeded"

    # Rules of the house
    APPROVAL_RULE_CHANGED = "approval_rule.changed"  # more votes for an operation, or less time, than it has by itself
    ALERT_ROUTE_CHANGED = "alert_route.changed"  # who is told of one kind of alert

    # Guarded operations
    REQUEST_OPENED = "request.opened"  # the facts hold the digest that people vote on, or of many each subject its own
    REQUEST_VOTED = "request.voted"  # by one person, with the device shown for this vote
    REQUEST_APPROVED = "request.approved"  # all its votes are there; or the facts say is_break_glass, and nobody voted
    REQUEST_REJECTED = "request.rejected"
    REQUEST_WITHDRAWN = "request.withdrawn"
    REQUEST_EXPIRED = "request.expired"
    REQUEST_VOIDED = "request.voided"  # what it is about, or its own row, has changed
    REQUEST_VOTE_VOIDED = "request.vote_voided"  # the reason says what the voter has lost since
    REQUEST_EXECUTED = "request.executed"  # in the transaction of the change itself
    REQUEST_FAILED = "request.failed"  # the reason says why; it may be tried again
    REQUEST_RETRIED = "request.retried"


class Outcome(StrEnum):
    """How it ended."""

    DONE = "done"
    REFUSED = "refused"  # a rule said no; nothing was changed
    FAILED = "failed"  # it was tried and went wrong
