"""Lets somebody back in; stands in for the two votes that this will need."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from audit.actor import Actor
from keyvault_admin.access import services
from keyvault_admin.management.people import PersonCommand, day, person_named


class Command(PersonCommand):
    help = (
        "Re-activate somebody who was deactivated or whose last day is over, with the roles and second factors they "
        "had. It is recorded and told by mail to the person and to everybody of Security and DevOps."
    )
    actor_name = "reactivate_person"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--until", type=day, help="the last day of the account, as YYYY-MM-DD; none without it")

    def act(self, now: datetime, actor: Actor, options: dict[str, Any]) -> str:
        person = person_named(options["name"])
        services.reactivate_person(
            person=person, ends_on=options["until"], actor=actor, reason=options["reason"], now=now
        )
        roles = ", ".join(person.role_names) or "no role"
        return f"{person.username} is active again, with {roles}. Security, DevOps and the person are told by mail."
