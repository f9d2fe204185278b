"""WEB-03: what people and files bring is text. 120 payloads in every place that shows words of theirs, in Chromium.

`make test` takes every fourth of them, `make test-full` all.

Three things are asked of each page. Nothing was executed: no dialog, no call of a function that the payloads call, no
report of the page's policy. The document holds no element or attribute that only a payload could have brought. And
each payload stands there, character by character, as text or as the value of a field.
"""

import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.utils import timezone
from playwright.sync_api import Page

from audit.actor import Actor
from inventory import services
from inventory.models import Key
from keyvault_admin.access.models import User
from rotation import notifications, overdue
from rotation.models import Digest, Request
from tests import rules_by_votes
from tests.browser import tour
from tests.browser.conftest import Visitor
from tests.browser.test_import import bring
from tests.browser.test_journey import code_of, sign_in
from tests.conftest import RoleSwitch
from tests.engines import ROOT
from tests.people import give_device

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

EVERY = 1 if "tests.full" in sys.modules else 4
PAYLOADS = (ROOT / "tests" / "data" / "xss_payloads.txt").read_text(encoding="utf-8").splitlines()[::EVERY]
HALF = len(PAYLOADS) // 2
WATCH = """
window.ran = [];
for (const name of ["alert", "confirm", "prompt", "print"]) window[name] = () => { window.ran.push(name); };
document.addEventListener("securitypolicyviolation", event => window.ran.push("policy: " + event.blockedURI));
"""
CENSUS = """() => {
  for (const closed of document.querySelectorAll("details:not([open])")) closed.open = true;
  const found = [];
  const foreign = new Set(("iframe object embed base math marquee video audio frameset portal isindex image animate " +
    "set use foreignObject x").split(" "));
  for (const element of document.querySelectorAll("*")) {
    const name = element.localName;
    if (foreign.has(name)) found.push(name);
    if (name === "script" && !element.src) found.push("script without source");
    if (name === "meta" && element.httpEquiv) found.push("meta " + element.httpEquiv);
    for (const attribute of element.attributes) {
      if (/^on/i.test(attribute.name) || attribute.name === "style" && !window.isMail)
        found.push(name + " " + attribute.name);
      if (/^(href|src|action|formaction|xlink:href|data|background|srcset)$/i.test(attribute.name)
        && /^[\\s\\u0000-\\u0020]*(javascript|vbscript|data:text|data:image\\/svg\\+xml,<)/i.test(attribute.value))
        found.push(name + " " + attribute.name + "=" + attribute.value);
    }
  }
  const fields = [...document.querySelectorAll("input, textarea")].map(element => element.value);
  return {found, ran: window.ran, text: [document.body.textContent, ...fields].join("\\n")};
}"""


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def marked(place: str) -> list[str]:
    """Return the payloads with a mark of the place before each, so that none is taken for another."""
    return [f"{place}{number} {payload}" for number, payload in enumerate(PAYLOADS)]


def packed(texts: list[str], longest: int) -> list[str]:
    """Return them joined to as few texts as fit."""
    parcels = [""]
    for text in texts:
        if len(parcels[-1]) + len(text) + 3 > longest:
            parcels.append("")
        parcels[-1] = f"{parcels[-1]} | {text}" if parcels[-1] else text
    return parcels


@dataclass
class Reader:
    """Opens pages, and keeps what was executed, what does not belong there, and all the text that was seen."""

    page: Page
    site: str
    faults: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        self.page.add_init_script(WATCH)
        self.page.on("dialog", self._dialog)
        self.page.on("console", lambda line: self.faults.append(line.text) if "Content Security" in line.text else None)

    def _dialog(self, dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, path: str) -> None:
        self.page.goto(self.site + path)
        self.read()

    def read(self) -> None:
        """Read the page that has come, whole: one that is still on its way has no body yet."""
        self.page.wait_for_load_state()
        seen = self.page.evaluate(CENSUS)
        self.faults += [f"{self.page.url}: {what}" for what in [*seen["found"], *seen["ran"]]]
        self.text += squeezed(seen["text"]) + "\n"

    def open_all(self, path: str) -> None:
        """Open a list and every page after it."""
        self.open(path)
        while self.page.locator("a[rel=next]").count():
            self.follow(self.page.locator("a[rel=next]").first.click)

    def follow(self, act: Callable[[], None]) -> None:
        """Do what leads to another page, and read that one."""
        with self.page.expect_navigation():
            act()
        self.read()

    def missing(self, texts: list[str]) -> list[str]:
        return [text for text in texts if squeezed(text) not in self.text]


