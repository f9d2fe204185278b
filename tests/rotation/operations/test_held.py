"""Changes that make a key less late, voted on: what was shown is what is done, by one of DevOps who did not ask."""

import threading
from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from django.db import connection, transaction

from inventory import services
from inventory.errors import StaleError
from inventory.guarded.suspending import suspend_key
from inventory.models import Key, PolicyClause
from inventory.selectors import hold_clauses
from rotation import approvals
from rotation.approvals import payload_of
from rotation.errors import NotVotingError, OwnRequestError, RotationError
from rotation.models import Notice
from rotation.operations import operation_of
from rotation.operations.held import describe
from rotation.overdue import flag_overdue
from tests.conftest import _login, default_database
from tests.deciding import WORKER, approve, by, carry_out, reject, request_of, vote, withdraw
from tests.inventory.test_held import DUE, DUE_AFTER, ROTATED, bring, edit_notes, hold, report, rows, stored
from tests.inventory.test_imports import file_of, row
from tests.inventory.test_services import at_once
from tests.inventory.world import (
    ACTOR,
    NOW,
    actions_since,
    events_of,
    last_number,
    make_key,
    make_owner,
    seal,
    told_of,
)

db = pytest.mark.django_db
_CONNECTING = threading.Lock()


def approve_now(asked, person):
    return approve(asked, person, now=NOW)


def shown(asked):
    """Return what a decision page says: the sentences, and each line as (label, before, text)."""
    said = describe(payload_of(request_of(asked)))
    return said.title, list(said.sentences), [(line.label, line.before, line.text) for line in said.lines]


# What people see


@db
def test_a_rotation_in_words(carol):
    key = make_key(owner=make_owner("ann", "ann@example.org"))
    asked = report(key, carol, url="https://ci.example.org/4711")
    title, sentences, lines = shown(asked)
    assert title == asked.title == "Count billing/stripe as rotated"
    assert sentences == [
        "The date by which billing/stripe must be rotated moves from 11 October 2026 to 1 January 2027, because it is "
        "said to have been rotated on 3 October 2026.",
        "The key gets version 2; version 1 is deactivated as superseded.",
    ]
    assert lines[:2] == [
        ("Last rotated", "13 July 2026", "3 October 2026"),
        ("To be rotated by", "11 October 2026", "1 January 2027"),
    ]
    assert lines[2][:2] == ("By the clause", "")
    assert lines[3:] == [
        ("Evidence", "", "change 4711"),
        ("Link", "", "https://ci.example.org/4711"),
        ("Owner", "", "ann"),
        ("Service", "", "none is recorded"),
    ]


@db
def test_an_edit_in_words_names_records_and_no_person_in_its_bytes(carol):
    ann, bea = make_owner("ann", "ann@example.org"), make_owner("bea", "bea@example.org")
    shop = services.register_service(name="shop", team=ann, tier=2, actor=ACTOR, now=NOW)
    asked = hold(make_key(owner=ann), carol, environment="test", owner=bea, service=shop)
    title, sentences, lines = shown(asked)
    assert title == "Give billing/stripe more time"
    assert sentences == [
        "The date by which billing/stripe must be rotated moves from 11 October 2026 to 13 July 2027, because somebody "
        "wants to change: Owner, Service and Environment.",
    ]
    assert lines[:4] == [
        ("Owner", "ann", "bea"),
        ("Service", "—", "shop"),
        ("Environment", "production", "test"),
        ("To be rotated by", "11 October 2026", "13 July 2027"),
    ]
    assert [label for label, _, _ in lines[4:]] == ["By the clause"]
    raw = bytes(request_of(asked).payload)
    assert b"shop" in raw
    assert not any(name in raw for name in (b'"ann"', b'"bea"', b"example.org"))


