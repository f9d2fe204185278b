"""Live checks of who there is: nobody works as superuser, and enough people can decide."""

from keyvault_admin.access import selectors
from keyvault_admin.access.models import User
from keyvault_admin.checks.rules import Answer, Group, Rule


def nobody_is_superuser() -> Answer:
    """Being superuser opens nothing here, so nobody needs it."""
    active = User.objects.filter(is_active=True, is_superuser=True).count()
    if not active:
        return Answer("Nobody active is a superuser.")
    return Answer(
        f"{active} active superusers. Being superuser opens no page here, so nobody needs it.",
        "Give the people roles, and take the flag away as the owner of the database.",
    )


def enough_can_decide() -> Answer:
    """Guarded acts need somebody of Security and somebody of DevOps who did not ask."""
    missing = selectors.roles_missing()
    if not missing:
        return Answer("Two of Security and two of DevOps are enrolled, four different people.")
    return Answer(
        "Fewer than two of Security and two of DevOps, four different people, are enrolled; it is short of "
        f"{' and '.join(missing)}.",
        "Enrol more: manage.py bootstrap_admin at the beginning, grant_role or restore_quorum later (docs/people.md).",
    )


def restored_quorum_is_reviewed() -> Answer:
    """Whoever restored a quorum gave rights alone, on the machine."""
    waiting = len(selectors.open_reviews())
    if not waiting:
        return Answer("No restored quorum waits for its review.")
    return Answer(
        f"{waiting} restored quorums wait for their review.", "Somebody of Security reviews them on their page."
    )


LIVE = (
    Rule("face.W001", Group.PEOPLE, "nobody is superuser", nobody_is_superuser),
    Rule("face.W007", Group.PEOPLE, "enough people can decide", enough_can_decide),
    Rule("face.W008", Group.PEOPLE, "restored quorums are reviewed", restored_quorum_is_reviewed),
)