def certificate(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a real certificate whose subject and alternative name are a payload; no authority would sign it."""
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name[:64])])
    now = timezone.now()
    made = x509.CertificateBuilder(
        subject_name=subject, issuer_name=subject, public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1), not_valid_after=now + timedelta(days=90),
    )  # fmt: skip
    ascii_name = name.encode("ascii", "ignore").decode()
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(ascii_name)]), critical=False)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


PLACES = {
    place: marked(place)
    for place in (
        "key", "owner", "service", "vendor", "vendor-note", "location", "purpose", "note", "label", "method", "reason",
        "evidence", "clause-document", "clause-text", "description",
    )
}  # fmt: skip
PLACES["owner"] = [unicodedata.normalize("NFKC", text).lower().replace("@", "at") for text in PLACES["owner"]]


@pytest.fixture
def seeded(alice: User, as_role) -> User:
    """An inventory in which everything that can be said is a payload."""
    actor, now = Actor(kind="person", id=alice.ref, role="Security"), timezone.now()
    how = {"actor": actor, "now": now}
    pick = {place: dict(enumerate(packed(texts, 190))) for place, texts in PLACES.items()}
    locations = dict(enumerate(packed(PLACES["location"], 490)))
    alone = {"purpose": "\n".join(PLACES["purpose"]), "notes": "\n".join(PLACES["note"])}
    for number in range(len(PAYLOADS)):
        owner = services.register_owner(handle=PLACES["owner"][number], mail=f"o{number}@example.org", **how)
        service = services.register_service(
            name=PLACES["service"][number], description="\n".join(PLACES["description"]) if not number else "", **how
        )
        services.register_vendor(name=PLACES["vendor"][number], notes=PLACES["vendor-note"][number], **how)
        facts = {"name": PLACES["key"][number], "kind": "api_token", "environment": "production", "owner": owner}
        facts |= {"service": service, "created_on": date(2021, 1, 10), "last_rotated_on": date(2022, 2, 1)}
        facts |= {"storage_location": locations.get(number, ""), "generation_method": pick["method"].get(number, "")}
        facts |= alone | {"labels": dict.fromkeys(PLACES["label"], "x")} if not number else {}
        reason = packed(PLACES["reason"], 450)[number : number + 1] or ["seeded"]
        key = services.register_key(facts=facts, reason=reason[0], **how)
        if not number:
            services.report_rotation(pk=key.pk, rotated_on=now.date(), evidence="\n".join(PLACES["evidence"]), **how)
    documents = packed(PLACES["clause-document"], 190)
    for number, document in enumerate(documents):
        facts = {"source": "X", "document": document, "section": f"§{number}", "kinds": ["hmac_key"]}
        facts |= {"text": "\n".join(PLACES["clause-text"]) if not number else "text", "longest_age_days": 30}
        rules_by_votes.register_clause(code=f"x-{number}", facts=facts, reason="a new policy", **how)
    with as_role("worker"):
        overdue.flag_overdue(actor=Actor.system("worker"), now=now)
        notifications.gather(now=now)
    return alice


def enter(visitor: Visitor, person: User) -> Reader:
    seed = give_device(person).seed()
    reader = Reader(visitor.page, visitor.site)
    visitor.page.goto(f"{visitor.site}/login/")
    sign_in(visitor, person.username, code_of(seed, timezone.now()))
    visitor.page.wait_for_url(f"{visitor.site}/")
    return reader


def test_nothing_that_people_wrote_is_executed(visitor: Visitor, seeded: User) -> None:
    reader = enter(visitor, seeded)
    for page in ("key", "owner", "service", "vendor", "policyclause"):
        reader.open_all(f"/inventory/{page}/")
    keys = list(Key.objects.order_by("pk").values_list("pk", flat=True))
    dossiers = max(len(packed(PLACES["location"], 490)), len(packed(PLACES["method"], 190)))
    for pk in keys[:dossiers]:
        reader.open(f"/inventory/key/{pk}/change/")
    for path in (f"/inventory/key/{keys[0]}/edit/", f"/inventory/key/{keys[0]}/suspend/", "/", "/rotation/digest/"):
        reader.open(path)
    reader.open("/rotation/request/")
    reader.open(f"/rotation/request/{Request.objects.get(operation='key.rotation').pk}/change/")
    first = reader.page.context.pages[0]
    assert first is reader.page
    for pk in _pks("policyclause", code__startswith="x-"):
        reader.open(f"/inventory/policyclause/{pk}/change/")
    reader.open(f"/inventory/service/{_pks('service')[0]}/change/")
    reader.open_all("/audit/event/")
    _read_events(reader)
    for payload in ('"><script>alert(1)</script>', "<svg onload=alert(1)>", "' autofocus onfocus='alert(1)"):
        reader.page.goto(f"{reader.site}/inventory/key/")
        reader.page.locator("input[name=q]").fill(payload)
        reader.follow(partial(reader.page.locator("input[name=q]").press, "Enter"))
    assert reader.faults == []
    assert {place: reader.missing(texts) for place, texts in PLACES.items() if reader.missing(texts)} == {}
    _read_mails(reader)


def _read_events(reader: Reader) -> None:
    """Pages of events whose subjects and changes are payloads, and filters in which somebody types one."""
    for action in ("key.registered", "owner.registered", "clause.registered"):
        reader.page.goto(f"{reader.site}/audit/event/?action={action}&before=end")
        reader.follow(reader.page.locator("#result_list tbody a").last.click)
        assert PAYLOADS[0] in reader.page.inner_text("main")
    for name in ("who", "on", "path", "where"):
        tour.log_typed(reader.page, reader.site, name, PAYLOADS[0])
        reader.read()


def _pks(model: str, **wanted: str) -> list[int]:
    from django.apps import apps

    found = apps.get_model("inventory", model).objects.filter(**wanted).order_by("pk")
    return list(found.values_list("pk", flat=True))


def _read_mails(reader: Reader) -> None:
    """A mail program has no content security policy of ours, so here nothing but the escaping stands in the way."""
    reader.text = ""
    reader.page.goto("about:blank")
    for digest in Digest.objects.order_by("pk"):
        reader.page.evaluate("window.isMail = true")
        reader.page.set_content(digest.html)
        reader.read()
    assert reader.faults == []
    assert Digest.objects.count() == len(PAYLOADS)
    assert reader.missing(PLACES["key"]) == reader.missing(PLACES["service"]) == []


def test_nothing_that_is_imported_is_executed(visitor: Visitor, alice: User, as_role: RoleSwitch) -> None:
    """The cells of a file on its preview, headers and refusals too; and the subjects of real certificates."""
    reader, quote = enter(visitor, alice), '"{}"'.format
    cells, services_, notes = marked("cell"), marked("in"), marked("odd")
    rows = [["Name", "Type", "Service", "Creation date", *(marked("head")[:40])]]
    rows += [[cell, "API token", service, "2026-01-10"] for cell, service in zip(cells[:HALF], services_, strict=False)]
    rows += [[cell, "API token", "", note] for cell, note in zip(cells[HALF:], notes[HALF:], strict=True)]
    rows = [[*row, *[""] * (len(rows[0]) - len(row))] for row in rows]
    content = "\n".join(",".join(quote(cell.replace('"', '""')) for cell in row) for row in rows)
    bring(visitor, as_role, '"><img src=x onerror=alert(1)>.csv', content.encode())
    reader.read()
    key = ec.generate_private_key(ec.SECP256R1())
    names = [text[:64] for text in marked("c")]
    for start in (0, HALF):
        pem = b"".join(certificate(name, key) for name in names[start : start + HALF])
        bring(visitor, as_role, "certificates.pem", pem)
        reader.read()
    assert reader.faults == []
    shown = {"cell": cells[:HALF], "service": services_[:3], "refused": notes[HALF:], "header": marked("head")[:40]}
    shown["certificate"] = names
    cut = {place: [squeezed(text)[:38] for text in texts] for place, texts in shown.items()}  # long ones end in "…"
    assert {place: reader.missing(texts) for place, texts in cut.items() if reader.missing(texts)} == {}
