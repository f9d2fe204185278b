"""What a person answers about a file: how it writes dates, and what its columns hold."""

from datetime import date

import pytest

from inventory.reading import ColumnsError, Reading, ReadOptions, TableError, read_inventory
from inventory.recognise import FIELDS, field_of, suggested_field
from tests.inventory.workbooks import good_row, sheet, text_cell, workbook

TODAY = date(2026, 11, 21)


def read(content: bytes | str, options: ReadOptions | None = None) -> Reading:
    content = content.encode() if isinstance(content, str) else content
    return read_inventory(content, today=TODAY, max_bytes=5 * 1024 * 1024, max_rows=20_000, options=options)


def dated(*dates: str, order: str | None = None) -> Reading:
    rows = "".join(f"k{number},KEK,{created}\n" for number, created in enumerate(dates))
    return read(f"Name,Type,Created\n{rows}", ReadOptions(date_order=order))  # type: ignore[arg-type]


def created(reading: Reading) -> list[date | None]:
    return [one.facts.created_on for one in reading.rows]


# Dates


def test_read_inventory_asks_once_how_dates_are_written() -> None:
    reading = dated("05/06/2025", "2025-01-01", "07/08/2025", "01/02/2024", "03/04/2024")
    (question,) = reading.questions
    assert (question.kind, question.cells, question.suggested) == ("date_order", 4, "")
    assert question.examples == ("05/06/2025 in row 2", "07/08/2025 in row 4", "01/02/2024 in row 5")
    assert [choice.value for choice in question.choices] == ["dmy", "mdy"]
    assert (reading.waiting_rows, reading.refused_rows, len(reading.rows)) == (4, 4, 1)
    assert {refusal.question for refusal in reading.refusals} == {"date_order"}


@pytest.mark.parametrize(("order", "day"), [("dmy", date(2025, 6, 5)), ("mdy", date(2025, 5, 6))])
def test_read_inventory_takes_the_answer(order: str, day: date) -> None:
    reading = dated("05/06/2025", "2025-01-01", "30 August 2024", order=order)
    assert created(reading) == [day, date(2025, 1, 1), date(2024, 8, 30)]
    assert reading.questions == ()


@pytest.mark.parametrize(
    ("proof", "suggested"), [("23/05/2025", "dmy"), ("05/23/2025", "mdy"), ("2025-05-23", ""), ("1/1/2025", "")]
)
def test_read_inventory_suggests_what_other_dates_prove_and_does_not_act_on_it(proof: str, suggested: str) -> None:
    reading = dated("05/06/2025", proof)
    (question,) = reading.questions
    assert question.suggested == suggested
    assert (proof in question.because) == bool(suggested)
    assert [one.row for one in reading.rows] == [3]


def test_read_inventory_suggests_day_first_for_dots() -> None:
    assert dated("05.06.2025").questions[0].suggested == "dmy"


def test_read_inventory_asks_nothing_where_the_file_contradicts_itself() -> None:
    reading = dated("05/06/2025", "23/05/2025", "05/23/2025")
    assert (reading.questions, [(one.row, one.question) for one in reading.refusals]) == ((), [(2, "")])


@pytest.mark.parametrize(("order", "text"), [("dmy", "05/23/2025"), ("mdy", "23.05.2025"), ("ymd", "05/06/2025")])
def test_read_inventory_refuses_a_date_against_the_answer(order: str, text: str) -> None:
    (refusal,) = dated(text, order=order).refusals
    assert "does not fit the order" in refusal.problem


def test_read_inventory_needs_no_answer_for_the_dates_of_a_workbook() -> None:
    header = (
        "<row>"
        + "".join(
            text_cell(f"{letter}1", name) for letter, name in zip("ABC", ("Name", "Type", "Created"), strict=True)
        )
        + "</row>"
    )
    reading = read(workbook(sheet(good_row(2, '<c r="C2" s="2"><v>45813</v></c>'), header=header)))
    assert (created(reading), reading.questions) == ([date(2025, 6, 5)], ())


# Columns

FOREIGN = "Geheimname;Art;Wer passt auf;Umgebung\nschlüssel;API-Schlüssel;@x;Produktion\n"


def test_read_inventory_says_which_columns_are_there_when_it_cannot_go_on() -> None:
    with pytest.raises(ColumnsError) as refused:
        read(FOREIGN)
    assert [(one.header, one.field) for one in refused.value.headings] == [
        ("Geheimname", ""), ("Art", "kind"), ("Wer passt auf", ""), ("Umgebung", "environment"),
    ]  # fmt: skip
    assert refused.value.headings[2].samples == ("@x",)


