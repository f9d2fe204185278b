"""A spreadsheet from elsewhere: other words, another encoding, dates that can be two days; and certificates."""

import os
import re
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from inventory.models import HeaderMapping, Key
from keyvault_admin.access.models import User
from tests.browser.conftest import Visitor
from tests.browser.test_journey import code_of, sign_in
from tests.conftest import RoleSwitch
from tests.inventory.certificates import bundle
from tests.inventory.working import work_off
from tests.people import give_device

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("KEYVAULT_TEST_SHOTS", "")  # a folder for pictures, for whoever wants to look
GERMAN = (
    "Geheimname;Art;Wer passt auf;Besitzer;Dienst;Erstellungsdatum;Umgebung;Bemerkungen\n"
    "zahlung/schlüssel;API-Schlüssel;Frau Müller;@ann;Zahlung;05.06.2025;Produktion;läuft über Köln\n"
    "zahlung/datenbank;Datenbankpasswort;Herr Groß;@ben;Zahlung;07.08.2025;Produktion;\n"
    "post/tls;TLS-Zertifikat;Frau Müller;@ann;Post;23.05.2025;Entwicklung;für Prüfungen\n"
    "post/alt;Zauberstab;;@ann;Post;2025-01-10;Entwicklung;\n"
)


def shoot(visitor: Visitor, name: str) -> None:
    if not SHOTS:
        return
    for width in (1440, 390):
        for scheme in ("light", "dark"):
            visitor.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            visitor.page.set_viewport_size({"width": width, "height": 900})
            visitor.page.screenshot(path=Path(SHOTS) / f"{name}-{width}-{scheme}.png", full_page=True)


def wait_for_worker(visitor: Visitor, as_role: RoleSwitch, name: str = "") -> None:
    """See that the page waits, let a worker do its part, and leave it to the page to notice."""
    expect(visitor.page.locator("[data-step]")).to_be_visible()
    if name:
        visitor.look()
        shoot(visitor, name)
    work_off(as_role)
    expect(visitor.page.locator("[data-step]")).to_have_count(0, timeout=30_000)
    visitor.page.wait_for_load_state()  # a page that is on its way holds no step either


def bring(visitor: Visitor, as_role: RoleSwitch, name: str, content: bytes, kind: str = "text/csv") -> None:
    visitor.go("/inventory/key/import/")
    visitor.page.get_by_label("File").set_input_files({"name": name, "mimeType": kind, "buffer": content})
    visitor.page.get_by_label("Why").fill("moving in")
    visitor.page.get_by_role("button", name="Show what it would do").click()
    wait_for_worker(visitor, as_role, f"0-waiting-{name.partition('.')[0]}")


def answer(visitor: Visitor, as_role: RoleSwitch) -> None:
    """Answer the question, map one more column, and leave somebody out who is offered only then."""
    page = visitor.page
    page.get_by_label("day first").check()
    expect(page.locator("[data-unread]")).to_be_visible()
    page.get_by_label("Wer passt auf").select_option("creator")
    page.get_by_role("button", name="Read it again").first.click()
    wait_for_worker(visitor, as_role)
    expect(page.get_by_role("heading", name="A question about the dates")).to_have_count(0)
    expect(page.get_by_label("day first")).to_be_checked()
    page.get_by_label("ben", exact=True).uncheck()
    page.get_by_role("button", name="Read it again").first.click()
    wait_for_worker(visitor, as_role)
    expect(page.get_by_label("ben", exact=True)).not_to_be_checked()
    visitor.look()
    shoot(visitor, "3-read-again")


def test_a_german_spreadsheet_is_mapped_asked_about_and_imported(
    visitor: Visitor, alice: User, as_role: RoleSwitch
) -> None:
    page, seed = visitor.page, give_device(alice).seed()
    visitor.go("/")
    sign_in(visitor, "alice", code_of(seed, timezone.now()))
    expect(page.get_by_role("heading", name="Posture")).to_be_visible()
    bring(visitor, as_role, "schlüssel.csv", GERMAN.encode("cp1252"))
    expect(page.get_by_text("No column holds the name of a key.")).to_be_visible()
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_disabled()
    visitor.look()
    shoot(visitor, "1-columns")
    page.get_by_label("Geheimname").select_option("name")
    page.get_by_role("button", name="Read it again").click()
    wait_for_worker(visitor, as_role)

    expect(page.get_by_role("heading", name="A question about the dates")).to_be_visible()
    expect(page.get_by_role("region", name="A question about the dates")).to_contain_text("05.06.2025 in row 2")
    for choice in page.get_by_role("radio").all():
        expect(choice).not_to_be_checked()
    visitor.look()
    shoot(visitor, "2-question")
    answer(visitor, as_role)
    page.get_by_role("button", name=re.compile("^Import 3 new")).first.click()
    wait_for_worker(visitor, as_role, "3b-applying")
    visitor.look()
    shoot(visitor, "3c-done")
    expect(page.get_by_role("region", name="Imported")).to_contain_text("3 new, 0 changed, 0 unchanged, 1 refused")
    key = Key.objects.get(name="zahlung/schlüssel")
    assert (str(key.created_on), str(key.owner), str(key.creator)) == ("2025-06-05", "ann", "frau müller")
    assert Key.objects.get(name="zahlung/datenbank").owner is None
    assert dict(HeaderMapping.objects.values_list("header", "field")) == {
        "geheimname": "name", "wer passt auf": "creator",
    }  # fmt: skip

    remembered_the_next_time(visitor, as_role)
    assert not visitor.complaints


def remembered_the_next_time(visitor: Visitor, as_role: RoleSwitch) -> None:
    bring(visitor, as_role, "neu.csv", GERMAN.encode("cp1252"))  # what was said is proposed the next time
    expect(visitor.page.get_by_label("Geheimname")).to_have_value("name")
    expect(visitor.page.get_by_label("Wer passt auf")).to_have_value("creator")


def test_certificates_are_imported_and_a_private_key_is_refused_loudly(
    visitor: Visitor, alice: User, as_role: RoleSwitch
) -> None:
    page, seed = visitor.page, give_device(alice).seed()
    visitor.go("/")
    sign_in(visitor, "alice", code_of(seed, timezone.now()))
    expect(page.get_by_role("heading", name="Posture")).to_be_visible()
    certificates, private = bundle("one.example", "two.example")
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    bring(visitor, as_role, "bundle.pem", system.read_bytes() if SHOTS and system.exists() else certificates)
    visitor.look()
    shoot(visitor, "4-certificates")
    page.get_by_role("button", name=re.compile("^Import [1-9]")).first.click()
    wait_for_worker(visitor, as_role)
    expect(page.get_by_role("region", name="Imported")).to_contain_text(
        re.compile(r"\d+ new, 0 changed, 0 unchanged, 0 refused")
    )
    shoot(visitor, "5-imported")
    bring(visitor, as_role, "mixed.pem", certificates + private)
    expect(page.get_by_role("alert")).to_contain_text("The file holds a private key")
    visitor.look()
    shoot(visitor, "6-private")
    assert not visitor.complaints
