"""Work that is still to be done, as rows; one file a topic."""

from rotation.models.mail import Digest, DigestState, Notice
from rotation.models.reviews import Review, ReviewItem, ReviewSignature, ReviewState, Verdict

__all__ = ["Digest", "DigestState", "Notice", "Review", "ReviewItem", "ReviewSignature", "ReviewState", "Verdict"]
