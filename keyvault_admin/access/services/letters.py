"""Mail about how people sign in: rows of the outbox, written in the transaction of what they tell of."""

from collections.abc import Iterable
from datetime import UTC, datetime

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse

from keyvault_admin.access.models import User
from rotation.notifications import post

IF_NOT_YOU = (
    "If this was you, there is nothing to do. If it was not, tell Security at once, change your password, and look at "
    "your second factors here:"
)


def tell(people: Iterable[User], *, subject: str, what: str, advice: str, now: datetime, page: str = "factors") -> None:
    """Write one mail to each of them. The subject may stand in the log, so it names nobody."""
    url = settings.SITE_URL + reverse(page)
    said = {"subject": subject, "what": f"{what} ({now.astimezone(UTC):%d %B %Y, %H:%M} UTC)", "advice": advice}
    text = render_to_string("emails/account/notice.txt", {**said, "url": url})
    html = render_to_string("emails/account/notice.html", {**said, "url": url})
    for address in sorted({person.email for person in people}):
        post(recipient=address, subject=subject, text=text, html=html, now=now)


def tell_of_change(person: User, *, subject: str, what: str, now: datetime) -> None:
    """Tell somebody that their way to sign in has changed, whoever changed it."""
    tell([person], subject=subject, what=what, advice=IF_NOT_YOU, now=now)
