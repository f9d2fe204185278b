"""Whether the stubs of dropped periods are vouched for: what stands for events that the database no longer holds.

A stub alone proves nothing, as the owner of the database could write one. The signature does: the tree up to the stub
must begin that of a signed checkpoint. The digest at its end is proven by the chain that goes on behind it, up to the
head of any later checkpoint.
"""

from audit import chain, notes, selectors
from audit.errors import AuditError
from audit.models import Period
from audit.tiles import stored_nodes
from audit.tree import is_consistent, root_of


def stub_damage() -> str:
    """Return what is wrong with the stubs that the log begins behind; "" when they are whole, or there are none.

    Queries: 2, and one for each tile at the end of a period.
    """
    verifiers = selectors.signing_epochs().values()
    end = chain.BEGINNING
    for number, period in enumerate(selectors.periods().filter(dropped_at__isnull=False).order_by("number"), start=1):
        if (period.number, period.first, bytes(period.digest_before)) != (number, end.number + 1, end.digest):
            return f"the stub of period {period.number} does not go on where the one before it ends"
        try:
            vouch_for(period, notes.open_note(period.checkpoint.note, verifiers)[0])
        except (AuditError, LookupError) as error:
            return f"the stub of period {period.number} is not vouched for: {error}"
        end = chain.Position(period.last, bytes(period.digest_after))
    return ""


def vouch_for(period: Period, checkpoint_text: str) -> None:
    """Check root and proof of a period against the text of its checkpoint and the stored tree.

    Raises: AuditError; LookupError when a tile is missing.
    """
    signed, root = notes.parse_checkpoint(checkpoint_text), bytes(period.root)
    if signed.size != period.checkpoint_id:
        raise AuditError(f"its checkpoint is over {signed.size:,} events.")
    if root_of(stored_nodes(), period.last) != root:
        raise AuditError("the stored tree has another root there.")
    if not is_consistent(period.last, root, signed.size, signed.root, period.proof_digests):
        raise AuditError(f"the proof does not lead to the checkpoint of {signed.size:,} events.")
