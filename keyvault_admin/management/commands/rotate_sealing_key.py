"""Bring everything that is sealed under earlier sealing keys under the present one."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from audit.resealing import Resealed, SealedColumn, census, reseal_column
from audit.sealing import sealing_key_ids
from keyvault_admin.sealed import SEALED

LEFT = 2
ACTOR = Actor.system("command:rotate_sealing_key")
Census = Mapping[SealedColumn, Mapping[bytes, int]]


class Command(BaseCommand):
    help = (
        "Seal anew, under KEYVAULT_SEALING_KEY, what is sealed under a key of KEYVAULT_SEALING_KEYS_PREVIOUS, and say "
        "which of those can be dropped. It may be killed at any moment and run again; people can work meanwhile. Give "
        "every process both keys first (docs/operate.md). Exit code: 0 when nothing is left under an earlier key, 2 "
        "when somebody held some rows and it is to be run again, 1 when something does not open. With --dry-run: 0, "
        "or 1 when there is something under a key that is not given."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count what is sealed under which key, and stop")

    def handle(self, *args: Any, **options: Any) -> None:
        before = _census()
        self._show("Sealed now:", before)
        if options["dry_run"]:
            self.stdout.write("nothing was written (--dry-run)")
            self._conclude(before, {})
            return
        try:
            became = {one: self._reseal(one) for one in SEALED}
        except AuditError as error:
            raise CommandError(f"{error} What was done before stands; run the command again.") from error
        after = _census()
        if any(one.rows for one in became.values()):
            self._show("Sealed after the run:", after)
        self._conclude(after, became)

    def _reseal(self, column: SealedColumn) -> Resealed:
        return reseal_column(column, actor=ACTOR, now=timezone.now(), tell=self._tell)

    def _tell(self, column: SealedColumn, rows: int) -> None:
        self.stderr.write(f"sealed anew, {column.title}: {rows:,}")

    def _show(self, title: str, counted: Census) -> None:
        self.stdout.write(title)
        given = sealing_key_ids()
        self.stdout.write(f"  {'key id':8}  {'key':9}  {'rows':>9}  what")
        for key_id in (*given, *_strangers(counted)):
            is_now = "present" if key_id == given[0] else "earlier" if key_id in given else "not given"
            held = [(column.title, rows[key_id]) for column, rows in counted.items() if rows.get(key_id)]
            for what, rows in held or [("nothing", 0)]:
                self.stdout.write(f"  {key_id.hex():8}  {is_now:9}  {rows:>9,}  {what}")

    def _conclude(self, counted: Census, became: Mapping[SealedColumn, Resealed]) -> None:
        """Say what may be dropped and what is to be done, worst last. Raises: CommandError."""
        for key_id in sealing_key_ids()[1:]:
            if rows := _under(counted, key_id):
                self.stdout.write(f"{key_id.hex()} is still needed: {rows:,} rows are sealed under it.")
            else:
                self.stdout.write(
                    f"Nothing is sealed under {key_id.hex()} any more: take that key out of "
                    "KEYVAULT_SEALING_KEYS_PREVIOUS, and keep it offline for as long as you keep dumps of its time."
                )
        problems = [
            f"{rows:,} rows are sealed under {key_id.hex()}, which is not given: nothing opens them. Give that key in "
            "KEYVAULT_SEALING_KEYS_PREVIOUS and run this again."
            for key_id in _strangers(counted)
            if (rows := _under(counted, key_id))
        ]
        problems += [
            f"{column.title}: {len(one.unopened):,} rows do not open under the key that they name, and were left as "
            f"they are: {', '.join(one.unopened[:10])}. They were altered, or restored from elsewhere."
            for column, one in became.items()
            if one.unopened
        ]
        if problems:
            raise CommandError("\n".join(problems))
        if left := sum(one.left for one in became.values()):
            raise CommandError(f"{left:,} rows were in use all the time. Run the command again.", returncode=LEFT)


def _census() -> Census:
    return {column: census(column) for column in SEALED}


def _under(counted: Census, key_id: bytes) -> int:
    return sum(rows.get(key_id, 0) for rows in counted.values())


def _strangers(counted: Census) -> list[bytes]:
    return sorted({key_id for rows in counted.values() for key_id in rows} - set(sealing_key_ids()))
