"""Dropping a closed period: the owner's act. Its events leave the database; the stub and the tree stay."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain as chained
from itertools import zip_longest
from pathlib import Path

from django.db import connection, transaction

from audit import chain, notes, selectors
from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.errors import PeriodError
from audit.exports.selectors import cursors_before
from audit.models import Period
from audit.periods import files, section
from audit.periods.closing import said_by_database
from audit.services import Subject, record
from audit.stubs import vouch_for
from audit.tiles import stored_nodes
from audit.tree import peaks_of

OWNER = "keyvault_owner"


def drop_period(
    *,
    number: int,
    export: Path,
    retention: timedelta,
    permit: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
) -> Period:
    """Drop the partition of the oldest period that was closed, and leave its stub; return it.

    `permit` is what the event says of the request; the database looks for it. Only `rotation.operations` calls this.

    The file is compared with the partition line by line right before. One transaction, as the owner of the tables;
    whoever wants to write to the log waits for a moment. Event: audit.period_dropped. Raises: PeriodError.
    """
    refuse_other_logins()
    period = check_period(number=number, retention=retention, now=now)
    _compare(period, export)
    facts: dict[str, JSON] = {
        "first": period.first,
        "last": period.last,
        "digest_after": bytes(period.digest_after).hex(),
        "file": period.export_name,
        "sha256": bytes(period.export_digest).hex(),
        **permit,
    }
    subject = Subject(ref=period.ref, label=f"events {period.first:,} to {period.last:,}")
    with said_by_database(), transaction.atomic(), connection.cursor() as cursor:
        record(
            Action.AUDIT_PERIOD_DROPPED, actor=actor, now=now, subjects=[subject], reason=reason.strip(), facts=facts
        )
        cursor.execute("SELECT audit_drop_period(%s, %s)", [number, bytes(period.export_digest)])
    return selectors.periods().get(number=number)


def refuse_other_logins() -> None:
    """Raises: PeriodError unless this connection acts as the owner of the tables."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, session_user")
        current, login = cursor.fetchone()
    if current != OWNER:
        raise PeriodError(
            f"This connection acts as {current} ({login}); only the owner of the database can drop a period. Run the "
            "command with KEYVAULT_ROLE=migrator and the migrator's DATABASE_URL."
        )


def check_period(*, number: int, retention: timedelta, now: datetime) -> Period:
    """Return the period if it is the next one to drop and old enough by the clock of this process.

    The database asks the same of its own clock. Raises: PeriodError.
    """
    period = selectors.periods().filter(number=number).first()
    if period is None:
        raise PeriodError(f"Period {number} was not closed. close_audit_period closes and exports it.")
    if period.dropped_at is not None:
        raise PeriodError(f"Period {number} was dropped already, on {period.dropped_at:%-d %B %Y}.")
    if selectors.beginning().number != period.first - 1:
        raise PeriodError(f"Periods before period {number} must be dropped first.")
    if waiting := cursors_before(period.last):
        raise PeriodError(
            f"{', '.join(waiting)} has not got all events of period {number} yet: ship_audit first, or take it "
            "out of KEYVAULT_SIEM. Nothing was dropped."
        )
    kept_until = period.newest_at + max(retention, timedelta(days=period.retention_days))
    if now < kept_until:
        raise PeriodError(f"Period {number} must be kept until {kept_until:%-d %B %Y}. Nothing was dropped.")
    text, _ = notes.open_note(period.checkpoint.note, selectors.signing_epochs().values())
    vouch_for(period, text)
    return period


def _followed(follower: section.Follower, links: Iterable[section.Link]) -> Iterator[section.Link]:
    for link in links:
        follower.follow(link)
        yield link


def _compare(period: Period, export: Path) -> None:
    """Compare the file with what was recorded of it, and with the events that it stands for. Raises: PeriodError."""
    if files.digest_of(export) != bytes(period.export_digest):
        raise PeriodError(
            f"{export} is not the file that was exported: its SHA-256 is another one. Find the right one, "
            f"{period.export_name}; while there is none, the period stays."
        )
    begin = chain.Position(period.first - 1, bytes(period.digest_before))
    peaks = peaks_of(stored_nodes(), begin.number)
    follower = section.Follower(begin, peaks)
    lines = files.lines_of(export)
    text, _ = notes.open_note(period.checkpoint.note, selectors.signing_epochs().values())
    first = section.header_of(notes.parse_checkpoint(text).origin, begin, peaks)
    links = section.stored_links(period.first, period.last)
    meant = chained([first], map(section.line_of, _followed(follower, links)))
    if any(line != wanted for line, wanted in zip_longest(lines, meant)):
        raise PeriodError(f"{export} does not hold the events of the partition. Run verify_audit.")
    if (follower.position.digest, follower.root()) != (bytes(period.digest_after), bytes(period.root)):
        raise PeriodError(f"The events of period {period.number} are not those that were closed. Run verify_audit.")
