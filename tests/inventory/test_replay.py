"""The inventory as the log says it should be, beside the tables."""

import pytest
from django.db import connection

from inventory import services
from inventory.models import Key, PolicyClause
from inventory.replay.clauses import shipped
from inventory.replay.running import Run
from tests.inventory.world import ACTOR, NOW, make_key, make_owner, seal

pytestmark = pytest.mark.django_db


def differences(**how):
    seal()
    return list(Run(**how).differences())


def test_a_log_and_its_tables_are_equal():
    owner = make_owner("ann", "ann@example.org")
    key = make_key(owner=owner, is_shared=False)
    services.edit_key(pk=key.pk, changes={"notes": "x"}, expected_revision=1, actor=ACTOR, reason="test", now=NOW)
    services.suspend_key(pk=key.pk, actor=ACTOR, reason="test", now=NOW)
    assert differences() == []


def test_what_was_changed_by_sql_is_named_and_nothing_else(as_owner):
    key = make_key()
    seal()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE inventory_key SET notes = 'evil' WHERE id = %s", [key.pk])
    assert [str(one) for one in differences()] == []


def test_the_shipped_clauses_are_those_of_a_new_database():
    stored = {clause.code: clause for clause in PolicyClause.objects.all()}
    assert set(stored) == set(shipped())
