"""What people are told by mail about accounts, roles and sign-in: in the transaction that does it, never a secret."""

from collections.abc import Iterable
from datetime import UTC, datetime

from django.conf import settings
from django.urls import reverse

from keyvault_admin.access.models import User
from rotation.kinds import AlertKind
from rotation.letters import write_letter
from rotation.routing import alert_mails

IF_NOT_YOU = (
    "If this was you, there is nothing to do. If it was not, tell Security at once, change your password, and look at "
    "your second factors here:"
)


def tell(people: Iterable[User], *, subject: str, what: str, advice: str, now: datetime, page: str = "factors") -> None:
    """Write one mail to each of them."""
    write_letter(
        recipients=[person.email for person in people],
        subject=subject,
        lines=[f"{what} ({now.astimezone(UTC):%-d %B %Y, %H:%M} UTC)", advice],
        url=settings.SITE_URL + reverse(page),
        now=now,
    )


def tell_of_change(person: User, *, subject: str, what: str, now: datetime) -> None:
    """Tell somebody that their way to sign in has changed, whoever changed it."""
    tell([person], subject=subject, what=what, advice=IF_NOT_YOU, now=now)


def tell_of_decision(*, person: User, what: str, how: str, reason: str, now: datetime) -> None:
    """Tell the person, and whoever is told of such things, what was done for them, how and why. Three queries."""
    name = f"{person} ({person.username})"
    write_letter(
        recipients=[person.email, *alert_mails(AlertKind.PEOPLE)],
        subject=f"{person.username} {what}",
        lines=[f"{name} {what}, {how}, on {now:%-d %B %Y at %H:%M} UTC.", f"Why: {reason}"],
        url=page_of(person),
        now=now,
    )


def tell_everybody(*, subject: str, lines: list[str], url: str, now: datetime) -> None:
    """Tell every active person, whatever their role. Three queries."""
    write_letter(
        recipients=alert_mails(AlertKind.QUORUM), subject=subject, lines=lines, url=settings.SITE_URL + url, now=now
    )


def tell_of_edit(*, person: User, was: str, now: datetime) -> None:
    """Tell the old address and the new one that mail goes elsewhere from now on."""
    write_letter(
        recipients=[was, person.email],
        subject="The mail address of your account was changed",
        lines=[f"From now on, Keyvault Admin writes to {person.username} at {person.email}, no longer at {was}."],
        url=settings.SITE_URL + reverse("admin:index"),
        now=now,
    )


def tell_of_link(*, person: User, now: datetime) -> None:
    """Tell the person that somebody has made a link to set up their sign-in. The link itself never travels by mail."""
    write_letter(
        recipients=[person.email],
        subject="A link to set up your sign-in was made",
        lines=[
            f"Somebody of Security has made a one-time link with which the sign-in of {person.username} is set up, "
            "and will hand it to you. It never comes by mail, works once, and only for a day.",
        ],
        url=settings.SITE_URL + reverse("admin:index"),
        now=now,
    )


def page_of(person: User) -> str:
    """Return the address of the person's page."""
    return settings.SITE_URL + reverse("admin:access_user_change", args=[person.pk])
