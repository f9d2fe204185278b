"""What the database itself refuses, whoever asks and however: the states above all."""

from itertools import product

import pytest
from django.db import DatabaseError, ProgrammingError, connection, transaction
from django.db.models import ProtectedError
from psycopg import errors

from audit.actions import Action, Outcome
from inventory.models import Key, KeyConsumer, KeyParent, KeyVersion, Owner, PolicyClause, Service, ThreatLevel
from inventory.states import BY_PAIR, ENTRIES, State
from tests.inventory.world import (
    LOGINS,
    NOW,
    action_for,
    allowed,
    event_for,
    key_in,
    make_key,
    needs_votes,
    set_state,
)

pytestmark = pytest.mark.django_db


def refused_with(error, act, *arguments, **named):
    """Run and undo; assert that the database gave this very error."""
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        act(*arguments, **named)
    assert isinstance(caught.value.__cause__, error), caught.value
    return str(caught.value.__cause__)


# The definer function


@pytest.mark.parametrize("source", State, ids=lambda state: state.value)
def test_the_function_and_the_table_agree_on_all_pairs(source):
    key = key_in(source)
    version = key.versions.get()
    for target in State:
        action = action_for(source, target)
        with transaction.atomic():
            if (source, target) in BY_PAIR:
                if needs_votes(source, action):
                    alone = event_for(key, action)
                    refused_with(errors.InsufficientPrivilege, set_state, version, target, alone)
                with allowed(key, action) as facts:
                    set_state(version, target, event_for(key, action, facts=facts))
                assert Key.objects.get(pk=key.pk).state == KeyVersion.objects.get(pk=version.pk).state == target
            else:
                refused_with(errors.CheckViolation, set_state, version, target, event_for(key, action))
                assert Key.objects.get(pk=key.pk).state == KeyVersion.objects.get(pk=version.pk).state == source
            transaction.set_rollback(True)


@pytest.mark.parametrize("login", LOGINS)
def test_every_login_role_may_call_the_function(login, as_role):
    key = key_in(State.ACTIVE)
    with as_role(login):
        set_state(key.versions.get(), State.SUSPENDED, event_for(key, Action.KEY_SUSPENDED))
    assert Key.objects.get(pk=key.pk).state == State.SUSPENDED


def test_the_function_needs_an_event_that_speaks_of_the_key():
    key, other = key_in(State.ACTIVE), make_key(name="other")
    version = key.versions.get()
    none = "00000000-0000-4000-8000-000000000000"
    assert "needs an event" in refused_with(errors.InsufficientPrivilege, set_state, version, State.SUSPENDED, none)
    assert "needs an event" in refused_with(errors.InsufficientPrivilege, set_state, version, State.SUSPENDED, None)
    event = event_for(other, Action.KEY_SUSPENDED)
    said = refused_with(errors.InsufficientPrivilege, set_state, version, State.SUSPENDED, event)
    assert f"does not speak of key {key.pk}" in said


def test_the_function_refuses_an_event_that_is_sealed(seal_events):
    key = key_in(State.ACTIVE)
    event = event_for(key, Action.KEY_SUSPENDED)
    seal_events()
    refused_with(errors.InsufficientPrivilege, set_state, key.versions.get(), State.SUSPENDED, event)


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.FAILED])
def test_the_function_refuses_an_event_that_says_it_was_not_done(outcome):
    key = key_in(State.ACTIVE)
    event = event_for(key, Action.KEY_SUSPENDED, outcome=outcome)
    refused_with(errors.InsufficientPrivilege, set_state, key.versions.get(), State.SUSPENDED, event)


@pytest.mark.parametrize(
    ("source", "target", "action"),
    [
        (State.ACTIVE, State.SUSPENDED, Action.KEY_EDITED),
        (State.ACTIVE, State.SUSPENDED, Action.KEY_REGISTERED),
        (State.ACTIVE, State.DESTROYED, Action.KEY_DEACTIVATED),
        (State.SUSPENDED, State.ACTIVE, Action.KEY_ACTIVATED),  # T10 is an act of its own
        (State.PRE_ACTIVATION, State.ACTIVE, Action.KEY_REACTIVATED),
        (State.DESTROYED, State.DESTROYED_COMPROMISED, Action.KEY_DESTROYED),
    ],
)
def test_the_function_refuses_the_word_for_something_else(source, target, action, seal_events):
    key = key_in(source)
    seal_events()
    event = event_for(key, action)
    said = refused_with(errors.CheckViolation, set_state, key.versions.get(), target, event)
    assert f"cannot go from {source.value} to {target.value} by {action.value}" in said