@db
def test_a_row_of_an_import_in_words(bob):
    make_key(name="free", kind="dek", environment="test", created_on=None, last_rotated_on=None)
    make_key(name="a")
    (asked,) = bring(file_of(row("a", Last_rotated="2026-11-01"))).asked
    assert shown(asked)[1] == [
        "The date by which a must be rotated moves from 11 October 2026 to 30 January 2027, because an imported file "
        "says something else of: Last rotated.",
    ]


@db
def test_other_moves_of_the_date_in_words(carol):
    free = make_key(name="free", kind="dek", environment="test", created_on=None, last_rotated_on=None)
    assert shown(report(free, carol, on=date(2026, 11, 1)))[1][0].startswith(
        "free must be rotated by 1 November 2027, where it had no date, because"
    )
    key = make_key()
    assert (
        ", 11 October 2026, falls away, because"
        in shown(hold(key, carol, environment="", last_rotated_on=None, created_on=None))[1][0]
    )


# What is done


@db
def test_an_approved_edit_is_done_on_behalf_of_who_asked(carol, bob, seal_events):
    owner = make_owner("ann", "ann@example.org")
    key = make_key()
    asked = hold(key, carol, environment="test", owner=owner)
    vote(asked, bob, now=NOW)
    seal_events()
    number = last_number()
    assert carry_out(asked, now=NOW).state == "executed"
    seal_events()
    assert actions_since(number) == ["key.edited", "request.executed"]
    (event,) = events_of("key.edited")
    (subject,) = event.said.subjects
    assert (event.said.actor_id, event.said.on_behalf_of, event.said.reason) == (
        "worker", carol.ref, "it is a test key",
    )  # fmt: skip
    assert event.said.facts == {
        "request": asked.ref, "asked_by": carol.ref, "approved_by": [bob.ref], "kind": "edit",
    }  # fmt: skip
    assert (subject.before["environment"], subject.after["environment"]) == ("production", "test")
    assert (subject.before["owner"], subject.after["owner"]) == (None, owner.ref)
    assert (subject.before["rotate_by"], subject.after["rotate_by"]) == (
        DUE.isoformat(), "2027-07-13T00:00:00+00:00",
    )  # fmt: skip
    after = stored(key)
    assert (after.environment, after.owner, after.revision) == ("test", owner, key.revision + 1)
    assert after.rotate_by == datetime(2027, 7, 13, tzinfo=UTC)
    assert key.versions.count() == 1


@db
def test_an_approved_rotation_adds_a_version_and_supersedes_the_one_before(carol, bob, seal_events):
    key = make_key()
    asked = report(key, carol)
    vote(asked, bob, now=NOW)
    seal_events()
    number = last_number()
    assert carry_out(asked, now=NOW).state == "executed"
    seal_events()
    assert actions_since(number) == ["key.rotated", "request.executed"]
    (event,) = events_of("key.rotated")
    (subject,) = event.said.subjects
    assert (event.said.actor_id, event.said.on_behalf_of) == ("worker", carol.ref)
    assert event.said.facts == {
        "request": asked.ref,
        "asked_by": carol.ref,
        "approved_by": [bob.ref],
        "evidence": key.rotation_evidence.get().ref,
    }
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
        assert approve_now(report(stored(key), carol, on=day), bob).state == "executed"
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
    approve_now(report(key, carol, on=date(2026, 11, 1)), bob)
    second, first = key.versions.order_by("-number")
    assert first.activated_at == first.deactivated_at == second.activated_at == NOW
    assert second.generated_on == date(2026, 11, 1)


@db
def test_an_approved_rotation_takes_the_flag_away_and_notices_start_again(carol, bob, alice):
    key = make_key(owner=make_owner("carol", carol.email))
    flag_overdue(actor=ACTOR, now=NOW)
    late = stored(key)
    assert (late.flagged_overdue_at, late.next_notice_at) == (NOW, None)
    asked = report(late, carol)
    vote(asked, bob, now=NOW)
    assert stored(key).flagged_overdue_at == NOW, "a report and a vote change nothing"
    carry_out(asked, now=NOW)
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
    assert reject(report(key, carol), bob, now=NOW).state == "rejected"
    assert withdraw(hold(key, carol), carol, now=NOW).state == "withdrawn"
    seal_events()
    assert Key.objects.values().get() == before
    assert [action for action in told_of(key) if action.startswith("key.")] == [
        "key.registered", "key.rotation_reported",
    ]  # fmt: skip


