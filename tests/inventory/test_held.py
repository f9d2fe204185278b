"""Changes that make a key less late: one person asks, somebody of DevOps confirms, and only then it happens."""

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, ProgrammingError, connection, transaction
from inventory.models.held import HeldState
from psycopg import errors as pg

from audit.actions import Action
from audit.actor import Actor
from audit.errors import AuditError
from inventory import services
from inventory.errors import (
    ChangeWaitsError,
    ClosedChangeError,
    KeyMaterialError,
    NoMoreTimeError,
    NotActiveError,
    NotDecidingError,
    NotRequesterError,
    OwnChangeError,
    ReasonMissingError,
    RotationDateError,
    StaleError,
    VoidChangeError,
)
from inventory.guarded.suspending import suspend_key
from inventory.models import HeldChange, Key, KeyVersion, Owner, PolicyClause, RotationEvidence
from inventory.states import State
from inventory.wording import held_sentence
from rotation.models import Notice
from rotation.overdue import flag_overdue
from tests.inventory.test_imports import bring, file_of, plan, row
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
    make_owner,
    seal,
    set_state,
    told_of,
)

db = pytest.mark.django_db
ROTATED = date(2026, 10, 3)
DUE = datetime(2026, 10, 11, tzinfo=UTC)
DUE_AFTER = datetime(2027, 1, 1, tzinfo=UTC)  # 90 days after ROTATED


def by(person):
    return Actor(kind="person", id=person.ref, role=person.role)


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


def confirm(held, person, reason="looked at it"):
    return services.confirm_held(pk=held.pk, actor=by(person), reason=reason, now=NOW)


def reject(held, person, reason="not so"):
    return services.reject_held(pk=held.pk, actor=by(person), reason=reason, now=NOW)


def withdraw(held, person, reason="a mistake"):
    return services.withdraw_held(pk=held.pk, actor=by(person), reason=reason, now=NOW)