def test_the_function_refuses_unknown_versions_and_states():
    key = key_in(State.ACTIVE)
    version = key.versions.get()
    event = event_for(key, Action.KEY_SUSPENDED)
    refused_with(errors.CheckViolation, set_state, version, "invisible", event)
    with pytest.raises(DatabaseError, match="there is no such version"), transaction.atomic():
        set_state(KeyVersion(pk=10**12), State.SUSPENDED, event)
    with (
        pytest.raises(DatabaseError, match="there is no such version"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT inventory_set_state(%s, 'suspended', %s)", [[version.pk, version.pk], event])
    assert Key.objects.get(pk=key.pk).state == State.ACTIVE


# Entries of what lives elsewhere already


def entering(key, target, action=Action.KEY_REGISTERED):
    dates = dict.fromkeys(("suspended_at", "deactivated_at", "compromised_at", "destroyed_at", "revoked_at"), NOW)
    key.versions.update(revocation_reason="unspecified", **dates)
    set_state(key.versions.get(), target, event_for(key, action))


@pytest.mark.parametrize("target", State, ids=lambda state: state.value)
@pytest.mark.parametrize("action", [Action.KEY_REGISTERED, Action.KEY_IMPORTED])
def test_a_key_without_history_enters_in_a_state_that_a_key_can_have_elsewhere(target, action):
    key = make_key(state=State.PRE_ACTIVATION)
    if target in ENTRIES:
        entering(key, target, action)
        assert Key.objects.get(pk=key.pk).state == target
    else:
        refused_with(errors.CheckViolation, entering, key, target, action)


def test_a_key_with_a_history_never_enters_again(seal_events):
    key = make_key(state=State.PRE_ACTIVATION)
    seal_events()
    refused_with(errors.CheckViolation, entering, key, State.ACTIVE)


# The columns


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("table", ["inventory_key", "inventory_keyversion"])
def test_no_login_writes_a_state_by_sql(login, table, as_role):
    keys = {state: key_in(state, name=state.value) for state in State}
    with as_role(login):
        for source, target in product(State, State):
            row = keys[source] if table == "inventory_key" else keys[source].versions.get()
            with pytest.raises(ProgrammingError) as caught, transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"UPDATE {table} SET state = %s WHERE id = %s", [target.value, row.pk])
            assert isinstance(caught.value.__cause__, errors.InsufficientPrivilege)
    assert {key.state for key in Key.objects.all()} == set(State)


@pytest.mark.parametrize("model", [Key, KeyVersion])
def test_queryset_update_writes_no_state(model):
    keys = {state: key_in(state, name=state.value) for state in State}
    for source, target in product(State, State):
        rows = model.objects.filter(**{"pk" if model is Key else "key": keys[source].pk})
        assert rows.count() == 1
        refused_with(errors.InsufficientPrivilege, rows.update, state=target)
    assert set(model.objects.values_list("state", flat=True)) == set(State)


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_inserts_a_row_with_a_state(login, as_role):
    key = make_key()
    insert = "INSERT INTO inventory_keyversion (key_id, number, revocation_reason, state) VALUES (%s, 7, '', %s)"
    with as_role(login):
        for state in State:
            with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(insert, [key.pk, state.value])
    assert key.versions.count() == 1


def test_save_with_the_state_named_or_with_every_field_is_refused():
    key = make_key()
    key.state = State.DESTROYED
    refused_with(errors.InsufficientPrivilege, key.save)
    refused_with(errors.InsufficientPrivilege, key.save, update_fields=["state"])


OTHER_WAYS = [
    "UPDATE inventory_key SET current_number = 2",
    "UPDATE inventory_key SET id = id + 1000",
    "UPDATE inventory_keyversion SET number = 2",
    "UPDATE inventory_keyversion SET key_id = key_id",
    "UPDATE inventory_keyversion SET id = id + 1000",
    "UPDATE inventory_owner SET id = id + 1000",
    "UPDATE inventory_policyclause SET code = 'mine'",
    "UPDATE inventory_policyclause SET id = id + 1000",
    "UPDATE inventory_threatlevel SET id = 2",
    "INSERT INTO inventory_threatlevel (id) VALUES (1)",
    "DELETE FROM inventory_threatlevel",
    "DELETE FROM inventory_key",
    "DELETE FROM inventory_keyversion",
    "DELETE FROM inventory_owner",
    "DELETE FROM inventory_policyclause",
    "DELETE FROM inventory_vendor",
    "UPDATE inventory_key SET protect_until = NULL",
    "UPDATE inventory_key SET activates_at = now()",
    "UPDATE inventory_key SET process_until = now()",
    "UPDATE inventory_keyparent SET parent_id = child_id",
    "UPDATE inventory_keyconsumer SET service_id = service_id",
    "TRUNCATE inventory_key CASCADE",
]


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_changes_a_state_by_another_way_or_deletes(login, as_role):
    make_key(owner=Owner.objects.create(handle="a"))
    for statement in OTHER_WAYS:
        with (
            as_role(login),
            pytest.raises(ProgrammingError) as caught,
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
        assert isinstance(caught.value.__cause__, errors.InsufficientPrivilege), statement


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE inventory_policyclause SET longest_age_days = 3650",
        "INSERT INTO inventory_policyclause (code, source, document, section, text, requirement, kinds, environments,"
        " classifications, access, longest_age_days, on_events, forbidden_media, allowed_media, not_exportable,"
        " runbook_required, separate_per_environment, separate_from_production, is_in_force, revision) VALUES ('mine',"
        " 's', 'd', '1', 't', '', '{}', '{}', '{}', '{}', 9, '{}', '{}', '{}', false, false, false, false, true, 1)",
        "UPDATE inventory_threatlevel SET elevated_percent = 90",
        "UPDATE inventory_threatlevel SET high_percent = 60",
    ],
)
def test_nobody_changes_a_rule_without_a_request_that_is_carried_out(login, statement, as_role):
    with (
        as_role(login),
        pytest.raises(ProgrammingError) as caught,
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert isinstance(caught.value.__cause__, errors.InsufficientPrivilege)


def test_nobody_but_the_owner_of_the_database_has_the_function_by_default():
    with connection.cursor() as cursor:
        cursor.execute("SELECT proacl::text FROM pg_proc WHERE proname = 'inventory_set_state'")
        (rights,) = cursor.fetchone()
    assert rights == "{keyvault_owner=X/keyvault_owner,keyvault_app=X/keyvault_owner}"


# Constraints


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        (State.SUSPENDED, ("suspended_at",)),
        (State.DEACTIVATED, ("deactivated_at",)),
        (State.COMPROMISED, ("compromised_at",)),
        (State.COMPROMISED, ("revoked_at",)),
        (State.DESTROYED, ("destroyed_at",)),
    ],
)
def test_a_state_without_its_date_is_refused(target, missing):
    key = key_in(State.ACTIVE)
    key.versions.update(**dict.fromkeys(missing))
    action = action_for(State.ACTIVE, target)
    with allowed(key, action) as facts:
        event = event_for(key, action, facts=facts)
        refused_with(errors.CheckViolation, set_state, key.versions.get(), target, event)


