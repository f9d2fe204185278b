"""The services of reviews: opened by the beat, judged and signed by people, told of until they are."""

from rotation.reviews.content import content, content_digest
from rotation.reviews.judging import Judgement, judge_items
from rotation.reviews.opening import Opened, open_reviews
from rotation.reviews.reminding import remind
from rotation.reviews.signing import sign_review

__all__ = [
    "Judgement",
    "Opened",
    "content",
    "content_digest",
    "judge_items",
    "open_reviews",
    "remind",
    "sign_review",
]
