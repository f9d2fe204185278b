"""Write the log, or a part of it, into a file."""

import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from audit.actor import Actor
from audit.canonical import JSON
from audit.errors import AuditError
from audit.exports import shipping
from audit.exports.files import Export, export_log
from audit.exports.formats import FORMATS
from audit.exports.reading import Chosen, choose
from audit.exports.targets import appearing, lay_checkpoints
from audit.models import ExportCursor

ACTOR = Actor.system("command:export_audit")
TOLD_EVERY = 50_000


class Command(BaseCommand):
    help = (
        "Export the audit log as NDJSON (the record itself, which verify_log.py checks), CSV, CEF or OCSF. The file "
        "appears whole or not at all, and is never replaced. Exits 0 when it is there, 1 when nothing was written. "
        "docs/exports.md says more."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=list(FORMATS), default="ndjson", dest="file_format")
        parser.add_argument("--out", required=True, help="a file that does not exist yet (.gz is packed), or - ")
        parser.add_argument("--after", type=int, help="begin behind the event of this number")
        parser.add_argument("--until", type=int, help="end with the event of this number")
        parser.add_argument("--since", help="begin at this day or time (UTC), by the server's clock")
        parser.add_argument("--cursor", help="go on where the last export under this name ended")
        parser.add_argument("--checkpoints", type=Path, help="lay the checkpoints and verify_log.py into this folder")
        parser.add_argument("--with-names", action="store_true", help="show people's names where they can be read")
        parser.add_argument("--dry-run", action="store_true", help="say what would be written, and end")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        try:
            cursor = self._cursor(options, now)
            chosen = choose(
                after=cursor.number if cursor else options["after"],
                until=options["until"],
                since=_moment(options["since"]),
            )
            if options["dry_run"]:
                self._tell(f"{chosen.count:,} events would be exported{_range(chosen)}.")
                return
            export = self._write(chosen, options, now)
            self._after(export, cursor, options["checkpoints"], now)
        except AuditError as error:
            raise CommandError(str(error)) from error

    def _cursor(self, options: dict[str, Any], now: datetime) -> ExportCursor | None:
        if not options["cursor"]:
            return None
        if options["after"] is not None or options["since"]:
            raise CommandError("--cursor says where to begin: leave out --after and --since.")
        cursor = shipping.cursor_named(options["cursor"], kind=shipping.EXPORT, now=now)
        shipping.refuse_rewritten(cursor)
        return cursor

    def _write(self, chosen: Chosen, options: dict[str, Any], now: datetime) -> Export:
        """Write the file; nothing is exported, and nothing told, where it cannot be written."""
        out, told = options["out"], 0
        with ExitStack() as opened:
            target: BinaryIO = sys.stdout.buffer if out == "-" else opened.enter_context(appearing(Path(out)))
            export = export_log(
                chosen=chosen,
                file_format=options["file_format"],
                with_names=options["with_names"],
                packed=out.endswith(".gz"),
                actor=ACTOR,
                now=now,
            )
            for piece in export:
                target.write(piece)
                if export.events - told >= TOLD_EVERY:
                    told = export.events
                    self._tell(f"{told:,} of {export.chosen.count:,} events")
            target.flush()
        return export

    def _after(self, export: Export, cursor: ExportCursor | None, folder: Path | None, now: datetime) -> None:
        """Move the cursor once the file stands, and lay what belongs beside it."""
        if cursor and export.last > cursor.number:
            facts: dict[str, JSON] = {"format": export.form.name, "events": export.events, "sha256": export.sha256}
            shipping.move(
                cursor, number=export.last, digest=export.last_digest, length=0, facts=facts, actor=ACTOR, now=now
            )
        if folder:
            laid = lay_checkpoints(folder, after=export.chosen.after, until=export.last)
            self._tell(f"{laid:,} checkpoints and verify_log.py are in {folder}.")
        self._tell(f"{export.events:,} events exported{_range(export.chosen)}, {export.size:,} bytes.")
        self._tell(f"SHA-256 {export.sha256}")

    def _tell(self, said: str) -> None:
        self.stderr.write(said, style_func=str)


def _range(chosen: Chosen) -> str:
    return f": {chosen.after + 1:,} to {chosen.until:,}" if chosen.count else ""


def _moment(text: str | None) -> datetime | None:
    """Return a day or a time in UTC."""
    if text is None:
        return None
    try:
        day, moment = parse_date(text), parse_datetime(text)
    except ValueError as error:
        raise CommandError(f"--since takes 2026-11-22 or 2026-11-22T09:30, not {text}.") from error
    if moment is None and day is not None:
        moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if moment is None:
        raise CommandError(f"--since takes 2026-11-22 or 2026-11-22T09:30, not {text}.")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
