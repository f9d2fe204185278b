"""The nightly comparison of the inventory with the log, and the mail to Security where they differ."""

from datetime import datetime

from django.conf import settings
from django.db import transaction

from audit.actor import Actor
from inventory.replay.comparing import CHANGED, Difference
from inventory.replay.recording import compare_inventory
from inventory.replay.running import Run
from rotation.kinds import AlertKind
from rotation.letters import write_letter
from rotation.routing import alert_mails

LISTED = 20


def compare_and_tell(*, actor: Actor, now: datetime) -> Run:
    """Compare as compare_inventory() does; where something differs, write to all in Security. Raises: ReplayError."""
    found: list[Difference] = []
    run = compare_inventory(actor=actor, now=now, tell=lambda one: _keep(found, one))
    if run.differing:
        _tell(run, found, now)
    return run


def _keep(found: list[Difference], difference: Difference) -> None:
    if len(found) < LISTED:
        found.append(difference)


@transaction.atomic
def _tell(run: Run, found: list[Difference], now: datetime) -> None:
    """Name records and fields; what they hold stays on the page, because mail is read by more than its reader."""
    fields = f"{run.differing:,} field{'s' if run.differing > 1 else ''} of the inventory"
    lines = [
        f"The tables and the audit log were compared. In {fields} the tables hold something else than the log says. No "
        "act of the application does that: somebody wrote into the database.",
        *(f"{one.label or one.ref}: {one.field or 'the record'}" for one in found),
    ]
    if run.differing > len(found):
        lines.append(f"and {run.differing - len(found):,} more")
    write_letter(
        recipients=alert_mails(AlertKind.LOG_DIFFERS),
        subject=f"{fields} {'were' if run.differing > 1 else 'was'} {CHANGED}",
        lines=lines,
        url=f"{settings.SITE_URL}/inventory/key/replay/",
        now=now,
    )
