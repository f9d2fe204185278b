"""Django's own deployment checks and those of the packages, among ours; none is silent without its reason."""

from collections.abc import Iterator, Sequence

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from keyvault_admin.checks.rules import Answer, Group, Rule, State

NOT_FOR_PLAIN_HTTP = "it asks for TLS, and plain http is served to this machine alone (face.E001)"
REASONS = {  # of each check that settings.py silences
    "security.W004": f"HSTS: {NOT_FOR_PLAIN_HTTP}",
    "security.W008": f"redirect to https: {NOT_FOR_PLAIN_HTTP}",
    "security.W012": f"Secure of the session cookie: {NOT_FOR_PLAIN_HTTP}",
    "security.W016": f"Secure of the CSRF cookie: {NOT_FOR_PLAIN_HTTP}",
}


def silence_has_a_reason() -> Answer:
    """Whoever silences a check says why, where the report shows it."""
    unexplained = sorted(set(settings.SILENCED_SYSTEM_CHECKS) - REASONS.keys())
    if unexplained:
        return Answer(
            f"{', '.join(unexplained)} are silenced without a reason.",
            "Take them out of SILENCED_SYSTEM_CHECKS, or add the reason to keyvault_admin/checks/djangos.py.",
        )
    return Answer(f"{len(settings.SILENCED_SYSTEM_CHECKS)} checks are silenced, each with its reason.")


def messages() -> Iterator[tuple[str, State, Answer]]:
    """Run every check that needs no database, ours left out; yield id, state and answer of what is said."""
    found: Sequence[CheckMessage] = checks.run_checks(include_deployment_checks=True)
    theirs = [message for message in found if not (message.id or "").startswith("face.")]
    for message in sorted(theirs, key=lambda message: message.id or ""):
        name = message.id or "django"
        if message.is_silenced():
            yield name, State.OK, Answer(f"Silenced: {REASONS.get(name, 'without a reason, see face.E060')}.")
        else:
            state = State.WRONG if message.level >= checks.ERROR else State.WARNING
            said = " ".join(str(message.msg).split())
            yield name, state, Answer(said, " ".join(str(message.hint or "See Django's documentation.").split()))
    if not theirs:
        yield "django", State.OK, Answer("The checks of Django and of the packages have nothing to say.")


RULES = (Rule("face.E060", Group.DJANGO, "each silenced check has a reason", silence_has_a_reason),)
