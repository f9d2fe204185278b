"""Work that is still to be done, as rows; one file a topic."""

from rotation.models.duties import Duty, DutyKind, DutySignature, DutyState
from rotation.models.mail import Digest, DigestState, Notice
from rotation.models.requests import LIVE, Request, RequestState, RequestTarget, Vote
from rotation.models.reviews import Review, ReviewItem, ReviewSignature, ReviewState, Verdict
from rotation.models.rules import AlertRoute, ApprovalRule

__all__ = [
    "LIVE",
    "AlertRoute",
    "ApprovalRule",
    "Digest",
    "DigestState",
    "Duty",
    "DutyKind",
    "DutySignature",
    "DutyState",
    "Notice",
    "Request",
    "RequestState",
    "RequestTarget",
    "Review",
    "ReviewItem",
    "ReviewSignature",
    "ReviewState",
    "Verdict",
    "Vote",
]
