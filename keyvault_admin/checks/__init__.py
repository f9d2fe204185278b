"""What is wrong with an installation, and how to mend it: for `check --deploy` and, with live looks, for `doctor`.

Ids are permanent: face.E… is wrong, face.W… a warning. docs/operate.md lists them.
"""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import DatabaseError, connection

from keyvault_admin.checks import checkpoints, djangos, house, keys, people, retention, site, stores, wires
from keyvault_admin.checks.rules import Answer, Rule

SETTINGS_RULES: tuple[Rule, ...] = (
    *(*keys.RULES, *site.RULES, *house.RULES),
    *(*checkpoints.RULES, *retention.RULES, *stores.RULES, *wires.RULES, *djangos.RULES),
)


@register(Tags.security, deploy=True)
def look_at_settings(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:  # noqa: ANN401 - Django's own signature
    """Every check that needs no server."""
    answers = [(rule, rule.look()) for rule in SETTINGS_RULES]
    return [_message(rule, answer) for rule, answer in answers if answer.mend]


@register(Tags.database, deploy=True)
def look_for_superusers(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **options: Any,  # noqa: ANN401 - Django's own signature
) -> list[CheckMessage]:
    """Runs with `check --deploy --database default`."""
    if not databases:
        return []
    rule = people.LIVE[0]
    try:
        answer = rule.look()
    except DatabaseError:  # before the first migration
        connection.close()
        return []
    return [_message(rule, answer)] if answer.mend else []


def _message(rule: Rule, answer: Answer) -> CheckMessage:
    kind = checks.Error if rule.is_error else checks.Warning
    return kind(answer.said, hint=answer.mend, id=rule.id)
