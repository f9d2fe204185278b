"""Whole files: the sample of a company, and rows that contradict themselves or each other."""

import csv
import io
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.reading import KeyFacts, PersonRef, Reading, Refusal, Repeated, TableError, read_inventory

TODAY = date(2026, 11, 21)
SAMPLE = Path(__file__).parent.parent / "data" / "notion-inventory.csv"


def read(content: bytes | str, *, max_rows: int = 20_000) -> Reading:
    content = content.encode() if isinstance(content, str) else content
    return read_inventory(content, today=TODAY, max_bytes=5 * 1024 * 1024, max_rows=max_rows)


def sheet(*rows: dict[str, str]) -> str:
    """Write rows as CSV; each has a name and a kind unless it says otherwise."""
    filled = [{"Name": "a", "Type": "KEK", **row} for row in rows]
    file = io.StringIO()
    writer = csv.DictWriter(
        file, fieldnames=list(dict.fromkeys(header for row in filled for header in row)), restval=""
    )
    writer.writeheader()
    writer.writerows(filled)
    return file.getvalue()


def facts(**cells: str) -> KeyFacts:
    reading = read(sheet({header.replace("_", " "): cell for header, cell in cells.items()}))
    assert reading.refusals == ()
    return reading.rows[0].facts


def refusals(*rows: dict[str, str]) -> list[tuple[int, str]]:
    reading = read(sheet(*rows))
    assert all(one.problem and one.mend for one in reading.refusals)
    return [(one.row, one.field) for one in reading.refusals]


# The sample


@pytest.fixture(scope="module")
def sample() -> Reading:
    return read(SAMPLE.read_bytes())


def test_read_inventory_takes_the_sample_as_it_is(sample: Reading) -> None:
    assert (len(sample.rows), sample.refusals, sample.refused_rows) == (240, (), 0)
    assert sample.repeated == (Repeated(row=242, earlier_row=5, name="data-warehouse/ssh-key-003"),)
    assert sample.ignored == ()
    assert list(sample.columns) == [
        "Name", "Key Creator", "Service description", "Creation Date", "Last rotated date", "Current Key Owner",
        "Environment", "Type", "Algorithm", "Where stored", "Access to production or customer data", "Data class",
        "Notes",
    ]  # fmt: skip


def test_read_inventory_understands_every_word_of_the_sample(sample: Reading) -> None:
    every = [one.facts for one in sample.rows]
    assert Counter(one.kind for one in every) == {
        "tls_certificate": 35, "hmac_key": 28, "signing_key": 25, "database_credential": 21, "backup_key": 21,
        "ssh_key": 20, "personal_token": 20, "dek": 20, "api_token": 19, "kek": 16, "webhook_secret": 15,
    }  # fmt: skip
    assert Counter(one.environment for one in every) == {
        "production": 118, "staging": 58, "development": 34, "test": 30,
    }  # fmt: skip
    assert Counter(one.storage_medium for one in every) == {
        "key_vault": 54, "secrets_manager": 31, "password_manager": 29, "hsm": 28, "kubernetes_secret": 27,
        "file": 26, "ci_secrets": 25, "environment_variable": 20,
    }  # fmt: skip
    assert Counter(one.access for one in every) == {"either": 146, "none": 45, "": 49}
    assert Counter(one.classification for one in every) == {
        "restricted": 65,
        "internal": 61,
        "confidential": 57,
        "": 57,
    }
    assert sum(one.never_rotated for one in every) == 9
    assert sum(one.last_rotated_on is None for one in every) == 25
    assert sum(one.owner is None for one in every) == 12
    assert len({one.service for one in every if one.service}) == 15
    assert len({ref.handle for ref in sample.people}) == 15


def test_read_inventory_reads_the_hard_rows_of_the_sample(sample: Reading) -> None:
    by_row = {one.row: one.facts for one in sample.rows}
    formula = by_row[9]
    assert formula.name == '=HYPERLINK("http://evil.example","x")'
    assert formula.creator == PersonRef(handle="h.moreau", mail="h.moreau@example.com")
    many_lines = by_row[13]
    assert (many_lines.name, many_lines.service) == ("router-core/ssh-key-011", "")
    assert many_lines.purpose == "café – naïve “quoted”, with, commas\nand a second line"  # noqa: RUF001 - as it is there
    assert by_row[11].created_on == date(2025, 5, 23)


# Files


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Key Creator,Type\na,KEK\n", "name of a key"),
        ("Name,Owner\na,x\n", "kind of a key"),
        ("Name,Type,Owner,Responsible\na,KEK,x,y\n", '"Owner" and "Responsible"'),
        ("Name,Type\n", "no row below"),
    ],
)
def test_read_inventory_refuses_a_file_whose_columns_do_not_say_enough(text: str, words: str) -> None:
    with pytest.raises(TableError) as caught:
        read(text)
    assert words in caught.value.problem


