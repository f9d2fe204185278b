"""Asking for what makes a key less late: nothing changes, and a key has one open question."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, ProgrammingError, connection, transaction
from psycopg import errors as pg

from audit.actions import Action
from audit.actor import Actor
from audit.errors import AuditError
from inventory import services
from inventory.errors import (
    ChangeWaitsError,
    KeyMaterialError,
    NoMoreTimeError,
    NotActiveError,
    NotAskedError,
    ReasonMissingError,
    RotationDateError,
    StaleError,
)
from inventory.models import Key, KeyVersion, Owner, RotationEvidence
from inventory.states import State
from rotation.approvals import payload_of
from rotation.errors import OwnRequestError
from rotation.models import Notice, Request, Vote
from tests.approving import permitted
from tests.deciding import IMPORTER, approve, by, request_of, vote, withdraw
from tests.inventory import test_imports
from tests.inventory.test_imports import file_of, plan, row
from tests.inventory.test_services import at_once, kinds
from tests.inventory.world import (
    ACTOR,
    LOGINS,
    NOW,
    actions_since,
    event_for,
    events_of,
    key_in,
    last_number,
    make_key,
    seal,
    set_state,
    told_of,
)

db = pytest.mark.django_db
ROTATED = date(2026, 10, 3)
DUE = datetime(2026, 10, 11, tzinfo=UTC)
DUE_AFTER = datetime(2027, 1, 1, tzinfo=UTC)  # 90 days after ROTATED


def report(key, person, *, on=ROTATED, evidence="change 4711", **how):
    return services.report_rotation(pk=key.pk, rotated_on=on, evidence=evidence, actor=by(person), now=NOW, **how)


def hold(key, person, *, revision=None, reason="it is a test key", **changes):
    return services.hold_edit(
        pk=key.pk,
        changes=changes or {"environment": "test"},
        expected_revision=revision or key.revision,
        actor=by(person),
        reason=reason,
        now=NOW,
    )


def bring(content, *, actor=IMPORTER):
    return test_imports.bring(content, actor=actor)


def rows():
    return [
        list(model.objects.order_by("pk").values())
        for model in (Key, KeyVersion, RotationEvidence, Request, Vote, Notice)
    ]


def unchanged_by(act, error):
    seal()
    before, number = rows(), last_number()
    with pytest.raises(error) as caught, transaction.atomic():
        act()
    seal()
    assert rows() == before
    assert actions_since(number) == []
    return str(caught.value)


def stored(key):
    return Key.objects.get(pk=key.pk)


def edit_notes(key):
    services.edit_key(
        pk=key.pk, changes={"notes": "x"}, expected_revision=key.revision, actor=ACTOR, reason="x", now=NOW
    )


# Asking


@db
def test_hold_edit_asks_and_changes_nothing(carol, seal_events):
    key = make_key()
    seal_events()
    number, before = last_number(), Key.objects.values().get()
    asked = hold(key, carol, environment="test", notes="moved")
    seal_events()
    assert Key.objects.values().get() == before
    assert actions_since(number) == ["request.opened"]
    (event,) = events_of("request.opened")
    assert (event.said.actor_id, event.said.reason) == (carol.ref, "it is a test key")
    assert {subject.ref for subject in event.said.subjects} == {key.ref, asked.ref}
    request = request_of(asked)
    assert (request.operation, request.key, request.requested_by) == ("key.edit", key, carol)
    assert payload_of(request).parameters == asked.parameters == {
        "key": key.pk,
        "kind": "edit",
        "revision": 1,
        "changes": {"environment": "test", "notes": "moved"},
        "rotate_by": {"before": DUE.isoformat(), "after": "2027-07-13T00:00:00+00:00"},
    }  # fmt: skip


@db
def test_hold_edit_is_only_for_what_gives_more_time(carol):
    key = make_key()
    unchanged_by(lambda: hold(key, carol, notes="x"), NoMoreTimeError)
    unchanged_by(lambda: hold(key, carol, environment="production"), NoMoreTimeError)
    unchanged_by(lambda: hold(key, carol, revision=7), StaleError)
    unchanged_by(lambda: hold(key, carol, reason=" "), ReasonMissingError)
    unchanged_by(lambda: hold(key, carol, environment="test", notes="ghp_a1B2c3D4e5F6g7H8i9J0"), KeyMaterialError)
    unchanged_by(lambda: hold(key, carol, environment="test", kind="stone"), ValidationError)


@db
def test_report_rotation_keeps_the_evidence_and_changes_nothing(carol, seal_events):
    key = make_key()
    seal_events()
    number, before = last_number(), Key.objects.values().get()
    asked = report(key, carol, url="https://ci.example.org/4711")
    seal_events()
    assert Key.objects.values().get() == before
    assert key.versions.count() == 1
    assert actions_since(number) == ["key.rotation_reported", "request.opened"]
    proof = RotationEvidence.objects.get()
    assert (proof.rotated_on, proof.reported_by, proof.reported_at) == (ROTATED, carol, NOW)
    (event,) = events_of("key.rotation_reported")
    assert event.said.subjects[0].after["evidence"] == {
        "ref": proof.ref, "rotated_on": "2026-10-03", "text": "change 4711", "url": "https://ci.example.org/4711",
    }  # fmt: skip
    assert payload_of(request_of(asked)).parameters == {
        "key": key.pk,
        "kind": "rotation",
        "evidence": proof.pk,
        "revision": 1,
        "changes": {"last_rotated_on": "2026-10-03"},
        "rotate_by": {"before": DUE.isoformat(), "after": DUE_AFTER.isoformat()},
    }


@db
@pytest.mark.parametrize(
    ("on", "said"),
    [
        (date(2026, 11, 22), "lies after today, 21 November 2026 (UTC)"),
        (date(2026, 7, 13), "was last rotated on 13 July 2026 already"),
        (date(2026, 7, 12), "was last rotated on 13 July 2026 already"),
        (date(2026, 1, 9), "was created on 10 January 2026, after that day"),
    ],
)
def test_a_rotation_on_an_impossible_day_is_refused(carol, on, said):
    key = make_key()
    assert said in unchanged_by(lambda: report(key, carol, on=on), RotationDateError)


@db
def test_a_rotation_is_reported_today_and_of_a_key_that_never_was(carol):
    never = make_key(last_rotated_on=None, never_rotated=True)
    assert report(never, carol, on=date(2026, 11, 21)).parameters["changes"] == {
        "last_rotated_on": "2026-11-21",
        "never_rotated": False,
    }


@db
@pytest.mark.parametrize("state", [state for state in State if state != State.ACTIVE], ids=lambda state: state.value)
def test_only_the_rotation_of_an_active_key_is_reported(carol, state):
    key = key_in(state)
    said = unchanged_by(lambda: report(key, carol), NotActiveError)
    assert "only the rotation of an active key can be reported" in said


@db
def test_evidence_is_needed_and_holds_no_key(carol):
    key, token = make_key(), "ghp_a1B2c3D4e5F6g7H8i9J0"
    unchanged_by(lambda: report(key, carol, evidence=" "), ReasonMissingError)
    assert token not in unchanged_by(lambda: report(key, carol, evidence=f"now {token}"), KeyMaterialError)
    assert token not in unchanged_by(lambda: report(key, carol, url=f"https://x.example/{token}"), KeyMaterialError)
    unchanged_by(lambda: report(key, carol, url="javascript:alert(1)"), ValidationError)
    with pytest.raises(ValueError, match="by a person"), transaction.atomic():
        services.report_rotation(pk=key.pk, rotated_on=ROTATED, evidence="x", actor=ACTOR, now=NOW)


@db
def test_who_has_no_role_for_it_is_not_heard(dave, erin, mallory):
    key = make_key()
    for person in (dave, erin, mallory):
        said = unchanged_by(lambda: hold(key, person), NotAskedError)  # noqa: B023
        assert "may ask for this" in said
        unchanged_by(lambda: report(key, person), NotAskedError)  # noqa: B023


@db
def test_a_key_has_one_open_question(carol, bob):
    key = make_key()
    asked = report(key, carol)
    unchanged_by(lambda: report(key, bob), ChangeWaitsError)
    unchanged_by(lambda: hold(key, bob), ChangeWaitsError)
    vote(asked, bob, now=NOW)
    unchanged_by(lambda: hold(key, bob), ChangeWaitsError)  # approved, and not done yet
    withdraw(asked, carol, now=NOW)
    assert request_of(hold(key, bob)).state == "open"


@db
@pytest.mark.parametrize("again", [hold, report])
def test_a_question_about_an_older_record_makes_room(carol, bob, seal_events, again):
    key = make_key()
    old = report(key, carol)
    edit_notes(key)
    new = again(stored(key), bob)
    seal_events()
    assert (request_of(old).state, request_of(new).state) == ("void", "open")
    assert "changed after this was asked" in request_of(old).closed_because
    assert told_of(key) == [
        "key.registered", "key.rotation_reported", "request.opened", "key.edited",
        *(["request.voided", "request.opened"] if again is hold
          else ["request.voided", "key.rotation_reported", "request.opened"]),
    ]  # fmt: skip


@db
def test_what_nobody_decided_in_time_makes_room_before_the_beat_closes_it(carol, bob, seal_events):
    """By edit, by report and by the rows of an import; what was approved in time is left to the worker."""
    old, key = report(make_key(name="a"), carol), make_key(name="b")
    first, content = hold(key, carol), file_of(row("a", Last_rotated="2026-11-01"))
    over, day = request_of(old).expires_at, timedelta(days=1)
    assert plan(content, now=over - day).summary == "0 new, 0 changed, 0 unchanged, 1 refused"
    assert plan(content, now=over).summary == "0 new, 0 changed, 0 unchanged, 0 refused, 1 held"
    test_imports.bring(content, now=over, actor=IMPORTER)
    again = {"pk": key.pk, "rotated_on": ROTATED, "evidence": "change 4711", "actor": by(carol)}
    second = services.report_rotation(now=over, **again)
    seal_events()
    assert [request_of(one).state for one in (old, first, second)] == ["expired", "expired", "open"]
    assert told_of(key)[-3:] == ["request.expired", "key.rotation_reported", "request.opened"]
    vote(second, bob, now=over + day)
    with pytest.raises(ChangeWaitsError):
        services.report_rotation(now=over + 15 * day, **again)


@db
@pytest.mark.parametrize("ask", [hold, report])
def test_an_event_that_cannot_be_written_rolls_the_question_back(carol, as_owner, ask):
    key = make_key()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("REVOKE EXECUTE ON FUNCTION audit_append FROM keyvault_app")
    unchanged_by(lambda: ask(key, carol), AuditError)


# Imports


@db
def test_rows_that_give_their_key_more_time_are_held_and_the_rest_goes_in(bob, seal_events):
    bring(file_of(row("a", Created="2026-01-01", Environment="production"), row("b", Created="2026-01-01")))
    content = file_of(
        row(
            "a", Created="2026-01-01", Last_rotated="2026-11-01", Environment="production", Notes="rotated", Owner="ann"
        ),
        row("b", Created="2026-01-01", Environment="production"),
        row("c"),
    )
    seal_events()
    number = last_number()
    done = bring(content)
    seal_events()
    assert done.summary == "1 new, 1 changed, 0 unchanged, 0 refused, 1 held"
    assert [(held.row, held.key.name, held.is_waiting) for held in done.held] == [(2, "a", False)]
    assert actions_since(number) == [
        "owner.registered", "key.imported", "key.edited", "request.opened", "inventory.imported",
    ]  # fmt: skip
    assert events_of("inventory.imported")[-1].said.facts["held"] == 1
    key = Key.objects.get(name="a")
    assert (key.last_rotated_on, key.notes, key.revision, key.owner) == (None, "", 1, None)
    (asked,) = done.asked
    assert (asked.parameters["kind"], request_of(asked).requested_by_ref) == ("import", IMPORTER.id)
    assert asked.parameters["changes"]["owner"] == Owner.objects.get(handle="ann").ref

    again = bring(content)
    assert again.summary == "0 new, 0 changed, 2 unchanged, 0 refused, 1 held"
    assert ([held.request for held in again.held], again.asked) == ([asked], [])
    assert Request.objects.count() == 1

    assert approve(asked, bob, now=NOW).state == "executed"
    key = Key.objects.get(name="a")
    assert (key.last_rotated_on, key.notes, key.owner.handle) == (date(2026, 11, 1), "rotated", "ann")
    assert bring(content).summary == "0 new, 0 changed, 3 unchanged, 0 refused"


@db
def test_a_row_that_says_something_else_than_what_waits_is_refused(carol):
    key = make_key(name="a")
    report(key, carol)
    content = file_of(row("a", Last_rotated="2026-11-01"))
    done = bring(content)
    assert done.summary == "0 new, 0 changed, 0 unchanged, 1 refused"
    assert "waits for votes already" in done.refused[0].problem
    same = file_of(row("a", Last_rotated=str(ROTATED)))
    assert bring(same).summary == "0 new, 0 changed, 0 unchanged, 0 refused, 1 held"
    edit_notes(key)
    assert plan(content).summary == "0 new, 0 changed, 0 unchanged, 0 refused, 1 held"
    assert plan(content).to_be_held
    bring(content)
    assert sorted(Request.objects.values_list("operation", "state")) == [("key.edit", "open"), ("key.rotation", "void")]


@db
def test_the_digest_is_also_that_of_what_would_be_held():
    make_key(name="a")
    first, second = (plan(file_of(row("a", Last_rotated=day))).digest for day in ("2026-11-01", "2026-11-02"))
    assert first != second
    content = file_of(row("a", Last_rotated="2026-11-01"))
    bring(content)
    assert plan(content).digest != first


@db
def test_thousands_of_rows_are_asked_in_few_queries(seal_events, django_assert_max_num_queries):
    names = [f"key {number}" for number in range(1_200)]
    bring(file_of(*[row(name, Created="2026-01-01", Environment="production", Owner="ann") for name in names]))
    content = file_of(*[row(name, Last_rotated="2026-11-01", Owner="bea") for name in names])
    with django_assert_max_num_queries(90):
        done = bring(content)
    assert done.summary == "0 new, 0 changed, 0 unchanged, 0 refused, 1200 held"
    seal_events()
    opened = [subject.ref for event in events_of("request.opened") for subject in event.said.subjects]
    assert len(opened) == 2 * 1_200
    assert [request.parameters["key"] for request in done.asked] == [held.key.pk for held in done.to_be_held]
    assert plan(content).to_be_held == []


@db
def test_what_a_worker_imports_is_asked_by_the_person(alice, bob, as_role):
    """So that they cannot vote on it themselves."""
    make_key(name="a")
    worker = Actor.system("worker", on_behalf_of=bob.ref)
    with as_role("worker"):
        (asked,) = bring(file_of(row("a", Last_rotated="2026-11-01")), actor=worker).asked
    request = request_of(asked)
    assert (request.requested_by, request.requested_by_ref) == (bob, bob.ref)
    with pytest.raises(OwnRequestError):
        vote(asked, bob, now=NOW)


# What the database itself refuses


def run(statement):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


WAYS = [
    "UPDATE inventory_rotationevidence SET text = 'other'",
    "UPDATE inventory_rotationevidence SET rotated_on = now()",
    "DELETE FROM inventory_rotationevidence",
]


@db
@pytest.mark.parametrize("login", LOGINS)
def test_no_login_changes_what_was_reported(carol, login, as_role):
    report(make_key(), carol)
    for statement in WAYS:
        with as_role(login), pytest.raises(ProgrammingError) as caught:
            run(statement)
        assert isinstance(caught.value.__cause__, pg.InsufficientPrivilege), statement


def refused_with(error, act, *arguments, **named):
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        act(*arguments, **named)
    assert isinstance(caught.value.__cause__, error), caught.value
    return str(caught.value.__cause__)


# Rotating is one step of the database


def successor(key, number=2):
    version = KeyVersion(key=key, number=number, generated_on=ROTATED, activated_at=NOW)
    version.save()
    return version


def rotate(key, version, state=State.ACTIVE):
    with permitted(Action.KEY_ROTATED, key) as facts:
        set_state(version, state, event_for(key, Action.KEY_ROTATED, facts=facts))


@db
def test_the_function_rotates_in_one_step():
    key = make_key()
    key.versions.update(deactivated_at=NOW)
    rotate(key, successor(key))
    after = stored(key)
    assert (after.current_number, after.state) == (2, "active")
    assert list(key.versions.order_by("number").values_list("state", flat=True)) == ["deactivated", "active"]


@db
def test_the_function_rotates_nothing_that_nobody_approved(as_role):
    key = make_key()
    key.versions.update(deactivated_at=NOW)
    second = successor(key)
    for role in ("web", "worker", "command"):
        with as_role(role):
            event = event_for(key, Action.KEY_ROTATED)
            refused_with(pg.InsufficientPrivilege, set_state, second, State.ACTIVE, event)
    assert stored(key).current_number == 1


@db
def test_the_function_takes_no_half_of_a_rotation(seal_events):
    key = make_key()
    seal_events()
    first = key.versions.get()
    key.versions.update(deactivated_at=NOW)
    alone = "cannot go from active to deactivated by key.rotated"
    assert alone in refused_with(pg.CheckViolation, rotate, key, first, State.DEACTIVATED)
    assert "not the next version" in refused_with(pg.CheckViolation, rotate, key, successor(key, 3))
    assert stored(key).current_number == 1


@db
def test_the_function_dates_the_one_before_or_refuses():
    key = make_key()
    assert "keyversion_deactivated_has_date" in refused_with(pg.CheckViolation, rotate, key, successor(key))


@db
@pytest.mark.parametrize("state", [State.PRE_ACTIVATION, State.DEACTIVATED, State.COMPROMISED, State.DESTROYED])
def test_the_function_rotates_nothing_that_is_not_in_use(state):
    key = key_in(state)
    assert "is not in use" in refused_with(pg.CheckViolation, rotate, key, successor(key))


@db
def test_a_first_version_is_not_activated_by_rotating():
    key = make_key(state=State.PRE_ACTIVATION)
    assert "not the next version" in refused_with(pg.CheckViolation, rotate, key, key.versions.get())


# Races


def test_of_two_who_ask_at_once_one_succeeds(committed_db, carol, bob):
    for number in range(5):
        key = make_key(name=f"key {number}")
        results = at_once(lambda: report(key, carol), lambda: hold(key, bob))  # noqa: B023
        assert kinds(results) == ["Asked", "ChangeWaitsError"]
        assert Request.objects.filter(key=key).count() == 1
