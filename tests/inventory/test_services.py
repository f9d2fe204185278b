"""Keys, owners and services are registered, edited, activated, suspended, each with its event; or nothing happens."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from audit.errors import AuditError
from audit.models import Event
from inventory import services
from inventory.errors import (
    IllegalTransitionError,
    InventoryError,
    KeyMaterialError,
    LessLateError,
    ReasonMissingError,
    SecondPersonError,
    StaleError,
)
from inventory.guarded.suspending import suspend_key
from inventory.models import Key, KeyVersion, Owner, Service
from inventory.states import ENTRIES, State
from tests.inventory.world import (
    ACTOR,
    NOW,
    actions_since,
    events_of,
    facts,
    key_in,
    last_number,
    make_key,
    make_owner,
    seal,
    told_of,
)

db = pytest.mark.django_db


def edit(key, *, revision=None, reason="a mistake", now=NOW, **changes):
    expected = key.revision if revision is None else revision
    return services.edit_key(
        pk=key.pk, changes=changes, expected_revision=expected, actor=ACTOR, reason=reason, now=now
    )


def suspend(key, reason="seen in a log"):
    return suspend_key(pk=key.pk, actor=ACTOR, reason=reason, now=NOW)


def activate(key, reason="rolled out"):
    return services.activate_key(pk=key.pk, actor=ACTOR, reason=reason, now=NOW)


def unchanged_by(act, error):
    """Run what raises; assert that neither a row nor an event is left."""
    seal()
    keys, versions = list(Key.objects.order_by("pk").values()), list(KeyVersion.objects.order_by("pk").values())
    number = last_number()
    with pytest.raises(error) as caught, transaction.atomic():
        act()
    seal()
    assert list(Key.objects.order_by("pk").values()) == keys
    assert list(KeyVersion.objects.order_by("pk").values()) == versions
    assert actions_since(number) == []
    return str(caught.value)


# Registering


@db
def test_register_key_enters_a_living_key_as_active_and_dates_it():
    key = make_key()
    stored = Key.objects.get(pk=key.pk)
    version = stored.versions.get()
    assert stored.state == version.state == key.state == State.ACTIVE
    assert stored.rotate_by == datetime(2026, 10, 11, tzinfo=UTC)
    assert stored.winning_clause.requirement == "R210"
    assert stored.next_notice_at == datetime(2026, 9, 11, tzinfo=UTC)
    assert (version.number, version.generated_on) == (1, date(2026, 7, 13))
    assert version.activated_at == datetime(2026, 7, 13, tzinfo=UTC)


@db
def test_register_key_leaves_one_event_that_says_everything(seal_events):
    owner = make_owner("ann", "ann@example.org")
    service = services.register_service(name="billing", actor=ACTOR, now=NOW)
    seal_events()
    number = last_number()
    key = services.register_key(
        facts=facts(owner=owner, service=service, notes="x"), actor=ACTOR, reason="audit finding", now=NOW
    )
    seal_events()
    assert actions_since(number) == ["key.registered"]
    (event,) = events_of("key.registered")
    (subject,) = event.said.subjects
    assert (event.said.reason, event.said.facts, event.said.at) == ("audit finding", {"state": "active"}, NOW)
    assert (subject.ref, subject.label, subject.before) == (key.ref, "billing/stripe", {})
    clause = key.winning_clause
    assert subject.after == {
        "name": "billing/stripe",
        "kind": "api_token",
        "environment": "production",
        "created_on": "2026-01-10",
        "last_rotated_on": "2026-07-13",
        "notes": "x",
        "owner": owner.ref,
        "service": service.ref,
        "rotate_by": "2026-10-11T00:00:00+00:00",
        "winning_clause": clause.ref,
    }
    assert "ann" not in event.raw.decode()


@db
@pytest.mark.parametrize("state", [State.PRE_ACTIVATION, *sorted(ENTRIES)], ids=lambda state: state.value)
def test_register_key_takes_each_state_that_a_key_can_have_elsewhere(state, seal_events):
    key = make_key(state=state)
    seal_events()
    stored = Key.objects.get(pk=key.pk)
    assert stored.state == stored.versions.get().state == state
    assert told_of(key) == ["key.registered"]


@db
@pytest.mark.parametrize("state", [State.DESTROYED, State.DESTROYED_COMPROMISED])
def test_register_key_takes_no_destroyed_key(state):
    unchanged_by(lambda: make_key(state=state), IllegalTransitionError)


@db
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"kind": "philosophers_stone"}, "kind"),
        ({"kind": ""}, "kind"),
        ({"created_on": date(2026, 11, 22)}, "created_on"),
        ({"last_rotated_on": date(9999, 12, 31)}, "last_rotated_on"),
        ({"last_rotated_on": date(2025, 1, 1)}, "__all__"),
        ({"never_rotated": True}, "__all__"),
        ({"runbook_url": "javascript:alert(1)"}, "runbook_url"),
    ],
)
def test_register_key_says_which_field_is_wrong(changes, field):
    with pytest.raises(ValidationError) as caught:
        make_key(**changes)
    assert field in caught.value.message_dict
    assert not Key.objects.exists()


@db
def test_a_name_is_taken_once():
    make_key()
    said = unchanged_by(make_key, ValidationError)
    assert said == "{'name': ['A key of this name is registered already. Names are exact and used once.']}"
    make_key(name="Billing/Stripe")


@db
def test_a_dek_is_registered_once_for_a_secret():
    make_key(name="a", kind="dek", secret_name="smtp")
    said = unchanged_by(lambda: make_key(name="b", kind="dek", secret_name="smtp"), ValidationError)
    assert "This secret has a DEK already." in said


@db
def test_only_facts_can_be_entered():
    key = make_key()
    for smuggled in ("state", "rotate_by", "revision", "current_number", "winning_clause", "pk"):
        with pytest.raises(ValueError, match="no facts of a key"):
            services.edit_key(pk=key.pk, changes={smuggled: 1}, expected_revision=1, actor=ACTOR, reason="x", now=NOW)
        with pytest.raises(ValueError, match="no facts of a key"):
            services.register_key(facts=facts(**{smuggled: 1}), actor=ACTOR, reason="x", now=NOW)


@db
@pytest.mark.parametrize("field", ["name", "purpose", "notes", "storage_location", "algorithm"])
def test_key_material_is_refused_and_not_repeated(field):
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0"
    key = make_key(name="there")
    for act in (lambda: make_key(**{field: f"it is {token}"}), lambda: edit(key, **{field: f"it is {token}"})):
        said = unchanged_by(act, KeyMaterialError)
        assert said.startswith(f"The {field.replace('_', ' ')} looks like key material")
        assert token not in said


# Reasons


@db
@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_every_decision_needs_its_reason(reason):
    key, waiting = make_key(), make_key(name="waiting", state=State.PRE_ACTIVATION)
    unchanged_by(lambda: edit(key, notes="x", reason=reason), ReasonMissingError)
    unchanged_by(lambda: suspend(key, reason), ReasonMissingError)
    unchanged_by(lambda: activate(waiting, reason), ReasonMissingError)
    unchanged_by(
        lambda: services.register_key(facts=facts(name="new"), actor=ACTOR, reason=reason, now=NOW), ReasonMissingError
    )


# Editing


@db
def test_edit_key_leaves_one_event_with_before_and_after(seal_events):
    key = make_key(environment="test", access="")
    seal_events()
    number = last_number()
    edited = edit(key, access="production", notes="reads orders")
    seal_events()
    assert actions_since(number) == ["key.edited"]
    (event,) = events_of("key.edited")
    (subject,) = event.said.subjects
    assert event.said.reason == "a mistake"
    assert {name: (subject.before[name], subject.after[name]) for name in ("access", "notes", "rotate_by")} == {
        "access": ("", "production"),
        "notes": ("", "reads orders"),
        "rotate_by": ("2027-07-13T00:00:00+00:00", "2026-10-11T00:00:00+00:00"),
    }
    assert set(subject.before) == set(subject.after) == {"access", "notes", "rotate_by", "winning_clause"}
    stored = Key.objects.get(pk=key.pk)
    assert stored.revision == edited.revision == key.revision + 1
    assert (stored.rotate_by, stored.winning_clause.requirement) == (datetime(2026, 10, 11, tzinfo=UTC), "R210")
    assert "READS ORDERS" not in stored.search.text
    assert stored.state == State.ACTIVE


@db
def test_an_edit_that_changes_nothing_leaves_nothing(seal_events):
    key = make_key()
    seal_events()
    number = last_number()
    edit(key, environment="production", notes="")
    seal_events()
    assert actions_since(number) == []
    assert Key.objects.get(pk=key.pk).revision == key.revision


@db
def test_an_edit_of_an_older_revision_is_refused():
    key = make_key()
    edit(key, notes="first")
    said = unchanged_by(lambda: edit(key, notes="second"), StaleError)
    assert said.startswith("billing/stripe was changed by somebody else")


@db
def test_a_change_of_state_makes_an_open_form_stale():
    key = make_key()
    suspend(key)
    unchanged_by(lambda: edit(key, notes="x"), StaleError)


@db
@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ({}, {"environment": "test"}, "13 July 2027"),
        ({}, {"last_rotated_on": date(2026, 11, 1)}, "30 January 2027"),
        ({}, {"last_rotated_on": None, "created_on": None}, "no date at all"),
        ({"environment": "test", "access": "either"}, {"access": "none"}, "13 July 2027"),
        ({"environment": "test", "access": "either"}, {"access": ""}, "13 July 2027"),
    ],
)
def test_an_edit_that_gives_the_key_more_time_is_refused(before, changes, after):
    key = make_key(**before)
    said = unchanged_by(lambda: edit(key, **changes), LessLateError)
    assert said == (
        f"This would move the date by which billing/stripe must be rotated from 11 October 2026 to {after}. "
        "A change that makes a key less late waits until somebody of DevOps confirms it."
    )


@db
def test_an_edit_that_makes_the_key_more_late_passes_and_takes_the_flag_away():
    key = make_key(environment="test", last_rotated_on=date(2026, 8, 1))
    Key.objects.filter(pk=key.pk).update(flagged_overdue_at=NOW, next_notice_at=None)
    edited = edit(key, last_rotated_on=date(2026, 7, 1))
    stored = Key.objects.get(pk=key.pk)
    assert stored.rotate_by == edited.rotate_by == datetime(2027, 7, 1, tzinfo=UTC)
    assert stored.flagged_overdue_at is None
    assert stored.next_notice_at == datetime(2027, 6, 1, tzinfo=UTC)


@db
def test_a_key_that_had_no_date_gets_one():
    key = make_key(created_on=None, last_rotated_on=None)
    assert key.rotate_by is None
    assert key.winning_clause is None
    assert edit(key, created_on=date(2026, 11, 1)).rotate_by == datetime(2027, 1, 30, tzinfo=UTC)


@db
def test_a_new_owner_is_told_of_a_key_that_the_old_one_was_told_of():
    key = make_key()
    Key.objects.filter(pk=key.pk).update(flagged_overdue_at=NOW, next_notice_at=None)
    edit(key, owner=make_owner("ann", "ann@example.org"))
    stored = Key.objects.get(pk=key.pk)
    assert (stored.flagged_overdue_at, stored.next_notice_at) == (NOW, datetime(2026, 9, 11, tzinfo=UTC))
    edit(stored, notes="x")


@db
def test_a_rename_to_a_name_that_is_taken_is_a_clear_refusal():
    make_key(name="taken")
    key = make_key()
    said = unchanged_by(lambda: edit(key, name="taken"), ValidationError)
    assert "A key of this name is registered already" in said
    assert edit(key, name="free").search.text == "FREE"


# Activating and suspending


@db
def test_suspend_key_is_one_event_and_a_date(seal_events):
    key = make_key()
    seal_events()
    number = last_number()
    suspended = suspend(key)
    seal_events()
    assert actions_since(number) == ["key.suspended"]
    (event,) = events_of("key.suspended")
    (subject,) = event.said.subjects
    assert (subject.before, subject.after) == ({"state": "active"}, {"state": "suspended"})
    assert event.said.reason == "seen in a log"
    assert Key.objects.get(pk=key.pk).state == suspended.state == State.SUSPENDED
    assert key.versions.get().suspended_at == NOW


@db
def test_activate_key_is_one_event_and_a_date(seal_events):
    key = make_key(state=State.PRE_ACTIVATION)
    seal_events()
    number = last_number()
    activate(key)
    seal_events()
    assert actions_since(number) == ["key.activated"]
    version = key.versions.get()
    assert (Key.objects.get(pk=key.pk).state, version.state, version.activated_at) == ("active", "active", NOW)


@db
@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_suspend_and_activate_pass_only_from_where_one_person_may(state):
    """STM-01 for these two doors: T7 and T4; T10 is not one person's."""
    key = key_in(state)
    if state != State.ACTIVE:
        unchanged_by(lambda: suspend(key), IllegalTransitionError)
    if state == State.SUSPENDED:
        said = unchanged_by(lambda: activate(key), SecondPersonError)
        assert said == (
            "billing/stripe is suspended. Taking it back into use needs the votes of others: "
            "ask to re-activate it on its page."
        )
    elif state != State.PRE_ACTIVATION:
        unchanged_by(lambda: activate(key), IllegalTransitionError)


