"""The permission matrix: what every route answers to everybody. The table is tests/data/permission_matrix.csv.

A row is a route, a method and an object; a column is somebody. `own` means that the person whose column it is owns the
key, asked for the change, uploaded the file, or is the person; `other` is somebody else's. What a cell may say:
a status, or "login" for being led to the sign-in page.

Usage: python -m tests.matrix --write     (writes what is observed; read the diff before you commit it)
"""

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.db import connection, transaction
from django.test import Client

from tests.routes import Route, routes

TABLE = Path(__file__).parent / "data" / "permission_matrix.csv"
WRITE = "KEYVAULT_WRITE_MATRIX"
FULL = "tests.full" in sys.modules or WRITE in os.environ
ROLES = ("Engineering", "DevOps", "Security", "Management", "Auditor")
COLUMNS = ("anonymous", "no role", *ROLES, "superuser")
HEADER = ("route", "method", "object", *COLUMNS)
_LEFT = {"anonymous", "no role", "Management", "Auditor"}
ASKED = COLUMNS if FULL else tuple(column for column in COLUMNS if column not in _LEFT)
NOTHING = "-"  # a person who is not there owns nothing

Row = tuple[str, str, str]
Table = dict[Row, dict[str, str]]


@dataclass(frozen=True)
class Things:
    """The sample objects of one side, by primary key: those of the person, or those of somebody else."""

    by_model: Mapping[str, object]
    draft: int
    review: int
    event: int


# Arguments of a route whose parameter is not the primary key of the model in its path. One line for each.
ARGUMENTS: dict[str, Callable[[Things], dict[str, object]]] = {
    "admin:view_on_site": lambda things: {"content_type_id": 1, "object_id": 1},
    "admin:audit_event_change": lambda things: {"number": things.event},
    "account-session-end": lambda things: {"pk": 1},
    "factor-remove": lambda things: {"kind": "totp", "pk": 1},
    "admin:inventory_key_import_preview": lambda things: {"pk": things.draft},
    "admin:inventory_key_import_progress": lambda things: {"pk": things.draft},
    "admin:rotation_approvalrule_ask": lambda things: {"code": "role.grant"},
    "admin:rotation_alertroute_ask": lambda things: {"kind": "log_differs"},
    "admin:rotation_period_ask": lambda things: {"number": 1},
    "admin:access_user_quorum_review": lambda things: {"pk": things.review},
    "passkey-vote": lambda things: {"digest": "00" * 32},
    "admin:rotation_request_ask_revoke": lambda things: {"pk": things.by_model["inventory.key"]},
    "admin:rotation_request_ask_destroy": lambda things: {"pk": things.by_model["inventory.key"]},
    "admin:rotation_request_ask_reactivate": lambda things: {"pk": things.by_model["inventory.key"]},
    "admin:rotation_request_ask_dates": lambda things: {"pk": things.by_model["inventory.key"]},
    "admin:rotation_request_ask_kek_rotate": lambda things: {"pk": things.by_model["inventory.kek"]},
    "admin:rotation_request_ask_kek_link": lambda things: {"pk": things.by_model["inventory.kek"]},
    "admin:rotation_request_ask_kek_disable": lambda things: {"pk": things.by_model["inventory.kek"]},
    "admin:rotation_request_ask_kek_schedule": lambda things: {"pk": things.by_model["inventory.kek"]},
    "admin:rotation_request_ask_kek_purge": lambda things: {"pk": things.by_model["inventory.kek"]},
    "admin:rotation_request_ask_kek_recover": lambda things: {"pk": things.by_model["inventory.kek"]},
    "admin:rotation_request_ask_dek_rotate": lambda things: {"pk": things.by_model["dek"]},
    "admin:inventory_dekversion_hand_out": lambda things: {"pk": things.by_model["hand_out"]},
    "admin:inventory_policyexception_ask": lambda things: {"pk": things.by_model["inventory.key"]},
    "admin:app_list": lambda things: {"app_label": "inventory"},
    "(?P<url>.*)$": lambda things: {"url": "nowhere/"},
}
# Routes whose object can be somebody's own. Every route of these models is asked for both.
OWNED = {"inventory.key", "rotation.request", "inventory.owner", "access.user"}
# What a POST carries besides REASON, so that it would do something where it may.
REASON = {"reason": "the matrix asks", "comment": "the matrix asks"}
CONTENT: dict[str, dict[str, str]] = {
    "admin:inventory_key_export": {"format": "csv"},
    "admin:audit_exportcursor_download": {"file_format": "csv"},
    "admin:inventory_key_report_rotation": {"rotated_on": "2026-11-20", "evidence": "change 4711"},
    "admin:access_user_add": {"username": "newcomer", "full_name": "New Comer", "mail": "newcomer@example.org"},
    "admin:access_user_edit": {"full_name": "Another Name", "mail": "another@example.org"},
    "admin:access_user_last_day": {"ends_on": "2027-01-31"},
    "admin:rotation_review_sign": {"role": "Security", "digest": "00"},  # not what it is over: told so, where one may
    # not what was asked: told so, or that it is not theirs to vote on
    "admin:rotation_request_vote": {"digest": "00" * 32, "decision": "approve", "code": "000000"},
    "admin:rotation_request_together": {"ballots": f"1:{'00' * 32}", "decision": "approve", "code": "000000"},
    "admin:rotation_request_ask_revoke": {"reason_code": "superseded"},
    "admin:rotation_request_ask_destroy": {"destroyed_on": "2026-11-20", "method": "purged", "evidence": "seen"},
    "admin:rotation_request_ask_dates": {"protect_until": "2030-01-01T00:00"},
    "admin:access_user_take_role": {"role": "Management"},
    "admin:rotation_request_ask_kek_disable": {"number": "2"},
    # linked already: told so, where one may
    "admin:rotation_request_ask_kek_link": {"store": "local:house", "name_there": "other", "algorithm": "AES-256-KW"},
    "admin:rotation_request_ask_kek_schedule": {"number": "2", "days": "30"},
    "admin:rotation_request_ask_kek_purge": {"number": "2"},
    "admin:rotation_request_ask_kek_recover": {"number": "2"},
    "admin:rotation_rewrapjob_speed": {"per_second": "100", "batch_size": "50"},
    "admin:inventory_dekversion_add": {"secret_name": "smtp", "kek": "1"},  # no such KEK: told so, where one may
    "admin:inventory_dekversion_reencrypted": {"evidence": "a count of zero"},
}
FORGED_ACTION = "delete_selected"


