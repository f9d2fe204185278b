"""Letters: mail about something that happened, put into the outbox beside the digests of keys.

A letter never holds a secret or a link that opens anything: everybody who may see the mail that went out can read it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.template.loader import render_to_string

from rotation.models import Digest


def write_letter(*, recipients: Iterable[str], subject: str, lines: Sequence[str], url: str, now: datetime) -> int:
    """Put one mail for each recipient into the outbox; return how many. It goes out with the beat's next delivery.

    `lines` are paragraphs, `url` the page to look at next. Part of the caller's transaction: no change, no letter.
    """
    context = {"title": subject, "lines": lines, "url": url}
    text = render_to_string("emails/letter/letter.txt", context)
    html = render_to_string("emails/letter/letter.html", context)
    letters = [
        Digest(recipient=address, subject=subject, text=text, html=html, composed_at=now, next_attempt_at=now)
        for address in sorted(set(recipients))
    ]
    return len(Digest.objects.bulk_create(letters))
