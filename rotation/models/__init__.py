"""Work that is still to be done, as rows; one file a topic."""

from rotation.models.duties import Duty, DutyKind, DutySignature, DutyState
from rotation.models.mail import Digest, DigestState, Notice
from rotation.models.orders import BUSY_ORDERS, LIVE_ORDERS, Act, Order, OrderState
from rotation.models.requests import LIVE, Request, RequestState, RequestTarget, Vote
from rotation.models.reviews import Review, ReviewItem, ReviewSignature, ReviewState, Verdict
from rotation.models.rewrap import LIVE_JOBS, BatchState, JobState, Quarantined, RewrapBatch, RewrapJob
from rotation.models.rules import AlertRoute, ApprovalRule
from rotation.models.sources import RewrapSource, SourceForm

__all__ = [
    "BUSY_ORDERS",
    "LIVE",
    "LIVE_JOBS",
    "LIVE_ORDERS",
    "Act",
    "AlertRoute",
    "ApprovalRule",
    "BatchState",
    "Digest",
    "DigestState",
    "Duty",
    "DutyKind",
    "DutySignature",
    "DutyState",
    "JobState",
    "Notice",
    "Order",
    "OrderState",
    "Quarantined",
    "Request",
    "RequestState",
    "RequestTarget",
    "Review",
    "ReviewItem",
    "ReviewSignature",
    "ReviewState",
    "RewrapBatch",
    "RewrapJob",
    "RewrapSource",
    "SourceForm",
    "Verdict",
    "Vote",
]