def test_a_date_that_a_state_needs_cannot_be_taken_away():
    key = key_in(State.DESTROYED_COMPROMISED)
    refused_with(errors.CheckViolation, key.versions.update, destroyed_at=None)
    refused_with(errors.CheckViolation, key.versions.update, compromised_at=None)
    key = key_in(State.COMPROMISED, name="another")
    refused_with(errors.CheckViolation, key.versions.update, revocation_reason="")


@pytest.mark.parametrize(
    ("constraint", "changes"),
    [
        ("key_has_name", {"name": ""}),
        ("key_rotated_or_never", {"never_rotated": True}),
        ("key_rotated_after_creation", {"last_rotated_on": "2020-01-01"}),
        ("key_due_by_a_clause", {"winning_clause": None}),
    ],
)
def test_facts_that_contradict_each_other_are_refused(constraint, changes):
    key = make_key()
    assert constraint in refused_with(errors.CheckViolation, Key.objects.filter(pk=key.pk).update, **changes)


def test_a_key_is_not_its_own_parent_and_has_no_parent_twice():
    key, kek = make_key(), make_key(name="kek", kind="kek")
    refused_with(errors.CheckViolation, KeyParent.objects.create, child=key, parent=key, relation="wrapped_by")
    refused_with(errors.CheckViolation, KeyParent.objects.create, child=key, parent=kek, relation="beside")
    KeyParent.objects.create(child=key, parent=kek, relation="wrapped_by")
    KeyParent.objects.create(child=key, parent=kek, relation="derived_from")
    refused_with(errors.UniqueViolation, KeyParent.objects.create, child=key, parent=kek, relation="wrapped_by")