# Owners and services


@db
def test_register_owner_and_service_leave_their_events(seal_events):
    number = last_number()
    owner = services.register_owner(handle="ann", mail="ann@example.org", actor=ACTOR, now=NOW)
    service = services.register_service(name="billing", description="takes money", actor=ACTOR, now=NOW)
    seal_events()
    assert actions_since(number) == ["owner.registered", "service.registered"]
    (registered,) = events_of("owner.registered")
    assert registered.said.subjects[0].ref == owner.ref
    assert registered.said.subjects[0].after == {"kind": "person", "has_mail": True, "is_active": True, "user": None}
    assert "ann" not in registered.raw.decode()
    (registered,) = events_of("service.registered")
    assert registered.said.subjects[0].after == {"name": "billing", "description": "takes money"}
    assert registered.said.subjects[0].ref == service.ref


@db
@pytest.mark.parametrize(
    "wrong",
    [
        {"handle": ""},
        {"handle": "Ann"},
        {"handle": "ann", "mail": "no address"},
        {"handle": "ben"},
        {"handle": "ann", "mail": "ben@example.org"},
        {"handle": "ann@example.org", "mail": "ann@example.com"},
    ],
)
def test_an_owner_is_registered_once_and_normalised(wrong):
    make_owner("ben", "ben@example.org")
    with pytest.raises(ValidationError):
        services.register_owner(actor=ACTOR, now=NOW, **wrong)
    assert Owner.objects.count() == 1


