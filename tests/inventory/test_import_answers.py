"""What a person answers about a file: through plan, draft and command; and key material by the same door."""

from datetime import date, timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from audit.actor import Actor
from audit.models import Event
from inventory import services
from inventory.errors import PlanChangedError, PrivateKeyError
from inventory.models import HeaderMapping, ImportDraft, Key, Owner, Service
from inventory.reading import ColumnsError, TableError
from inventory.services import ImportOptions
from tests.inventory.certificates import BEGINS, bundle, certificate, private_key, small_key
from tests.inventory.test_commands import run, write
from tests.inventory.working import brought
from tests.inventory.world import ACTOR, NOW, events_of, make_owner, seal
from tests.people import sign_in

pytestmark = pytest.mark.django_db
PAGE = "/inventory/key/import/"
FOREIGN = b"Geheimname;Art;Wer passt auf;Besitzer;Dienst\na;KEK;@carl;@ann;billing\nb;KEK;@carl;@ben;mail\n"
DATED = b"Name,Type,Created\na,KEK,05/06/2025\nb,KEK,2025-01-01\nc,KEK,23/05/2025\nd,magic,05/06/2025\n"
PERSON = Actor(kind="person", id="user:1")


def bring(content, *, actor=ACTOR, **how):
    return services.apply_import(content=content, file_name="x", actor=actor, reason="test", now=NOW, **how)


def plan(content, **how):
    return services.plan_import(content=content, now=NOW, options=ImportOptions(**how))


def names():
    return set(Key.objects.values_list("name", flat=True))


# Services


def test_options_are_part_of_the_plan_that_is_confirmed():
    asked, answered = plan(DATED), plan(DATED, date_order="dmy")
    assert asked.digest != answered.digest
    with pytest.raises(PlanChangedError), transaction.atomic():
        bring(DATED, options=ImportOptions(date_order="mdy"), expected_digest=answered.digest)
    bring(DATED, options=ImportOptions(date_order="dmy"), expected_digest=answered.digest)
    assert Key.objects.get(name="a").created_on == date(2025, 6, 5)
    seal()
    assert events_of("inventory.imported")[0].said.facts["dates"] == "dmy"


def test_rows_that_wait_for_an_answer_stay_out_and_are_counted():
    done = bring(DATED)
    assert (done.waiting_rows, done.rows_to_mend, done.refused_rows) == (1, 1, 2)
    assert [refusal.field for refusal in done.to_mend] == ["kind"]
    assert names() == {"b", "c"}


def test_options_come_back_from_where_they_are_stored():
    options = ImportOptions(date_order="mdy", mapping={"A": "name", "B": ""}, left_out=frozenset({"owner:ann"}))
    assert ImportOptions.restored(options.stored) == options
    assert ImportOptions.restored({}) == ImportOptions()


def test_a_mapping_for_a_column_that_is_not_there_is_refused():
    with pytest.raises(TableError, match='no column "Gone"'):
        plan(b"Name,Type\na,KEK\n", mapping={"Gone": "notes"})


def test_two_columns_of_one_header_are_told_apart_by_their_number():
    content = b"Name,Type,Owner,Owner\na,KEK,@x,@y\n"
    with pytest.raises(ColumnsError):
        plan(content)
    planned = plan(content, mapping={"column 3": "", "column 4": "owner"})
    assert planned.new[0][1].owner.handle == "y"


def test_who_is_left_out_is_not_registered_and_not_named():
    options = ImportOptions(mapping={"Geheimname": "name"}, left_out=frozenset({"owner:ann", "service:mail"}))
    planned = services.plan_import(content=FOREIGN, now=NOW, options=options)
    assert [owner.handle for owner in planned.owners_left_out] == ["ann"]
    assert planned.findings > plan(FOREIGN, mapping={"Geheimname": "name"}).findings
    bring(FOREIGN, options=options)
    assert {owner.handle for owner in Owner.objects.all()} == {"ben"}
    assert {service.name for service in Service.objects.all()} == {"billing"}
    assert Key.objects.get(name="a").owner is None
    assert Key.objects.get(name="b").service is None


def test_who_is_known_cannot_be_left_out():
    make_owner("ann")
    bring(FOREIGN, options=ImportOptions(mapping={"Geheimname": "name"}, left_out=frozenset({"owner:ann"})))
    assert Key.objects.get(name="a").owner.handle == "ann"