@dataclass(frozen=True)
class Somebody:
    """Who asks: their session ("" for nobody), their own things, and the groups and actions they are offered."""

    session: str
    own: Things | None
    user: Any


def observe(people: Mapping[str, Somebody], other: Things) -> Table:
    """Ask every route as everybody and return the table. Each POST is taken back; the GETs leave nothing behind.

    Raises: AssertionError when a GET changed the number of rows of a table.
    """
    table: Table = {}
    client = Client(raise_request_exception=False)
    for column, somebody in people.items():
        with _rolled_back():
            before = _rows()
            for row, path, _ in _requests(somebody, other, "GET"):
                table.setdefault(row, {})[column] = path and _ask(client, somebody, "GET", path, {})
            assert _rows() == before, f"A GET of {column} changed {_changed(before)}."
        for row, path, content in _requests(somebody, other, "POST"):
            with _rolled_back():
                table.setdefault(row, {})[column] = path and _ask(client, somebody, "POST", path, content)
    return {row: {column: cell or NOTHING for column, cell in cells.items()} for row, cells in table.items()}


def _requests(somebody: Somebody, other: Things, method: str) -> Iterator[tuple[Row, str, dict[str, str]]]:
    """Every request of one method: its row, its path ("" where nobody can ask it) and what it carries."""
    for route in routes():
        has_own = route.parameters and route.model in OWNED
        for whose, things in (("other", other), ("own", somebody.own)) if has_own else ((NOTHING, other),):
            path = route.path(arguments(route, things)) if things else ""
            yield (route.name, method, whose), path, REASON | CONTENT.get(route.name, {})
        if method == "POST" and route.name.endswith("_changelist"):
            for name in sorted({FORGED_ACTION, *_actions(route)}):
                chosen = {"action": name, "_selected_action": str(other.by_model.get(route.model, 1)), "post": "yes"}
                yield (route.name, f"action {name}", NOTHING), route.path({}), chosen | {"select_across": "1"}


