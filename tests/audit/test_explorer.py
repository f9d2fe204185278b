"""The explorer: filters alone and together, pages while the log grows, addresses, one event, and who has read."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from audit import proofs, selectors
from audit.actions import Action, Outcome
from audit.actor import Actor, Identity
from audit.explorer import addresses, asked, finding
from audit.explorer.asked import AskedError, Days
from audit.explorer.groups import GROUPS, actions_of, group_of
from audit.models import Event
from audit.readings import MOST, QUIET, THE_LOG, record_reading
from audit.services import Subject, erase_identity, record
from keyvault_admin.access.models import User
from tests.people import sign_in
from tests.rotation.permits import being_carried_out

pytestmark = pytest.mark.django_db
Fill = Callable[[int], None]
Seal = Callable[[], None]
Role = Callable[[str], AbstractContextManager[None]]
LIST = "/audit/event/"
TODAY = date(2026, 11, 22)


@pytest.fixture
def told(db: None, now: datetime, seal_events: Seal) -> None:
    """Seven events, numbered as they stand here."""
    bob = Actor(
        kind="person", id="user:7", role="DevOps", path="POST /inventory/key/12/edit/", identity=_from("192.0.2.7")
    )
    beat, worker = Actor.system("beat"), Actor.system("worker", on_behalf_of="user:7")
    stranger = Actor(kind="anonymous", id="anonymous", path="POST /login/", identity=_from("198.51.100.4"))
    reader = Actor(kind="person", id="user:8", path="GET /login/", identity=_from("2001:db8::7"))
    key, clause = Subject(ref="key:1", label="key 1"), Subject(ref="clause:1")
    with transaction.atomic():
        record(Action.KEY_EDITED, actor=bob, now=now, subjects=[key])
        record(Action.KEY_FLAGGED_OVERDUE, actor=beat, now=now, subjects=[key, Subject(ref="key:2")])
        record(Action.SESSION_REFUSED, actor=stranger, now=now, outcome=Outcome.REFUSED)
        record(Action.CLAUSE_EDITED, actor=bob, now=now, subjects=[clause], outcome=Outcome.REFUSED)
        record(Action.KEY_ROTATED, actor=worker, now=now, subjects=[key], outcome=Outcome.FAILED)
        record(Action.SESSION_OPENED, actor=reader, now=now, subjects=[Subject(ref="user:8")])
        record(Action.PERSON_EDITED, actor=beat, now=now, subjects=[Subject(ref="user:7")])
        seal_events()


def _from(address: str) -> Identity:
    return Identity(name="Somebody", mail="s@example.org", address=address, agent="Firefox")


def numbers(query: str, **how: str) -> list[int]:
    """Return the numbers of the page that answers the address."""
    params = {name: values[0] for name, values in parse_qs(query).items()}
    found = finding.find(asked.read(params, today=timezone.now().date()))
    return [row.pk for row in found.page(size=50, **how).rows]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [7, 6, 5, 4, 3, 2, 1]),
        ("q=5", [5]), ("q=key:1", [5, 2, 1]), ("q=user:7", [7, 5, 4, 1]), ("q=anonymous", [3]), ("q=nothing", []),
        ("who=user:7", [5, 4, 1]), ("who=beat", [7, 2]), ("who=user:99", []),
        ("action=key.edited", [1]), ("action=keys", [5, 2, 1]), ("action=sign-in", [6, 3]), ("action=policies", [4]),
        ("action=no.such", []), ("action=nothing", []),
        ("on=key:1", [5, 2, 1]), ("on=user:7", [7]), ("on=key:", []),
        ("outcome=done", [7, 6, 2, 1]), ("outcome=refused", [4, 3]), ("outcome=failed", [5]), ("outcome=odd", []),
        ("path=/login/", [6, 3]), ("path=POST+/login/", [3]), ("path=/login", []),
        ("path=/inventory/key/12/edit/", [4, 1]), ("path=GET+/inventory/key/12/edit/", []),
        ("when=today", [7, 6, 5, 4, 3, 2, 1]), ("when=..2020-01-01", []), ("when=2020-01-01..", [7, 6, 5, 4, 3, 2, 1]),
        ("who=user:7&action=keys", [5, 1]), ("who=user:7&action=keys&outcome=done", [1]),
        ("who=beat&on=key:1", [2]), ("who=user:7&on=key:1&when=today", [5, 1]), ("q=key:1&who=beat", [2]),
        ("q=key:1&who=user:7&action=keys&outcome=failed", [5]), ("action=sign-in&path=/login/", [6, 3]),
        ("who=user:7&path=/inventory/key/12/edit/&outcome=refused", [4]), ("action=policies&outcome=done", []),
        ("on=key:1&action=keys&path=/nowhere/", []),
    ],
)  # fmt: skip
def test_filters_find_alone_and_together(told: None, query: str, expected: list[int]) -> None:
    assert numbers(query) == expected
    assert numbers(query, before="end") == expected
    found = finding.find(asked.read({k: v[0] for k, v in parse_qs(query).items()}, today=timezone.now().date()))
    assert found.count() == len(expected)


@pytest.mark.parametrize(
    "query", ["", "who=user:7", "q=key:all", "action=keys", "on=key:all", "who=user:7&action=keys"]
)
def test_pages_give_every_event_once_in_both_directions_while_the_log_grows(fill: Fill, query: str) -> None:
    fill(23)
    found = finding.find(asked.read({k: v[0] for k, v in parse_qs(query).items()}, today=TODAY))
    page, seen = found.page(size=5), []
    for _ in range(9):
        seen += [row.pk for row in page.rows]
        fill(1)  # what arrives meanwhile is newer, so it moves nothing
        if not page.has_next:
            break
        page = found.page(size=5, after=page.last)
    assert seen == list(range(23, 0, -1))
    back = [row.pk for row in page.rows]
    while page.has_previous:
        page = found.page(size=5, before=page.first)
        back = [row.pk for row in page.rows] + back
    assert back == list(range(Event.objects.count(), 0, -1))
    assert [row.pk for row in found.page(size=5, before="end").rows] == [5, 4, 3, 2, 1]
    assert found.page(size=5, after="nonsense").rows[0].pk == len(back)


def test_a_period_is_exact_even_where_the_clock_was_set_back(
    fill: Fill, as_owner: Callable[[], AbstractContextManager[None]]
) -> None:
    fill(60)
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    clock = [noon + timedelta(hours=each) for each in range(30)] + [
        noon + timedelta(hours=each) for each in range(28, 58)
    ]
    with as_owner(), connection.cursor() as cursor:
        pairs = list(enumerate(clock, start=1))
        cursor.executemany("UPDATE audit_event SET recorded_at = %s WHERE number = %s", [(at, n) for n, at in pairs])
    for first in range(19, 25):
        for days in (0, 1, 2):
            span = Days(date(2026, 11, first), date(2026, 11, first + days))
            assert span.begin
            assert span.end
            expected = [number for number, at in reversed(pairs) if span.begin <= at < span.end]
            assert numbers(f"when={span}") == expected[:50], span
            assert numbers(f"when={span}&action=key.edited", before="end") == expected[-50:], span


@pytest.mark.parametrize(
    "params",
    [
        {"when": "yesterday"}, {"when": ".."}, {"when": "2026-02-30.."}, {"when": "2026-11-02..2026-11-01"},
        {"when": "0001-01-01.."}, {"where": "192.0.2.7"}, {"where": "AAAA"}, {"where": "\u00e9"}, {"q": "a\0b"},
        {"path": "x" * 301},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(params: dict[str, str]) -> None:
    with pytest.raises(AskedError):
        asked.read(params, today=TODAY)


def test_every_action_is_in_one_group() -> None:
    nouns = Counter(noun for names in GROUPS.values() for noun in names)
    assert max(nouns.values()) == 1
    assert sorted(action for group in GROUPS for action in actions_of(group)) == sorted(Action)
    assert all(group_of(action) for action in Action)
    assert group_of("something.else") == ""


def from_there(network: str, after: str = "", **more: str) -> tuple[list[int], addresses.Looked, str]:
    found = finding.find(asked.read(more, today=TODAY))
    page, looked = addresses.page(found, asked.network_of(network), size=2, after=after)
    return [row.pk for row in page.rows], looked, page.last if page.has_next else ""


def test_an_address_is_found_by_opening_the_events(
    told: None, monkeypatch: pytest.MonkeyPatch, as_role: Role, now: datetime, seal_events: Seal
) -> None:
    assert from_there("192.0.2.7")[0] == [4, 1]
    assert from_there("198.51.100.0/24")[0] == [3]
    assert from_there("2001:db8::/32")[0] == [6]
    assert from_there("192.0.2.0/24", who="user:7", action="keys")[0] == [1]
    assert from_there("203.0.113.1") == ([], addresses.Looked(7, 0, 1, Event.objects.get(pk=1).recorded_at), "")
    monkeypatch.setattr(addresses, "WINDOW", 3)
    seen, cursor, steps = [], "", 0
    while steps == 0 or cursor:
        rows, looked, cursor = from_there("192.0.2.7", cursor)
        seen += rows
        steps += 1
    assert (seen, steps, looked.is_all) == ([4, 1], 3, True)
    monkeypatch.undo()
    being_carried_out("person.erase", "user:7")
    with as_role("command"):
        erase_identity("user:7", actor=Actor.system("command:erase"), reason="asked for it", now=now)
        seal_events()
    rows, looked, _ = from_there("192.0.2.7")
    assert (rows, looked.unreadable) == ([], 2)


# Who has read


def readings() -> list[tuple[str, dict[str, object]]]:
    told = selectors.read(Event.objects.filter(action=Action.AUDIT_READ).order_by("number"))
    return [(event.said.subjects[0].ref, dict(event.said.facts)) for event in told if event.said]


def test_reading_leaves_one_event_a_thing_and_not_without_end(
    db: None, person: Actor, now: datetime, seal_events: Seal
) -> None:
    def reads(at: datetime, ref: str = "", **facts: str) -> bool:
        subject = Subject(ref=ref) if ref else THE_LOG
        is_new = record_reading(actor=person, now=at, subject=subject, facts=facts)
        seal_events()
        return is_new

    assert [reads(now), reads(now), reads(now, who="user:1"), reads(now, "event:3")] == [True, False, True, True]
    assert [reads(now + QUIET - timedelta(seconds=1)), reads(now + QUIET)] == [False, True]
    later = now + 3 * QUIET
    assert sum(reads(later, f"event:{number}") for number in range(3 * MOST)) == MOST
    assert readings()[-1][1] == {"and_more": "what else is read in these minutes is not recorded singly"}
    assert reads(later + QUIET, "event:1")
    with CaptureQueriesContext(connection) as queries:
        record_reading(actor=person, now=later, subject=Subject(ref="event:1"))
    assert len([each for each in queries if "SAVEPOINT" not in each["sql"]]) == 1


def get(client: Client, query: str = "", path: str = LIST) -> Any:
    return client.get(f"{path}?{query}" if query else path)


def test_the_pages_record_what_was_asked_and_nothing_personal(
    client: Client, dave: User, told: None, seal_events: Seal
) -> None:
    sign_in(client, dave)
    where = asked.sealed(asked.network_of("192.0.2.7"))
    for query in ("", "", "who=user:7&action=keys", "q=Alice+Secret", f"where={where}", "when=today&outcome=failed"):
        assert get(client, query).status_code == 200
        seal_events()
    get(client, path=f"{LIST}1/change/")
    seal_events()
    assert readings() == [
        ("audit_log", {}),
        ("audit_log", {"who": "user:7", "what": "keys"}),
        ("audit_log", {"search": "unknown"}),
        ("audit_log", {"address": "given"}),
        ("audit_log", {"when": f"{timezone.now().date()}..", "outcome": "failed"}),
        ("event:1", {}),
    ]
    mine = Event.objects.filter(action=Action.AUDIT_READ, actor_id=dave.ref)
    assert mine.count() == 6
    assert not any(b"192.0.2" in bytes(row.body) or b"Secret" in bytes(row.body) for row in mine)


# What is typed


def typed(client: Client, **fields: str) -> str:
    """Send a typed filter; return where it leads, "" where it stays on a page of its own."""
    response = client.post(reverse("admin:audit_event_choose"), fields)
    return response["Location"] if response.status_code == 302 else ""


def test_what_is_typed_leads_to_an_address_without_names(
    client: Client, dave: User, alice: User, carol: User, told: None
) -> None:
    sign_in(client, dave)
    assert typed(client, name="who", typed="beat", kept="action=keys&odd=1") == f"{LIST}?action=keys&who=beat"
    assert typed(client, name="who", typed="Alice") == f"{LIST}?who=user%3A{alice.pk}"
    assert typed(client, name="who", typed=carol.email) == f"{LIST}?who=user%3A{carol.pk}"
    assert typed(client, name="on", typed="key:1", kept="who=beat") == f"{LIST}?who=beat&on=key%3A1"
    assert typed(client, name="when", first="2026-11-01", last="") == f"{LIST}?when=2026-11-01.."
    assert typed(client, name="path", typed=" /login/ ") == f"{LIST}?path=%2Flogin%2F"
    for refused in ({"name": "who", "typed": "Nobody Known"}, {"name": "where", "typed": "Bonn"}, {"name": "when"},
                    {"name": "odd", "typed": "x"}, {"name": "who"}):  # fmt: skip
        assert typed(client, kept="outcome=done", **refused) == f"{LIST}?outcome=done"
    page = client.get(f"{LIST}?outcome=done").content.decode()
    assert "Nobody of that name is known here" in page
    assert "This is no address" in page
    several = client.post(reverse("admin:audit_event_choose"), {"name": "who", "typed": "example", "kept": "on=key:1"})
    assert f"?on=key%3A1&amp;who=user%3A{alice.pk}" in several.content.decode()
    led = typed(client, name="where", typed="192.0.2.0/24")
    assert "192" not in led
    page = client.get(led).content.decode()
    assert "event 4" in page and "192.0.2.0/24" in page and "opened and compared" in page  # noqa: PT018 - one page
    assert client.get(reverse("admin:audit_event_choose")).status_code == 405


@pytest.mark.parametrize("query", ["when=odd", "where=odd", "when=2026-11-02..2026-11-01"])
def test_an_address_that_cannot_be_read_leads_back_to_the_list(client: Client, dave: User, query: str) -> None:
    sign_in(client, dave)
    assert get(client, query)["Location"] == f"{LIST}?e=1"
    assert client.get(f"{LIST}?e=1").status_code == 200


def test_an_empty_list_says_what_to_do_next(client: Client, dave: User, told: None) -> None:
    sign_in(client, dave)
    assert "Choose more of them" in get(client, "when=..2020-01-01").content.decode()
    assert "Nothing like this has ever been recorded" in get(client, "on=key:77").content.decode()
    text = get(client, "who=user:7&action=key.edited").content.decode()
    assert "user:7" in text and "1 event" in text  # noqa: PT018 - one page


def test_the_list_costs_ten_queries_at_most_and_the_same_for_more_events(
    fill: Fill, client: Client, dave: User, seal_events: Seal
) -> None:
    sign_in(client, dave)
    asked_for = (
        "",
        "who=user:7&action=keys",
        "q=key:all",
        "when=today&who=user:7&on=key:all&outcome=done",
        "before=end",
    )
    costs: dict[str, list[int]] = {query: [] for query in asked_for}
    for more in (55, 60):
        fill(more)
        for query in asked_for:
            get(client, query)  # is recorded once
            seal_events()
            with CaptureQueriesContext(connection) as queries:
                get(client, query)
            costs[query].append(len(queries))
    assert max(cost for each in costs.values() for cost in each) <= 10
    assert all(few == many for few, many in costs.values())


# One event


def test_an_event_leads_to_its_subjects_and_to_their_events(
    client: Client, dave: User, carol: User, told: None, seal_events: Seal
) -> None:
    sign_in(client, dave)
    record(Action.PERSON_EDITED, actor=Actor.system("beat"), now=timezone.now(), subjects=[Subject(ref=carol.ref)])
    seal_events()
    number = Event.objects.order_by("-number").values_list("number", flat=True)[0]
    assert (
        reverse("admin:access_user_change", args=[carol.pk])
        in get(client, path=f"{LIST}{number}/change/").content.decode()
    )
    text = get(client, path=f"{LIST}2/change/").content.decode()
    assert f'rel="prev" href="{LIST}1/change/"' in text
    assert f'rel="next" href="{LIST}5/change/"' in text
    assert text.count('rel="next"') == 1  # key:2 has no other event
    assert "/inventory/key/1/change/" not in text  # there is no such key
    assert "No checkpoint covers this event yet" in text


def test_an_altered_event_says_that_its_proof_does_not_verify(
    client: Client, dave: User, fill: Fill, as_owner: Callable[[], AbstractContextManager[None]]
) -> None:
    fill(3)
    sign_in(client, dave)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE audit_event SET body = replace(convert_from(body, 'UTF8'), 'why', 'who')::bytea WHERE number = 2"
        )
    text = get(client, path=f"{LIST}2/change/").content.decode()
    assert "does not verify" in text and proofs.UNCHAINED in text  # noqa: PT018 - one page
    assert "does not verify" not in get(client, path=f"{LIST}1/change/").content.decode()
