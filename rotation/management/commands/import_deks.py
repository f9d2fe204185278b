"""Take over wrapped DEKs that an application keeps in a table of its own."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from inventory.models import Kek
from inventory.services.deks.taking import TakeOver, open_all, plan_take_over, settle, take_over
from rotation.management.wrapped import add_facts, facts_in, kek_of, need_worker, plainly
from rotation.refusals import RefusedDek, tell_of_refused

ACTOR = Actor.system("command:import_deks")
REFUSED = 2
LISTED = 200


class Command(BaseCommand):
    help = (
        "Take over wrapped DEKs from a CSV file with a header, or a JSON object a line: tenant and integration, or "
        "secret; version (of the KEK, as its store names it); ciphertext (base64, or as the store writes it: "
        "vault:v3:…); context (base64, where the store binds one). All rows go in, or none. The same file again "
        "changes nothing. As the worker (KEYVAULT_ROLE=worker). "
        "Exit code: 0 when all is taken over, 2 when rows have to be mended first, 1 when nothing could be read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--kek", required=True, help="URI of the KEK that wraps them, or the name of its record")
        parser.add_argument("--open", action="store_true", help="open each in the key store first, to see that it does")
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")
        add_facts(parser)
        parser.add_argument("--reason", default="", help="why, for the audit log (default: the file's name)")

    def handle(self, *args: Any, **options: Any) -> None:
        need_worker()
        path, kek, now = options["file"], kek_of(options["kek"]), timezone.now()
        facts = facts_in(options)
        with plainly():
            plan = plan_take_over(content=_read(path), kek=kek, now=now)
            if options["open"]:
                open_all(plan)
            else:
                settle(plan)
            _tell(plan, kek)
        if plan.errors:
            self._list(plan)
            raise SystemExit(REFUSED)
        same = f"{len(plan.known):,} are here already"
        if options["dry_run"]:
            self.stdout.write(f"{len(plan.new):,} DEKs would be taken over, {same}. Nothing was done (--dry-run).")
            return
        with plainly():
            reason = options["reason"] or f"take-over of {path.name}"
            count = take_over(plan=plan, file=path.name, facts=facts, actor=ACTOR, reason=reason, now=now)
        self.stdout.write(f"{count:,} DEKs are taken over under {kek.uri}, {same}.")

    def _list(self, plan: TakeOver) -> None:
        for error in plan.errors[:LISTED]:
            self.stdout.write(str(error))
        if len(plan.errors) > LISTED:
            self.stdout.write(f"and {len(plan.errors) - LISTED:,} more")
        rows = len({error.row for error in plan.errors})
        self.stdout.write(f"Nothing was taken over: {rows:,} row{'s have' if rows > 1 else ' has'} to be mended first.")


def _tell(plan: TakeOver, kek: Kek) -> None:
    """Tell Security of rows that were opened and are not what they say."""
    versions = {one.version.store_id for one, _ in plan.misfits}
    for version in sorted(versions):
        refused = [
            RefusedDek(ref=kek.key.ref, label=f"row {one.said.row}, {one.said.name}", number=1, reason=reason)
            for one, reason in plan.misfits
            if one.version.store_id == version
        ]
        now = timezone.now()
        tell_of_refused(uri=kek.uri, version=version, refused=refused, where="import_deks", actor=ACTOR, now=now)


def _read(path: Path) -> bytes:
    most = settings.IMPORT_MAX_BYTES
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > most:
        raise CommandError(
            f"{path.name} is larger than {most:,} bytes (KEYVAULT_IMPORT_MAX_BYTES). Take it over in parts."
        )
    return content
