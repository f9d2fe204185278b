"""Work that is still to be done, as rows; one file a topic."""

from rotation.models.mail import Digest, DigestState, Notice

__all__ = ["Digest", "DigestState", "Notice"]
