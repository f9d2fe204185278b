"""Brings a lost quorum back, loudly."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from audit.actor import Actor
from keyvault_admin.access import alone
from keyvault_admin.access.roles import VOTING, Role
from keyvault_admin.management.people import PersonCommand


class Command(PersonCommand):
    help = (
        "Give Security or DevOps to somebody, because fewer than two people of each are left who can vote. It works "
        "only then. Everybody is told by mail, and a review stands on the first page until somebody else of Security "
        "has acknowledged it. With --mail somebody new is registered; who is not enrolled gets a one-time link."
    )
    actor_name = "restore_quorum"
    _link: str | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("role", choices=[role.value for role in VOTING])
        parser.add_argument("--mail", default="", help="mail address of somebody who is not registered yet")
        parser.add_argument("--full-name", default="", help="their name, as others know them")

    def act(self, now: datetime, actor: Actor, options: dict[str, Any]) -> str:
        self._link = alone.restore_quorum(
            username=options["name"],
            role=Role(options["role"]),
            mail=options["mail"],
            full_name=options["full_name"],
            actor=actor,
            reason=options["reason"],
            now=now,
        )
        did = f"{options['name']} has the role {options['role']}. Everybody is told by mail; Security must review it."
        return f"{did} Hand this link over; it works once and is not shown again:" if self._link else did

    def shown_once(self) -> str:
        return self._link or ""
