"""Hand a service its wrapped DEK, as JSON."""

import base64
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone

from audit.actor import Actor
from inventory.services import deks
from rotation.management.wrapped import dek_of, plainly, service_of

ACTOR = Actor.system("command:hand_out_dek")


class Command(BaseCommand):
    help = (
        "Print the wrapped DEK that a service is to open at the key store, as one JSON object: the KEK's URI and "
        "version, the store's ciphertext and context in base64. It is recorded: that version of the KEK is neither "
        "disabled nor destroyed until confirm_hand_out says that the service uses this copy no more. Nothing in clear "
        "is printed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dek", help="name of the DEK, or its number")
        parser.add_argument("--service", required=True, help="name of the service that gets it")
        parser.add_argument("--number", type=int, help="an earlier version, to read what it encrypted")
        parser.add_argument("--reason", required=True, help="why, for the audit log")
        parser.add_argument("--dry-run", action="store_true", help="say whether it could be, and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        key, service = dek_of(options["dek"]), service_of(options["service"])
        with plainly(), transaction.atomic():
            given = deks.hand_out(
                dek=key.pk,
                service=service,
                number=options["number"],
                actor=ACTOR,
                reason=options["reason"],
                now=timezone.now(),
            )
            if options["dry_run"]:
                transaction.set_rollback(True)
        if options["dry_run"]:
            self.stdout.write(f"{key.name} can be handed to {service.name}. Nothing was done (--dry-run).")
            return
        said = {
            "hand_out": given.hand_out.pk,
            "dek": key.name,
            "version": given.hand_out.dek_version.number,
            "kek": given.uri,
            "kek_version": given.kek_version,
            "algorithm": given.algorithm,
            "ciphertext": base64.b64encode(given.ciphertext).decode(),
            "context": base64.b64encode(given.context).decode(),
            "wrapped": base64.b64encode(given.wrapped).decode(),
        }
        self.stdout.write(json.dumps(said, indent=2))