# Who


@db
@pytest.mark.parametrize("ask", [hold, report])
def test_one_of_devops_votes_and_never_who_asked(carol, alice, bob, dave, erin, mallory, ask):
    own = ask(make_key(name="own"), bob)
    with pytest.raises(OwnRequestError):
        vote(own, bob, now=NOW)
    asked = ask(make_key(name="other"), carol)
    for person in (alice, dave, erin, mallory):
        with pytest.raises(NotVotingError):
            vote(asked, person, now=NOW)
    assert vote(asked, bob, now=NOW).state == "approved"


@db
def test_who_reported_a_rotation_does_not_vote_when_somebody_else_asks_for_it(carol, bob):
    """The evidence is theirs, whoever asks with it."""
    key = make_key()
    asked = report(key, bob)
    withdraw(asked, bob, now=NOW)
    again = approvals.ask(
        operation="key.rotation", parameters=asked.parameters, actor=by(carol), reason="once more", now=NOW
    )
    with pytest.raises(NotVotingError):
        vote(again, bob, now=NOW)


@db
def test_a_rotation_breaks_the_glass_and_an_edit_does_not():
    assert operation_of("key.rotation").breaks_glass
    assert not operation_of("key.edit").breaks_glass


# What was shown is what is done


def shorten_the_clause(key, as_owner):
    with as_owner():
        PolicyClause.objects.filter(pk=key.winning_clause_id).update(longest_age_days=60)


def edit(key, _):
    edit_notes(key)


def suspend(key, _):
    suspend_key(pk=key.pk, actor=ACTOR, reason="seen in a log", now=NOW)


@db
@pytest.mark.parametrize("voted_before", [True, False])
@pytest.mark.parametrize(
    ("ask", "meanwhile"),
    [(report, edit), (hold, edit), (report, suspend), (hold, suspend), (report, shorten_the_clause)],
)
def test_what_changed_meanwhile_is_void_and_not_done(carol, bob, as_owner, seal_events, ask, meanwhile, voted_before):
    key = make_key()
    asked = ask(key, carol)
    if voted_before:
        vote(asked, bob, now=NOW)
    meanwhile(key, as_owner)
    if not voted_before:
        vote(asked, bob, now=NOW)
    seal_events()
    number, before = last_number(), Key.objects.values().get()
    request = carry_out(asked, now=NOW)
    seal_events()
    assert (request.state, "changed after" in request.closed_because) == ("void", True)
    assert actions_since(number) == ["request.voided"]
    assert Key.objects.values().get() == before
    assert key.versions.count() == 1


@db
def test_a_name_that_was_taken_meanwhile_changes_nothing_and_can_be_tried_again(carol, bob):
    key = make_key()
    asked = hold(key, carol, environment="test", name="taken")
    make_key(name="taken")
    failed = approve_now(asked, bob)
    assert (failed.state, "is registered already" in failed.closed_because) == ("failed", True)
    assert stored(key).environment == "production"


@db
@pytest.mark.parametrize("ask", [hold, report])
def test_an_event_that_cannot_be_written_rolls_the_change_back(carol, bob, as_owner, ask):
    key = make_key()
    asked = ask(key, carol)
    vote(asked, bob, now=NOW)
    seal()
    before = rows()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("REVOKE EXECUTE ON FUNCTION audit_append FROM keyvault_app")
    with pytest.raises(Exception, match=r"audit_append|recorded"), transaction.atomic():
        carry_out(asked, now=NOW)
    assert rows()[:2] == before[:2]


