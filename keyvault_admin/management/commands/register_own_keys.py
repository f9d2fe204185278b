"""Bring the installation's own keys into the inventory, and report when one of them was rotated."""

from datetime import date
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from inventory.errors import InventoryError
from inventory.services import Became, House, register_own_keys
from inventory.terms import Environment
from keyvault_admin.own_keys import own_keys

NOT_REPORTED = 2
ACTOR = Actor.system("command:register_own_keys")


class Command(BaseCommand):
    help = (
        "Register the sealing key, the digest key, the secret key and the signing key of this installation like any "
        "other key: where they are kept, never what they are. Run it again at any time: it changes nothing, unless one "
        "of them has been rotated; that is reported and waits for somebody of DevOps to approve it. "
        "Exit code: 1 when it was refused, 2 when a rotation could not be reported yet."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--owner", default="", help='who answers for them: a known name, or an address, or "name <address>"'
        )
        parser.add_argument("--team", default="", help="the team of the service Keyvault Admin (default: the owner)")
        parser.add_argument("--tier", type=int, choices=(1, 2, 3, 4), default=3, help="of that service (default: 3)")
        parser.add_argument("--environment", choices=Environment.values, default=Environment.PRODUCTION.value)
        parser.add_argument(
            "--made-on", type=date.fromisoformat, help="the day the present keys were made, as YYYY-MM-DD"
        )
        parser.add_argument("--reason", default="the installation's own keys", help="why, for the audit log")
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        house = House(
            owner=options["owner"],
            team=options["team"],
            tier=options["tier"],
            environment=options["environment"],
            made_on=options["made_on"],
        )
        try:
            became = self._register(house, options["reason"], dry_run=options["dry_run"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        except (InventoryError, AuditError) as error:
            raise CommandError(str(error)) from error
        for one in became:
            self.stdout.write(f"{one.name}: {one.words}")
        if options["dry_run"]:
            self.stdout.write("nothing was written (--dry-run)")
        if not all(one.is_settled for one in became):
            raise CommandError("Run this again when what stands in the way is gone.", returncode=NOT_REPORTED)

    @transaction.atomic
    def _register(self, house: House, reason: str, *, dry_run: bool) -> list[Became]:
        became = register_own_keys(keys=own_keys(), house=house, actor=ACTOR, reason=reason, now=timezone.now())
        transaction.set_rollback(dry_run)
        return became
