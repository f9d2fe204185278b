"""The inventory as the log says it should be, beside the tables: each replayed field, changed by SQL, is named."""

from datetime import date, timedelta

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import Max

from audit.actions import Action
from audit.models import Event
from audit.services import Subject, record
from inventory import lifecycle, services
from inventory.guarded import transitions
from inventory.guarded.suspending import suspend_key
from inventory.models import Integration, Key, Owner, PolicyClause, RotationEvidence, Tenant, Vendor
from inventory.permits import Permit
from inventory.replay import tables
from inventory.replay.clauses import shipped
from inventory.replay.fields import DERIVED, FIELDS, NO_RECORDS, REPLAYED, Why
from inventory.replay.folding import ACTIONS
from inventory.replay.running import Run
from inventory.services import Relations
from inventory.states import State
from rotation.overdue import flag_overdue
from tests import rules_by_votes
from tests.approving import as_worker, permitted
from tests.deciding import approve, by, reject, withdraw
from tests.inventory.certificates import certificate, small_key
from tests.inventory.world import ACTOR, NOW, action_for, allowed, make_key, make_owner, seal

pytestmark = pytest.mark.django_db
HOW = {"actor": ACTOR, "reason": "test", "now": NOW}


def differences(**how):
    seal()
    return list(Run(**how).differences())


def named(**how):
    return {(one.ref, one.field) for one in differences(**how)}


@pytest.fixture
def rich(carol, bob, mallory):
    """An inventory with a row of every kind, made by every kind of event; the key that has the most of it."""
    owner, other = make_owner("ann", "ann@example.org"), make_owner("team", kind="team")
    vendor = services.register_vendor(name="acme", notes="n", actor=ACTOR, now=NOW)
    services.edit_vendor(pk=vendor.pk, changes={"notes": "m"}, expected_revision=1, **HOW)
    service = services.register_service(name="shop", team=other, tier=2, vendor=vendor, actor=ACTOR, now=NOW)
    services.edit_service(pk=service.pk, changes={"description": "d"}, expected_revision=1, **HOW)
    services.edit_owner(pk=other.pk, changes={"handle": "crew"}, expected_revision=1, **HOW)
    services.apply_import(
        content=b"Name,Type,Owner,Tenant,Integration,Last rotated\nfile/one,dek,ann,t,i,2026-01-20\n",
        file_name="keys.csv", **HOW,
    )  # fmt: skip
    top = make_key(name="top", kind="kek")
    relations = Relations(consumers={service.pk: True}, parents=frozenset({(top.pk, "wrapped_by")}))
    key = make_key(owner=owner, service=service, is_shared=False, relations=relations, labels={"a": 1})
    services.edit_key(pk=key.pk, changes={"notes": "x"}, expected_revision=1, **HOW)
    flag_overdue(actor=ACTOR, now=NOW)
    services.register_material_digest(pk=key.pk, material=certificate("a.example.org", key=small_key()), **HOW)
    _ask_and_decide(key, carol, bob)
    _states(key, top)
    _dates()
    _exceptions()
    _rules()
    seal()
    return Key.objects.get(pk=key.pk)


def _ask_and_decide(key, carol, bob):
    def ask(day):
        how = {"pk": key.pk, "rotated_on": day, "evidence": "change 1", "url": "https://example.org/1"}
        return services.report_rotation(**how, actor=by(carol), now=NOW)

    reject(ask(date(2026, 11, 1)), bob, now=NOW)
    withdraw(ask(date(2026, 11, 2)), carol, now=NOW)
    ask(date(2026, 11, 3))
    services.edit_key(pk=key.pk, changes={"notes": "y"}, expected_revision=2, **HOW)
    approve(ask(date(2026, 11, 4)), bob, now=NOW)  # makes the one before void
    ask(date(2026, 11, 5))
    _asked_before_there_were_requests(key, carol)


