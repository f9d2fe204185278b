"""What somebody must know of the log: it is not verified, altered, not signed, or what is signed stays here.

For pages and doctor.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from audit import selectors
from audit.actions import Outcome
from audit.exports.selectors import late_cursors

ANCHORED_WITHIN = timedelta(hours=1)
SHIPPED_WITHIN = timedelta(hours=1)
VERIFIED_WITHIN = timedelta(hours=26)  # it is done every night, and takes a while
SIGNED_WITHIN = 2  # times the longest pause between checkpoints


@dataclass(frozen=True)
class Alert:
    """One thing that is wrong, and what to do about it."""

    said: str
    mend: str


def found_altered(_now: datetime) -> Alert | None:
    """Say that a verification has found something, and none since that was given as much; one query."""
    verified = selectors.looks().standing
    if verified is None or verified.said is None or verified.said.outcome == Outcome.DONE:
        return None
    findings = verified.said.facts.get("findings") or ["it does not say what"]
    return Alert(
        f"The audit log was found altered at {_moment(verified.said.at)}: {findings[0]}",
        "keep the database and its backups as they are, and run manage.py verify_audit; docs/verification.md says what "
        "each kind of damage means",
    )


def not_verified(now: datetime) -> Alert | None:
    """Say that nobody has verified the log for over a day, or since its first event; two queries at most."""
    verified = selectors.latest_verification()
    last = verified.said.at if verified and verified.said else selectors.begun_at()
    if last is None or now - last < VERIFIED_WITHIN:
        return None
    since = f"since {_moment(verified.said.at)}" if verified and verified.said else "yet"
    return Alert(
        f"The audit log has not been verified {since}",
        "see that beat and worker run and read the worker's log; or run manage.py verify_audit, by a timer of the "
        "machine where the log is too long for the worker",
    )


def not_signed(now: datetime) -> Alert | None:
    """Say that events have waited for a checkpoint for too long; one query."""
    since = selectors.unsigned_since()
    if since is None or now - since < SIGNED_WITHIN * settings.CHECKPOINT_EVERY:
        return None
    return Alert(
        f"No checkpoint covers the audit log since {_moment(since)}",
        "see that the signer runs, and read its log: it refuses to sign what does not follow on the last checkpoint",
    )


def not_anchored(now: datetime) -> Alert | None:
    """Say that a checkpoint has found no anchor for an hour, nor has a later one; two queries."""
    missed = selectors.unanchored()
    if missed is None or now - missed.made_at < ANCHORED_WITHIN:
        return None
    said = f"No anchor has taken a checkpoint since {_moment(missed.made_at)}"
    tried = missed.anchorings.exclude(error="").order_by("-tries").first()
    if tried is not None:
        return Alert(said, tried.error)
    return Alert(said, "name anchors in KEYVAULT_ANCHORS of the signer, and see that it runs")


def not_shipped(now: datetime) -> Alert | None:
    """Say that events have waited for a SIEM for an hour; one query."""
    late = late_cursors(now - SHIPPED_WITHIN)
    if not late:
        return None
    name, since, error = late[0]
    more = f", and {len(late) - 1} more" if len(late) > 1 else ""
    said = f"The audit log has not left for {name}{more} since {_moment(since)}"
    return Alert(said, error or "see that the worker and the beat run, and that the worker has KEYVAULT_SIEM")


def _moment(moment: datetime) -> str:
    return f"{moment:%-d %b %Y, %H:%M} UTC"
