"""record(): what it leaves, what it refuses, and that the change stands or falls with it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from audit import body, chain, selectors, services, verification
from audit.actions import Action, Outcome
from audit.actor import Actor, Identity
from audit.errors import AuditError
from audit.models import Event, EventSubject, Head, IdentityKey
from audit.services import Subject, record, record_refusal
from keyvault_admin.access.models import TotpDevice, User
from tests.rotation.permits import being_carried_out

Role = Callable[[str], AbstractContextManager[None]]
BEAT = Actor.system("beat")


def sql(statement: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall()) if cursor.description else []


@pytest.mark.django_db
def test_record_leaves_one_chained_event(now: datetime, person: Actor, seal_events: Callable[[], None]) -> None:
    change = Subject(ref="key:1", label="stripe", before={"owner": None}, after={"owner": "carol"})
    event_id = record(Action.KEY_EDITED, actor=person, now=now, subjects=[change], reason="moved", facts={"n": 2**60})
    assert not Event.objects.exists()
    seal_events()
    event = Event.objects.get()
    assert (event.number, event.event_id, event.at) == (1, event_id, now)
    assert bytes(event.digest) == chain.chain_digest(chain.GENESIS, 1, bytes(event.stamp), bytes(event.body))
    assert bytes(Head.objects.get().digest) == bytes(event.digest)
    said = body.parse(bytes(event.body))
    assert said.subjects == (change,)
    assert (said.reason, said.facts, said.path, said.verified_by) == ("moved", {"n": str(2**60)}, person.path, "totp:5")
    assert chain.parse_stamp(bytes(event.stamp)).session_user == "keyvault_web"
    assert [(line.subject, line.number, line.position) for line in EventSubject.objects.all()] == [("key:1", 1, 1)]
    assert verification.verify().is_whole


@pytest.mark.django_db
def test_record_keeps_the_order_of_the_transaction(now: datetime, seal_events: Callable[[], None]) -> None:
    ids = [record(Action.KEY_IMPORTED, actor=BEAT, now=now) for _ in range(20)]
    seal_events()
    assert list(Event.objects.order_by("number").values_list("event_id", flat=True)) == ids


@pytest.mark.django_db
def test_a_savepoint_that_rolls_back_takes_its_events_along(now: datetime, seal_events: Callable[[], None]) -> None:
    kept = [record(Action.KEY_EDITED, actor=BEAT, now=now)]
    with transaction.atomic():
        record(Action.KEY_DESTROYED, actor=BEAT, now=now)
        transaction.set_rollback(True)
    kept.append(record(Action.KEY_EDITED, actor=BEAT, now=now))
    seal_events()
    assert list(Event.objects.order_by("number").values_list("number", "event_id")) == list(enumerate(kept, start=1))
    assert verification.verify().is_whole


def test_record_refuses_to_stand_alone(committed_db: object, now: datetime) -> None:
    with pytest.raises(AuditError, match="transaction"):
        record(Action.KEY_EDITED, actor=BEAT, now=now)


def test_a_transaction_that_rolls_back_leaves_no_event_and_no_gap(committed_db: object, now: datetime) -> None:
    for fails in (False, True, False):
        with transaction.atomic():
            record(Action.KEY_EDITED, actor=BEAT, now=now)
            transaction.set_rollback(fails)
    assert list(Event.objects.order_by("number").values_list("number", flat=True)) == [1, 2]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "given",
    [
        {"subjects": [Subject(ref=f"key:{number}") for number in range(1_001)]},
        {"subjects": [Subject(ref="key:1"), Subject(ref="key:1")]},
        {"subjects": [Subject(ref="")]},
        {"subjects": [Subject(ref="k" * 301)]},
        {"subjects": [Subject(ref="key:1", after={"note": "a\0b"})]},
        {"subjects": [Subject(ref="key:1", label="\ud83d")]},
        {"reason": "\0"},
        {"facts": {"a\0": 1}},
        {"facts": {"rate": 0.5}},
        {"facts": {"when": datetime(2026, 1, 1)}},  # noqa: DTZ001
        {"facts": {"long": "x" * 1024 * 1024}},
        {"now": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"actor": replace(BEAT, path="GET /?token=secret")},
        {"actor": replace(BEAT, path="GET /#part")},
        {"actor": replace(BEAT, path="GET /" + "x" * 300)},
        {"actor": replace(BEAT, id="")},
        {"actor": replace(BEAT, kind="robot")},
        {"action": Action.REQUEST_EXECUTED},  # from web
    ],
    ids=lambda given: next(iter(given)),
)
def test_record_refuses_what_may_not_be_written(now: datetime, given: dict[str, Any]) -> None:
    facts = {"action": Action.KEY_EDITED, "actor": BEAT, "now": now} | given
    with pytest.raises(AuditError), transaction.atomic():
        record(facts.pop("action"), **facts)


@pytest.mark.django_db
def test_record_takes_a_thousand_subjects(now: datetime, seal_events: Callable[[], None]) -> None:
    record(Action.KEY_IMPORTED, actor=BEAT, now=now, subjects=[Subject(ref=f"key:{n}") for n in range(1_000)])
    seal_events()
    assert EventSubject.objects.count() == 1_000
    assert verification.verify().is_whole


HOSTILE = [
    "\r\n2026-11-21 INFO forged line",
    '","action":"key.destroyed',
    "\\u0000",
    "\u202egnp.exe",
    "\x1b[2J",
    "\x7f\x80\x9f",
    "'; DROP TABLE audit_event; --",
    "%s %(a)s {subjects} {who.__class__}",
    "<script>alert(1)</script>",
    "\ufeff\ufffe\uffff",
    "\U0001f600" * 50,
    "a\u0301 \u00e1",
    "\u2028\u2029",
    "=cmd|' /C calc'!A0",
    " leading and trailing ",
    "",
]


@pytest.mark.django_db
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_comes_back_as_it_was(now: datetime, seal_events: Callable[[], None], text: str) -> None:
    actor = Actor(
        kind="person",
        id=f"user:{text}",
        role=text,
        on_behalf_of=text,
        path="GET /" + text.replace("?", "").replace("#", ""),
        identity=Identity(name=text, mail=text, address=text, agent=text),
    )
    subject = Subject(ref=f"key:{text}", label=text, before={text: text}, after={text: [text]})
    record(Action.KEY_EDITED, actor=actor, now=now, subjects=[subject], reason=text, facts={text: text})
    seal_events()
    (event,) = selectors.timeline(f"key:{text}")
    assert event.said is not None
    assert event.said.subjects == (subject,)
    assert (event.said.reason, event.said.facts, event.said.actor_role) == (text, {text: text}, text)
    assert event.identity == actor.identity
    assert text in event.sentence or "{" in text
    assert verification.verify().is_whole


# Executions and refusals


@pytest.mark.django_db
def test_executions_are_taken_from_worker_and_commands_alone(now: datetime, as_role: Role) -> None:
    for role in ("web", "beat", "signer"):
        with as_role(role), pytest.raises(AuditError), transaction.atomic():
            record(Action.REQUEST_EXECUTED, actor=BEAT, now=now)
    for role in ("worker", "command"):
        with as_role(role):
            record(Action.REQUEST_EXECUTED, actor=BEAT, now=now)


def test_record_refusal_commits_by_itself(committed_db: object, now: datetime, person: Actor) -> None:
    event_id = record_refusal(Action.KEY_SUSPENDED, actor=person, now=now, reason="Not yours.")
    event = Event.objects.get()
    assert (event.event_id, event.outcome) == (event_id, Outcome.REFUSED)


def test_record_refusal_refuses_to_run_where_it_could_be_rolled_back(committed_db: object, now: datetime) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError):
        record_refusal(Action.KEY_SUSPENDED, actor=BEAT, now=now)


# The change stands or falls with its event


@contextmanager
def without_partitions(as_owner: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    with as_owner():
        for number in range(2):
            sql(f"ALTER TABLE audit_event DETACH PARTITION audit_event_{number:06}")
            sql(f"ALTER TABLE audit_event_{number:06} RENAME TO audit_detached_{number}")
    yield


def test_an_event_that_cannot_be_sealed_rolls_its_change_back(
    committed_db: object, now: datetime, alice: User, as_owner: Callable[[], AbstractContextManager[None]]
) -> None:
    with without_partitions(as_owner):
        with pytest.raises(DatabaseError, match="no partition for event 1") as caught, transaction.atomic():  # noqa: PT012 - it fails at commit
            User.objects.filter(pk=alice.pk).update(last_login=now)
            record(Action.PERSON_DEACTIVATED, actor=BEAT, now=now, subjects=[Subject(ref=alice.ref)])
        assert caught.value.__cause__.sqlstate == "KA001"  # type: ignore[union-attr]
    alice.refresh_from_db()
    assert alice.last_login is None
    assert (Event.objects.count(), Head.objects.get().number) == (0, 0)


@pytest.mark.django_db
def test_an_identity_that_cannot_be_sealed_stops_the_change(
    now: datetime, person: Actor, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(Action.KEY_EDITED, actor=person, now=now)  # makes the key
    monkeypatch.setattr(settings, "SEALING_KEY", bytes(32))
    with pytest.raises(AuditError), transaction.atomic():  # noqa: PT012 - the change and its event are one block
        User.objects.filter(pk=alice.pk).update(last_login=now)
        record(Action.KEY_EDITED, actor=person, now=now)
    alice.refresh_from_db()
    assert alice.last_login is None


# Identities


@pytest.mark.django_db
def test_the_hashed_bytes_hold_nothing_personal(now: datetime, person: Actor, seal_events: Callable[[], None]) -> None:
    record(Action.KEY_EDITED, actor=person, now=now)
    record(Action.KEY_EDITED, actor=person, now=now)
    seal_events()
    first, second = Event.objects.order_by("number")
    assert person.identity is not None
    for fact in ("Bob", "bob@example.org", "192.0.2.7", "Firefox"):
        assert fact not in repr(person)
        for column in (first.body, first.stamp, first.identity):
            assert fact.encode() not in bytes(column or b"")
    assert bytes(first.identity or b"") != bytes(second.identity or b"")
    assert body.parse(bytes(first.body)).identity_digest == body.parse(bytes(second.body)).identity_digest
    assert IdentityKey.objects.count() == 1
    assert [event.who for event in selectors.events()] == ["Bob Builder", "Bob Builder"]


@pytest.mark.django_db
def test_strangers_share_a_key_a_month(now: datetime) -> None:
    stranger = Actor(kind="anonymous", id="anonymous", identity=Identity(name="", mail="", address="::1", agent=""))
    for moment in (now, now + timedelta(days=1), datetime(2026, 12, 1, tzinfo=UTC)):
        record(Action.SESSION_REFUSED, actor=stranger, now=moment, outcome=Outcome.REFUSED)
    held = IdentityKey.objects.order_by("person").values_list("person", flat=True)
    assert list(held) == ["anonymous:2026-11", "anonymous:2026-12"]


@pytest.mark.django_db
def test_a_key_made_in_a_rolled_back_transaction_is_not_used_again(
    now: datetime, person: Actor, seal_events: Callable[[], None]
) -> None:
    with transaction.atomic():
        record(Action.KEY_EDITED, actor=person, now=now)
        transaction.set_rollback(True)
    record(Action.KEY_EDITED, actor=person, now=now)
    seal_events()
    assert selectors.events()[0].identity == person.identity


@pytest.mark.django_db
def test_erasing_an_identity_leaves_the_chain(
    now: datetime, person: Actor, fill: Callable[[int], None], seal_events: Callable[[], None], as_role: Role
) -> None:
    fill(3)
    being_carried_out("person.erase", "user:7")
    with as_role("command"):
        assert services.erase_identity("user:7", actor=Actor.system("command:erase"), reason="left", now=now)
        assert not services.erase_identity("user:7", actor=Actor.system("command:erase"), reason="left", now=now)
        seal_events()
    assert [event.identity for event in selectors.timeline("key:all")] == [None, None, None]
    assert {event.who for event in selectors.timeline("key:all")} == {"erased person (user:7)"}
    verdict = verification.verify()
    assert verdict.is_whole
    assert (verdict.events, verdict.identities, verdict.erased) == (5, 0, 3)
    with pytest.raises(AuditError, match="erased"), transaction.atomic():
        record(Action.KEY_EDITED, actor=person, now=now)


@pytest.mark.django_db
def test_erasing_needs_its_event_and_the_command_role(
    now: datetime, fill: Callable[[int], None], as_role: Role
) -> None:
    fill(1)
    for role in ("web", "worker", "beat", "signer"):
        with as_role(role), pytest.raises(AuditError):
            services.erase_identity("user:7", actor=BEAT, reason="", now=now)
    with as_role("command"), pytest.raises(DatabaseError, match="needs its event"), transaction.atomic():
        sql("SELECT audit_identity_erase('user:7')")
    with as_role("command"), pytest.raises(DatabaseError, match="needs its event"), transaction.atomic():  # noqa: PT012 - it fails at commit
        record(Action.PERSON_ERASED, actor=BEAT, now=now, subjects=[Subject(ref="user:8")])
        sql("SELECT audit_identity_erase('user:7')")
    with as_role("command"), pytest.raises(DatabaseError, match="no request"), transaction.atomic():  # noqa: PT012
        record(Action.PERSON_ERASED, actor=BEAT, now=now, subjects=[Subject(ref="user:7")])
        sql("SELECT audit_identity_erase('user:7')")
    assert IdentityKey.objects.get().sealed_key is not None


# Writers at the same time


def test_the_head_is_locked_after_everything_else(committed_db: object, now: datetime, alice: User) -> None:
    # One transaction records and then inserts a row whose foreign key is checked at commit; another holds the parent
    # row and wants to record too. Were the head locked before that check, each would wait for the other.
    recorded, locked = threading.Event(), threading.Event()

    def insert_after_record() -> None:
        try:
            with transaction.atomic():
                record(Action.PERSON_ENROLLED, actor=BEAT, now=now)
                TotpDevice.objects.create(user_id=alice.pk, sealed_seed=b"")
                recorded.set()
                assert locked.wait(5)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(insert_after_record)
        assert recorded.wait(5)
        with transaction.atomic():
            User.objects.select_for_update().get(pk=alice.pk)
            locked.set()
            assert wait_for_lock()
            record(Action.PERSON_ENROLLED, actor=BEAT, now=now)
        other.result()
    assert verification.verify().events == 2


def wait_for_lock() -> bool:
    """Whether another session begins to wait for a lock within five seconds."""
    for _ in range(500):
        if sql("SELECT 1 FROM pg_locks WHERE NOT granted"):
            return True
        threading.Event().wait(0.01)
    return False


@pytest.mark.django_db
def test_the_same_id_is_not_taken_twice(now: datetime, seal_events: Callable[[], None]) -> None:
    event_id = uuid4()
    raw = body.compose(
        event_id, Action.KEY_EDITED, Outcome.DONE,
        actor=BEAT, identity_digest="", at=now, subjects=[], reason="", facts={},
    )  # fmt: skip
    sql("SELECT audit_append(%s, %s, NULL)", event_id, raw)
    seal_events()
    with pytest.raises(DatabaseError, match="has an event with this id"), transaction.atomic():  # noqa: PT012 - at commit
        sql("SELECT audit_append(%s, %s, NULL)", event_id, raw)
        seal_events()


@pytest.mark.django_db
def test_events_are_sealed_at_once_where_constraints_are_immediate(now: datetime) -> None:
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    for _ in range(2):
        record(Action.KEY_EDITED, actor=BEAT, now=now)
    assert verification.verify().events == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"\xff",
        b'{"v":1}',
        b'{"v":2,"id":"ID","action":"key.edited","outcome":"done"}',
        b'{"v":1,"id":"00000000-0000-0000-0000-000000000000","action":"key.edited"}',
        b'{"v":1,"id":"ID","action":"key.edited","subjects":{},"actor":{"kind":"system","id":"x"}}',
    ],
)
def test_append_refuses_what_is_no_event(raw: bytes) -> None:
    event_id = uuid4()
    with pytest.raises(DatabaseError), transaction.atomic():
        sql("SELECT audit_append(%s, %s, NULL)", event_id, raw.replace(b"ID", str(event_id).encode()))