def _asked_before_there_were_requests(key, carol):
    """Leave evidence as it was told until requests came."""
    proof = RotationEvidence.objects.create(
        key=key, rotated_on=date(2026, 11, 6), text="change 2", reported_by=carol, reported_at=NOW
    )
    asked = {
        "ref": "held:7",
        "kind": "rotation",
        "before": {"last_rotated_on": "2026-11-04", "rotate_by": None},
        "after": {"last_rotated_on": "2026-11-06", "rotate_by": None},
        "evidence": {"ref": proof.ref, "text": proof.text, "url": proof.url},
    }
    subjects = [Subject(ref=key.ref, before={"held_change": None}, after={"held_change": asked})]
    record(Action.KEY_CHANGE_HELD, actor=by(carol), now=NOW, subjects=subjects)


def _states(key, top):
    suspend_key(pk=top.pk, **HOW)
    for name, targets in {
        "a": [State.ACTIVE, State.SUSPENDED, State.ACTIVE, State.DEACTIVATED, State.DESTROYED],
        "b": [State.COMPROMISED],
    }.items():
        moving = make_key(name=name, state=State.PRE_ACTIVATION, activates_at=NOW + timedelta(days=9))
        for to in targets:
            moving = Key.objects.select_for_update().get(pk=moving.pk)
            reason = "key_compromise" if to == State.COMPROMISED else ""
            after = {"state": to.value} | ({"revocation_reason": reason} if reason else {})
            subject = Subject(ref=moving.ref, before={"state": moving.state}, after=after)
            action = action_for(State(moving.state), to)
            with allowed(moving, action) as said:
                event = record(action, subjects=[subject], actor=ACTOR, now=NOW, facts=said)
                lifecycle.transition(moving, to=to, event=event, now=NOW, reason=reason)


def _dates():
    """Change a date by an approved request, and back."""
    key = make_key(name="ends", protect_until=NOW + timedelta(days=9))
    for at in (NOW + timedelta(days=5), None):
        with permitted(Action.KEY_DATES_CHANGED, key) as said:
            permit = Permit(request=str(said["request"]), asked_by="user:1", approved_by=[])
            transitions.set_dates(pk=key.pk, dates={"protect_until": at}, permit=permit, **HOW)


def _exceptions():
    """One is renewed and expires, one is ended early, one stands; the clauses change under them afterwards."""
    how, day = {"actor": ACTOR, "now": NOW}, timedelta(days=1)
    expiring, ended, stands = (make_key(name=name) for name in ("expiring", "ended", "stands"))
    for days in (1, 2):
        rules_by_votes.grant(expiring, until=NOW + days * day, **how)
    early = rules_by_votes.grant(ended, until=NOW + 20 * day, **how)
    rules_by_votes.grant(stands, until=NOW + 30 * day, **how)
    rules_by_votes.grant(stands, "s0-5-annual", until=NOW + 40 * day, **how)
    services.end_exception(pk=early.pk, **HOW)
    with as_worker():
        services.expire_exceptions(actor=ACTOR, now=NOW + 3 * day)


def _rules():
    clause = rules_by_votes.register_clause(code="own", facts=_clause(), **HOW)
    rules_by_votes.edit_clause(pk=clause.pk, changes={"longest_age_days": 80}, expected_revision=1, **HOW)
    annual = PolicyClause.objects.get(code="s0-5-annual")
    rules_by_votes.retire_clause(pk=annual.pk, expected_revision=1, **HOW)
    rules_by_votes.set_threat_level(changes={"level": "elevated"}, expected_revision=1, **HOW)


def _clause():
    return {"source": "S9", "document": "d", "section": "1", "text": "t", "longest_age_days": 85}


def test_every_kind_of_event_is_replayed_and_the_tables_are_equal(rich):
    replayed = set(Event.objects.values_list("action", flat=True)) & set(ACTIONS)
    assert set(ACTIONS) - replayed == {Action.KEY_MATERIAL_JUDGED}  # tests/inventory/test_replay_histories.py
    assert [str(one) for one in differences()] == []
    a_quarter = Key.objects.aggregate(last=Max("pk"))["last"] // 4 + 1
    assert [str(one) for one in differences(keys_at_once=a_quarter)] == []  # four passes


