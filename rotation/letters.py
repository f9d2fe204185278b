"""Letters: mail about something that happened, put into the outbox beside the digests of keys.

A letter never holds a secret or a link that opens anything: everybody who may see the mail that went out can read it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import Q
from django.template.loader import render_to_string
from django.utils.html import escape

from rotation.models import Digest, DigestState, Notice

ERASED_SUBJECT = "What this mail said was erased with its recipient"


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


def forget_recipient(*, mail: str, placeholder: str, names: Mapping[str, str]) -> int:
    """Erase what the outbox holds of somebody; return how many mails to them there were.

    Mails to them keep their dates under the placeholder and lose what they said; what has not left yet is given up.
    In mails to others `names` are replaced, where they stand as whole words. Notices go by the placeholder. Part of
    the caller's transaction, and of its event.
    """
    theirs = Digest.objects.filter(recipient=mail)
    waiting = theirs.filter(state__in=[DigestState.PENDING, DigestState.SENDING])
    waiting.update(state=DigestState.FAILED, leased_until=None, last_error="The recipient was erased.")
    count = theirs.update(recipient=placeholder, subject=ERASED_SUBJECT, text="", html="")
    Notice.objects.filter(recipient=mail).update(recipient=placeholder)
    for letter in Digest.objects.filter(_naming(names)).only("subject", "text", "html").select_for_update():
        letter.subject = _without(names, letter.subject)[: Digest._meta.get_field("subject").max_length]
        letter.text = _without(names, letter.text)
        letter.html = _without({escape(name): words for name, words in names.items()}, letter.html)
        letter.save(update_fields=["subject", "text", "html"])
    return count


def _naming(names: Iterable[str]) -> Q:
    return reduce(or_, (Q(subject__contains=name) | Q(text__contains=name) for name in names), Q(pk__isnull=True))


def _without(names: Mapping[str, str], text: str) -> str:
    """Replace each name where it stands as a whole word: the longest at a place wins."""
    longest_first = sorted(names, key=len, reverse=True)
    pattern = rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])"
    return re.sub(pattern, lambda found: names[found[0]], text)
