"""What is done whenever a wrapped DEK turns out not to be what belongs in its row: an event, and a mail to Security.

Every door that opens wrapped DEKs comes here: re-wrap jobs, the check of all of them, the take-over of others. Nobody
else learns more than that it was refused: how a blob was bent is for the log.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.canonical import JSON
from audit.services import Outcome, Subject, record
from inventory.models import KekVersion
from inventory.services import deks
from inventory.services.deks.scanning import AT_ONCE
from rotation.kinds import AlertKind
from rotation.letters import write_letter
from rotation.models import Digest
from rotation.routing import alert_mails

LISTED = 20
LOG = "/audit/event/?action=dek.opened"
QUIET = timedelta(hours=1)  # one mail about a KEK; what follows within it stands in the log only
WORDS = {
    "not_bound": "is another DEK than the one that belongs there",
    "altered": "was altered",
    "other_version": "says that another KEK, version or algorithm has wrapped it than its row says",
    "gone": "was wrapped by a version that its key store has no more",
    "not_usable": "was wrapped by a version that its key store does not open now",
    "denied": "may not be opened, says its key store",
}


@dataclass(frozen=True, kw_only=True)
class RefusedDek:
    """A wrapped DEK that did not pass."""

    ref: str  # "key:12"; of a row elsewhere, "source:3"
    label: str  # the DEK's name; what names the row
    number: int  # of the DEK's version
    reason: str  # of inventory.custody.Refusal


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What came of opening all DEKs under a version of a KEK."""

    opened: int
    bound: int  # for the first time
    refused: Sequence[RefusedDek]


def tell_of_refused(
    *, uri: str, version: str, refused: Sequence[RefusedDek], where: str, actor: Actor, now: datetime
) -> None:
    """Write down that these wrapped DEKs were refused, in a transaction of its own, and tell Security in one mail.

    `uri` and `version` are the KEK's; `where` says who met them, such as "rewrap:3". Call it outside of transactions:
    nothing that is rolled back takes it along. Events: dek.opened, refused, for up to 1,000 DEKs each.
    Raises: RuntimeError inside a transaction.
    """
    if not refused:
        return
    reasons: dict[str, JSON] = {**Counter(one.reason for one in refused)}
    with transaction.atomic(durable=True):
        for subjects in batches(_subjects(refused)):
            facts: dict[str, JSON] = {"kek": uri, "kek_version": version, "where": where, "reasons": reasons}
            record(Action.DEK_OPENED, actor=actor, now=now, subjects=subjects, facts=facts, outcome=Outcome.REFUSED)
        alert_custody(
            subject=f"Wrapped DEKs were refused: {uri}",
            lines=[
                f"Wrapped DEKs under {uri}, version {version}: {len(refused):,} did not open "
                "as what belongs in the row. No act of the application does that: somebody has changed the rows, "
                "or the key store. They stay as they are, and nothing was opened with them.",
                *_listed(refused),
                "Suspend the DEKs concerned, compare the rows with a backup, and report a compromise if nobody can say "
                "how this came about. More of this KEK within the hour stands in the audit log only.",
            ],
            now=now,
        )


def open_and_tell(
    *, version: KekVersion, where: str, keep: bool = True, at_once: int = AT_ONCE, actor: Actor, now: datetime
) -> Opened:
    """Open every DEK under a version of a KEK, compare it with its row, and tell of those that do not belong there.

    For the worker, outside of any transaction: fsck, and whoever wants to know before a re-wrap. With `keep` the
    binding digests of first openings are kept. Events: as tell_of_refused(), once. Raises: BackendError.
    """
    opened = bound = after = 0
    refused: list[RefusedDek] = []
    while True:
        seen = deks.open_stretch(version, after=after, limit=at_once, keep=keep)
        opened, bound = opened + seen.opened, bound + seen.bound
        refused += [
            RefusedDek(ref=f"key:{one.key}", label=one.name, number=one.number, reason=one.reason)
            for one in seen.misfits
        ]
        if seen.last is None:
            break
        after = seen.last
    uri, name = version.kek.uri, version.store_id
    tell_of_refused(uri=uri, version=name, refused=refused, where=where, actor=actor, now=now)
    return Opened(opened=opened, bound=bound, refused=refused)


def alert_custody(*, subject: str, lines: Sequence[str], now: datetime) -> int:
    """Write to those who are told of what is wrong with wrapped DEKs and key stores; return to how many.

    Once an hour for a subject. Part of the caller's transaction, which writes the event.
    """
    subject = subject[: Digest._meta.get_field("subject").max_length]
    if Digest.objects.filter(subject=subject, composed_at__gt=now - QUIET).exists():
        return 0
    return write_letter(
        recipients=alert_mails(AlertKind.CUSTODY), subject=subject, lines=lines, url=settings.SITE_URL + LOG, now=now
    )


def _subjects(refused: Sequence[RefusedDek]) -> Iterable[Subject]:
    """Yield each record once: of a source elsewhere, or of a KEK whose DEKs are no records yet, there are many rows."""
    by_ref: dict[str, list[RefusedDek]] = {}
    for one in refused:
        by_ref.setdefault(one.ref, []).append(one)
    for ref, those in by_ref.items():
        first = those[0]
        if len(those) == 1:
            yield Subject(ref=ref, label=first.label, after={"version": first.number, "refused": first.reason})
        else:
            labels = [one.label for one in those[:LISTED]]
            yield Subject(ref=ref, label=f"{first.label} and {len(those) - 1:,} more"[:300], after={"refused": labels})


def _listed(refused: Sequence[RefusedDek]) -> Iterable[str]:
    for one in refused[:LISTED]:
        yield f"{one.label}, version {one.number}: {WORDS.get(one.reason, 'was refused by its key store')}"
    if len(refused) > LISTED:
        yield f"and {len(refused) - LISTED:,} more"