def test_every_field_of_every_record_stands_in_the_table_of_fields():
    models = {model.__name__: model for model in apps.get_app_config("inventory").get_models()}
    assert set(models) == set(FIELDS) | set(NO_RECORDS)
    for name, fields in FIELDS.items():
        assert set(fields) == {field.name for field in models[name]._meta.concrete_fields}, name
        assert all(how in {REPLAYED, DERIVED} or how in set(Why) for how in fields.values())


def test_the_shipped_clauses_are_those_of_a_new_database():
    stored = {one.ref: one.fields for one in tables.others() if one.ref.startswith("clause:")}
    for code, said in shipped().items():
        (fields,) = [one for one in stored.values() if one["code"] == code]
        assert fields == tables.other_defaults()["clause"] | said
    assert PolicyClause.objects.count() == len(shipped())


ANOTHER = {
    "kind": "'edit'", "state": "'suspended'", "revision": "revision + 1", "created_on": "'2026-01-11'",
    "last_rotated_on": "'2026-11-06'", "never_rotated": "true", "environment": "'test'", "is_shared": "true",
    "classification": "'public'", "access": "'production'", "is_exportable": "false", "size_bits": "77",
    "storage_medium": "'file'", "runbook_url": "'https://example.org/z'", "labels": "'{\"b\": 2}'",
    "url": "'https://example.org/z'", "revocation_reason": "'unspecified'", "weaknesses": "'{rsa_short}'",
}  # fmt: skip


def test_a_column_changed_by_sql_is_named_and_nothing_else(rich, as_owner):
    """Each replayed column of the key's tables once."""
    own, last = f"id = {rich.pk}", f"key_id = {rich.pk}"
    proof = rich.rotation_evidence.first()
    finding = rich.findings.filter(closed_at=None).first()
    nth = sum(one.code == finding.code for one in rich.findings.filter(pk__lte=finding.pk))
    where = [
        ("inventory_key", own, "", _key_columns(rich)),
        ("inventory_keyversion", f"{last} AND number = 1", "version 1: ", _version_columns()),
        ("inventory_rotationevidence", f"id = {proof.pk}", f"{proof.ref}: ", EVIDENCE_COLUMNS),
        ("inventory_finding", f"id = {finding.pk}", f"finding {finding.code}, no. {nth}: ", FINDING_COLUMNS),
    ]
    wrong = {}
    for table, rows, prefix, columns in where:
        for column, (name, value) in columns.items():
            found = _tampered(as_owner, f"UPDATE {table} SET {column} = {value} WHERE {rows}")
            if found != {(rich.ref, f"{prefix}{name}")}:
                wrong[table, column] = found
    assert wrong == {}


def _key_columns(key):
    texts = ["name", "purpose", "algorithm", "storage_location", "generation_method", "secret_name", "notes"]
    moments = ["activates_at", "protect_until", "flagged_overdue_at", "rotate_by"]
    plain = [
        "environment",
        "classification",
        "access",
        "is_shared",
        "size_bits",
        "storage_medium",
        "is_exportable",
        "runbook_url",
        "labels",
        "created_on",
        "last_rotated_on",
        "revision",
    ]
    columns = {name: (name, "'another'") for name in texts}
    columns |= {name: (name, "'2027-05-05T00:00:00Z'") for name in moments}
    columns |= {name: (name, ANOTHER[name]) for name in plain}
    columns |= {"kind": ("kind", "'dek'"), "state": ("state", "'suspended'"), "current_number": ("current_number", "1")}
    columns |= {"process_until": ("process_until", "'2027-05-05T00:00:00Z'")}
    columns |= {f"{one}_id": (one, Owner.objects.exclude(pk=key.owner_id).first().pk) for one in ("owner", "creator")}
    columns |= {
        f"{one}_id": (one, f"(SELECT min(id) FROM inventory_{one})") for one in ("tenant", "integration", "vendor")
    }
    return columns | {
        "service_id": ("service", "NULL"),
        "winning_clause_id": ("winning_clause", "(SELECT min(id) FROM inventory_policyclause)"),
    }


