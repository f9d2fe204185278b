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

    @property
    def subject(self) -> Subject:
        return Subject(ref=self.ref, label=self.label, after={"version": self.number, "refused": self.reason})


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
    with transaction.atomic(durable=True):
        for subjects in batches(one.subject for one in refused):
            reasons = Counter(str(subject.after["refused"]) for subject in subjects)
            facts: dict[str, JSON] = {"kek": uri, "kek_version": version, "where": where, "reasons": dict(reasons)}
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


def _listed(refused: Sequence[RefusedDek]) -> Iterable[str]:
    for one in refused[:LISTED]:
        yield f"{one.label}, version {one.number}: {WORDS.get(one.reason, 'was refused by its key store')}"
    if len(refused) > LISTED:
        yield f"and {len(refused) - LISTED:,} more"
