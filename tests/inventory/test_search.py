"""What a search finds a key by: kept by the database whoever writes, and left alone while only dates change."""

from contextlib import suppress

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from psycopg.errors import InsufficientPrivilege

from inventory import services
from inventory.guarded.suspending import suspend_key
from inventory.models import Key, KeySearch
from inventory.selectors import search
from rotation.overdue import flag_overdue
from tests.inventory.world import ACTOR, LOGINS, NOW, make_key, make_owner

pytestmark = pytest.mark.django_db

HOW = {"expected_revision": 1, "actor": ACTOR, "now": NOW}


def found(text):
    return sorted(search(Key.objects.all(), text).values_list("name", flat=True))


def make_service(name):
    return services.register_service(name=name, actor=ACTOR, now=NOW)


def edit(key, **changes):
    return services.edit_key(
        pk=key.pk, changes=changes, expected_revision=key.revision, actor=ACTOR, reason="test", now=NOW
    )


def place(name):
    """Return the row of the search text of a key, as the table holds it: another one after each writing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT w.ctid, w.xmin FROM inventory_keysearch w JOIN inventory_key k ON k.id = key_id WHERE k.name = %s",
            [name],
        )
        return cursor.fetchone()


WORDS = [
    ("name", "fresh/name"), ("purpose", "signing of freshwater bills"), ("algorithm", "Fresh-512"),
    ("storage_location", "vault://fresh/1"), ("secret_name", "FRESH_TOKEN"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "word"), WORDS, ids=[field for field, _ in WORDS])
def test_a_key_is_found_by_what_an_edit_says_and_no_more_by_what_it_said(field, word):
    key = make_key(**{field: "the former"})
    assert found("former") == ["the former" if field == "name" else key.name]
    edited = edit(key, **{field: word})
    assert found("fresh") == [edited.name]
    assert found("former") == []
    edit(edited, **{field: "third word"})
    assert found("fresh") == []


@pytest.mark.parametrize("field", ["owner", "creator"])
def test_a_key_is_found_by_its_people_and_by_their_new_names(field):
    ann = make_owner("ann-fresh")
    key = edit(make_key(), **{field: ann})
    other = make_key(name="other")
    assert found("ann-fresh") == [key.name]
    services.edit_owner(pk=ann.pk, changes={"handle": "zoe-fresh"}, reason="married", **HOW)
    assert (found("zoe-fresh"), found("ann-fresh")) == ([key.name], [])
    edit(key, **{field: None})
    assert found("zoe-fresh") == []
    assert found("other") == [other.name]


def test_a_key_is_found_by_its_service_and_by_the_new_name_of_it():
    store = make_service("warehouse")
    key = make_key(service=store)
    assert found("warehouse api") == []
    assert found("warehouse") == [key.name]
    services.edit_service(pk=store.pk, changes={"name": "depot"}, reason="moved", **HOW)
    assert (found("depot"), found("warehouse")) == ([key.name], [])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("fresh_TOKEN", ["fresh_token"]), ("FRESH%", ["fresh%token"]), ("h\\tok", ["fresh\\token"]),
        ("zürich", ["Zürich"]), ("fr", ["fresh%token", "fresh\\token", "fresh_token"]), ("zü", ["Zürich"]), ("_", []),
        ("%", ["%%"]), ("%_", []),
    ],
)  # fmt: skip
def test_letters_are_found_in_either_case_and_signs_stand_for_themselves(text, names):
    for name in ("fresh_token", "fresh%token", "fresh\\token", "Zürich", "%%"):
        make_key(name=name)
    assert found(text) == sorted(names)


def test_a_short_search_asks_how_the_name_begins_and_follows_a_new_name():
    key = make_key(name="k9/signing", purpose="zz top")
    assert (found("K9"), found("zz")) == ([key.name], [])
    edit(key, name="zz/signing")
    assert (found("K9"), found("zz")) == ([], ["zz/signing"])


def test_rows_written_past_the_services_are_found_too():
    Key.objects.bulk_create([Key(name=f"bulk-{number}", kind="dek", purpose="by hand") for number in range(3)])
    assert found("bulk-") == ["bulk-0", "bulk-1", "bulk-2"]
    Key.objects.filter(name="bulk-1").update(purpose="sideways")
    assert (found("sideways"), found("hand")) == (["bulk-1"], ["bulk-0", "bulk-2"])
    assert KeySearch.objects.count() == Key.objects.count()


def test_new_dates_flags_and_states_leave_the_search_text_where_it_is():
    key = make_key(owner=make_owner("ann", "ann@example.org"))
    before = place(key.name)
    assert flag_overdue(actor=ACTOR, now=NOW).newly_late == 1
    suspend_key(pk=key.pk, actor=ACTOR, reason="test", now=NOW)
    Key.objects.update(rotate_by=F("rotate_by"), name=F("name"))
    assert place(key.name) == before
    edit(Key.objects.get(pk=key.pk), purpose="another")
    assert place(key.name) != before


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO inventory_keysearch (key_id, text) VALUES (1, 'x')", "UPDATE inventory_keysearch SET text = ''",
        "DELETE FROM inventory_keysearch", "TRUNCATE inventory_keysearch",
        "SELECT inventory_write_words(ARRAY[1])",
    ],
    ids=lambda statement: statement.split(" ", 1)[0],
)  # fmt: skip
def test_no_login_role_writes_the_search_text(login, statement, as_role):
    make_key()
    refused = None
    with as_role(login), suppress(DatabaseError), transaction.atomic():
        try:
            connection.cursor().execute(statement)
        except DatabaseError as error:
            refused = error.__cause__
            raise
    assert isinstance(refused, InsufficientPrivilege)
