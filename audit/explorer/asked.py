"""What somebody asks of the log: the filters of an address, read and checked. Nothing secret stands in an address."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from uuid import UUID

from audit import sealing
from audit.body import MAX_TEXT
from audit.canonical import JSON
from audit.errors import AuditError, SealError

Network = IPv4Network | IPv6Network

NUMBER_DIGITS = 19  # fewer always fit 64 bits
NAMES = ("q", "who", "action", "on", "when", "path", "outcome", "where")
QUICK = {"today": 1, "7-days": 7, "30-days": 30}  # days, the present one among them
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(9000, 1, 1)
_DAYS = re.compile(r"(\d{4}-\d\d-\d\d)?\.\.(\d{4}-\d\d-\d\d)?")
_WHERE = "audit.where"


class AskedError(AuditError):
    """The address asks for something that cannot be read; the sentence may be shown."""


@dataclass(frozen=True)
class Days:
    """A span of whole days in UTC, both included; None is open."""

    first: date | None
    last: date | None

    @property
    def begin(self) -> datetime | None:
        return datetime.combine(self.first, time(), UTC) if self.first else None

    @property
    def end(self) -> datetime | None:
        """The first instant after it."""
        return datetime.combine(self.last + timedelta(days=1), time(), UTC) if self.last else None

    def __str__(self) -> str:
        return f"{self.first or ''}..{self.last or ''}"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """All filters together; an empty one narrows nothing."""

    q: str = ""  # a number, an id of an event, or a reference of whoever acted or of a subject
    who: str = ""  # a reference: whoever acted, or on whose behalf it was done
    action: str = ""  # an action, or a group of them
    on: str = ""  # the reference of a subject
    when: Days | None = None
    path: str = ""  # with or without its method
    outcome: str = ""
    where: Network | None = None

    @property
    def is_anything(self) -> bool:
        return self != Asked()

    def facts(self, *, found: bool) -> dict[str, JSON]:
        """Return what the log keeps of the question: words only where they were found in it, never an address."""
        kept = {"who": self.who, "on": self.on, "path": self.path, "search": self.q}
        told: dict[str, JSON] = {name: text if found else "unknown" for name, text in kept.items() if text}
        told |= {"what": self.action} if self.action and found else {}
        told |= {"when": str(self.when)} if self.when else {}
        told |= {"outcome": self.outcome} if self.outcome and found else {}
        return told | ({"address": "given"} if self.where else {})


def read(params: Mapping[str, str], *, today: date) -> Asked:
    """Return what the parameters of an address ask. Raises: AskedError."""
    texts = {name: _text(params.get(name, "")) for name in ("q", "who", "action", "on", "path", "outcome")}
    return Asked(**texts, when=days_of(params.get("when", ""), today), where=opened(params.get("where", "")))


def _text(text: str) -> str:
    text = text.strip()
    if "\0" in text or len(text) > MAX_TEXT:
        raise AskedError(f"What is looked for has at most {MAX_TEXT} characters.")
    return text


def days_of(text: str, today: date) -> Days | None:
    """Return the days of "today", "7-days" or "2026-11-01..2026-11-20". Raises: AskedError."""
    if not text:
        return None
    if text in QUICK:
        return Days(today - timedelta(days=QUICK[text] - 1), None)
    found = _DAYS.fullmatch(text)
    if found is None or not any(found.groups()):
        raise AskedError("A period is written as 2026-11-01..2026-11-20; either day may be left out.")
    days = Days(*(_day(each) for each in found.groups()))
    if days.first and days.last and days.first > days.last:
        raise AskedError("The period ends before it begins.")
    return days


def _day(text: str | None) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise AskedError(f"{text} is no day of the calendar.") from error
    if not FIRST_DAY <= day <= LAST_DAY:
        raise AskedError(f"Days are between {FIRST_DAY} and {LAST_DAY}.")
    return day


def network_of(text: str) -> Network:
    """Return an address, or a network such as 192.0.2.0/24. Raises: AskedError."""
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise AskedError(
            "This is no address: write 192.0.2.7, 2001:db8::7, or a network such as 192.0.2.0/24."
        ) from error


def sealed(network: Network) -> str:
    """Return a network for the address of a page: sealed, because it is somebody's, and addresses are kept in logs."""
    return base64.urlsafe_b64encode(sealing.seal(str(network).encode(), context=_WHERE)).decode().rstrip("=")


def opened(text: str) -> Network | None:
    """Return what `sealed` wrote. Raises: AskedError."""
    if not text:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return ip_network(sealing.unseal(raw, context=_WHERE).decode())
    except (SealError, ValueError, binascii.Error) as error:
        raise AskedError("The address in this link can no longer be read. Type it again.") from error


def uuid_of(text: str) -> UUID | None:
    """Return the id of an event, None for anything else."""
    try:
        return UUID(text)
    except ValueError:
        return None


def number_of(text: str) -> int | None:
    """Return the number of an event, None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < NUMBER_DIGITS else None