def arguments(route: Route, things: Things) -> dict[str, object]:
    """Return sample arguments of a route, by its line in ARGUMENTS or by the model in its path."""
    if not route.parameters:
        return {}
    if route.name in ARGUMENTS:
        return ARGUMENTS[route.name](things)
    assert route.model in things.by_model, f"{route.name}: give it a line in tests.matrix.ARGUMENTS."
    return dict.fromkeys(route.parameters, things.by_model[route.model])


def _actions(route: Route) -> list[str]:
    """Return every action that the list declares, whoever may use it."""
    model = apps.get_model(route.model)
    return [name for _, name, _ in admin.site._registry[model]._get_base_actions()]


def _ask(client: Client, somebody: Somebody, method: str, path: str, content: dict[str, str]) -> str:
    client.cookies.clear()
    if somebody.session:
        client.cookies[settings.SESSION_COOKIE_NAME] = somebody.session
    answer = client.generic(method, path) if method == "GET" else client.post(path, content)
    if answer.status_code == 302 and "/login/" in answer["Location"]:
        return "login"
    return str(answer.status_code)


@contextmanager
def _rolled_back() -> Iterator[None]:
    block = transaction.atomic()
    block._from_testcase = True  # a durable block inside is as legal as it is in the test itself
    with block:
        yield
        transaction.set_rollback(True)


def _rows() -> Counter[str]:
    """Count the rows of every table that the role may read, but the sessions', whose sign-out is a POST anyway."""
    tables = {model._meta.db_table for model in apps.get_models() if model._meta.managed} - {"django_session"}
    counts: Counter[str] = Counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE has_table_privilege(oid, 'SELECT')")
        tables &= {name for (name,) in cursor.fetchall()}
        cursor.execute(" UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in sorted(tables)))
        counts.update(dict(cursor.fetchall()))
    return counts


def _changed(before: Counter[str]) -> str:
    now = _rows()
    return ", ".join(f"{name}: {before[name]} → {now[name]}" for name in now if now[name] != before[name])


def written(table: Table) -> str:
    """Return the table as it is committed: in the order of its rows, so that a diff shows what changed and no more."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(HEADER)
    for row in sorted(table):
        lines.writerow([*row, *(table[row][column] for column in COLUMNS)])
    return text.getvalue()


def committed() -> Table:
    """Return the table that a person has looked at."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            (line["route"], line["method"], line["object"]): {column: line[column] for column in COLUMNS}
            for line in csv.DictReader(file)
        }


def differences(expected: Table, observed: Table) -> list[str]:
    """Say what is not as the table says, a line each."""
    said = [f"no row for {' '.join(row)}: {observed[row]}" for row in sorted(observed.keys() - expected.keys())]
    said += [f"row of a route that is gone: {' '.join(row)}" for row in sorted(expected.keys() - observed.keys())]
    for row in sorted(expected.keys() & observed.keys()):
        said += [
            f"{' '.join(row)} as {column}: {expected[row][column]} expected, {observed[row][column]} observed"
            for column in COLUMNS
            if column in observed[row] and expected[row][column] != observed[row][column]
        ]
    return said


def main() -> int:
    """Run the test that observes the table, and have it write instead of compare."""
    import pytest

    if sys.argv[1:] != ["--write"]:
        sys.stderr.write("Usage: python -m tests.matrix --write\n")
        return 2
    os.environ[WRITE] = "1"
    return int(pytest.main(["-q", "-n", "0", "tests/keyvault_admin/test_matrix.py::test_the_matrix_is_as_committed"]))


if __name__ == "__main__":
    raise SystemExit(main())
