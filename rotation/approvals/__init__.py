"""The engine of approvals: asking, voting, ending and carrying out requests for guarded operations."""

from rotation.approvals.asking import ask, ask_all, may_ask
from rotation.approvals.ending import expire_due, remind_due, retry, withdraw
from rotation.approvals.engine import ApprovalEngine
from rotation.approvals.executing import WORKER, carry_out, carry_out_due
from rotation.approvals.pieces import payload_of
from rotation.approvals.voting import MAX_BALLOTS, Ballot, Proof, batch_digest, vote, vote_all

__all__ = [
    "MAX_BALLOTS",
    "WORKER",
    "ApprovalEngine",
    "Ballot",
    "Proof",
    "ask",
    "ask_all",
    "batch_digest",
    "carry_out",
    "carry_out_due",
    "expire_due",
    "may_ask",
    "payload_of",
    "remind_due",
    "retry",
    "vote",
    "vote_all",
    "withdraw",
]
