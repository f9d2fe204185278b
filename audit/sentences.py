"""One readable sentence an event: what its bytes say, in words. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit.actions import Action, Outcome
from audit.body import Body, Subject
from audit.canonical import JSON

NAMED_SUBJECTS = 2  # more are counted


@dataclass(frozen=True)
class Phrase:
    """What was done, as "suspended …", and what was tried, as "suspend …"."""

    done: str
    tried: str
    failed: str = ""  # where "tried to … and failed" would say something else than what happened


PHRASES: dict[str, Phrase] = {
    Action.KEY_REGISTERED: Phrase("registered {subjects}", "register {subjects}"),
    Action.KEY_IMPORTED: Phrase("imported {subjects}", "import {subjects}"),
    Action.KEY_EDITED: Phrase("edited {subjects}", "edit {subjects}"),
    Action.KEY_ACTIVATED: Phrase("activated {subjects}", "activate {subjects}"),
    Action.KEY_SUSPENDED: Phrase("suspended {subjects}", "suspend {subjects}"),
    Action.KEY_REACTIVATED: Phrase("re-activated {subjects}", "re-activate {subjects}"),
    Action.KEY_DEACTIVATED: Phrase("deactivated {subjects}", "deactivate {subjects}"),
    Action.KEY_COMPROMISED: Phrase("reported {subjects} as compromised", "report {subjects} as compromised"),
    Action.KEY_DESTROYED: Phrase("destroyed {subjects}", "destroy {subjects}"),
    Action.KEY_ROTATED: Phrase("rotated {subjects}", "rotate {subjects}"),
    Action.KEY_DATES_CHANGED: Phrase(
        "changed the period of use of {subjects}", "change the period of use of {subjects}"
    ),
    Action.KEY_ROTATION_REPORTED: Phrase(
        "reported a rotation of {subjects}, done where it is kept", "report a rotation of {subjects}"
    ),
    Action.KEY_CHANGE_HELD: Phrase(
        "asked for a change of {subjects}, to be confirmed by DevOps", "ask for a change of {subjects}"
    ),
    Action.KEY_CHANGE_REJECTED: Phrase(
        "rejected the change asked of {subjects}", "reject the change asked of {subjects}"
    ),
    Action.KEY_CHANGE_WITHDRAWN: Phrase(
        "withdrew the change asked of {subjects}", "withdraw the change asked of {subjects}"
    ),
    Action.KEY_CHANGE_VOIDED: Phrase(
        "closed as void the change asked of {subjects}", "close the change asked of {subjects}"
    ),
    Action.KEY_FLAGGED_OVERDUE: Phrase("flagged {subjects} as overdue", "flag {subjects} as overdue"),
    Action.KEY_DIGEST_REGISTERED: Phrase(
        "made {subjects} findable by its material", "make {subjects} findable by its material"
    ),
    Action.TOKEN_LOOKED_UP: Phrase("looked up a token and found {subjects}", "look up a token"),
    Action.KEY_MATERIAL_JUDGED: Phrase("judged the material of {subjects} anew", "judge the material of {subjects}"),
    Action.KEY_MATERIAL_REFUSED: Phrase("brought a private key", "bring a private key"),
    Action.FINDING_OPENED: Phrase("opened findings on {subjects}", "open findings on {subjects}"),
    Action.FINDING_CLOSED: Phrase("closed findings on {subjects}", "close findings on {subjects}"),
    Action.OWNER_REGISTERED: Phrase("registered the owner {subjects}", "register the owner {subjects}"),
    Action.OWNER_EDITED: Phrase("edited the owner {subjects}", "edit the owner {subjects}"),
    Action.SERVICE_REGISTERED: Phrase("registered the service {subjects}", "register the service {subjects}"),
    Action.SERVICE_EDITED: Phrase("edited the service {subjects}", "edit the service {subjects}"),
    Action.TENANT_REGISTERED: Phrase("registered the tenant {subjects}", "register the tenant {subjects}"),
    Action.INTEGRATION_REGISTERED: Phrase(
        "registered the integration {subjects}", "register the integration {subjects}"
    ),
    Action.VENDOR_REGISTERED: Phrase("registered the vendor {subjects}", "register the vendor {subjects}"),
    Action.VENDOR_EDITED: Phrase("edited the vendor {subjects}", "edit the vendor {subjects}"),
    Action.CLAUSE_REGISTERED: Phrase("registered the clause {subjects}", "register the clause {subjects}"),
    Action.CLAUSE_EDITED: Phrase("edited the clause {subjects}", "edit the clause {subjects}"),
    Action.CLAUSE_RETIRED: Phrase("retired the clause {subjects}", "retire the clause {subjects}"),
    Action.THREAT_LEVEL_CHANGED: Phrase("changed {subjects}", "change {subjects}"),
    Action.EXCEPTION_GRANTED: Phrase("granted an exception for {subjects}", "grant an exception for {subjects}"),
    Action.EXCEPTION_ENDED: Phrase("ended an exception for {subjects}", "end an exception for {subjects}"),
    Action.EXCEPTION_EXPIRED: Phrase("let an exception for {subjects} run out", "let an exception for {subjects} end"),
    Action.INVENTORY_IMPORT_CONFIRMED: Phrase(
        "confirmed an import into the inventory", "confirm an import into the inventory"
    ),
    Action.INVENTORY_IMPORTED: Phrase("imported an inventory", "import an inventory"),
    Action.INVENTORY_EXPORT_BEGUN: Phrase("began to export the inventory", "export the inventory"),
    Action.INVENTORY_EXPORTED: Phrase(
        "exported the inventory", "export the inventory", "did not finish an export of the inventory"
    ),
    Action.INVENTORY_REPLAY_ASKED: Phrase(
        "asked for a comparison of the inventory with the log", "ask for a comparison of the inventory with the log"
    ),
    Action.INVENTORY_REPLAYED: Phrase(
        "compared the inventory with the log and found them equal",
        "compare the inventory with the log",
        "compared the inventory with the log and found differences",
    ),
    Action.INVENTORY_RECONSTRUCTED: Phrase(
        "wrote down the inventory as the log tells it", "write down the inventory as the log tells it"
    ),
    Action.KEY_REPLAYED: Phrase(
        "compared a few keys with the log and found them equal",
        "compare a few keys with the log",
        "compared {subjects} with the log and found differences",
    ),
    Action.KEK_LINKED: Phrase("linked {subjects} to its key store", "link {subjects} to a key store"),
    Action.KEK_ROTATED: Phrase(
        "took a new version of {subjects} into use", "take a new version of {subjects} into use"
    ),
    Action.KEK_VERSION_CLOSED: Phrase("closed {subjects} to wraps", "close {subjects} to wraps"),
    Action.KEK_VERSION_OPENED: Phrase("opened {subjects} to wraps again", "open {subjects} to wraps again"),
    Action.KEK_VERSION_SEEN: Phrase(
        "saw another status of {subjects} in its key store", "look at {subjects} in its key store"
    ),
    Action.KEK_VERSION_SHOWN_DEAD: Phrase(
        "saw that an old version of {subjects} opens nothing any more", "see an old version of {subjects} refuse"
    ),
    Action.KEK_ROLLED_BACK: Phrase(
        "used {subjects} though its key store went back",
        "use {subjects}, whose key store shows an older version than before",
    ),
    Action.KEK_HELD: Phrase(
        "noted that something outside needs {subjects}", "note that something outside needs {subjects}"
    ),
    Action.KEK_RELEASED: Phrase("noted that something outside needs {subjects} no more", "release {subjects}"),
    Action.DEK_CREATED: Phrase("made {subjects}", "make {subjects}"),
    Action.DEK_IMPORTED: Phrase("took over wrapped DEKs: {subjects}", "take over wrapped DEKs"),
    Action.DEK_HANDED_OUT: Phrase("handed out {subjects}, wrapped", "hand out {subjects}"),
    Action.DEK_HAND_OUT_CONFIRMED: Phrase(
        "confirmed that a copy of {subjects} is in use no more", "confirm a copy of {subjects}"
    ),
    Action.DEK_REENCRYPTED: Phrase(
        "said that nothing is encrypted under an old version of {subjects} any more",
        "say that nothing is encrypted under an old version of {subjects}",
    ),
    Action.DEK_CLEARED: Phrase("cleared an old version of {subjects}", "clear an old version of {subjects}"),
    Action.DEK_OPENED: Phrase("opened {subjects}", "open {subjects}: what came is not what belongs there"),
    Action.ORDER_OPENED: Phrase("ordered from a key store: {subjects}", "order from a key store: {subjects}"),
    Action.ORDER_BEGUN: Phrase("began in a key store: {subjects}", "begin in a key store: {subjects}"),
    Action.ORDER_DONE: Phrase("had done in a key store: {subjects}", "have done in a key store: {subjects}"),
    Action.ORDER_FAILED: Phrase("failed in a key store: {subjects}", "do in a key store: {subjects}"),
    Action.ORDER_RETRIED: Phrase(
        "let be tried again in a key store: {subjects}", "try again in a key store: {subjects}"
    ),
    Action.ORDER_CANCELLED: Phrase(
        "cancelled what was ordered from a key store: {subjects}", "cancel an order: {subjects}"
    ),
    Action.REWRAP_OPENED: Phrase("opened {subjects}", "open {subjects}"),
    Action.REWRAP_BATCH_DONE: Phrase(
        "brought DEKs under a new version: {subjects}", "bring DEKs under a new version: {subjects}"
    ),
    Action.REWRAP_QUARANTINED: Phrase("put DEKs into quarantine: {subjects}", "put DEKs into quarantine: {subjects}"),
    Action.REWRAP_RELEASED: Phrase(
        "released DEKs from quarantine: {subjects}", "release DEKs from quarantine: {subjects}"
    ),
    Action.REWRAP_PAUSED: Phrase("paused {subjects}", "pause {subjects}"),
    Action.REWRAP_RESUMED: Phrase("resumed {subjects}", "resume {subjects}"),
    Action.REWRAP_CHANGED: Phrase("changed how fast {subjects} goes", "change how fast {subjects} goes"),
    Action.REWRAP_SUPERSEDED: Phrase("closed {subjects}, which a later rotation has overtaken", "close {subjects}"),
    Action.REWRAP_STOPPED: Phrase("stopped {subjects}", "stop {subjects}"),
    Action.REWRAP_FINISHED: Phrase("finished {subjects}", "finish {subjects}"),
    Action.SOURCE_REGISTERED: Phrase("registered {subjects} as a source of DEKs kept elsewhere", "register {subjects}"),
    Action.SOURCE_RETIRED: Phrase("retired {subjects}, a source of DEKs kept elsewhere", "retire {subjects}"),
    Action.SOURCE_COUNTED: Phrase("counted the DEKs of {subjects}", "count the DEKs of {subjects}"),
    Action.SOURCE_BATCH_BEGUN: Phrase("began to write to {subjects}", "write to {subjects}"),
    Action.CERTIFICATE_MADE: Phrase("wrote {subjects}", "write {subjects}"),
    Action.CERTIFICATE_SIGNED: Phrase("signed {subjects}", "sign {subjects}"),
    Action.CENSUS_CHECKED: Phrase("derived every invariant anew", "derive every invariant anew"),
    Action.NOTICE_DELIVERED: Phrase("sent mail about {subjects}", "send mail about {subjects}"),
    Action.NOTICE_FAILED: Phrase(
        "could not send mail about {subjects}",
        "send mail about {subjects}",
        "could not send mail about {subjects}",
    ),
    Action.PERSON_REGISTERED: Phrase("registered {subjects}", "register {subjects}"),
    Action.PERSON_ENROLLED: Phrase("set up a second factor for {subjects}", "set up a second factor for {subjects}"),
    Action.PERSON_EDITED: Phrase("edited {subjects}", "edit {subjects}"),
    Action.PERSON_END_SET: Phrase("set the last day of {subjects}", "set the last day of {subjects}"),
    Action.PERSON_REACTIVATED: Phrase("re-activated {subjects}", "re-activate {subjects}"),
    Action.PERSON_DEACTIVATED: Phrase("deactivated {subjects}", "deactivate {subjects}"),
    Action.PERSON_ERASED: Phrase("erased the identity of {subjects}", "erase the identity of {subjects}"),
    Action.PERSON_EXPORTED: Phrase("exported what is held about {subjects}", "export what is held about {subjects}"),
    Action.PERSON_PASSWORD_CHANGED: Phrase("changed the password of {subjects}", "change the password of {subjects}"),
    Action.ENROLMENT_ISSUED: Phrase("issued an enrolment link to {subjects}", "issue an enrolment link to {subjects}"),
    Action.FACTOR_ADDED: Phrase("added a second factor for {subjects}", "add a second factor for {subjects}"),
    Action.FACTOR_REMOVED: Phrase("removed a second factor of {subjects}", "remove a second factor of {subjects}"),
    Action.FACTOR_RESET: Phrase("reset the second factors of {subjects}", "reset the second factors of {subjects}"),
    Action.PASSKEY_ASSERTED: Phrase(
        "used a passkey of {subjects}", "use a passkey of {subjects} that may have been copied"
    ),
    Action.RECOVERY_CODE_MADE: Phrase("made new recovery codes for {subjects}", "make recovery codes for {subjects}"),
    Action.RECOVERY_CODE_USED: Phrase("used a recovery code of {subjects}", "use a recovery code of {subjects}"),
    Action.SINGLE_SIGN_ON_LINKED: Phrase("linked single sign-on to {subjects}", "link single sign-on to {subjects}"),
    Action.SINGLE_SIGN_ON_UNLINKED: Phrase(
        "unlinked single sign-on from {subjects}", "unlink single sign-on from {subjects}"
    ),
    Action.SINGLE_SIGN_ON_USED: Phrase(
        "was identified by single sign-on as {subjects}", "be identified by single sign-on as {subjects}"
    ),
    Action.ROLE_GRANTED: Phrase("granted a role to {subjects}", "grant a role to {subjects}"),
    Action.ROLE_REVOKED: Phrase("took a role from {subjects}", "take a role from {subjects}"),
    Action.QUORUM_RESTORED: Phrase(
        "restored the quorum by giving a role to {subjects}", "restore the quorum by giving a role to {subjects}"
    ),
    Action.QUORUM_REVIEWED: Phrase(
        "acknowledged the quorum that was restored by {subjects}", "acknowledge the quorum restored by {subjects}"
    ),
    Action.BOOTSTRAP_CLOSED: Phrase("closed the bootstrap for good", "close the bootstrap"),
    Action.SESSION_OPENED: Phrase("signed in", "sign in"),
    Action.SESSION_CLOSED: Phrase("signed out", "sign out"),
    Action.SESSION_REFUSED: Phrase("was refused a sign-in as {subjects}", "sign in as {subjects}"),
    Action.SESSION_VERIFIED: Phrase("confirmed their second factor", "confirm their second factor"),
    Action.SESSION_ENDED: Phrase("ended sessions of {subjects}", "end sessions of {subjects}"),
    Action.SIGN_IN_LOCKED: Phrase(
        "was locked out of signing in as {subjects}", "be locked out of signing in as {subjects}"
    ),
    Action.SIGN_IN_UNLOCKED: Phrase("opened a locked sign-in of {subjects}", "open a locked sign-in of {subjects}"),
    Action.REVIEW_OPENED: Phrase("opened the {subjects}", "open the {subjects}"),
    Action.REVIEW_ITEM_JUDGED: Phrase("judged events in the {subjects}", "judge events in the {subjects}"),
    Action.REVIEW_FOLLOW_UP_ASKED: Phrase(
        "asked in a review for a follow-up on {subjects}", "ask for a follow-up on {subjects}"
    ),
    Action.REVIEW_SIGNED: Phrase("signed the {subjects}", "sign the {subjects}"),
    Action.REVIEW_SIGNATURE_VOIDED: Phrase(
        "voided what was signed of the {subjects}", "void what was signed of the {subjects}"
    ),
    Action.REVIEW_COMPLETED: Phrase("completed the {subjects}", "complete the {subjects}"),
    Action.REVIEW_FLAGGED_OVERDUE: Phrase("flagged the {subjects} as overdue", "flag the {subjects} as overdue"),
    Action.KEY_COMPROMISE_REPORTED: Phrase("reported a compromise of {subjects}", "report a compromise of {subjects}"),
    Action.GLASS_BROKEN: Phrase("broke the glass over {subjects}", "break the glass over {subjects}"),
    Action.DUTY_OPENED: Phrase(
        "asked others to look at what was done to {subjects}", "ask others to look at what was done to {subjects}"
    ),
    Action.DUTY_SIGNED: Phrase(
        "looked at what was done to {subjects}, and signed", "sign for what was done to {subjects}"
    ),
    Action.DUTY_CLOSED: Phrase(
        "closed the review of what was done to {subjects}", "close the review of what was done to {subjects}"
    ),
    Action.DUTY_FLAGGED_OVERDUE: Phrase(
        "flagged as overdue the review of what was done to {subjects}",
        "flag as overdue the review of what was done to {subjects}",
    ),
    Action.AUDIT_VERIFIED: Phrase(
        "verified the log and found it whole", "verify the log", "verified the log and found it altered"
    ),
    Action.AUDIT_EXPORT_BEGUN: Phrase("began to export the log", "export the log"),
    Action.AUDIT_EXPORTED: Phrase("exported the log", "export the log", "did not finish an export of the log"),
    Action.AUDIT_SHIPPED: Phrase(
        "shipped the log to {subjects}", "ship the log to {subjects}", "could not ship the log to {subjects}"
    ),
    Action.AUDIT_READ: Phrase("read {subjects}", "read {subjects}"),
    Action.CHECKPOINT_MADE: Phrase("signed a {subjects}", "sign a checkpoint"),
    Action.CHECKPOINT_ANCHORED: Phrase(
        "took a {subjects} to an anchor outside", "take a {subjects} to an anchor outside"
    ),
    Action.SIGNING_KEY_EPOCH_BEGUN: Phrase("began {subjects} of signing", "begin {subjects} of signing"),
    Action.AUDIT_PERIOD_CLOSED: Phrase(
        "closed a period of the log, {subjects}, and exported it", "close a period of the log"
    ),
    Action.AUDIT_PERIOD_DROPPED: Phrase(
        "dropped an exported period of the log, {subjects}", "drop a period of the log, {subjects}"
    ),
    Action.AUDIT_RETENTION_CHANGED: Phrase("changed {subjects}", "change {subjects}"),
    Action.MASTER_KEY_NOTED: Phrase("found another {subjects} than before", "note another {subjects}"),
    Action.SEALING_KEY_ROTATED: Phrase(
        "sealed the {subjects} under the present sealing key", "seal the {subjects} under the present sealing key"
    ),
    Action.DEMO_SEEDED: Phrase("filled the demo", "fill the demo"),
    Action.REQUEST_OPENED: Phrase("asked for {asked}", "ask for {asked}"),
    Action.REQUEST_VOTED: Phrase("voted on {asked}", "vote on {asked}"),
    Action.REQUEST_APPROVED: Phrase("approved {asked}", "approve {asked}"),
    Action.REQUEST_REJECTED: Phrase("rejected {asked}", "reject {asked}"),
    Action.REQUEST_WITHDRAWN: Phrase("took back {asked}", "take back {asked}"),
    Action.REQUEST_EXPIRED: Phrase("closed as expired {asked}", "close as expired {asked}"),
    Action.REQUEST_VOIDED: Phrase("closed as void {asked}", "close as void {asked}"),
    Action.REQUEST_VOTE_VOIDED: Phrase("voided a vote on {asked}", "void a vote on {asked}"),
    Action.REQUEST_EXECUTED: Phrase("carried out {asked}", "carry out {asked}"),
    Action.REQUEST_FAILED: Phrase("could not carry out {asked}", "carry out {asked}", "could not carry out {asked}"),
    Action.REQUEST_RETRIED: Phrase("had {asked} tried again", "have {asked} tried again"),
    Action.APPROVAL_RULE_CHANGED: Phrase("changed who must agree to {subjects}", "change who must agree to {subjects}"),
    Action.ALERT_ROUTE_CHANGED: Phrase("changed who is told when {subjects}", "change who is told when {subjects}"),
}
# Of request.approved, where one person broke the glass: its fact says so.
_WITHOUT_VOTES = Phrase(
    "let {asked} go ahead by breaking the glass: nobody voted on it", "let {asked} go ahead by breaking the glass"
)


def sentence(said: Body, who: str) -> str:
    """Return the event in words, beginning with who did it; also for an action this version does not know."""
    phrase = _phrase(said)
    words = {
        Outcome.DONE: f"{{who}} {phrase.done}",
        Outcome.REFUSED: f"{{who}} tried to {phrase.tried} and was refused",
        Outcome.FAILED: f"{{who}} {phrase.failed}" if phrase.failed else f"{{who}} tried to {phrase.tried} and failed",
    }.get(Outcome(said.outcome) if said.outcome in set(Outcome) else Outcome.DONE, "")
    whom = f" for {said.on_behalf_of}" if said.on_behalf_of else ""
    return words.format(who=who, subjects=listed(said.subjects), asked=asked(said.subjects)) + whom


def _phrase(said: Body) -> Phrase:
    if said.action == Action.REQUEST_APPROVED and said.facts.get("is_break_glass") is True:
        return _WITHOUT_VOTES
    unknown = Phrase(f"did {said.action} on {{subjects}}", f"do {said.action} on {{subjects}}")
    return PHRASES.get(said.action, unknown)


def asked(subjects: Sequence[Subject]) -> str:
    """Return what was asked and of what: "“Revoke a key” on billing/stripe", "12 times “Edit a key”"."""
    requests = [subject for subject in subjects if subject.ref.startswith("request:")]
    if not requests:
        return listed(subjects)
    title = f"“{requests[0].label or requests[0].ref}”"
    if len(requests) > 1:
        return f"{len(requests)} times {title}"
    records = [subject for subject in subjects if subject is not requests[0]]
    return f"{title} on {listed(records)}" if records else title


def listed(subjects: Sequence[Subject]) -> str:
    """Return the subjects as one phrase: "a", "a and b", "a, b and 7 more", or "nothing in particular"."""
    names = [subject.label or subject.ref for subject in subjects]
    if not names:
        return "nothing in particular"
    if len(names) == 1:
        return names[0]
    if len(names) == NAMED_SUBJECTS:
        return " and ".join(names)
    return f"{', '.join(names[:NAMED_SUBJECTS])} and {len(names) - NAMED_SUBJECTS} more"


@dataclass(frozen=True)
class Change:
    """One field of a subject before and after; None where it was not there."""

    name: str
    before: str | None
    after: str | None


def changes(subject: Subject) -> list[Change]:
    """Return what changed on a subject, in the order of the names."""
    names = sorted({*subject.before, *subject.after})
    return [Change(name.replace("_", " "), _shown(subject.before, name), _shown(subject.after, name)) for name in names]


def _shown(side: Mapping[str, JSON], name: str) -> str | None:
    if name not in side or side[name] is None:
        return None
    said = side[name]
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
