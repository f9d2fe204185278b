"""What was seen in a public key or certificate before it was dropped: kept with the version that has it."""

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, Self

from audit.canonical import JSON
from audit.services import Subject
from inventory.algorithms.weaknesses import SIGNATURE_WEAKNESSES
from inventory.material import SHARED
from inventory.models import KeyVersion


class Judged(NamedTuple):
    """What material shows by itself."""

    weaknesses: tuple[str, ...] = ()  # codes, in order
    expires_on: date | None = None  # the last day of a certificate; a bare public key has none

    @classmethod
    def of(cls, version: KeyVersion) -> Self:
        return cls(tuple(sorted(version.weaknesses)), version.expires_on)

    def after(self, earlier: "Judged") -> "Judged":
        """Return what is known of material that was seen before.

        A bare key says nothing of the certificate that it is in, and what the key shares with another one of an earlier
        file stays true of it.
        """
        stays = {SHARED} if self.expires_on else {SHARED, *SIGNATURE_WEAKNESSES}
        kept = stays & set(earlier.weaknesses)
        return Judged(tuple(sorted(kept | set(self.weaknesses))), self.expires_on or earlier.expires_on)

    def keep_with(self, version: KeyVersion) -> None:
        """Set it on a version, which is not saved."""
        version.weaknesses, version.expires_on = [*self.weaknesses], self.expires_on

    @property
    def said(self) -> dict[str, JSON]:
        """Return it as the log writes it."""
        expires_on = self.expires_on.isoformat() if self.expires_on else None
        return {"weaknesses": [*self.weaknesses], "expires_on": expires_on}


def judged_subject(version: KeyVersion, before: Judged) -> Subject:
    """Describe for the log what differs between what a version showed and what it shows now. No queries."""
    key, was, now = version.key, before.said, Judged.of(version).said
    names = [name for name in was if was[name] != now[name]]
    return Subject(
        ref=key.ref,
        label=key.name,
        before={name: was[name] for name in names},
        after={name: now[name] for name in names},
    )


@dataclass(frozen=True, kw_only=True)
class Rejudged:
    """The version of a known key of which a file, with the same material, shows something else."""

    version: KeyVersion  # with the new values, not saved, and its key
    before: Judged

    @property
    def subject(self) -> Subject:
        return judged_subject(self.version, self.before)
