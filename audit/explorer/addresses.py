"""Events that came from an address. It stands sealed under each person's own key, so no database can look for it.

What can be done, and is: the newest events that the other filters leave are opened here, WINDOW at a time, and
compared. The page says how far it looked, and goes on from there when asked. A digest of addresses that could be
searched would outlive the erasure of a person, because so few addresses exist that it could be guessed: there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from audit import body, sealing, selectors
from audit.errors import AuditError
from audit.explorer.asked import Network
from audit.explorer.finding import ORDER, Found
from audit.keyset import Page, from_cursor, to_cursor
from audit.models import Event

WINDOW = 5_000


@dataclass(frozen=True)
class Looked:
    """How far a page has looked, and what it could not read."""

    events: int
    unreadable: int = 0  # the identity was erased, or its key is not given
    until: int | None = None  # the number of the last event looked at
    recorded_at: datetime | None = None
    is_all: bool = True  # nothing is left to look at


def page(found: Found, network: Network, *, size: int, after: str = "") -> tuple[Page, Looked]:
    """Return the events of a window that came from there, and how far it reaches. Queries: 2; 3 for a far cursor."""
    place = from_cursor(ORDER, after)
    rows = found.take(place, WINDOW + 1)
    is_more, window = len(rows) > WINDOW, rows[:WINDOW]
    matching, unreadable, seen = _matching(window, network, size)
    is_all = not is_more and seen == len(window)
    last = window[seen - 1] if seen else None
    cursor = to_cursor(ORDER, last) if last else ""
    shown = Page(matching, cursor, cursor, has_previous=place is not None, has_next=not is_all)
    until, at = (last.number, last.recorded_at) if last else (None, None)
    return shown, Looked(seen, unreadable, until, at, is_all)


def _matching(rows: Sequence[Event], network: Network, size: int) -> tuple[list[Event], int, int]:
    """Return the rows that match, how many could not be opened, and how many were looked at until the page was full."""
    keys = selectors.identity_keys({_holder(row) for row in rows if row.identity})
    found: list[Event] = []
    unreadable = 0
    for seen, row in enumerate(rows, start=1):
        address = _address(row, keys) if row.identity else ""
        unreadable += address is None
        if address and _is_in(address, network):
            found.append(row)
            if len(found) == size:
                return found, unreadable, seen
    return found, unreadable, len(rows)


def _holder(row: Event) -> str:
    return body.identity_holder(row.actor_kind, row.actor_id, row.at)


def _address(row: Event, keys: dict[str, sealing.PersonKeys]) -> str | None:
    """Return the address of an identity, None when it does not open; that it is vouched for, the list checks."""
    key = keys.get(_holder(row))
    if key is None or row.identity is None:
        return None
    try:
        return body.parse_identity(key.sealer.unseal(bytes(row.identity), context=f"event:{row.event_id}")).address
    except AuditError:
        return None


def _is_in(address: str, network: Network) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:
        return False
