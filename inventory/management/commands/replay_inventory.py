"""Compare the inventory with what the audit log says it should be, or write it as it was at a moment."""

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.errors import AuditError
from audit.services import record
from inventory.errors import InventoryError
from inventory.exporting import csv_stream, json_stream
from inventory.models import Key
from inventory.replay.comparing import CHANGED, Difference
from inventory.replay.past import rows_of
from inventory.replay.recording import compare_inventory
from inventory.replay.running import Run, snapshot

ACTOR = Actor.system("command:replay_inventory")
STREAMS = {"csv": csv_stream, "json": json_stream}
DIFFERENT, BAD_INPUT = 1, 2


class Command(BaseCommand):
    help = (
        "Compare the tables with what the audit log says they should hold, and print every field in which they differ. "
        "Exits 0 when they are equal, 1 when they differ, 2 when it cannot tell. With --as-of or --out it compares "
        "nothing, and writes the inventory as the log tells it of that moment, or of now. docs/replay.md."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--as-of", metavar="DATE", help="a day, up to its end (UTC), or a time: 2026-11-20T09:30Z")
        parser.add_argument(
            "--key", action="append", default=[], metavar="REF", dest="keys", help="key:12, 12 or a name"
        )
        parser.add_argument("--out", type=Path, help="a file that does not exist yet (default: standard output)")
        parser.add_argument("--format", choices=sorted(STREAMS), default="csv", dest="file_format")
        parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object for each difference")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["as_of"] or options["out"]:
                self._write(options)
            else:
                self._compare(options)
        except (InventoryError, AuditError) as error:
            raise CommandError(str(error), returncode=BAD_INPUT) from error

    def _compare(self, options: dict[str, Any]) -> None:
        tell = self._tell_json if options["as_json"] else self._tell
        run = compare_inventory(actor=ACTOR, now=timezone.now(), keys=_numbers(options["keys"]), tell=tell)
        if not options["as_json"]:
            self._sum_up(run)
        if run.differing:
            some = "1 field was" if run.differing == 1 else f"{run.differing:,} fields were"
            raise CommandError(f"{some} {CHANGED}.", returncode=DIFFERENT)

    def _tell(self, difference: Difference) -> None:
        self.stdout.write(str(difference))

    def _tell_json(self, difference: Difference) -> None:
        self.stdout.write(json.dumps(asdict(difference), ensure_ascii=False))

    def _sum_up(self, run: Run) -> None:
        self.stdout.write(f"{run.keys:,} keys and {run.others:,} other records from {run.events:,} events")
        if run.is_cut:
            self.stdout.write(
                f"the log begins with event {run.first:,}: {run.partly_known:,} keys are known from there on only"
            )
        if not run.differing:
            self.stdout.write("the tables hold what the log says")

    def _write(self, options: dict[str, Any]) -> None:
        """Write the inventory of a moment. Event: inventory.reconstructed."""
        if options["keys"] or options["as_json"]:
            raise CommandError(
                "--as-of and --out take the whole inventory: leave out --key and --json.", returncode=BAD_INPUT
            )
        until = _moment(options["as_of"]) if options["as_of"] else None
        run = Run(until=until)
        with ExitStack() as opened:
            target = _target(options["out"], opened)
            with snapshot():
                for piece in STREAMS[options["file_format"]](rows_of(run)):
                    target.write(piece)
        facts: dict[str, JSON] = {
            "keys": run.keys,
            "events": run.events,
            "as_of": until,
            "format": options["file_format"],
        }
        with transaction.atomic():
            record(Action.INVENTORY_RECONSTRUCTED, actor=ACTOR, now=timezone.now(), facts=facts)
        self.stderr.write(f"{run.keys:,} keys from {run.events:,} events, the last of them {run.last:,}")


def _moment(text: str) -> datetime:
    try:
        if len(text) == len("2026-11-20"):
            return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), tzinfo=UTC) - timedelta(
                microseconds=1
            )
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise CommandError(f'"{text}" is no day, such as 2026-11-20, and no time.', returncode=BAD_INPUT) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _numbers(refs: list[str]) -> set[int]:
    """Return the numbers of keys given as "key:12", "12" or by name."""
    found = set()
    for ref in refs:
        number = ref.removeprefix("key:")
        if number.isascii() and number.isdecimal():
            found.add(int(number))
        elif pk := Key.objects.filter(name=ref).values_list("pk", flat=True).first():
            found.add(pk)
        else:
            raise CommandError(f'There is no key "{ref}". Say key:12, or its exact name.', returncode=BAD_INPUT)
    return found


def _target(path: Path | None, opened: ExitStack) -> Any:
    if path is None:
        return sys.stdout.buffer
    try:
        return opened.enter_context(path.open("xb"))
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.", returncode=BAD_INPUT) from error
