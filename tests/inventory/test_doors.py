"""STM-01: what each of seven doors does with each of the 49 pairs of states. 343 tries, 17 of them pass."""

from contextlib import suppress
from itertools import product

import pytest
from django.db import DatabaseError, ProgrammingError, connection, transaction
from django.urls import reverse
from psycopg.errors import InsufficientPrivilege

from inventory import lifecycle, services
from inventory.errors import IllegalTransitionError, InventoryError
from inventory.models import Key, KeyVersion
from inventory.states import BY_PAIR, State
from tests.approving import carried_through, voters
from tests.inventory.world import ACTOR, NOW, action_for, event_for, key_in, seal
from tests.people import sign_in

PAIRS = list(product(State, State))
ONE_PERSON = {(State.PRE_ACTIVATION, State.ACTIVE), (State.ACTIVE, State.SUSPENDED)}

# What passes at each door; every other pair is refused there, or the wish is ignored and nothing is written.
FREE = {
    (State.PRE_ACTIVATION, State.COMPROMISED),
    (State.PRE_ACTIVATION, State.ACTIVE),
    (State.ACTIVE, State.SUSPENDED),
    (State.DEACTIVATED, State.COMPROMISED),
    (State.DESTROYED, State.DESTROYED_COMPROMISED),
}
PASSES = {
    "request": set(BY_PAIR) - FREE,  # asked, approved by two people and carried out by the worker
    "service": FREE,  # without a request; T8 and T12 at a date are in test_periods.py
    "form": ONE_PERSON,  # the other legal ones take several people, or time
    "bulk action": set(),
    "import": set(),
    "QuerySet.update": set(),
    "raw SQL": set(),
}


ASKED = {
    State.ACTIVE: ("key.reactivate", {}),
    State.DEACTIVATED: ("key.revoke", {"reason_code": "superseded"}),
    State.COMPROMISED: ("key.revoke", {"reason_code": "key_compromise"}),
    State.DESTROYED: ("key.destroy", {"destroyed_on": "2026-11-20", "method": "purged", "evidence": "ticket 4"}),
}


def by_request(key, target, _client):
    """Ask for the operation that leads to the state, by people who hold every role it takes."""
    if target not in ASKED:
        return
    operation, parameters = ASKED[target]
    asker, security, devops = voters()
    with suppress(InventoryError):
        carried_through(operation, {"key": key.pk, **parameters}, asker=asker, by=(security, devops), now=NOW)


def by_service(key, target, _client):
    event = event_for(key, action_for(State(key.state), target))
    try:
        with transaction.atomic():
            lifecycle.transition(key, to=target, event=event, now=NOW, reason="superseded")
    except (IllegalTransitionError, ProgrammingError):  # the database says: by an approved request
        transaction.set_rollback(True)  # as the service around it does


def by_form(key, target, client):
    """Take the page that leads to the state where there is one; and smuggle the state into the page of the facts."""
    for name, aim in (("activate", State.ACTIVE), ("suspend", State.SUSPENDED)):
        if aim == target:
            client.post(
                reverse(f"admin:inventory_key_{name}", args=[key.pk]), {"reason": "test", "state": target.value}
            )
    key.refresh_from_db()
    facts = {"name": key.name, "kind": key.kind, "environment": "production", "created_on": "2026-01-10"}
    smuggled = {"state": target.value, "versions-0-state": target.value, "current_number": "2", "_state": target.value}
    answer = client.post(
        reverse("admin:inventory_key_edit", args=[key.pk]),
        facts | smuggled | {"last_rotated_on": "2026-07-13", "notes": "x", "revision": key.revision, "reason": "test"},
    )
    assert answer.status_code == 302  # the edit itself was taken
    assert Key.objects.get(pk=key.pk).notes == "x"


def by_bulk_action(key, target, client):
    chosen = {"_selected_action": [key.pk], "select_across": "1", "index": "0", "state": target.value}
    formset = {
        "form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": key.pk, "form-0-state": target.value,
        "_save": "Save",
    }  # fmt: skip
    for action in (f"make_{target.value}", "delete_selected"):
        answer = client.post(reverse("admin:inventory_key_changelist"), chosen | formset | {"action": action})
        assert answer.status_code in {200, 302, 403}


def by_import(key, target, _client):
    content = f"Name,Type,State,Status,Key state,Notes\n{key.name},API token,{target.value},{target.label},{target},x\n"
    plan = services.apply_import(content=content.encode(), file_name="states.csv", actor=ACTOR, reason="test", now=NOW)
    assert plan.summary == "0 new, 1 changed, 0 unchanged, 0 refused"  # the rest of the row was taken


def by_queryset_update(key, target, _client):
    for rows in (Key.objects.filter(pk=key.pk), KeyVersion.objects.filter(key=key)):
        refused(rows.update, state=target)


def by_raw_sql(key, target, _client):
    for statement in (
        "UPDATE inventory_key SET state = %s WHERE id = %s",
        "UPDATE inventory_keyversion SET state = %s WHERE key_id = %s",
    ):
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            assert cursor.fetchone() == ("keyvault_web",)
            refused(cursor.execute, statement, [target.value, key.pk])


def refused(act, *arguments, **named):
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        act(*arguments, **named)
    assert isinstance(caught.value.__cause__, InsufficientPrivilege), caught.value


DOORS = {
    "request": by_request,
    "service": by_service,
    "form": by_form,
    "bulk action": by_bulk_action,
    "import": by_import,
    "QuerySet.update": by_queryset_update,
    "raw SQL": by_raw_sql,
}


def inside():
    """Return a block inside which a durable one is as legal as it is in the test itself."""
    block = transaction.atomic()
    block._from_testcase = True
    return block


def states():
    keys = dict(Key.objects.values_list("pk", "state"))
    assert keys == dict(KeyVersion.objects.values_list("key", "state"))  # the two never differ
    return keys


@pytest.mark.django_db
@pytest.mark.parametrize("door", DOORS)
def test_each_door_lets_its_pairs_through_and_no_others(door, client, alice):
    keys = {state: key_in(state, name=f"in {state.value}") for state in State}
    seal()
    sign_in(client, alice)
    before, passed = states(), set()
    for source, target in PAIRS:
        key = Key.objects.get(pk=keys[source].pk)
        with transaction.atomic():
            with inside():
                DOORS[door](key, target, client)
            if (after := states()) != before:
                assert after == before | {key.pk: target.value}, f"{door}: {source} → {target} changed something else"
                passed.add((source, target))
            seal()
            transaction.set_rollback(True)
    told = f"{door}: {len(PAIRS)} tries, {len(passed)} passed, {len(PAIRS) - len(passed)} refused"
    assert passed == PASSES[door], f"{told}; wrong: {sorted(passed ^ PASSES[door])}"


def test_the_table_of_doors_has_the_figures_that_are_promised():
    tries, passing = len(DOORS) * len(PAIRS), {door: len(pairs) for door, pairs in PASSES.items()}
    assert (tries, passing, tries - sum(passing.values())) == (
        343,
        {"request": 10, "service": 5, "form": 2, "bulk action": 0, "import": 0, "QuerySet.update": 0, "raw SQL": 0},
        326,
    ), f"{tries} tries, {passing} pass"