# Races: as the worker, who may do all that is done here


def test_of_two_workers_at_once_one_does_it(committed_db, carol, bob, as_role):
    asked = []
    for number in range(5):
        asked.append(report(make_key(name=f"key {number}"), carol))
        vote(asked[-1], bob, now=NOW)
    with as_role("worker"):
        for one in asked:
            at_once(*[lambda: approvals.carry_out(pk=one.pk, actor=WORKER, now=NOW)] * 3)  # noqa: B023
    for one in asked:
        key = Key.objects.get(pk=one.parameters["key"])
        assert request_of(one).state == "executed"
        assert told_of(key).count("key.rotated") == told_of(key).count("request.executed") == 1
        assert key.versions.count() == key.current_number == 2


def test_an_edit_and_the_execution_at_once_end_in_one_order_or_the_other(committed_db, carol, bob, as_role):
    keys = [make_key(name=f"key {number}") for number in range(5)]
    asked = [report(key, carol) for key in keys]
    for one in asked:
        vote(one, bob, now=NOW)
    with as_role("worker"):
        for key, one in zip(keys, asked, strict=True):
            edited, request = at_once(
                lambda: edit_notes(key),  # noqa: B023
                lambda: approvals.carry_out(pk=one.pk, actor=WORKER, now=NOW),  # noqa: B023
            )
            after = stored(key)
            if request.state == "void":
                assert (after.notes, after.current_number) == ("x", 1)
            else:
                assert isinstance(edited, StaleError)
                assert (request.state, after.notes, after.current_number) == ("executed", "", 2)


def connected_as(role, ready, act):
    """Return the act for a thread whose connection is that login's, whatever the others log in as."""

    def run():
        with _CONNECTING, default_database(**_login(role)):
            connection.ensure_connection()
        ready.wait()
        return act()

    return run


def shorten(clause, days):
    with transaction.atomic():
        hold_clauses()
        PolicyClause.objects.filter(pk=clause.pk).update(longest_age_days=days)


def test_a_clause_and_the_execution_at_once_end_in_one_order_or_the_other(committed_db, carol, bob):
    """Either the key gets the date that was shown, or nothing is done."""
    for number, days in enumerate(range(89, 84, -1)):
        key = make_key(name=f"key {number}")
        asked = report(key, carol)
        vote(asked, bob, now=NOW)
        ready, clause = threading.Barrier(2), PolicyClause.objects.get(pk=key.winning_clause_id)
        _, request = at_once(
            connected_as("migrator", ready, lambda: shorten(clause, days)),  # noqa: B023
            connected_as("worker", ready, lambda: approvals.carry_out(pk=asked.pk, actor=WORKER, now=NOW)),  # noqa: B023
        )
        after = stored(key)
        shown_date = datetime.fromisoformat(asked.parameters["rotate_by"]["after"])
        if request.state == "executed":
            assert (after.current_number, after.rotate_by) == (2, shown_date)
        else:
            assert (request.state, after.current_number, after.rotate_by) == ("void", 1, key.rotate_by)


def test_a_withdrawal_and_the_execution_at_once_end_in_one_of_them(committed_db, carol, bob):
    for number in range(5):
        key = make_key(name=f"key {number}")
        asked = report(key, carol)
        vote(asked, bob, now=NOW)
        ready = threading.Barrier(2)
        at_once(
            connected_as("web", ready, lambda: quietly(lambda: withdraw(asked, carol, now=NOW))),  # noqa: B023
            connected_as("worker", ready, lambda: approvals.carry_out(pk=asked.pk, actor=WORKER, now=NOW)),  # noqa: B023
        )
        state = request_of(asked).state
        assert (state, stored(key).current_number) in {("executed", 2), ("withdrawn", 1)}


def quietly(act):
    try:
        return act()
    except RotationError as error:
        return error
