"""Who is told of an alert: as the house has decided, else as the release says, and never nobody who could be told."""

from django.contrib.auth import get_user_model

from rotation.kinds import ALERTS, AlertKind
from rotation.models import AlertRoute
from rotation.selectors import role_mails


def route_of(kind: AlertKind) -> AlertRoute | None:
    """Return what the house has decided about an alert, None where the release's word holds. Queries: 1."""
    return AlertRoute.objects.filter(kind=kind).first()


def alert_mails(kind: AlertKind) -> list[str]:
    """Return the addresses that are told of an alert. Queries: at most 3.

    Where the route leads to nobody, such as a role that everybody has left, those are told whom the release names.
    """
    alert, route = ALERTS[kind], route_of(kind)
    addresses = list(route.addresses) if route else []
    if alert.tells_everybody:
        return sorted({*everybodys_mails(), *addresses})
    found = {*role_mails(route.roles), *addresses} if route else set()
    return sorted(found) or role_mails(alert.roles)


def everybodys_mails() -> list[str]:
    """Return the addresses of all active people, also of who has no role yet. Queries: 1."""
    people = get_user_model().objects.filter(is_active=True).exclude(email="")
    return sorted(people.values_list("email", flat=True).distinct())
