"""Letters: mail about something that happened, put into the outbox beside the digests of keys.

A letter never holds a secret or a link that opens anything: everybody who may see the mail that went out can read it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.template.loader import render_to_string

from rotation.models import Digest


def write_letter(
    *,
    recipients: Iterable[str],
    subject: str,
    lines: Sequence[str],
    url: str,
    now: datetime,
    template: str = "emails/letter/letter",
) -> int:
    """Put one mail for each recipient into the outbox; return how many. It goes out with the beat's next delivery.

    `lines` are paragraphs, `url` the page to look at next, `template` the text and the page that show both. Part of the
    caller's transaction: no change, no letter.
    """
    context = {"title": subject, "lines": lines, "url": url}
    text, html = render_to_string(f"{template}.txt", context), render_to_string(f"{template}.html", context)
    letters = [
        Digest(recipient=address, subject=subject, text=text, html=html, composed_at=now, next_attempt_at=now)
        for address in sorted(set(recipients))
    ]
    return len(Digest.objects.bulk_create(letters))