def test_read_inventory_passes_its_limits_on() -> None:
    with pytest.raises(TableError) as caught:
        read("Name,Type\na,KEK\nb,KEK\n", max_rows=1)
    assert caught.value.figure == 2


def test_read_inventory_takes_columns_in_other_words_and_orders() -> None:
    reading = read("responsible;KEY_TYPE;Favourite colour;;token\n@x;dek;red;;a\n")
    assert reading.columns == {"responsible": "owner", "KEY_TYPE": "kind", "token": "name"}
    assert reading.ignored == ("Favourite colour", "column 4")
    assert reading.rows[0].facts.owner == PersonRef(handle="x", mail="")


# Cells


def test_read_inventory_leaves_blanks_unsaid() -> None:
    assert facts() == KeyFacts(
        name="a", kind="kek", creator=None, owner=None, service="", purpose="", created_on=None, last_rotated_on=None,
        never_rotated=False, environment="", algorithm="", size_bits=None, storage_medium="", storage_location="",
        access="", classification="", notes="",
    )  # fmt: skip


def test_read_inventory_reads_all_columns_of_a_row() -> None:
    said = facts(
        Name=" a ", Type="dek", Creator="@c", Owner="o@example.com", Service="billing-api", Purpose="signs",
        Created="2024-01-02", Last_rotated="never", Env="Prod", Algorithm="AES-256-GCM", Key_size="256",
        Stored_in="HSM slot 2", Prod_access="yes", Customer_data="no", Data_class="Internal", Notes="one\r\ntwo ",
    )  # fmt: skip
    assert said == KeyFacts(
        name="a", kind="dek", creator=PersonRef(handle="c", mail=""), owner=PersonRef(handle="o", mail="o@example.com"),
        service="billing-api", purpose="signs", created_on=date(2024, 1, 2), last_rotated_on=None, never_rotated=True,
        environment="production", algorithm="AES-256-GCM", size_bits=256, storage_medium="hsm",
        storage_location="HSM slot 2", access="production", classification="internal", notes="one\ntwo",
    )  # fmt: skip


def test_read_inventory_refuses_every_bad_cell_of_a_row_at_once() -> None:
    bad = {"Type": "thing", "Created": "05/06/2025", "Env": "moon", "Owner": "a, b", "Notes": "bell\x07"}
    assert sorted(refusals(bad, {"Name": "good"})) == [
        (2, "created_on"), (2, "environment"), (2, "kind"), (2, "notes"), (2, "owner"),
    ]  # fmt: skip
    assert [one.facts.name for one in read(sheet(bad, {"Name": "good"})).rows] == ["good"]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"Name": ""}, "name"),
        ({"Type": ""}, "kind"),
        ({"Created": "2025-05-05", "Rotated": "2025-05-04"}, "last_rotated_on"),
        ({"Created": "2026-11-22"}, "created_on"),
        ({"Algorithm": "RSA-2048", "Key size": "4096"}, "size_bits"),
        ({"Access": "no", "Prod access": "yes"}, "access"),
        ({"Prod access": "perhaps"}, "access"),
        ({"Storage": "x" * 501}, "storage_location"),
        ({"Service description": "a\ufffdb"}, "purpose"),
    ],
)
def test_read_inventory_names_the_fact_that_is_wrong(row: dict[str, str], field: str) -> None:
    assert refusals({"Name": "x", "Owner": "o"} | row) == [(2, field)]


def test_read_inventory_quotes_little_of_a_cell() -> None:
    (refusal,) = read(sheet({"Env": "moon " * 100})).refusals
    assert len(refusal.problem) < 100


@pytest.mark.parametrize("header", ["Name", "Notes", "Created", "Env", "Secret value of the thing"])
def test_read_inventory_refuses_key_material_in_any_cell_without_an_echo(header: str) -> None:
    secret = "ghp_" + "a1B2" * 9
    reading = read(sheet({"Owner": "not, one", header: secret}, {"Name": "b", "Owner": "x"}))
    assert [one.row for one in reading.rows] == [3]
    (refusal,) = reading.refusals
    assert "key material" in refusal.problem
    assert secret[:8] not in repr(reading)


def test_read_inventory_hides_key_material_in_a_header() -> None:
    secret = "AKIA" + "IOSFODNN7EXAMPLE"
    assert secret not in repr(read(f"Name,Type,{secret}\na,KEK,x\n"))


@pytest.mark.parametrize("row", ["a,KEK", "a,KEK,x,y", "a"])
def test_read_inventory_refuses_a_row_of_another_width(row: str) -> None:
    reading = read(f"Name,Type,Owner\n{row}\nb,KEK,x\n")
    assert [(one.row, one.field) for one in reading.refusals] == [(2, "")]
    assert [one.facts.name for one in reading.rows] == ["b"]


