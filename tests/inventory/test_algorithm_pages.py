"""The table of algorithms in the database and on its pages, and the lists that its counts lead to."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from html import unescape
from pathlib import Path

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from audit.actor import Actor
from inventory import services
from inventory.algorithms import Facts, read_table
from inventory.models import Algorithm, Key, Owner
from inventory.selectors import algorithm_rows, algorithms_in_use
from inventory.states import State
from keyvault_admin.access.models import User
from tests.people import sign_in

ROOT = Path(__file__).resolve().parent.parent.parent
ACTOR = Actor.system("test")
FALLS = "/inventory/algorithm/falls/"
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture
def keys(db: None) -> None:
    """Nine keys of five algorithms; two RSA KEKs have one owner, one RSA certificate has none."""
    owners = [
        services.register_owner(handle=name, mail=f"{name}@example.org", kind="person", actor=ACTOR, now=NOW)
        for name in ("ann", "ben")
    ]
    entered = [
        ("RSA-2048", 2048, "kek", owners[0]), ("RSA-2048", 2048, "kek", owners[0]),
        ("RSA-2048", 2048, "tls_certificate", None), ("RSA", 4096, "kek", owners[1]),
        ("3DES", None, "backup_key", None),
        ("", None, "dek", None), ("<b>ROT13</b>", None, "dek", None), ("opaque", None, "api_token", owners[1]),
        ("AES-256", 256, "kek", None),
    ]  # fmt: skip
    for number, (algorithm, size_bits, kind, owner) in enumerate(entered):
        facts = {"name": f"key {number}", "kind": kind, "algorithm": algorithm, "size_bits": size_bits, "owner": owner}
        services.register_key(facts=facts, state=State.ACTIVE, actor=ACTOR, reason="test", now=NOW)


@pytest.fixture
def page(client: Client, dave: User) -> Callable[[str], str]:
    """Read a page as an auditor in November 2026."""

    def read(address: str) -> str:
        answer = client.get(address)
        assert answer.status_code == 200, answer.status_code
        return re.sub(r"\s+", " ", answer.content.decode())

    with time_machine.travel(NOW, tick=False):
        sign_in(client, dave)
        yield read


# The database


def test_the_migration_has_loaded_the_table(db: None) -> None:
    text = (ROOT / "inventory" / "data" / "algorithm_policy.csv").read_text(encoding="utf-8")
    assert algorithm_rows() == read_table(text, read_on=date(2026, 11, 21))
    assert Algorithm.objects.count() == 73


@pytest.mark.parametrize("role", ["web", "worker", "beat", "signer", "command"])
def test_no_login_role_writes_the_table(
    db: None, as_role: Callable[[str], AbstractContextManager[None]], role: str
) -> None:
    with as_role(role):
        assert Algorithm.objects.filter(algorithm="DES").exists()
        for write in (
            lambda: Algorithm.objects.filter(algorithm="DES").update(status_existing="approved"),
            lambda: Algorithm.objects.filter(algorithm="DES").delete(),
            lambda: Algorithm.objects.create(**{**vars(algorithm_rows()[0]), "parameters": "more"}),
        ):
            with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
                write()


@pytest.mark.parametrize(
    "change",
    [
        {"status_new": "fine"}, {"status_existing": "unknown"}, {"source_status": "rumour"},
        {"effective_from": date(2036, 1, 1)}, {"parameters": "3072"},
    ],
)  # fmt: skip
def test_the_database_refuses_a_line_that_is_none(
    db: None, as_owner: Callable[[], AbstractContextManager[None]], change: dict[str, object]
) -> None:
    line = Algorithm.objects.filter(algorithm="RSA-OAEP-256", parameters="2048")
    with as_owner(), pytest.raises(DatabaseError), transaction.atomic():
        line.update(**change)


# What is in use


def test_algorithms_in_use_counts_by_algorithm_size_and_kind_in_one_query(keys: None) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        found = {used.facts: used for used in algorithms_in_use()}
    assert len(queries) == 1
    keks = found[Facts(algorithm="RSA-2048", size_bits=2048, kind="kek")]
    assert (keks.keys, len(keks.owners), keks.without_owner) == (2, 1, 0)
    assert keks.owners == {Owner.objects.get(handle="ann").pk}
    certificates = found[Facts(algorithm="RSA-2048", size_bits=2048, kind="tls_certificate")]
    assert (certificates.keys, certificates.owners, certificates.without_owner) == (1, frozenset(), 1)
    assert sum(used.keys for used in found.values()) == 9


def test_algorithms_in_use_leaves_destroyed_keys_out(
    keys: None, as_owner: Callable[[], AbstractContextManager[None]]
) -> None:
    with as_owner():
        Key.objects.filter(algorithm="RSA-2048", kind="kek").update(state=State.DESTROYED)
    assert "kek" not in {used.facts.kind for used in algorithms_in_use() if used.facts.algorithm == "RSA-2048"}


# Pages


def test_falls_lists_the_days_with_keys_owners_and_drafts(keys: None, page: Callable[[str], str]) -> None:
    shown = page(FALLS)
    assert shown.index("1 January 2031") < shown.index("1 January 2036") < shown.index("Everything in use")
    assert "3 keys, 1 owner, 1 without owner" in shown
    assert "1 key, 1 owner </span>" in shown
    assert shown.count('<span class="chip rest">draft</span>') == 5  # on two days and three lines
    assert "<b>ROT13</b>" not in shown
    assert "&lt;b&gt;ROT13&lt;/b&gt;" in shown


def test_every_count_leads_to_the_keys_it_counts(keys: None, page: Callable[[str], str]) -> None:
    links = re.findall(r'<a href="(/inventory/key/\?algorithm[^"]*)">([0-9,]+)</a>', page(FALLS))
    assert len(links) == 8 + 3
    for address, count in links:
        shown = page(unescape(address))
        assert len(re.findall(r'<th class="field-key', shown)) == int(count), address


def test_falls_judges_everything_in_use_on_a_day_that_is_asked_for(keys: None, page: Callable[[str], str]) -> None:
    today, later = page(FALLS), page(f"{FALLS}?day=2031-01-01")
    assert "legacy from 2031 (draft date)" in today
    assert "legacy from 2031 (draft date)" not in later
    assert "legacy since 2031" in later
    assert "legacy since 2024, not for new keys" in today
    assert ">1 January 2031</time>" in later


@pytest.mark.parametrize("day", ["", "tomorrow", "2031-02-30", "31.12.2030", "0000-01-01", "2031-01-01'--", "\0"])
def test_falls_says_what_is_wrong_with_a_day_and_shows_today(keys: None, page: Callable[[str], str], day: str) -> None:
    shown = page(f"{FALLS}?day={day}".replace("\0", "%00"))
    assert "errorlist" in shown
    assert "(today)" in shown


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_falls_judges_on_any_day_there_is(keys: None, page: Callable[[str], str], day: str) -> None:
    assert "errorlist" not in page(f"{FALLS}?day={day}")


def test_falls_costs_the_same_for_any_number_of_keys(keys: None, page: Callable[[str], str]) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            page(FALLS)
        return len(queries)

    before = cost()
    for number in range(5):
        facts = {"name": f"more {number}", "kind": "kek", "algorithm": f"RSA-{2048 + number}"}
        services.register_key(facts=facts, state=State.ACTIVE, actor=ACTOR, reason="test", now=NOW)
    assert cost() == before


def test_falls_of_an_empty_inventory_says_what_to_do(page: Callable[[str], str]) -> None:
    assert "Import an inventory or register a key." in page(FALLS)


def test_the_list_shows_the_table_as_of_today(page: Callable[[str], str]) -> None:
    shown = page("/inventory/algorithm/")
    assert shown.count('class="field-label') == 73
    for words in ("legacy from 2031 (draft date)", "prohibited since 20 May 2005", "not approved yet (draft)", FALLS):
        assert words in shown


def test_a_filter_that_means_nothing_filters_nothing(keys: None, page: Callable[[str], str]) -> None:
    for query in ("algorithm=%00", "bits=%00", "bits=-1", "bits=99999999999999999999", "algorithm=", "bits=²"):
        assert len(re.findall(r'<th class="field-key', page(f"/inventory/key/?{query}"))) == 9, query


def test_somebody_without_a_role_sees_neither_page(client: Client, mallory: User) -> None:
    client.force_login(mallory)
    for address in (FALLS, "/inventory/algorithm/"):
        assert client.get(address).status_code == 302