def test_headers_are_remembered_when_a_person_confirms_and_proposed_then():
    mapping = {"Geheimname": "name", "Art": "kind", "Wer passt auf": "creator", "Dienst": ""}
    bring(FOREIGN, options=ImportOptions(mapping=mapping))
    assert not HeaderMapping.objects.exists()
    bring(FOREIGN, options=ImportOptions(mapping=mapping), actor=PERSON)
    assert dict(HeaderMapping.objects.values_list("header", "field")) == {
        "geheimname": "name", "wer passt auf": "creator", "dienst": "",
    }  # fmt: skip
    again = services.begin_import(content=b"GEHEIMNAME;Art;Neu\nz;KEK;1\n", now=NOW)
    assert again.mapping == {"GEHEIMNAME": "name"}
    bring(b"Dienst;Name;Art\nx;n;KEK\n", options=ImportOptions(mapping={"Dienst": "service"}), actor=PERSON)
    assert HeaderMapping.objects.get(header="dienst").field == "service"


def test_a_header_that_looks_like_a_secret_is_never_kept():
    secret = "ghp_" + "a1B2c3D4e5F6" * 3
    bring(b"Name,Type,column 3\na,KEK,1\n", options=ImportOptions(mapping={"column 3": "notes"}), actor=PERSON)
    content = f"Name,Type,{secret}\nb,KEK,1\n".encode()
    bring(content, options=ImportOptions(mapping={secret: "notes"}), actor=PERSON)
    seal()
    assert not HeaderMapping.objects.exists()
    assert all(secret not in event.raw.decode() for event in events_of("inventory.imported"))


# Key material


def test_certificates_come_in_with_their_facts_and_without_themselves():
    content = certificate("one.example") + certificate("two.example", ends=BEGINS + timedelta(days=30))
    planned = plan(content)
    assert (len(planned.new), planned.brought.place) == (2, "block")
    assert [(one.row, one.sentence) for one in planned.brought.warnings] == [
        (2, "Its certificate was valid until 9 February 2026.")
    ]
    assert bring(content).summary == "2 new, 0 changed, 0 unchanged, 0 refused"
    key = Key.objects.get(name__startswith="one.example")
    assert (key.kind, key.algorithm, key.created_on) == ("tls_certificate", "ECDSA P-256", date(2026, 1, 10))
    for word in ("Issuer: CN=one.example", "Names: one.example", "Valid until: 2027-01-10", "Serial number: "):
        assert word in key.notes
    assert "BEGIN" not in key.notes
    assert bring(content).summary == "0 new, 0 changed, 2 unchanged, 0 refused"


def test_notes_that_a_person_wrote_of_a_certificate_stay():
    content = certificate("one.example")
    bring(content)
    Key.objects.update(notes="renewed by ACME")
    assert bring(content).summary == "0 new, 0 changed, 1 unchanged, 0 refused"


def test_weak_material_is_warned_of_and_a_certificate_of_tomorrow_waits():
    content = certificate("small.example", key=small_key()) + certificate(
        "later.example", begins=NOW + timedelta(days=3)
    )
    planned = plan(content)
    assert planned.brought.warnings[0].sentence == "Its RSA modulus has fewer than 2048 bits."
    assert [(one.row, one.field) for one in planned.refused] == [(2, "created_on")]


def test_a_file_with_a_private_key_is_refused_as_a_whole():
    certificates, private = bundle("one.example")
    with pytest.raises(PrivateKeyError, match=r"a private key \(block 2\)") as refused:
        plan(certificates + private)
    assert refused.value.count == 1
    with pytest.raises(PrivateKeyError, match=r"7 private keys .* and 2 more"):
        plan(private * 7)


def test_a_renamed_certificate_is_known_by_its_material():
    content = certificate("one.example")
    bring(content)
    Key.objects.update(name="renamed")
    assert plan(content).summary.startswith("0 new, 0 changed, 1 unchanged")


# Command


def test_the_command_asks_about_dates_once_and_takes_the_answer(tmp_path):
    path = write(tmp_path, DATED.replace(b"magic", b"KEK"))
    code, lines = run(path)
    assert code == 2
    assert sum("first?" in line for line in lines) == 1
    assert "05/06/2025 in row 2" in lines[0]
    assert [line.split()[:2] for line in lines[1:3]] == [["--dates", "dmy"], ["--dates", "mdy"]]
    assert "likely" in lines[1]
    assert lines[3].startswith("2 rows stay out until you answer")
    assert names() == {"b", "c"}
    assert run(path, "--dates", "dmy")[0] == 0
    assert Key.objects.get(name="a").created_on == date(2025, 6, 5)


