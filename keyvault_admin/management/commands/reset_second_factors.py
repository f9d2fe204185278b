"""Asks for a way back in for somebody who has lost every second factor; people vote on it."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from audit.actor import Actor
from keyvault_admin.access import alone, selectors
from keyvault_admin.access.errors import LastOfRoleError
from keyvault_admin.access.models import User
from keyvault_admin.management.people import AskingCommand


class Command(AskingCommand):
    help = (
        "Ask that all second factors and recovery codes of one person are removed; Security and DevOps vote on it, and "
        "Security then hands over a link to enrol anew. Make sure by voice or in person that it is them who ask. While "
        "there is no quorum yet, and with --even-if-last where it is lost, it is done at once: the link is printed, "
        "and everybody is told by mail."
    )
    actor_name, operation = "reset_second_factors", "factors.reset"
    _link = ""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--even-if-last",
            action="store_true",
            help="do it alone, where the quorum is lost and nobody is left who could vote; everybody is told",
        )

    def acts_alone(self, options: dict[str, Any]) -> bool:
        return options["even_if_last"] or super().acts_alone(options)

    def act_alone(self, person: User, now: datetime, actor: Actor, options: dict[str, Any]) -> str:
        plan = self._plan(person)
        try:
            self._link = alone.reset_alone(
                person=person,
                even_if_last=options["even_if_last"],
                actor=actor,
                reason=options["reason"],
                now=now,
            )
        except LastOfRoleError as error:
            raise CommandError(f"{error} If their factors are lost for certain, add --even-if-last.") from error
        hours = int(settings.ENROLMENT_LIFETIME.total_seconds() // 3600)
        return (
            f"{plan}\nHand this link to {person.username} in person or by a channel you trust; it works once, within "
            f"{hours} hours, and is not shown again. The password stays as it is:"
        )

    def shown_once(self) -> str:
        return self._link

    def _plan(self, person: User) -> str:
        factors = selectors.factors_of(person)
        return (
            f"{person.username}: {len(factors.apps)} authenticator apps, {len(factors.passkeys)} passkeys and "
            f"{factors.codes_left} recovery codes are removed, an account linked for single sign-on is unlinked; every "
            "session needs a new sign-in."
        )
