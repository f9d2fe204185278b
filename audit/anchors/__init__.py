"""Where checkpoints go when they leave the database; which, is chosen in the settings.

KEYVAULT_ANCHORS lists addresses. The word before the first colon leads to a class by ANCHOR_CLASSES of the settings: a
path as text, because some anchors live in higher packages. A further kind is a class and a line there.
"""

from django.conf import settings
from django.utils.module_loading import import_string

from audit.anchors.base import Anchor, AnchorError, AnchorWaitsError, SentCheckpoint

__all__ = ["Anchor", "AnchorError", "AnchorWaitsError", "SentCheckpoint", "configured_anchors"]


def configured_anchors() -> dict[str, Anchor]:
    """Return the anchors of the settings by their names, in their order.

    Raises: AnchorError, with a sentence for whoever writes the settings.
    """
    anchors: dict[str, Anchor] = {}
    for address in settings.ANCHORS:
        path = settings.ANCHOR_CLASSES.get(address.partition(":")[0])
        if path is None:
            kinds = ", ".join(sorted(settings.ANCHOR_CLASSES))
            raise AnchorError(f"An anchor of KEYVAULT_ANCHORS begins with an unknown word; known are: {kinds}.")
        anchors[address] = import_string(path)(address)
    return anchors