def test_the_command_takes_what_headers_mean(tmp_path):
    path = write(tmp_path, FOREIGN)
    with pytest.raises(CommandError, match=r'No column holds the name.*--map "HEADER=field".*"Geheimname"'):
        run(path)
    assert run(path, "--map", "Geheimname=name", "--map", "Wer passt auf=creator", "--map", "Dienst=")[0] == 0
    assert Key.objects.get(name="a").creator.handle == "carl"
    assert not Service.objects.exists()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["A=nme"], 'There is no field "nme". The fields are: name, kind'),
        (["nonsense"], "is none"),
        (["=name"], "is none"),
        (["A=name", "A=kind"], "says twice"),
        (["Gone=notes"], 'no column "Gone"'),
    ],
)
def test_the_command_says_what_is_wrong_with_a_mapping(said, why, tmp_path):
    with pytest.raises(CommandError, match=why):
        run(write(tmp_path, b"Name,Type\na,KEK\n"), *[word for one in said for word in ("--map", one)])
    assert not Key.objects.exists()


def test_the_command_says_how_far_a_long_file_is(tmp_path, capsys):
    rows = "".join(f"k{number},KEK\n" for number in range(2_001))
    call_command("import_inventory", str(write(tmp_path, f"Name,Type\n{rows}".encode())), "--dry-run")
    told = capsys.readouterr().err.splitlines()
    assert told == ["compared: 0 of 2,001", "compared: 1,000 of 2,001", "compared: 2,000 of 2,001"]


def test_the_command_refuses_a_private_key_with_an_event(tmp_path):
    path = write(tmp_path, private_key())
    with pytest.raises(CommandError, match="Treat it as exposed"):
        run(path, "--dry-run")
    seal()
    assert not Event.objects.exists()
    with pytest.raises(CommandError, match="Treat it as exposed"):
        run(path)
    seal()
    (event,) = events_of("key.material_refused")
    assert (event.said.outcome, dict(event.said.facts)) == ("refused", {"file": "inventory.csv", "private_keys": 1})
    assert not Key.objects.exists()


# Pages


@pytest.fixture
def upload(client, as_role):
    def bring_file(content, name="keys.csv"):
        sent = {"file": SimpleUploadedFile(name, content), "reason": "moving in"}
        page = client.post(PAGE, sent, follow=True)
        if page.redirect_chain:
            chain, page = page.redirect_chain, brought(client, as_role, page.redirect_chain[-1][0])
            page.redirect_chain = chain
        return page

    return bring_file


@pytest.fixture
def send(client, as_role):
    """Send answers or a confirmation, and return the page when the worker has done its part."""

    def send_on(path, sent):
        client.post(path, sent)
        return brought(client, as_role, path)

    return send_on


def text_of(answer):
    return " ".join(answer.content.decode().split())


def answers(page, *, without=(), **chosen):
    """Return what the page would send when somebody chooses these fields for these headers."""
    columns = page.context["columns"]
    sent = {
        "read_again": "1",
        "header": [column.key for column in columns],
        "field": [chosen.get(column.key.replace(" ", "_"), column.chosen) for column in columns],
    }
    offered = [f"owner:{one.name}" for one in page.context.get("offered_owners", ())]
    offered += [f"service:{one.name}" for one in page.context.get("offered_services", ())]
    return sent | {"offered": offered, "taken": [one for one in offered if one not in without]}


def test_columns_that_are_not_clear_lead_to_the_form_and_back(client, alice, upload, send):
    sign_in(client, alice)
    page = upload(FOREIGN)
    path = page.redirect_chain[-1][0]
    assert "No column holds the name of a key." in text_of(page)
    assert "plan_digest" not in text_of(page)
    page = send(path, answers(page, Geheimname="name", Wer_passt_auf="creator"))
    assert "Import 2 new" in text_of(page)
    page = send(path, answers(page, without={"owner:ben"}))
    assert [(owner.name, owner.is_taken) for owner in page.context["offered_owners"]] == [
        ("ben", False), ("ann", True), ("carl", True),
    ]  # fmt: skip
    send(path, {"plan_digest": page.context["plan"].digest})
    assert Key.objects.get(name="b").owner is None
    assert HeaderMapping.objects.get(header="geheimname").used_by == f"user:{alice.pk}"
    assert upload(FOREIGN).context["columns"][0].chosen == "name"