# An event that cannot be written


@pytest.fixture
def silent_log(as_owner):
    """A log that takes nothing: its partitions are full."""
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("REVOKE EXECUTE ON FUNCTION audit_append FROM keyvault_app")


@db
@pytest.mark.parametrize(
    "act",
    [
        lambda key, _: edit(key, notes="x"),
        lambda key, _: suspend(key),
        lambda _, waiting: activate(waiting),
        lambda _, __: make_key(name="new"),
        lambda _, __: make_owner("ann"),
        lambda _, __: services.register_service(name="billing", actor=ACTOR, now=NOW),
    ],
)
def test_an_event_that_cannot_be_written_rolls_its_change_back(act, request):
    key, waiting = make_key(), make_key(name="waiting", state=State.PRE_ACTIVATION)
    request.getfixturevalue("silent_log")
    unchanged_by(lambda: act(key, waiting), AuditError)
    assert not Owner.objects.exists()
    assert not Service.objects.exists()


def test_a_change_whose_event_cannot_be_sealed_at_commit_does_not_stand(committed_db, as_owner):
    key = make_key()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_head SET number = 500000000")
    with pytest.raises(Exception, match="no partition"):
        suspend(key)
    stored = Key.objects.get(pk=key.pk)
    assert stored.state == stored.versions.get().state == State.ACTIVE
    assert stored.revision == key.revision


