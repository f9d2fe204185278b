"""Confirm that nothing is encrypted under an earlier version of a DEK any more."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from audit.actor import Actor
from inventory.services import deks
from rotation.management.wrapped import dek_of, plainly

ACTOR = Actor.system("command:confirm_reencrypted")


class Command(BaseCommand):
    help = (
        "Confirm that an earlier version of a DEK encrypts nothing any more, and ask to have its wrapped bytes "
        "cleared: Security and DevOps vote on that. What is still encrypted under it could never be read again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dek", help="name of the DEK, or its number")
        parser.add_argument("--number", type=int, required=True, help="the version that encrypts nothing any more")
        parser.add_argument("--evidence", required=True, help="how this is known: a job, a count of zero")
        parser.add_argument("--reason", required=True, help="why, for the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        key, number = dek_of(options["dek"]), options["number"]
        with plainly():
            _, asked = deks.confirm_reencrypted(
                dek=key.pk,
                number=number,
                evidence=options["evidence"],
                actor=ACTOR,
                reason=options["reason"],
                now=timezone.now(),
            )
        self.stdout.write(
            f"Confirmed for version {number} of {key.name}. {asked.ref} waits for Security and DevOps to clear it."
        )
