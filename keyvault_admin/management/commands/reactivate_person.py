"""Asks for letting somebody back in; people vote on it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from audit.actor import Actor
from audit.canonical import JSON
from keyvault_admin.access import alone
from keyvault_admin.access.models import User
from keyvault_admin.management.people import AskingCommand, day


class Command(AskingCommand):
    help = (
        "Ask that somebody comes back who was deactivated or whose last day is over, with the roles and second factors "
        "they had. Security and DevOps vote on it. While there is no quorum yet it is done at once, and told by mail."
    )
    actor_name, operation = "reactivate_person", "person.reactivate"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--until", type=day, help="the last day of the account, as YYYY-MM-DD; none without it")

    def parameters(self, person: User, options: dict[str, Any]) -> Mapping[str, JSON]:
        return {"person": person.pk, "ends_on": options["until"]}

    def act_alone(self, person: User, now: datetime, actor: Actor, options: dict[str, Any]) -> str:
        alone.reactivate_alone(person=person, ends_on=options["until"], actor=actor, reason=options["reason"], now=now)
        roles = ", ".join(person.role_names) or "no role"
        return f"{person.username} is active again, with {roles}. Security, DevOps and the person are told by mail."
