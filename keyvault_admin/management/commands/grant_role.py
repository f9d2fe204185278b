"""Asks for a role for somebody; people vote on it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit.actor import Actor
from audit.canonical import JSON
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import Role
from keyvault_admin.management.people import AskingCommand, day


class Command(AskingCommand):
    help = (
        "Ask for a role for somebody who is registered. Security and DevOps vote on it; nothing happens before. It "
        "prints the request and who can vote. The first people get their roles with bootstrap_admin."
    )
    actor_name, operation = "grant_role", "role.grant"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("role", choices=[role.value for role in Role])
        last = parser.add_mutually_exclusive_group()
        last.add_argument("--until", type=day, help="the last day of the account, as YYYY-MM-DD")
        last.add_argument("--without-end", action="store_true", help="say that an auditor's account has no last day")

    def parameters(self, person: User, options: dict[str, Any]) -> Mapping[str, JSON]:
        needs_end = options["role"] == Role.AUDITOR and person.ends_on is None and not options["without_end"]
        if needs_end and options["until"] is None:
            raise CommandError(
                "An auditor's account has a last day: give --until YYYY-MM-DD, or --without-end for one of the house."
            )
        return {"person": person.pk, "role": options["role"], "ends_on": options["until"]}

    def act_alone(self, person: User, now: datetime, actor: Actor, options: dict[str, Any]) -> str:
        raise CommandError(
            "There are too few people yet who could vote on it. Until two of Security and two of DevOps are enrolled, "
            f"give the role with manage.py bootstrap_admin {person.username} {person.email} --role {options['role']}."
        )
