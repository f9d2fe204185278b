"""Where checkpoints go when they leave the database; which, is chosen in the settings, several at once.

KEYVAULT_ANCHORS lists addresses; the word before the first colon finds the class in KINDS. A further kind is a class
and its line there, or, for one of a higher package, a line in the `ready` of that package.
"""

from django.conf import settings

from audit.anchors.base import Anchor, AnchorError, AnchorWaitsError, SentCheckpoint
from audit.anchors.files import FileAnchor
from audit.anchors.objects import ObjectAnchor
from audit.anchors.stamps import StampAnchor
from audit.anchors.syslog import SyslogAnchor

__all__ = ["KINDS", "Anchor", "AnchorError", "AnchorWaitsError", "SentCheckpoint", "configured_anchors"]

KINDS: dict[str, type[Anchor]] = {
    "file": FileAnchor,
    "rfc3161+http": StampAnchor,
    "rfc3161+https": StampAnchor,
    "s3+http": ObjectAnchor,
    "s3+https": ObjectAnchor,
    "syslog": SyslogAnchor,
    "syslog+tls": SyslogAnchor,
    "syslog+unix": SyslogAnchor,
}


def configured_anchors() -> dict[str, Anchor]:
    """Return the anchors of the settings by their names, in their order.

    Raises: AnchorError, with a sentence for whoever writes the settings.
    """
    anchors: dict[str, Anchor] = {}
    for address in settings.ANCHORS:
        kind = KINDS.get(address.partition(":")[0])
        if kind is None:
            raise AnchorError(
                f"An anchor of KEYVAULT_ANCHORS begins with an unknown word; known are: {', '.join(sorted(KINDS))}."
            )
        anchors[address] = kind(address)
    return anchors