MOMENT = "'2027-05-05T00:00:00Z'"
EVIDENCE_COLUMNS = {
    "rotated_on": ("rotated_on", "'2027-05-05'"),
    "text": ("text", "'another'"),
    "url": ("url", "'https://example.org/z'"),
    "reported_by_id": ("reported_by", "NULL"),
    "reported_at": ("reported_at", MOMENT),
}
FINDING_COLUMNS = {
    "opened_at": ("opened_at", "'2025-05-05T00:00:00Z'"),
    "closed_at": ("closed_at", MOMENT),
}


def _version_columns():
    moments = ["activated_at", "suspended_at", "deactivated_at", "compromised_at", "destroyed_at", "revoked_at"]
    columns = {name: (name, "'2027-05-05T00:00:00Z'") for name in moments}
    days = {name: (name, "'2027-05-05'") for name in ("generated_on", "expires_on")}
    said = {name: (name, ANOTHER[name]) for name in ("state", "revocation_reason", "weaknesses")}
    said["state"] = ("state", "'active'")
    return columns | days | said


def _tampered(as_owner, *statements):
    """Return what the replay names after the owner's statements, which are undone again."""
    found = set()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("SAVEPOINT tampered")
        for statement in statements:
            cursor.execute(statement)
        found = {(one.ref, one.field) for one in Run().differences()}
        cursor.execute("ROLLBACK TO SAVEPOINT tampered")
    return found


TURNED = "UPDATE inventory_keyparent SET relation = 'derived_from'"
VERSION = "INSERT INTO inventory_keyversion (key_id, number, revocation_reason)"


def test_what_belongs_to_keys_is_compared_as_well(rich, as_owner):
    """Columns of the other records, relations, and whole rows that were put in or taken out."""
    service, proof = rich.service, rich.rotation_evidence.last()
    vendor, tenant, integration = Vendor.objects.get(), Tenant.objects.get(), Integration.objects.get()
    clause, loser = PolicyClause.objects.get(code="own"), PolicyClause.objects.get(code="s0-5-annual")
    level = "UPDATE inventory_threatlevel SET "
    cases = [
        ({(service.ref, "name")}, "UPDATE inventory_service SET name = 'z'"),
        ({(service.ref, "team")}, "UPDATE inventory_service SET team_id = NULL"),
        ({(service.ref, "tier")}, "UPDATE inventory_service SET tier = 4"),
        ({(service.ref, "data_classes")}, "UPDATE inventory_service SET data_classes = '{public}'"),
        ({(rich.owner.ref, "is_active")}, f"UPDATE inventory_owner SET is_active = false WHERE id = {rich.owner_id}"),
        ({(rich.owner.ref, "has_mail")}, f"UPDATE inventory_owner SET mail = '' WHERE id = {rich.owner_id}"),
        ({(vendor.ref, "notes")}, "UPDATE inventory_vendor SET notes = 'z'"),
        ({(f"tenant:{tenant.pk}", "name")}, "UPDATE inventory_tenant SET name = 'z'"),
        ({(f"integration:{integration.pk}", "name")}, "UPDATE inventory_integration SET name = 'z'"),
        ({(clause.ref, "longest_age_days")}, _clause_set("longest_age_days = 900", clause)),
        ({(loser.ref, "is_in_force")}, _clause_set("is_in_force = true", loser)),
        ({(loser.ref, "longest_age_days")}, _clause_set("longest_age_days = 900", loser)),
        ({("threat_level:1", "elevated_percent")}, f"{level} elevated_percent = 99"),
        ({("threat_level:1", "changed_at")}, f"{level} changed_at = '2027-01-01T00:00:00Z'"),
        ({(rich.ref, "approved_consumers")}, "UPDATE inventory_keyconsumer SET is_approved = false"),
        ({(rich.ref, "approved_consumers"), (rich.ref, "consumers")}, "DELETE FROM inventory_keyconsumer"),
        ({(rich.ref, "wrapped_by")}, "DELETE FROM inventory_keyparent"),
        ({(rich.ref, "wrapped_by"), (rich.ref, "derived_from")}, TURNED),
        ({(rich.ref, proof.ref)}, f"DELETE FROM inventory_rotationevidence WHERE id = {proof.pk}"),
        ({(rich.ref, "version 1")}, f"DELETE FROM inventory_keyversion WHERE key_id = {rich.pk} AND number = 1"),
        ({(rich.ref, "version 3")}, f"{VERSION} VALUES ({rich.pk}, 3, '')"),
        ({("vendor:77", "")}, "INSERT INTO inventory_vendor (id, name, notes, revision) VALUES (77, 'z', '', 1)"),
        ({(vendor.ref, "")}, "DELETE FROM inventory_vendor"),
    ]  # fmt: skip
    wrong = {
        statements[-1]: found for said, *statements in cases if (found := _tampered(as_owner, *statements)) != said
    }
    assert wrong == {}


