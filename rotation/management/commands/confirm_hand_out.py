"""Confirm that a service uses a copy of a wrapped DEK no more."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from audit.actor import Actor
from inventory.services import deks
from rotation.management.wrapped import plainly

ACTOR = Actor.system("command:confirm_hand_out")


class Command(BaseCommand):
    help = (
        "Confirm a hand-out: the service has a later copy, or needs none any more. From then on this copy keeps no "
        "version of the KEK alive: once all are confirmed and nothing is wrapped by it, that version may be destroyed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int, help="of the hand-out, as hand_out_dek printed it")
        parser.add_argument("--reason", required=True, help="how this is known, for the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        with plainly():
            given = deks.confirm_hand_out(
                pk=options["number"], actor=ACTOR, reason=options["reason"], now=timezone.now()
            )
        self.stdout.write(
            f"Confirmed: {given.service.name} uses {given.dek_version.key.name}, version {given.dek_version.number}, "
            f"wrapped by {given.kek_version.kek.uri}, version {given.kek_version.store_id}, no more."
        )