def test_a_service_consumes_a_key_once():
    key, service = make_key(), Service.objects.create(name="shop")
    KeyConsumer.objects.create(key=key, service=service)
    refused_with(errors.UniqueViolation, KeyConsumer.objects.create, key=key, service=service, is_approved=True)


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ("owner_handle_normalised", {"handle": "Ann"}),
        ("owner_mail_normalised", {"handle": "ann", "mail": "Ann@example.org"}),
        ("owner_has_handle", {"handle": ""}),
        ("owner_handle_is_no_other_address", {"handle": "ann@example.org", "mail": "ben@example.org"}),
        ("owner_handle_is_no_other_address", {"handle": "ann@example.org"}),
    ],
)
def test_owners_are_normalised(constraint, said):
    assert constraint in refused_with(errors.CheckViolation, Owner.objects.create, **said)


def test_an_owner_of_keys_stays():
    owner = Owner.objects.create(handle="ann")
    make_key(owner=owner)
    with pytest.raises(ProtectedError):
        owner.delete()


@pytest.mark.parametrize(
    ("constraint", "changes"),
    [
        ("clause_age_in_range", {"longest_age_days": 0}),
        ("clause_strength_in_range", {"smallest_strength_bits": 513}),
        ("clause_demands_something", {"longest_age_days": None, "allowed_media": ["hsm"]}),
        ("clause_does_not_forbid_what_it_permits", {"forbidden_media": ["file"], "allowed_media": ["hsm", "file"]}),
    ],
)
def test_a_clause_demands_something_that_can_be_met(constraint, changes, as_owner):
    clauses = PolicyClause.objects.filter(code="s4-production-90")
    with as_owner():
        assert constraint in refused_with(errors.CheckViolation, clauses.update, **changes)


@pytest.mark.parametrize(
    ("constraint", "changes"),
    [
        ("threat_level_is_known", {"level": "panic"}),
        ("threat_percents_fall", {"high_percent": 76}),
        ("threat_percents_fall", {"elevated_percent": 101}),
        ("threat_percents_fall", {"high_percent": 0}),
    ],
)
def test_the_threat_level_never_gives_more_time(constraint, changes, as_owner):
    with as_owner():
        assert constraint in refused_with(errors.CheckViolation, ThreatLevel.objects.update, **changes)


def test_the_clauses_of_the_five_policies_are_there():
    ages = PolicyClause.objects.filter(longest_age_days__isnull=False).values_list("code", "longest_age_days")
    assert dict(ages) == {"s0-5-annual": 365, "s1-6-3-kek": 365, "s4-personal-365": 365, "s4-production-90": 90}
    shipped = dict(PolicyClause.objects.values_list("requirement", "code"))
    assert {number: shipped[number] for number in ("R22", "R28", "R33", "R42", "R78", "R88", "R144", "R208")} == {
        "R22": "s0-5-vault",
        "R28": "s0-5-separate",
        "R33": "s0-6-runbook",
        "R42": "s0-9-backup-apart",
        "R78": "s1-6-2-kek-stays",
        "R88": "s1-7-kubernetes",
        "R144": "s2-exchange-strength",
        "R208": "s4-vault",
    }
    assert len(shipped) == PolicyClause.objects.count() == 22
    assert all(PolicyClause.objects.values_list("requirement", flat=True))
    for clause in PolicyClause.objects.all():
        clause.full_clean()