def test_read_inventory_takes_what_a_person_says_of_a_header() -> None:
    mapping = {"geheimname ": "name", "Wer passt auf": "owner", "Umgebung": "", "Gone": "notes"}
    reading = read(FOREIGN, ReadOptions(mapping=mapping))
    facts = reading.rows[0].facts
    assert (facts.name, facts.kind, facts.owner and facts.owner.handle, facts.environment) == (
        "schlüssel", "api_token", "x", "",
    )  # fmt: skip
    assert (reading.ignored, reading.unused) == (("Umgebung",), ("Gone",))


def test_read_inventory_lets_a_person_overrule_what_it_would_read() -> None:
    reading = read("Name,Type,Owner,Kept by\na,KEK,x,y\n", ReadOptions(mapping={"Kept by": "owner"}))
    assert (reading.rows[0].facts.owner.handle, reading.ignored) == ("y", ("Owner",))  # type: ignore[union-attr]
    with pytest.raises(ColumnsError, match="Two columns"):
        read("Name,Type,A,B\na,KEK,x,y\n", ReadOptions(mapping={"A": "owner", "B": "owner"}))
    with pytest.raises(TableError, match="no field"):
        read("Name,Type\na,KEK\n", ReadOptions(mapping={"Name": "nme"}))


def test_read_inventory_maps_a_column_without_a_header_by_its_number() -> None:
    assert read("Name,Type,\na,KEK,x\n", ReadOptions(mapping={"column 3": "notes"})).rows[0].facts.notes == "x"


def test_read_inventory_refuses_a_formula_only_where_it_is_read() -> None:
    formula, header = '<c r="C2"><f>1+1</f><v>2</v></c>', ["Name", "Type", "Owner"]
    cells = "".join(text_cell(f"{letter}1", name) for letter, name in zip("ABC", header, strict=True))
    content = workbook(sheet(good_row(2, formula), header=f"<row>{cells}</row>"))
    (refusal,) = read(content).refusals
    assert (refusal.row, refusal.field, "C2" in refusal.problem) == (2, "owner", True)
    assert len(read(content, ReadOptions(mapping={"Owner": ""})).rows) == 1


@pytest.mark.parametrize(
    ("header", "field"),
    [("Key owner (team)", "owner"), ("Datum Erstellung", "created_on"), ("Enviroment", "environment"), ("Price", "")],
)
def test_suggested_field_comes_close_and_never_twice(header: str, field: str) -> None:
    assert field_of(header) == ""
    assert suggested_field(header, []) == field
    assert suggested_field(header, FIELDS) == ""


# Languages


def test_read_inventory_reads_a_german_spreadsheet() -> None:
    text = (
        "Schlüsselname;Erstellt von;Dienstbeschreibung;Erstellungsdatum;Zuletzt rotiert;Besitzer;Umgebung;Art;"
        "Algorithmus;Ablageort;Zugriff auf Produktions- oder Kundendaten;Datenklasse;Bemerkungen\n"
        "zahlung/db;@a;billing-api: liest Kunden;3. März 2025;nie;b@example.com;Produktion;Datenbankpasswort;AES-256;"
        "Umgebungsvariable;ja;streng vertraulich;läuft\n"
        "zahlung/tls;unbekannt;;05.06.2025 14:30 Uhr;12. Okt. 2025;@c;Entwicklung;TLS-Zertifikat;RSA-2048;"
        "Passwort-Manager;nein;öffentlich;\n"
    )
    reading = read(text.encode("cp1252"), ReadOptions(date_order="dmy"))
    assert (reading.refusals, reading.ignored, reading.source.encoding) == ((), (), "Windows-1252")
    first, second = (one.facts for one in reading.rows)
    assert (first.kind, first.environment, first.classification, first.access, first.storage_medium) == (
        "database_credential", "production", "restricted", "either", "environment_variable",
    )  # fmt: skip
    assert (first.created_on, first.never_rotated, first.service) == (date(2025, 3, 3), True, "billing-api")
    assert (second.kind, second.environment, second.classification, second.access, second.storage_medium) == (
        "tls_certificate", "development", "public", "none", "password_manager",
    )  # fmt: skip
    assert (second.created_on, second.last_rotated_on) == (date(2025, 6, 5), date(2025, 10, 12))
    assert second.creator is None


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Nom,Type de clé,Créé le,Environnement,Propriétaire", "a,Clé API,1er août 2024,Développement,@x"),
        ("Nombre,Tipo de clave,Fecha de creacion,Entorno,Propietario", "a,Clave API,1 de agosto de 2024,desarrollo,@x"),
        (
            "Schluesselname,Schluesseltyp,Erstellt am,Umgebung,Eigentuemer",
            "a,API-Schluessel,1. August 2024,Entwicklung,@x",
        ),
    ],
)
def test_read_inventory_reads_other_languages_with_and_without_accents(header: str, row: str) -> None:
    reading = read(f"{header}\n{row}\n")
    assert reading.refusals == ()
    facts = reading.rows[0].facts
    assert (facts.kind, facts.created_on, facts.environment) == ("api_token", date(2024, 8, 1), "development")
