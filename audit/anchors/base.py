"""What an anchor is: a place outside this database that takes a checkpoint and says so."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from urllib.parse import SplitResult, parse_qsl, urlsplit

from audit.errors import AuditError

SECONDS = 10  # for each step of a conversation with another machine


class AnchorError(AuditError):
    """The anchor did not take it. The sentence is kept beside the delivery and shown; it holds no secret."""


class AnchorWaitsError(AnchorError):
    """It is on its way, and the anchor cannot say yet that it has arrived: ask again soon."""


@dataclass(frozen=True, kw_only=True)
class SentCheckpoint:
    """A checkpoint on its way."""

    size: int
    made_at: datetime
    note: str
    digest: bytes  # SHA-256 of the text of the checkpoint


class Anchor(ABC):
    """One place. Its name is its address in the settings, so an address holds no password."""

    def __init__(self, name: str) -> None:
        """Read the address. Raises: AnchorError."""
        self.name = name

    @abstractmethod
    def deliver(self, sent: SentCheckpoint, *, now: datetime) -> str:
        """Hand it over, outside any transaction; return what the anchor said (a path, a message id).

        The same checkpoint may come again, after a crash: then the answer is the same and nothing is doubled where the
        anchor can tell. Raises: AnchorError, whatever went wrong out there.
        """


def parts_of(name: str, *, has_options: bool = False) -> SplitResult:
    """Return the parts of an address; only with `has_options` may it have a "?".

    Raises: AnchorError when it is none, or holds a name or password.
    """
    try:
        parts = urlsplit(name)
        _ = parts.port
    except ValueError as error:
        raise AnchorError("An anchor of KEYVAULT_ANCHORS cannot be read as an address.") from error
    if parts.username is not None or parts.password is not None or parts.fragment or (parts.query and not has_options):
        raise AnchorError(
            f"An anchor {parts.scheme}: of KEYVAULT_ANCHORS holds a password, a ? or a #; leave them out."
        )
    return parts


def options_of(parts: SplitResult, known: frozenset[str]) -> dict[str, str]:
    """Return what an address says after its "?", each option once. Raises: AnchorError for what is not known."""
    said = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(said)
    if len(options) != len(said) or not options.keys() <= known:
        raise AnchorError(f"An anchor {parts.scheme}: of KEYVAULT_ANCHORS takes {', '.join(sorted(known))}, each once.")
    return options


def need_extra(extra: str, module: str) -> None:
    """Refuse an anchor whose library is not installed. Raises: AnchorError."""
    if find_spec(module) is None:
        raise AnchorError(f"An anchor of KEYVAULT_ANCHORS needs the extra {extra}: uv sync --extra {extra}.")
