"""Gives a role; stands in for the two votes that this will need."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit.actor import Actor
from keyvault_admin.access import services
from keyvault_admin.access.roles import Role
from keyvault_admin.management.people import PersonCommand, day, person_named


class Command(PersonCommand):
    help = (
        "Give a role to somebody who is registered. It takes effect at once, is recorded, and is told by mail to the "
        "person and to everybody of Security and DevOps."
    )
    actor_name = "grant_role"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("role", choices=[role.value for role in Role])
        last = parser.add_mutually_exclusive_group()
        last.add_argument("--until", type=day, help="the last day of the account, as YYYY-MM-DD")
        last.add_argument("--without-end", action="store_true", help="say that an auditor's account has no last day")

    def act(self, now: datetime, actor: Actor, options: dict[str, Any]) -> str:
        person, role = person_named(options["name"]), Role(options["role"])
        needs_end = role is Role.AUDITOR and person.ends_on is None and not options["without_end"]
        if needs_end and options["until"] is None:
            raise CommandError(
                "An auditor's account has a last day: give --until YYYY-MM-DD, or --without-end for one of the house."
            )
        services.grant_role_loudly(
            person=person, role=role, ends_on=options["until"], actor=actor, reason=options["reason"], now=now
        )
        return f"{person.username} has the role {role}. Security, DevOps and the person are told by mail."
