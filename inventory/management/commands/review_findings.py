"""Examine every key for findings, as the beat does at night."""

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from inventory.findings import title_of
from inventory.services import review_findings


class Command(BaseCommand):
    help = (
        "Examine every key, a thousand at a time, and open and close findings by what is wrong on this day. "
        "Repeating it changes nothing; stopped at any point, it can be run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        opened: Counter[str] = Counter()
        closed: Counter[str] = Counter()
        keys, last, now = 0, 0, timezone.now()
        actor = Actor.system("command:review_findings")
        try:
            while (done := review_findings(after=last, actor=actor, now=now, dry_run=options["dry_run"])).last:
                opened, closed = opened + done.opened, closed + done.closed
                keys, last = keys + done.keys, done.last
        except AuditError as error:
            raise CommandError(str(error)) from error
        for word, codes in (("opened", opened), ("closed", closed)):
            for code, count in sorted(codes.items()):
                self.stdout.write(f"{word} {count:,}: {title_of(code)}")
        if options["dry_run"]:
            self.stdout.write("nothing was written (--dry-run)")
        self.stdout.write(f"{keys:,} keys examined, {opened.total():,} findings opened, {closed.total():,} closed")
