"""Where personal data stand, table by table, what an export shows of them, and what erasing somebody does. Data only.

docs/personal-data.md carries the same table, and a test compares them. A model with a link to a person, or with a field
that names one, stands in HOLDINGS or in NOBODYS; a test looks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Holding:
    """One table in which something about a person stands."""

    model: str  # "access.User"
    what: str
    erasure: str  # what erasing a person does to it
    # Which rows are about somebody: a look-up, and which fact of theirs it takes (pk, pks, ref, mail, handles).
    matched: Mapping[str, str] = field(default_factory=dict)
    shown: tuple[str, ...] = ()  # look-ups of what an export shows; never a secret or the digest of one
    is_read_by_the_log: bool = False  # the export has it from audit.selectors


MOST_NUMBERS = 20  # of events that name somebody in their text are listed, when they are erased

STAYS = "stays: it names a number, not a person"
FREE_TEXT = "stays; what people wrote in it is out of reach"

HOLDINGS = (
    Holding(
        model="access.User",
        what="user name, mail address, full name, password digest, dates",
        erasure="name and address become a placeholder that is unique, the password unusable, the last sign-in empty",
        matched={"pk": "pk"},
        shown=("id", "username", "email", "full_name", "is_active", "date_joined", "last_login", "ends_on"),
    ),
    Holding(
        model="access.User_groups",
        what="their roles",
        erasure=STAYS,
        matched={"user": "pk"},
        shown=("group__name",),
    ),
    Holding(
        model="access.TotpDevice",
        what="authenticator apps: names, sealed seeds, dates",
        erasure="removed; name and seed emptied",
        matched={"user": "pk"},
        shown=("id", "name", "confirmed", "created_at", "last_used_at", "removed_at"),
    ),
    Holding(
        model="access.Passkey",
        what="passkeys: names, credential ids, public keys, dates",
        erasure="removed; name, credential id, public key and handle emptied",
        matched={"user": "pk"},
        shown=("id", "name", "confirmed", "created_at", "last_used_at", "sign_count", "removed_at"),
    ),
    Holding(
        model="access.RecoverySheet",
        what="sheets of recovery codes",
        erasure="taken out of use",
        matched={"user": "pk"},
        shown=("id", "name", "confirmed", "created_at", "last_used_at"),
    ),
    Holding(
        model="access.RecoveryCode",
        what="recovery codes as keyed digests",
        erasure="void",
        matched={"sheet__user": "pk"},
        shown=("id", "made_at", "used_at", "voided_at"),
    ),
    Holding(
        model="access.SingleSignOnLink",
        what="their account at the provider of single sign-on",
        erasure="unlinked; the subject becomes a placeholder",
        matched={"user": "pk"},
        shown=("id", "issuer", "subject", "created_at", "last_used_at", "removed_at"),
    ),
    Holding(
        model="access.EnrolmentLink",
        what="enrolment links as keyed digests, and who issued them",
        erasure="open ones are void",
        matched={"user": "pk", "issued_by": "ref"},
        shown=("id", "issued_by", "created_at", "expires_at", "used_at", "voided_at"),
    ),
    Holding(
        model="access.PersonSession",
        what="open sessions, with address and browser, sealed",
        erasure="ended, which deletes them",
        matched={"person": "pk"},
        shown=("id", "opened_at", "last_seen_at", "verified_by"),
    ),
    Holding(
        model="access.Lockout",
        what="when sign-in under their name was closed",
        erasure="deleted",
        matched={"person": "pk"},
        shown=("id", "locked_at", "told_at"),
    ),
    Holding(
        model="access.QuorumReview",
        what="restored quorums that gave them a role, or that they acknowledged",
        erasure=FREE_TEXT,
        matched={"person": "pk", "acknowledged_by": "pk"},
        shown=("id", "role", "reason", "restored_at", "acknowledged_at", "comment"),
    ),
    Holding(
        model="inventory.Owner",
        what="the owner that stands for them: name, mail address",
        erasure="name and address emptied, no longer active; its keys get the finding that their owner is gone",
        matched={"user": "pk", "mail": "mail"},
        shown=("id", "kind", "handle", "mail", "is_active"),
    ),
    Holding(
        model="inventory.Key",
        what="keys that they made or answer for",
        erasure="stays, and names the owner's record",
        matched={"owner__user": "pk", "creator__user": "pk", "owner__mail": "mail", "creator__mail": "mail"},
        shown=("id", "name", "kind", "state", "created_on"),
    ),
    Holding(
        model="inventory.Finding",
        what="findings that name an owner",
        erasure="the name becomes the placeholder",
        matched={"facts__owner__in": "handles"},
        shown=("id", "key__name", "code", "opened_at", "closed_at"),
    ),
    Holding(
        model="inventory.RotationEvidence",
        what="rotations that they reported",
        erasure=FREE_TEXT,
        matched={"reported_by": "pk"},
        shown=("id", "key__name", "rotated_on", "text", "url", "reported_at"),
    ),
    Holding(
        model="inventory.PolicyException",
        what="exceptions to clauses that they ended early",
        erasure=FREE_TEXT,
        matched={"closed_by": "pk"},
        shown=("id", "key__name", "clause__code", "state", "closed_at", "closed_because"),
    ),
    Holding(
        model="inventory.ImportDraft",
        what="a file that they uploaded, sealed",
        erasure="is deleted an hour after the upload, by itself",
        matched={"uploaded_by": "pk"},
        shown=("id", "uploaded_at", "file_name", "reason", "state"),
    ),
    Holding(
        model="inventory.HeaderMapping",
        what="that they said what a column of a table means",
        erasure=STAYS,
        matched={"used_by": "ref"},
        shown=("id", "header", "field", "used_at"),
    ),
    Holding(
        model="rotation.Digest",
        what="mails to them",
        erasure="the address becomes the placeholder, the words are emptied, what waits is not sent; in mails to "
        "others their names are replaced",
        matched={"recipient": "mail"},
        shown=("id", "subject", "text", "composed_at", "state", "sent_at"),
    ),
    Holding(
        model="rotation.Notice",
        what="of which keys they were told",
        erasure="the address becomes the placeholder",
        matched={"recipient": "mail"},
        shown=("id", "key__name", "rotate_by", "threshold_days", "written_at"),
    ),
    Holding(
        model="rotation.ReviewItem",
        what="events in a review that they did, asked for or approved, and verdicts that they gave",
        erasure=FREE_TEXT,
        matched={"done_by": "pk", "done_for": "pk", "hands__contains": "pks", "judged_by": "pk"},
        shown=("id", "event_number", "verdict", "words", "judged_at"),
    ),
    Holding(
        model="rotation.ReviewSignature",
        what="reviews that they signed, or whose signature they voided by a new verdict",
        erasure=STAYS,
        matched={"person": "pk", "voided_by": "pk"},
        shown=("id", "role", "signed_at", "voided_at"),
    ),
    Holding(
        model="rotation.Request",
        what="requests that they asked for, or that are about them",
        erasure="stays, because the votes are on its bytes; names that stand in these, or in a reason, are out of "
        "reach",
        matched={"requested_by": "pk", "requested_by_ref": "ref", "subject_ref": "ref"},
        shown=("id", "operation", "title", "reason", "requested_at", "expires_at", "state", "closed_at"),
    ),
    Holding(
        model="rotation.RequestTarget",
        what="that a request is about them",
        erasure=STAYS,
        matched={"ref": "ref"},
        shown=("id", "request_id"),
    ),
    Holding(
        model="rotation.Vote",
        what="their votes, with their comments and the device they showed",
        erasure=FREE_TEXT,
        matched={"person": "pk"},
        shown=("id", "request_id", "role", "is_approval", "comment", "verified_by", "voted_at", "voided_at"),
    ),
    Holding(
        model="rotation.Duty",
        what="what they did alone, and why",
        erasure=FREE_TEXT,
        matched={"done_by": "pk", "done_by_ref": "ref"},
        shown=("id", "kind", "title", "reason", "done_at", "state", "closed_at"),
    ),
    Holding(
        model="rotation.DutySignature",
        what="that they looked at what somebody did alone, and what they found",
        erasure=FREE_TEXT,
        matched={"person": "pk"},
        shown=("id", "duty__title", "role", "verdict", "words", "signed_at"),
    ),
    Holding(
        model="rotation.Order",
        what="what they ordered from a key store, and why",
        erasure=FREE_TEXT,
        matched={"asked_by_ref": "ref"},
        shown=("id", "act", "reason", "created_at", "state", "closed_at"),
    ),
    Holding(
        model="rotation.RewrapJob",
        what="re-wrap jobs that they opened, and why",
        erasure=FREE_TEXT,
        matched={"opened_by_ref": "ref"},
        shown=("id", "reason", "opened_at", "state", "closed_at"),
    ),
    Holding(
        model="inventory.DekVersion",
        what="versions of DEKs of which they said that nothing is encrypted under them any more",
        erasure=STAYS,
        matched={"reencrypted_by": "ref"},
        shown=("key_id", "number", "reencrypted_at"),
    ),
    Holding(
        model="inventory.HandOut",
        what="wrapped DEKs that they handed out to a service, or confirmed to be in use no more",
        erasure=STAYS,
        matched={"handed_by": "ref", "confirmed_by": "ref"},
        shown=("id", "service_id", "handed_at", "confirmed_at"),
    ),
    Holding(
        model="rotation.AlertRoute",
        what="alerts that go to their address by a rule of the house",
        erasure="stays: people vote on who is told; ask for another route",
        matched={"addresses__contains": "mail"},
        shown=("id", "kind", "set_at"),
    ),
    Holding(
        model="audit.Event",
        what="what they did: number and roles in the hashed bytes; name, mail, address and browser sealed beside",
        erasure="the bytes stay; what is sealed cannot be opened any more",
        is_read_by_the_log=True,
    ),
    Holding(
        model="audit.EventSubject",
        what="which events are about them",
        erasure=STAYS,
        is_read_by_the_log=True,
    ),
    Holding(
        model="audit.IdentityKey",
        what="their identity key, sealed",
        erasure="destroyed",
        is_read_by_the_log=True,
    ),
)

# Models whose fields look as if they named somebody, and why nothing about a person stands there.
NOBODYS = {
    "access.User_user_permissions": "rights come from roles alone; nothing writes it",
    "admin.LogEntry": "nothing writes it; what happened stands in the audit log",
    "axes.AccessAttempt": "keyed digests of names and addresses, gone after a quarter of an hour",
    "axes.AccessFailureLog": "nothing writes it",
    "axes.AccessLog": "nothing writes it",
    "audit.Period": "names commands",
    "audit.Retention": "names a request",
    "rotation.ApprovalRule": "names a request",
}
