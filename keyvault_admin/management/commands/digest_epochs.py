"""Say which digest keys are still needed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.sealing import digest_epochs
from inventory.selectors import kept_digests
from keyvault_admin.access.selectors import open_links, unused_codes


class Command(BaseCommand):
    help = (
        "List the epochs of the digest key (KEYVAULT_DIGEST_KEY and KEYVAULT_DIGEST_KEYS_PREVIOUS) with what is kept "
        "under each. An earlier key under which nothing is kept can be dropped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="fail when something is kept under a key not given")

    def handle(self, *args: Any, **options: Any) -> None:
        kept, links, codes = kept_digests(), open_links(timezone.now()), unused_codes()
        given = digest_epochs()
        strangers = sorted((kept.keys() | links.keys() | codes.keys()) - set(given))
        self.stdout.write(f"{'epoch':10} {'key':34} {'keys findable':>13} {'open links':>10} {'recovery codes':>14}")
        for epoch in (*given, *strangers):
            means = "not given: nothing finds these" if epoch in strangers else "earlier, nothing is kept: drop it"
            if epoch == given[0]:
                means = "present"
            elif epoch in given and any(found.get(epoch) for found in (kept, links, codes)):
                means = "earlier, still needed"
            counts = f"{kept.get(epoch, 0):>13,} {links.get(epoch, 0):>10,} {codes.get(epoch, 0):>14,}"
            self.stdout.write(f"{epoch.hex():10} {means:34} {counts}")
        if strangers and options["check"]:
            raise CommandError(
                "Give the missing keys in KEYVAULT_DIGEST_KEYS_PREVIOUS; or make those keys findable anew, and have "
                "people make new recovery codes."
            )
