"""Counting tries at the doors, before each is made: what was typed is kept as a keyed digest only.

A try is counted by one statement that takes the counter's row lock, so of many requests at once no more get through
than the limit allows. The rows are those of django-axes, whose own handler counts after the try and stores what was
typed.
"""

from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.db import connection

from audit.sealing import EPOCH_BYTES, keyed_digest
from keyvault_admin.access import names

DOOR_SIGN_IN = "sign-in"
DOOR_ENROLMENT = "enrolment"
DOOR_PASSKEY = "passkey"  # asking for a challenge; without a name
DOOR_SINGLE_SIGN_ON = "single-sign-on"
DOORS = (DOOR_SIGN_IN, DOOR_ENROLMENT, DOOR_PASSKEY, DOOR_SINGLE_SIGN_ON)
TRIES_OF_ADDRESS = 100  # under all names together; an office behind one address has slips of many people
SITE_BITS = 64  # of an IPv6 address: what one subscriber is given at least, and moves about in at will
SPENT = "fd00::"  # in place of an address: this row is no counter but the sign of something that is good once

COUNT = """
INSERT INTO axes_accessattempt AS known
    (username, ip_address, user_agent, http_accept, path_info, get_data, post_data, failures_since_start, attempt_time)
VALUES (%(name)s, %(address)s, '', '', '', '', '', 1, %(now)s)
ON CONFLICT (username, ip_address, user_agent) DO UPDATE
   SET failures_since_start = CASE WHEN known.attempt_time <= %(since)s THEN 1 ELSE known.failures_since_start + 1 END,
       attempt_time = %(now)s
 WHERE known.attempt_time <= %(since)s OR known.failures_since_start < %(limit)s
RETURNING failures_since_start
"""
SPEND = """
INSERT INTO axes_accessattempt
    (username, ip_address, user_agent, http_accept, path_info, get_data, post_data, failures_since_start, attempt_time)
VALUES (%s, %s, '', '', '', '', '', 1, %s)
ON CONFLICT (username, ip_address, user_agent) DO NOTHING
"""
OF_ADDRESS = """
SELECT coalesce(sum(failures_since_start), 0) FROM axes_accessattempt WHERE ip_address = %s AND attempt_time > %s
"""


@dataclass(frozen=True)
class Counter:
    """Whose tries are counted together."""

    name: str = field(repr=False)  # 64 hexadecimal digits
    address: str = field(
        repr=False
    )  # 120 bits of a digest, written as an address of fd00::/8: the column has that type


def counter(door: str, *, name: str, address: str) -> Counter:
    """Return the counter of a name, however it is typed, from an address, at one door."""
    digest = keyed_digest(names.normalise(name).encode(errors="replace"), label=f"tries/{door}/name")
    return Counter(digest[EPOCH_BYTES:].hex(), _hidden(door, address))


def count_try(
    door: str, *, name: str = "", address: str, now: datetime, limit: int = settings.AXES_FAILURE_LIMIT
) -> int | None:
    """Count a try that is about to be made; return its number, or None when the door is closed. Two queries.

    A counter is forgotten when AXES_COOLOFF_TIME has passed since its last counted try; tries at a closed door are not
    counted, so it opens again while somebody goes on trying. Let a DatabaseError pass: without counting no try is made.
    """
    since, wanted = now - settings.AXES_COOLOFF_TIME, counter(door, name=name, address=address)
    with connection.cursor() as cursor:
        cursor.execute(OF_ADDRESS, [wanted.address, since])
        (of_address,) = cursor.fetchone()
        if of_address >= TRIES_OF_ADDRESS:
            return None
        cursor.execute(
            COUNT,
            {
                "name": wanted.name,
                "address": wanted.address,
                "now": now,
                "since": since,
                "limit": limit,
            },
        )
        found = cursor.fetchone()
    return int(found[0]) if found else None


def spend(purpose: str, what: bytes, *, now: datetime) -> bool:
    """Whether this is spent for the first time, however many try at once; one query.

    It is remembered as a digest and for AXES_COOLOFF_TIME, so it has to be worthless by then. Opening doors leaves it.
    """
    digest = keyed_digest(what, label=f"spent/{purpose}")[EPOCH_BYTES:].hex()
    with connection.cursor() as cursor:
        cursor.execute(SPEND, [digest, SPENT, now])
        return int(cursor.rowcount) == 1


def forget_tries(door: str, *, name: str = "", address: str) -> None:
    """Begin again at nought, because a try was right. One query."""
    wanted = counter(door, name=name, address=address)
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM axes_accessattempt WHERE username = %s AND ip_address = %s", [wanted.name, wanted.address]
        )


def open_doors(*, name: str | None, address: str | None, before: datetime | None = None) -> int:
    """Forget the tries of a name, of an address, of both, or all of them, at every door; return how many counters.

    Only sign-in counts by the name of a person. With `before`, only those whose last try is older.
    """
    digests = [counter(door, name=name or "", address=address or "") for door in DOORS]
    named, placed = [each.name for each in digests], [each.address for each in digests]
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM axes_accessattempt WHERE (%s OR username = ANY(%s)) AND (%s OR ip_address = ANY(%s::inet[]))"
            " AND (%s::timestamptz IS NULL AND ip_address <> %s OR attempt_time <= %s)",
            [name is None, named, address is None, placed, before, SPENT, before],
        )
        return int(cursor.rowcount)


def _hidden(door: str, address: str) -> str:
    digest = keyed_digest(_site(address).encode(), label=f"tries/{door}/address")
    return str(IPv6Address(b"\xfd" + digest[EPOCH_BYTES:][:15]))


def _site(address: str) -> str:
    """Return what counts as one address: an IPv4 address however it is written, of IPv6 the network of a subscriber."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((found, SITE_BITS), strict=False))
