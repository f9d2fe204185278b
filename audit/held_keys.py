"""Keys that one process alone holds: what the others know of them stands in the log."""

from audit import selectors
from audit.actions import Action, Outcome
from audit.models import Event


def present_signing_key() -> tuple[bytes, str] | None:
    """Return the key id of the present signing key, and where the signer said it is kept; None before the first.

    Two queries. The signer alone holds the key: what others know of it stands in the database.
    """
    epochs = selectors.signing_epochs()
    if not epochs:
        return None
    begun = next(
        iter(selectors.read(Event.objects.filter(action=Action.SIGNING_KEY_EPOCH_BEGUN).order_by("-number")[:1])), None
    )
    kept_in = begun.said.facts.get("kept_in", "") if begun and begun.said else ""
    return epochs[max(epochs)].id, str(kept_in)


def present_master_key() -> tuple[bytes, str] | None:
    """Return the id of the master key that a worker noted last, and where it is kept; one query."""
    noted = Event.objects.filter(action=Action.MASTER_KEY_NOTED, outcome=Outcome.DONE).order_by("-number")[:1]
    said = next((event.said for event in selectors.read(noted) if event.said), None)
    return (bytes.fromhex(said.facts["key_id"]), str(said.facts["kept_in"])) if said else None