def test_a_question_is_asked_once_and_its_rows_are_hidden_while_it_stands(client, alice, upload, send):
    sign_in(client, alice)
    page = upload(DATED)
    path = page.redirect_chain[-1][0]
    assert "1 row stays out until you answer" in text_of(page)
    assert [refusal.where for refusal in page.context["refused"]] == ["Kind"]
    assert "checked" not in text_of(page).partition('name="dates"')[2][:200]
    page = send(path, answers(page) | {"dates": "dmy"})
    assert page.context["question"] is None
    assert page.context["plan"].new == 3


def test_answers_that_no_page_sends_are_refused(client, alice, upload, send):
    sign_in(client, alice)
    page = upload(DATED)
    path = page.redirect_chain[-1][0]
    for sent in ({"dates": "ydm"}, {"header": ["Name"], "field": []}, {"header": ["Name"], "field": ["state"]}):
        assert client.post(path, {"read_again": "1"} | sent).status_code == 200
    assert ImportDraft.objects.get().options["mapping"] == {}
    page = send(path, {"read_again": "1", "header": ["Gone"], "field": ["notes"]})
    assert "The file has no column &quot;Gone&quot;." in text_of(page)


def test_a_private_key_is_refused_before_anything_is_kept(client, alice, upload, send):
    sign_in(client, alice)
    certificates, private = bundle("one.example")
    page = upload(certificates + private, "chain.pem")
    assert "The file holds a private key (block 2)" in text_of(page)
    assert bytes(ImportDraft.objects.get().content) == b""
    seal()
    (event,) = events_of("key.material_refused")
    assert dict(event.said.facts) == {"file": "chain.pem", "private_keys": 1}
    assert (event.said.actor_id, event.said.on_behalf_of) == ("worker", f"user:{alice.pk}")
    assert "PRIVATE" not in event.raw.decode()


def test_a_preview_of_certificates_shows_warnings_and_asks_nothing(client, alice, upload, send):
    sign_in(client, alice)
    page = upload(certificate("small.example", key=small_key()), "small.pem")
    assert "Its RSA modulus has fewer than 2048 bits." in text_of(page)
    assert "columns-heading" not in text_of(page)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("60 MB of zeros", "62,914,560 bytes; at most 10,485,760 are read. Split it."),
        ("a million columns", "columns; 100 is the most"),
        ("20,001 rows", "20,000 is the most"),
    ],
)
def test_hostile_files_are_refused_at_the_door(name, says, client, alice, upload, send):
    from tests.inventory.hostile import corpus

    sign_in(client, alice)
    content = next(one for one in corpus() if one.name == name).make()
    page = upload(content)
    assert says in text_of(page)
    assert all(bytes(one.content) == b"" for one in ImportDraft.objects.all())


def test_a_bomb_a_page_and_a_program_are_no_tables(client, alice, upload, send):
    from tests.inventory.hostile import corpus

    sign_in(client, alice)
    bombs = [one for one in corpus() if "bomb" in one.name][:2]
    for content in (*(one.make() for one in bombs), b"<html><body>x</body></html>", b"\x7fELF\x02\x01\x01" + bytes(99)):
        page = upload(content)
        assert page.status_code == 200
        assert "Nothing of this file was imported" in text_of(page)
    assert bombs
    assert {(one.state, bytes(one.content)) for one in ImportDraft.objects.all()} == {("refused", b"")}


def test_json_that_is_too_large_is_told_why(client, alice, upload, send):
    sign_in(client, alice)
    page = upload(b"[" + b" " * 10 * 1024 * 1024 + b"]", "keys.json")
    assert "JSON repeats every name in every row: export CSV or an Excel workbook instead" in text_of(page)


def test_headers_are_written_by_few_roles_and_never_deleted(as_role):
    from django.db import ProgrammingError

    bring(FOREIGN, options=ImportOptions(mapping={"Geheimname": "name"}), actor=PERSON)
    with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM inventory_headermapping")
    with as_role("beat"), pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE inventory_headermapping SET field = ''")