# Races


def at_once(*acts):
    """Run each in a thread of its own, all from the same moment; return what each returned or raised."""
    barrier = threading.Barrier(len(acts))

    def run(act):
        try:
            barrier.wait()
            return act()
        except (InventoryError, ValidationError) as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def kinds(results):
    return sorted(type(result).__name__ for result in results)


def test_of_two_who_suspend_at_once_one_succeeds(committed_db):
    for number in range(5):
        key = make_key(name=f"key {number}")
        assert kinds(at_once(lambda: suspend(key), lambda: suspend(key))) == ["IllegalTransitionError", "Key"]  # noqa: B023
        assert told_of(key) == ["key.registered", "key.suspended"]


def test_of_two_who_edit_at_once_one_succeeds(committed_db):
    for number in range(5):
        key = make_key(name=f"key {number}")
        results = at_once(lambda: edit(key, notes="one"), lambda: edit(key, notes="two"))  # noqa: B023
        assert kinds(results) == ["Key", "StaleError"]
        assert told_of(key) == ["key.registered", "key.edited"]


def test_of_two_who_register_a_name_at_once_one_succeeds(committed_db):
    for number in range(5):
        results = at_once(*[lambda: make_key(name=f"key {number}")] * 2)  # noqa: B023
        assert kinds(results) in (["Key", "StaleError"], ["Key", "ValidationError"])
        assert sum(isinstance(result, Key) for result in results) == 1
        assert Key.objects.filter(name=f"key {number}").count() == 1
    assert Event.objects.filter(action="key.registered").count() == 5


def test_an_edit_and_a_suspension_at_once_end_in_one_order_or_the_other(committed_db):
    for number in range(5):
        key = make_key(name=f"key {number}")
        results = at_once(lambda: edit(key, notes="one"), lambda: suspend(key))  # noqa: B023
        assert kinds(results) in (["Key", "Key"], ["Key", "StaleError"])
        stored = Key.objects.get(pk=key.pk)
        assert stored.state == State.SUSPENDED
        assert (stored.notes == "one") == (kinds(results) == ["Key", "Key"])
        assert len(told_of(key)) == (3 if stored.notes else 2)


def test_an_edit_waits_for_an_import_and_finds_the_record_changed(committed_db):
    key = make_key(environment="test", access="none", last_rotated_on=date(2026, 10, 1))
    content = b"Name,Type,Notes\nbilling/stripe,API token,from the file\n"
    results = at_once(
        lambda: services.apply_import(content=content, file_name="x.csv", actor=ACTOR, reason="x", now=NOW),
        lambda: edit(key, notes="by hand"),
    )
    stored = Key.objects.get(pk=key.pk)
    if isinstance(results[1], StaleError):
        assert stored.notes == "from the file"
    else:  # the edit was first; the import says what the file says
        assert stored.revision == key.revision + 2
        assert stored.notes == "from the file"
    assert timedelta(0) < stored.rotate_by - NOW