def rows():
    return [
        list(model.objects.order_by("pk").values()) for model in (Key, KeyVersion, HeldChange, RotationEvidence, Notice)
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


# Asking


@db
def test_hold_edit_asks_and_changes_nothing(carol, seal_events):
    key = make_key()
    seal_events()
    number, before = last_number(), Key.objects.values().get()
    held = hold(key, carol, environment="test", notes="moved")
    seal_events()
    assert Key.objects.values().get() == before
    assert actions_since(number) == ["key.change_held"]
    (event,) = events_of("key.change_held")
    (subject,) = event.said.subjects
    assert (event.said.actor_id, event.said.reason) == (carol.ref, "it is a test key")
    assert (subject.ref, subject.before) == (key.ref, {"held_change": None})
    assert subject.after["held_change"] == {
        "ref": held.ref,
        "kind": "edit",
        "before": {"environment": "production", "notes": "", "rotate_by": DUE.isoformat()},
        "after": {"environment": "test", "notes": "moved", "rotate_by": "2027-07-13T00:00:00+00:00"},
    }
    kept = HeldChange.objects.get()
    assert (kept.changes, kept.before) == (
        {"environment": "test", "notes": "moved"},
        {"environment": "production", "notes": ""},
    )
    assert (kept.rotate_by_before, kept.rotate_by_after) == (DUE, datetime(2027, 7, 13, tzinfo=UTC))
    assert (kept.requested_by, kept.requested_by_ref, kept.state) == (carol, carol.ref, "pending")


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
    held = report(key, carol, url="https://ci.example.org/4711")
    seal_events()
    assert Key.objects.values().get() == before
    assert key.versions.count() == 1
    assert actions_since(number) == ["key.change_held"]
    (event,) = events_of("key.change_held")
    asked = event.said.subjects[0].after["held_change"]
    assert asked["evidence"] == {
        "ref": held.evidence.ref,
        "text": "change 4711",
        "url": "https://ci.example.org/4711",
    }
    assert asked["after"] == {"last_rotated_on": "2026-10-03", "rotate_by": DUE_AFTER.isoformat()}
    proof = RotationEvidence.objects.get()
    assert (proof.rotated_on, proof.reported_by, proof.reported_at) == (ROTATED, carol, NOW)
    assert held_sentence(HeldChange.objects.get()) == (
        "The date by which billing/stripe must be rotated moves from 11 October 2026 to 1 January 2027, "
        "because Carol Example says it was rotated on 3 October 2026."
    )


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
    assert report(never, carol, on=date(2026, 11, 21)).changes == {
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
def test_a_key_has_one_open_question(carol, bob):
    key = make_key()
    held = report(key, carol)
    unchanged_by(lambda: report(key, bob), ChangeWaitsError)
    unchanged_by(lambda: hold(key, bob), ChangeWaitsError)
    withdraw(held, carol)
    assert hold(key, bob).state == HeldState.PENDING


@db
def test_a_question_about_an_older_record_makes_room(carol, bob, seal_events):
    key = make_key()
    old = report(key, carol)
    services.edit_key(
        pk=key.pk, changes={"notes": "x"}, expected_revision=key.revision, actor=ACTOR, reason="x", now=NOW
    )
    new = hold(stored(key), bob)
    seal_events()
    old.refresh_from_db()
    assert (old.state, old.decided_by, new.state) == ("void", None, "pending")
    assert told_of(key) == [
        "key.registered", "key.change_held", "key.edited", "key.change_voided", "key.change_held",
    ]  # fmt: skip


# Deciding


@db
def test_confirming_an_edit_does_it_on_behalf_of_who_asked(carol, bob, seal_events):
    owner = make_owner("ann", "ann@example.org")
    key = make_key()
    held = hold(key, carol, environment="test", owner=owner)
    seal_events()
    number = last_number()
    confirm(held, bob)
    seal_events()
    assert actions_since(number) == ["key.edited"]
    (event,) = events_of("key.edited")
    (subject,) = event.said.subjects
    assert (event.said.actor_id, event.said.on_behalf_of, event.said.reason) == (bob.ref, carol.ref, "looked at it")
    assert event.said.facts == {"held_change": held.ref, "kind": "edit"}
    assert (subject.before["environment"], subject.after["environment"]) == ("production", "test")
    assert (subject.before["owner"], subject.after["owner"]) == (None, owner.ref)
    assert (subject.before["rotate_by"], subject.after["rotate_by"]) == (
        DUE.isoformat(), "2027-07-13T00:00:00+00:00",
    )  # fmt: skip
    after = stored(key)
    assert (after.environment, after.owner, after.revision) == ("test", owner, key.revision + 1)
    assert after.rotate_by == datetime(2027, 7, 13, tzinfo=UTC)
    held.refresh_from_db()
    assert (held.state, held.decided_by, held.decided_at, held.decision_reason) == (
        "confirmed", bob, NOW, "looked at it",
    )  # fmt: skip
    assert key.versions.count() == 1


@db
def test_confirming_a_rotation_adds_a_version_and_supersedes_the_one_before(carol, bob, seal_events):
    key = make_key()
    held = report(key, carol)
    seal_events()
    number = last_number()
    confirm(held, bob)
    seal_events()
    assert actions_since(number) == ["key.rotated"]
    (event,) = events_of("key.rotated")
    (subject,) = event.said.subjects
    assert (event.said.actor_id, event.said.on_behalf_of) == (bob.ref, carol.ref)
    assert event.said.facts == {"held_change": held.ref, "kind": "rotation", "evidence": held.evidence.ref}
    assert subject.before == {"last_rotated_on": "2026-07-13", "rotate_by": DUE.isoformat(), "version": 1}
    assert subject.after == {"last_rotated_on": "2026-10-03", "rotate_by": DUE_AFTER.isoformat(), "version": 2}
    after = stored(key)
    assert (after.state, after.current_number, after.last_rotated_on, after.rotate_by) == (
        "active", 2, ROTATED, DUE_AFTER,
    )  # fmt: skip
    second, first = key.versions.order_by("-number")
    at = datetime(2026, 10, 3, tzinfo=UTC)
    assert (second.number, second.state, second.generated_on, second.activated_at) == (2, "active", ROTATED, at)
    assert (first.number, first.state, first.deactivated_at, first.revoked_at, first.revocation_reason) == (
        1, "deactivated", at, at, "superseded",
    )  # fmt: skip


@db
def test_a_key_is_rotated_again_and_again_and_the_history_is_whole(carol, bob):
    key = make_key(last_rotated_on=None, never_rotated=True)
    for day in (date(2026, 8, 1), date(2026, 9, 1), date(2026, 11, 21)):
        confirm(report(stored(key), carol, on=day), bob)
    versions = list(key.versions.order_by("number"))
    assert [(version.number, version.state) for version in versions] == [
        (1, "deactivated"), (2, "deactivated"), (3, "deactivated"), (4, "active"),
    ]  # fmt: skip
    assert all(
        earlier.activated_at <= earlier.deactivated_at == later.activated_at for earlier, later in pairwise(versions)
    )
    after = stored(key)
    assert (after.current_number, after.never_rotated, after.revision) == (4, False, key.revision + 3)


@db
def test_a_version_does_not_end_before_it_began(carol, bob):
    """Registered without any date, the key counts as active since then."""
    key = make_key(created_on=None, last_rotated_on=None)
    confirm(report(key, carol, on=date(2026, 11, 1)), bob)
    second, first = key.versions.order_by("-number")
    assert first.activated_at == first.deactivated_at == second.activated_at == NOW
    assert second.generated_on == date(2026, 11, 1)


@db
def test_a_confirmed_rotation_takes_the_flag_away_and_notices_start_again(carol, bob, alice, seal_events):
    key = make_key(owner=make_owner("carol", carol.email))
    flag_overdue(actor=ACTOR, now=NOW)
    late = stored(key)
    assert (late.flagged_overdue_at, late.next_notice_at) == (NOW, None)
    held = report(late, carol)
    assert stored(key).flagged_overdue_at == NOW, "a report alone changes nothing"
    confirm(held, bob)
    after = stored(key)
    assert (after.flagged_overdue_at, after.next_notice_at) == (None, datetime(2026, 12, 2, tzinfo=UTC))
    told = flag_overdue(actor=ACTOR, now=datetime(2026, 12, 2, 1, tzinfo=UTC))
    assert (told.newly_late, told.notices) == (0, 1)
    assert Notice.objects.filter(rotate_by=DUE_AFTER).get().threshold_days == 30
    assert flag_overdue(actor=ACTOR, now=DUE_AFTER).newly_late == 1


@db
def test_rejecting_and_withdrawing_leave_the_key_as_it_is(carol, bob, seal_events):
    key = make_key()
    before = Key.objects.values().get()
    rejected = reject(report(key, carol), bob)
    withdrawn = withdraw(hold(key, carol), carol)
    seal_events()
    assert Key.objects.values().get() == before
    assert (rejected.state, rejected.decided_by, rejected.decision_reason) == ("rejected", bob, "not so")
    assert (withdrawn.state, withdrawn.decided_by, withdrawn.decided_at) == ("withdrawn", None, NOW)
    assert told_of(key) == [
        "key.registered", "key.change_held", "key.change_rejected", "key.change_held", "key.change_withdrawn",
    ]  # fmt: skip
    (event,) = events_of("key.change_rejected")
    assert (event.said.subjects[0].before, event.said.subjects[0].after) == (
        {"held_change": rejected.ref}, {"held_change": None},
    )  # fmt: skip


@db
@pytest.mark.parametrize("decide", [confirm, reject, withdraw])
def test_what_is_decided_stays_decided(carol, bob, decide):
    key = make_key()
    held = report(key, carol)
    confirm(held, bob)
    person = carol if decide is withdraw else bob
    assert "is confirmed already" in unchanged_by(lambda: decide(held, person), ClosedChangeError)


# Who


@db
@pytest.mark.parametrize("decide", [confirm, reject])
def test_only_devops_decides(carol, alice, bob, dave, erin, mallory, as_role, decide):
    held = report(make_key(), carol)
    for person in (alice, carol, dave, erin, mallory):
        unchanged_by(lambda: decide(held, person), NotDecidingError)  # noqa: B023
    unchanged_by(
        lambda: services.confirm_held(pk=held.pk, actor=ACTOR, reason="I am the worker", now=NOW), NotDecidingError
    )
    forged = replace(by(alice), role="DevOps")
    unchanged_by(lambda: services.confirm_held(pk=held.pk, actor=forged, reason="x", now=NOW), NotDecidingError)
    decide(held, bob)


@db
def test_a_superuser_and_a_person_who_left_decide_nothing(carol, alice, bob, as_role):
    held = report(make_key(), carol)
    with as_role("command"):
        alice.is_superuser = True
        alice.save()
        bob.is_active = False
        bob.save()
    unchanged_by(lambda: confirm(held, alice), NotDecidingError)
    unchanged_by(lambda: confirm(held, bob), NotDecidingError)


@db
@pytest.mark.parametrize("decide", [confirm, reject])
def test_the_requester_does_not_decide(bob, decide):
    key = make_key()
    for held in (report(key, bob), None):
        asked = held or hold(key, bob)
        unchanged_by(lambda: decide(asked, bob), OwnChangeError)  # noqa: B023
        withdraw(asked, bob)


@db
def test_only_the_requester_withdraws(carol, bob):
    held = report(make_key(), carol)
    unchanged_by(lambda: withdraw(held, bob), NotRequesterError)
    unchanged_by(lambda: services.withdraw_held(pk=held.pk, actor=ACTOR, reason="x", now=NOW), NotRequesterError)


@db
@pytest.mark.parametrize("decide", [confirm, reject, withdraw])
def test_every_decision_needs_its_reason(carol, bob, decide):
    held = report(make_key(), carol)
    unchanged_by(lambda: decide(held, carol if decide is withdraw else bob, reason=" "), ReasonMissingError)


# What was shown is what is done


def edit_notes(key, _=None):
    services.edit_key(
        pk=key.pk, changes={"notes": "x"}, expected_revision=key.revision, actor=ACTOR, reason="x", now=NOW
    )


def shorten_the_clause(key, as_owner):
    with as_owner():
        PolicyClause.objects.filter(pk=key.winning_clause_id).update(longest_age_days=60)


def suspend(key, _):
    suspend_key(pk=key.pk, actor=ACTOR, reason="seen in a log", now=NOW)


@db
@pytest.mark.parametrize(
    ("ask", "meanwhile"),
    [(report, edit_notes), (hold, edit_notes), (report, suspend), (hold, suspend), (report, shorten_the_clause)],
)
def test_what_changed_meanwhile_is_void_and_not_done(carol, bob, as_owner, seal_events, ask, meanwhile):
    key = make_key()
    held = ask(key, carol)
    meanwhile(key, as_owner)
    seal_events()
    number, before = last_number(), Key.objects.values().get()
    with pytest.raises(VoidChangeError, match="it cannot be confirmed any more"):
        confirm(held, bob)
    seal_events()
    assert actions_since(number) == ["key.change_voided"]
    assert Key.objects.values().get() == before
    assert key.versions.count() == 1
    held.refresh_from_db()
    assert (held.state, held.decided_by, held.decided_at) == ("void", None, NOW)


@db
def test_a_name_that_was_taken_meanwhile_leaves_the_change_open(carol, bob):
    key = make_key()
    held = hold(key, carol, environment="test", name="taken")
    make_key(name="taken")
    with pytest.raises(Exception, match="is registered already"), transaction.atomic():
        confirm(held, bob)
    held.refresh_from_db()
    assert (held.state, stored(key).environment) == ("pending", "production")


@db
@pytest.mark.parametrize(
    "act",
    [
        lambda key, held, carol, bob: report(make_key(name="other"), carol),
        lambda key, held, carol, bob: confirm(held, bob),
        lambda key, held, carol, bob: reject(held, bob),
        lambda key, held, carol, bob: withdraw(held, carol),
    ],
)
def test_an_event_that_cannot_be_written_rolls_its_change_back(carol, bob, as_owner, act):
    key = make_key()
    held = report(key, carol)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("REVOKE EXECUTE ON FUNCTION audit_append FROM keyvault_app")
    unchanged_by(lambda: act(key, held, carol, bob), AuditError)


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
        "owner.registered", "key.imported", "key.edited", "key.change_held", "inventory.imported",
    ]  # fmt: skip
    assert events_of("inventory.imported")[-1].said.facts["held"] == 1
    key = Key.objects.get(name="a")
    assert (key.last_rotated_on, key.notes, key.revision, key.owner) == (None, "", 1, None)
    held = HeldChange.objects.get()
    assert (held.kind, held.requested_by, held.requested_by_ref) == ("import", None, ACTOR.id)
    assert held.changes["owner"] == Owner.objects.get(handle="ann").ref

    again = bring(content)
    assert again.summary == "0 new, 0 changed, 2 unchanged, 0 refused, 1 held"
    assert [held.is_waiting for held in again.held] == [True]
    assert HeldChange.objects.count() == 1

    confirm(held, bob)
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
    assert "waits for confirmation already" in done.refused[0].problem
    same = file_of(row("a", Last_rotated=str(ROTATED)))
    assert bring(same).summary == "0 new, 0 changed, 0 unchanged, 0 refused, 1 held"
    edit_notes(key)
    assert plan(content).summary == "0 new, 0 changed, 0 unchanged, 0 refused, 1 held"
    assert plan(content).to_be_held
    bring(content)
    assert sorted(HeldChange.objects.values_list("state", flat=True)) == ["pending", "void"]


@db
def test_the_digest_is_also_that_of_what_would_be_held():
    make_key(name="a")
    first, second = (plan(file_of(row("a", Last_rotated=day))).digest for day in ("2026-11-01", "2026-11-02"))
    assert first != second
    content = file_of(row("a", Last_rotated="2026-11-01"))
    bring(content)
    assert plan(content).digest != first


@db
def test_thousands_of_rows_are_held_in_several_events(seal_events):
    names = [f"key {number}" for number in range(1_200)]
    bring(file_of(*[row(name, Created="2026-01-01", Environment="production") for name in names]))
    done = bring(file_of(*[row(name, Last_rotated="2026-11-01") for name in names]))
    assert done.summary == "0 new, 0 changed, 0 unchanged, 0 refused, 1200 held"
    seal_events()
    assert [len(event.said.subjects) for event in events_of("key.change_held")] == [1000, 200]


# What the database itself refuses


def refused_with(error, act, *arguments, **named):
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        act(*arguments, **named)
    assert isinstance(caught.value.__cause__, error), caught.value
    return str(caught.value.__cause__)


@db
def test_the_database_refuses_a_decision_by_the_requester(bob, carol):
    held = report(make_key(), bob)
    mine = HeldChange.objects.filter(pk=held.pk)
    decided = {"state": "confirmed", "decided_at": NOW, "decision_reason": "x"}
    assert "heldchange_not_decided_by_requester" in refused_with(
        pg.CheckViolation, mine.update, decided_by=bob, **decided
    )
    assert "heldchange_decided_by_somebody" in refused_with(pg.CheckViolation, mine.update, **decided)
    assert "heldchange_decided_by_somebody" in refused_with(pg.CheckViolation, mine.update, decided_by=carol)
    assert "heldchange_closed_has_time" in refused_with(pg.CheckViolation, mine.update, state="void")
    assert "heldchange_closed_has_time" in refused_with(pg.CheckViolation, mine.update, decided_at=NOW)
    assert "heldchange_decided_by_somebody" in refused_with(
        pg.CheckViolation, mine.update, **(decided | {"decision_reason": "", "decided_by": carol})
    )


@db
def test_the_database_takes_one_open_question_for_each_key(carol):
    held = report(make_key(), carol)
    copy = HeldChange.objects.get(pk=held.pk)
    copy.pk, copy.kind, copy.evidence = None, "edit", None
    with pytest.raises(IntegrityError, match="heldchange_one_pending"), transaction.atomic():
        copy.save(force_insert=True)
    copy.kind = "rotation"
    with pytest.raises(IntegrityError, match="heldchange_"), transaction.atomic():
        copy.save(force_insert=True)


def run(statement):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


WAYS = [
    "UPDATE inventory_heldchange SET changes = '{}'",
    "UPDATE inventory_heldchange SET requested_by_id = NULL",
    "UPDATE inventory_heldchange SET requested_by_ref = 'user:0'",
    "UPDATE inventory_heldchange SET expected_revision = 99",
    "UPDATE inventory_heldchange SET rotate_by_after = now()",
    "UPDATE inventory_heldchange SET key_id = key_id",
    "UPDATE inventory_rotationevidence SET text = 'other'",
    "UPDATE inventory_rotationevidence SET rotated_on = now()",
    "DELETE FROM inventory_heldchange",
    "DELETE FROM inventory_rotationevidence",
    "TRUNCATE inventory_heldchange",
]


@db
@pytest.mark.parametrize("login", LOGINS)
def test_no_login_changes_what_was_asked(carol, login, as_role):
    report(make_key(), carol)
    for statement in WAYS:
        with as_role(login), pytest.raises(ProgrammingError) as caught:
            run(statement)
        assert isinstance(caught.value.__cause__, pg.InsufficientPrivilege), statement


@db
@pytest.mark.parametrize("login", ["beat", "signer"])
def test_those_who_have_nothing_to_ask_or_decide_cannot(carol, login, as_role):
    report(make_key(), carol)
    with as_role(login), pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE inventory_heldchange SET state = 'void', decided_at = now()")


@db
@pytest.mark.parametrize(
    "said", ["state = 'confirmed', decided_at = now()", "state = 'rejected', decided_at = now()", "decided_by_id = 1"]
)
def test_the_worker_voids_what_an_import_overtakes_and_decides_nothing(carol, said, as_role):
    report(make_key(), carol)
    with as_role("worker"), pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE inventory_heldchange SET {said}")


# Rotating is one step of the database


def successor(key, number=2):
    version = KeyVersion(key=key, number=number, generated_on=ROTATED, activated_at=NOW)
    version.save()
    return version


@db
def test_the_function_rotates_in_one_step():
    key = make_key()
    key.versions.update(deactivated_at=NOW)
    set_state(successor(key), State.ACTIVE, event_for(key, Action.KEY_ROTATED))
    after = stored(key)
    assert (after.current_number, after.state) == (2, "active")
    assert list(key.versions.order_by("number").values_list("state", flat=True)) == ["deactivated", "active"]


@db
def test_the_function_takes_no_half_of_a_rotation(seal_events):
    key = make_key()
    seal_events()
    first = key.versions.get()
    key.versions.update(deactivated_at=NOW)
    alone = "cannot go from active to deactivated by key.rotated"
    assert alone in refused_with(
        pg.CheckViolation, set_state, first, State.DEACTIVATED, event_for(key, Action.KEY_ROTATED)
    )
    third = successor(key, 3)
    event = event_for(key, Action.KEY_ROTATED)
    assert "not the next version" in refused_with(pg.CheckViolation, set_state, third, State.ACTIVE, event)
    assert stored(key).current_number == 1


@db
def test_the_function_dates_the_one_before_or_refuses():
    key = make_key()
    event = event_for(key, Action.KEY_ROTATED)
    said = refused_with(pg.CheckViolation, set_state, successor(key), State.ACTIVE, event)
    assert "keyversion_deactivated_has_date" in said


@db
@pytest.mark.parametrize("state", [State.PRE_ACTIVATION, State.DEACTIVATED, State.COMPROMISED, State.DESTROYED])
def test_the_function_rotates_nothing_that_is_not_in_use(state):
    key = key_in(state)
    event = event_for(key, Action.KEY_ROTATED)
    assert "is not in use" in refused_with(pg.CheckViolation, set_state, successor(key), State.ACTIVE, event)


@db
def test_a_first_version_is_not_activated_by_rotating():
    key = make_key(state=State.PRE_ACTIVATION)
    event = event_for(key, Action.KEY_ROTATED)
    assert "not the next version" in refused_with(pg.CheckViolation, set_state, key.versions.get(), State.ACTIVE, event)


# Races


def test_of_two_who_confirm_at_once_one_succeeds(committed_db, carol, bob):
    from tests.conftest import make_person

    ben = make_person("ben", "DevOps")
    for number in range(5):
        key = make_key(name=f"key {number}")
        held = report(key, carol)
        results = at_once(lambda: confirm(held, bob), lambda: confirm(held, ben))  # noqa: B023
        assert kinds(results) == ["ClosedChangeError", "HeldChange"]
        assert told_of(key) == ["key.registered", "key.change_held", "key.rotated"]
        assert key.versions.count() == stored(key).current_number == 2


def test_a_confirmation_and_a_withdrawal_at_once_end_in_one_of_them(committed_db, carol, bob):
    for number in range(5):
        key = make_key(name=f"key {number}")
        held = report(key, carol)
        results = at_once(lambda: confirm(held, bob), lambda: withdraw(held, carol))  # noqa: B023
        assert kinds(results) == ["ClosedChangeError", "HeldChange"]
        held.refresh_from_db()
        assert (held.state == "confirmed") == (stored(key).current_number == 2)


def test_an_edit_and_a_confirmation_at_once_end_in_one_order_or_the_other(committed_db, carol, bob):
    for number in range(5):
        key = make_key(name=f"key {number}")
        held = report(key, carol)
        edit, confirmed = at_once(lambda: edit_notes(key), lambda: confirm(held, bob))  # noqa: B023
        held.refresh_from_db()
        after = stored(key)
        if isinstance(confirmed, VoidChangeError):
            assert (held.state, after.notes, after.current_number) == ("void", "x", 1)
        else:
            assert isinstance(edit, StaleError)
            assert (held.state, after.notes, after.current_number) == ("confirmed", "", 2)


def test_of_two_who_ask_at_once_one_succeeds(committed_db, carol, bob):
    for number in range(5):
        key = make_key(name=f"key {number}")
        results = at_once(lambda: report(key, carol), lambda: hold(key, bob))  # noqa: B023
        assert kinds(results) == ["ChangeWaitsError", "HeldChange"]
        assert HeldChange.objects.filter(key=key).count() == 1
