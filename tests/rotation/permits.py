"""A request that is being carried out, for tests of what it permits: written past the triggers that ask for votes."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from django.db import connection
from django.utils import timezone

from inventory.permits import Permit
from keyvault_admin.local.postgres import SUPERUSER
from rotation.operations.base import Target
from tests.engines import superuser_connection
from tests.rotation.request_world import payload_for, row_of

_INSERT = """
INSERT INTO rotation_request (operation, payload, digest, title, subject_ref, reason, requested_by_ref, requested_at,
    expires_at, is_break_glass, state, approved_at, leased_until, closed_because, attempts, waits_for, barred)
VALUES (%s, %s, %s, 'Do a thing', %s, 'because', 'command:test', %s, %s, false, 'executing', %s, %s, '', 1, '{}', '{}')
RETURNING id
"""


def being_carried_out(operation: str, ref: str, **parameters: object) -> Permit:
    """Write down that a request about this record is being carried out; return what it hands to its operation."""
    now = timezone.now()
    target = Target(ref=ref, label=ref, revision=1)
    row = row_of(payload_for(operation, "command:test", targets=(target,), parameters=parameters))
    values = [
        operation,
        row.payload,
        row.digest,
        ref,
        row.requested_at,
        row.expires_at,
        now,
        now + timedelta(hours=1),
    ]
    with _past_triggers() as cursor:
        cursor.execute(_INSERT, values)
        (number,) = cursor.fetchone()
    return Permit(request=f"request:{number}", asked_by="command:test", approved_by=["user:1", "user:2"])


@contextmanager
def _past_triggers() -> Iterator[psycopg.Cursor]:
    if connection.settings_dict["USER"] == SUPERUSER:  # the transaction of the test, which becomes itself for a moment
        with connection.cursor() as cursor:
            cursor.execute("SELECT session_user, current_user")
            session, current = cursor.fetchone()
            cursor.execute("SET SESSION AUTHORIZATION DEFAULT; SET session_replication_role = replica")
            yield cursor
            cursor.execute(f"SET session_replication_role = origin; SET SESSION AUTHORIZATION {session}")
            if current != session:
                cursor.execute(f"SET ROLE {current}")
        return
    with superuser_connection() as superuser:
        where = superuser.info.dsn, superuser.info.password
    with (
        psycopg.connect(where[0], password=where[1], dbname=connection.settings_dict["NAME"]) as own,
        own.cursor() as cursor,
    ):
        cursor.execute("SET session_replication_role = replica")
        yield cursor
