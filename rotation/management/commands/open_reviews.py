"""Open the reviews of periods that are over and write the reminders; what the beat does every hour."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone

from audit.actor import Actor
from rotation import reviews
from rotation.models import Review


class Command(BaseCommand):
    help = (
        "Open the reviews of periods that are over, and remind of those that are not signed. Running it again changes "
        "nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")
        parser.add_argument(
            "--until-now", action="store_true", help="end the period at hand now, instead of on its last day"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        actor, now = Actor.system("command:open_reviews"), timezone.now()
        with transaction.atomic():
            opened = reviews.open_reviews(actor=actor, now=now, until_now=options["until_now"])
            reminded = reviews.remind(actor=actor, now=now)
            if options["dry_run"]:
                transaction.set_rollback(True)
        if options["dry_run"]:
            self.stdout.write("nothing was written (--dry-run)")
        for one in opened:
            review: Review = one.review
            self.stdout.write(
                f"opened: {review}; {one.sampled:,} of {review.population:,} events to judge, due on "
                f"{review.due_at:%-d %B %Y}, {one.told} people told"
            )
            if not one.told:
                self.stderr.write("Nobody could be told of it. Add people to Security and DevOps.")
        if not opened:
            self.stdout.write("no period is over that has no review yet")
        self.stdout.write(f"{reminded} reminders to send")