def _clause_set(what, clause):
    return f"UPDATE inventory_policyclause SET {what} WHERE id = {clause.pk}"


def test_a_key_put_in_or_taken_out_by_sql_is_named(as_owner):
    key = make_key()
    seal()
    gone = [
        f"DELETE FROM {table} WHERE key_id = {key.pk}"
        for table in ("inventory_keysearch", "inventory_keyversion", "inventory_finding")
    ]
    found = _tampered(as_owner, *gone, f"DELETE FROM inventory_key WHERE id = {key.pk}")
    assert found == {(key.ref, "")}
    copied = """(jsonb_populate_record(k, '{"id": 7777, "name": "z"}')).*"""
    put = f"INSERT INTO inventory_key SELECT {copied} FROM inventory_key k"
    assert _tampered(as_owner, put) == {("key:7777", "")}


def test_the_words_name_key_field_both_values_and_the_last_event(as_owner):
    key = make_key()
    seal()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE inventory_key SET rotate_by = '2030-01-01T00:00:00Z'")
        cursor.execute("UPDATE inventory_key SET notes = '-----BEGIN PRIVATE KEY-----'")
    late, hidden = sorted(differences(), key=lambda one: one.field, reverse=True)
    number = Event.objects.filter(action__startswith="finding").order_by("-number").first().number
    assert str(late) == (
        f"billing/stripe ({key.ref}): rotate_by was changed outside the application: the log says "
        "2026-10-11 00:00:00 UTC, the table says 2030-01-01 00:00:00 UTC; last event about it: "
        f"event {number} of 2026-11-21 09:00:00 UTC by test"
    )
    assert "BEGIN" not in str(hidden)


def test_where_the_first_events_are_gone_what_was_said_since_is_compared(as_owner):
    old, silent = make_key(name="old"), make_key(name="silent")
    seal()
    number = Event.objects.order_by("-number").first().number
    services.edit_key(pk=old.pk, changes={"notes": "x"}, expected_revision=1, **HOW)
    new = make_key(name="new")
    seal()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_event WHERE number <= %s", [number])
        run = Run()
        assert list(run.differences()) == []
        assert (run.first, run.partly_known, run.keys) == (number + 1, 1, 2)
        cursor.execute("UPDATE inventory_key SET notes = 'z', purpose = 'z'")
        found = {(one.ref, one.field) for one in Run().differences()}
    assert found == {(old.ref, "notes"), (new.ref, "notes"), (new.ref, "purpose")}  # of the silent one nobody knows
    assert silent.pk
