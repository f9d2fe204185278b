"""What a signature is over: the review as it is shown, as canonical bytes (RFC 8785).

    {"v":1, "review":"review:3", "kind", "period":{"from","to"}, "due",
     "events":{"after","through","of_this_kind"}, "seed",
     "sample":[{"event","digest","verdict","words","follow_up","judged_by"}]}

Digests and the seed are hexadecimal, `follow_up` is "key:12" or "", `judged_by` "user:3" or "". Every name is always
there. Whoever changes any of it changes the SHA-256, and the signatures over it are void.
"""

from collections.abc import Sequence
from hashlib import sha256

from audit.canonical import JSON, canonical
from rotation.models import Review, ReviewItem

VERSION = 1


def content(review: Review, items: Sequence[ReviewItem]) -> bytes:
    """Return the canonical bytes; `items` are all of the sample, in the order of the log."""
    return canonical({
        "v": VERSION,
        "review": review.ref,
        "kind": review.kind,
        "period": {"from": review.period_from, "to": review.period_to},
        "due": review.due_at,
        "events": {
            "after": review.after_event, "through": review.through_event, "of_this_kind": review.population,
        },
        "seed": bytes(review.seed).hex(),
        "sample": [_said(item) for item in items],
    })  # fmt: skip


def content_digest(review: Review, items: Sequence[ReviewItem]) -> bytes:
    """Return the SHA-256 of the content."""
    return sha256(content(review, items)).digest()


def _said(item: ReviewItem) -> dict[str, JSON]:
    return {
        "event": item.event_number,
        "digest": bytes(item.event_digest).hex(),
        "verdict": item.verdict,
        "words": item.words,
        "follow_up": f"key:{item.follow_up_id}" if item.follow_up_id else "",
        "judged_by": f"user:{item.judged_by_id}" if item.judged_by_id else "",
    }