def test_read_inventory_takes_blank_cells_behind_the_last_column() -> None:
    assert read("Name,Type\na,KEK,, \n").refusals == ()


# Names described twice


def test_read_inventory_counts_rows_as_a_spreadsheet_does() -> None:
    assert refusals({"Notes": "one\ntwo"}, {"Name": "b", "Type": "thing"}) == [(3, "kind")]


def test_read_inventory_takes_repeated_rows_once() -> None:
    reading = read(
        sheet({"Env": "prod", "Owner": "@x"}, {"Env": "PROD", "Owner": "x "}, {"Env": "Production", "Owner": "x"})
    )
    assert [one.row for one in reading.rows] == [2]
    assert [(one.row, one.earlier_row) for one in reading.repeated] == [(3, 2), (4, 2)]


def test_read_inventory_sees_the_same_person_in_a_handle_and_its_only_address() -> None:
    reading = read(sheet({"Owner": "@x"}, {"Owner": "x@example.com"}))
    assert [(one.row, one.earlier_row) for one in reading.repeated] == [(3, 2)]
    assert PersonRef(handle="x", mail="x@example.com") in reading.people
    other = read(sheet({"Owner": "@x"}, {"Owner": "x@example.com"}, {"Name": "b", "Owner": "x@other.example"}))
    assert [one.row for one in other.refusals] == [2, 3]


def test_read_inventory_refuses_all_rows_of_a_name_that_differ() -> None:
    rows = [
        {"Owner": "x", "Env": "prod"},
        {"Name": "b", "Owner": "x"},
        {"Owner": "y", "Env": "dev"},
        {"Owner": "x", "Env": "prod"},
    ]
    reading = read(sheet(*rows))
    assert [one.facts.name for one in reading.rows] == ["b"]
    assert [(one.row, one.field) for one in reading.refusals] == [(2, "name"), (4, "name"), (5, "name")]
    assert reading.refusals[0].problem == 'Rows 2, 4 and 5 describe "a" and differ in owner, environment.'
    assert reading.repeated == ()


def test_read_inventory_refuses_a_row_whose_twin_cannot_be_read() -> None:
    reading = read(sheet({"Env": "prod"}, {"Env": "moon"}))
    assert reading.rows == ()
    assert [(one.row, one.field) for one in reading.refusals] == [(2, "name"), (3, "environment")]


def test_read_inventory_tells_names_apart_exactly() -> None:
    assert len(read(sheet({"Name": "a"}, {"Name": "A"}, {"Name": "a "}, {"Name": "b"})).rows) == 3


def test_read_inventory_names_few_of_many_rows() -> None:
    (*_, last) = read(sheet(*({"Owner": f"x{number}"} for number in range(1000)))).refusals
    assert last == Refusal(
        row=1001,
        field="name",
        problem='Rows 2, 3, 4, 5, 6 and 995 more describe "a" and differ in owner.',
        mend="Keep one row, the one that is true.",
    )


# Anything

WORDS = [
    "a",
    "b",
    "KEK",
    "DEK",
    "prod",
    "moon",
    "05/06/2025",
    "2025-06-05",
    "never",
    "@x",
    "x@a.example",
    "yes",
    "",
    "\x07",
]
HEADERS = [
    "Name",
    "Type",
    "Owner",
    "Creator",
    "Env",
    "Created",
    "Rotated",
    "Access",
    "Prod access",
    "Data class",
    "Other",
]


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"Name,Type,{text}".encode()))
@settings(deadline=None, max_examples=300)
def test_read_inventory_gives_a_reading_or_a_sentence(content: bytes) -> None:
    try:
        reading = read(content)
    except TableError as error:
        told = [error.problem, error.mend]
    else:
        told = [reading.columns, reading.rows + reading.refusals]
    assert all(told)


@given(st.lists(st.fixed_dictionaries({header: st.sampled_from(WORDS) for header in HEADERS}), min_size=1, max_size=8))
@settings(deadline=None, max_examples=200)
def test_read_inventory_accounts_for_each_row_once(rows: list[dict[str, str]]) -> None:
    reading = read(sheet({"Name": "last", "Type": "KEK"}, *rows))
    filled = [2] + [number for number, row in enumerate(rows, 3) if any(cell.strip() for cell in row.values())]
    taken = [one.row for one in reading.rows]
    repeated = [one.row for one in reading.repeated]
    refused = sorted({one.row for one in reading.refusals})
    assert sorted(taken + repeated + refused) == filled
    assert len({one.facts.name for one in reading.rows}) == len(taken)
    assert {one.earlier_row for one in reading.repeated} <= set(taken)
