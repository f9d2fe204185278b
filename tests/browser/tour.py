"""Every page, as its address or as the few acts that lead to it; for pictures and for tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "tests" / "data" / "notion-inventory.csv"
GERMAN = (
    "Geheimname;Art;Wer passt auf;Besitzer;Dienst;Erstellungsdatum;Umgebung\n"
    "zahlung/schlüssel;API-Schlüssel;Frau Müller;@ann;Zahlung;05.06.2025;Produktion\n"
    "post/alt;Zauberstab;;@ann;Post;2025-01-10;Entwicklung\n"
)
KEYS, CLAUSES, EVENTS = "/inventory/key/", "/inventory/policyclause/", "/audit/event/"
LISTS = {
    "posture": "/",
    "inventory": KEYS,
    "overdue": f"{KEYS}?due=overdue",
    "nothing-found": f"{KEYS}?q=nothing-of-this-name",
    "register": f"{KEYS}add/",
    "token": f"{KEYS}token/",
    "replay": f"{KEYS}replay/",
    "import": f"{KEYS}import/",
    "services": "/inventory/service/",
    "service-add": "/inventory/service/add/",
    "coverage": "/inventory/service/uncovered/",
    "owners": "/inventory/owner/",
    "owner-add": "/inventory/owner/add/",
    "vendors": "/inventory/vendor/",
    "vendor-add": "/inventory/vendor/add/",
    "approvals": "/rotation/request/",
    "approvals-open": "/rotation/request/?view=open",
    "approvals-asked": "/rotation/request/?view=asked",
    "approvals-decided": "/rotation/request/?view=decided",
    "approvals-together": "/rotation/request/together/",
    "clauses": CLAUSES,
    "exceptions": "/inventory/policyexception/",
    "exceptions-all": "/inventory/policyexception/?state=all",
    "clause-add": f"{CLAUSES}add/",
    "conflicts": f"{CLAUSES}conflicts/",
    "threat": f"{CLAUSES}threat-level/",
    "algorithms": "/inventory/algorithm/",
    "falls": "/inventory/algorithm/falls/",
    "falls-2036": "/inventory/algorithm/falls/?day=2036-01-01",
    "mail": "/rotation/digest/",
    "duties": "/rotation/duty/",
    "duties-overdue": "/rotation/duty/?state=overdue",
    "reviews": "/rotation/review/",
    "reviews-overdue": "/rotation/review/?state=overdue",
    "log": EVENTS,
    "log-filtered": f"{EVENTS}?action=keys&outcome=done&when=30-days",
    "exports": "/audit/exportcursor/",
    "periods": "/audit/period/",
    "log-nothing": f"{EVENTS}?outcome=failed&when=..2020-01-01",
    "keks": "/inventory/kek/",
    "deks": "/inventory/dekversion/",
    "deks-behind": "/inventory/dekversion/?health=behind",
    "dek-add": "/inventory/dekversion/add/",
    "jobs": "/rotation/rewrapjob/",
    "orders": "/rotation/order/",
    "sources": "/rotation/rewrapsource/",
    "source-ask": "/rotation/rewrapsource/ask/",
    "certificates": "/audit/certificate/",
    "findings": "/inventory/finding/",
    "people": "/access/user/",
    "person-add": "/access/user/add/",
    "factors": "/account/factors/",
    "factor-app": "/account/factors/app/",
    "factor-passkey": "/account/factors/passkey/",
    "factor-recovery": "/account/factors/recovery/",
    "sessions": "/account/sessions/",
    "own-data": "/account/personal-data/",
    "step-up": "/account/step-up/",
    "password": "/password_change/",
}
# The first record of a list, where there is one: its page and the pages of it.
RECORDS = {
    "dossier": (
        f"{KEYS}?due=overdue",
        (
            "edit/",
            "suspend/",
            "report-rotation/",
            "digest/",
            "as-of/",
            "report-compromise/",
            "break-glass/revoke/",
            "break-glass/rotation/",
        ),
    ),
    "dossier-kek": (f"{KEYS}?kind__exact=kek", ("break-glass/kek/",)),
    "dossier-certificate": (f"{KEYS}?kind__exact=tls_certificate", ()),
    "dossier-suspended": (f"{KEYS}?state__exact=suspended", ()),
    "dossier-incomplete": (f"{KEYS}?missing=owner", ()),
    "service": ("/inventory/service/", ()),
    "owner": ("/inventory/owner/", ()),
    "vendor": ("/inventory/vendor/", ()),
    "request": ("/rotation/request/?view=open", ()),
    "clause": (CLAUSES, ("edit/", "retire/")),
    "digest": ("/rotation/digest/", ()),
    "duty": ("/rotation/duty/", ()),
    "review": ("/rotation/review/", ()),
    "person": ("/access/user/", ("edit/", "last-day/", "link/", "take-role/", "personal-data/", "deactivate/")),
    "event": (EVENTS, ()),
    "event-signed": (f"{EVENTS}?action=key.registered", ()),
}
NOT_THERE = {"not-found": "/inventory/key/999999999/change/", "no-such-page": "/nowhere/"}
FORM = "main form[method=post]"


def addresses(page: Page, site: str) -> Iterator[tuple[str, str]]:
    """Give every page that has an address, with a name for it; the first record of each list stands for all."""
    yield from LISTS.items()
    for name, (listed, further) in RECORDS.items():
        page.goto(site + listed)
        link = page.locator("#result_list tbody a").first
        if not link.count():
            continue
        address = (link.get_attribute("href") or "").partition("?")[0]
        yield name, address
        yield from ((f"{name}-{more.strip('/')}", address.removesuffix("change/") + more) for more in further)


def send(page: Page) -> None:
    with page.expect_navigation():
        page.locator(f"{FORM} button[type=submit]").last.click()


def token_not_found(page: Page, site: str) -> None:
    page.goto(f"{site}{KEYS}token/")
    page.fill("[name=token]", "ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY2zA4")
    send(page)


def form_refused(page: Page, site: str) -> None:
    """A form that says what is wrong with it."""
    page.goto(f"{site}{KEYS}add/")
    page.fill("[name=created_on]", "2026-03-01")
    page.fill("[name=last_rotated_on]", "2026-02-01")
    send(page)


def record_refused(page: Page, site: str) -> None:
    page.goto(f"{site}/inventory/service/add/")
    send(page)


def clause_effect(page: Page, site: str) -> None:
    """What a clause would do: the limit of all keys with access to production, from 90 days to 60."""
    page.goto(f"{site}{CLAUSES}?q=&source__exact=S4")
    page.locator("#result_list tbody a").first.click()
    page.goto(page.url.replace("/change/", "/edit/"))
    page.fill("[name=longest_age_days]", "60")
    page.fill("[name=reason]", "the auditors ask for it")
    send(page)


def threat_effect(page: Page, site: str) -> None:
    page.goto(f"{site}{CLAUSES}threat-level/")
    page.locator("[name=level]").last.check()
    page.fill("[name=reason]", "a supplier was broken into")
    send(page)


def _bring(page: Page, site: str, name: str, content: bytes) -> None:
    page.goto(f"{site}{KEYS}import/")
    page.set_input_files("input[type=file]", {"name": name, "mimeType": "text/csv", "buffer": content})
    page.fill("[name=reason]", "first load")
    send(page)


def import_preview(page: Page, site: str) -> None:
    _bring(page, site, SAMPLE.name, SAMPLE.read_bytes())


def import_columns(page: Page, site: str) -> None:
    _bring(page, site, "schlüssel.csv", GERMAN.encode("cp1252"))


def import_refused(page: Page, site: str) -> None:
    _bring(page, site, "keys.csv", b"%PDF-1.7")


def asked_to(page: Page, site: str, what: str) -> None:
    """The page that asks for it, of the first key in use."""
    page.goto(f"{site}{KEYS}?state__exact=active")
    page.locator("#result_list tbody a").first.click()
    page.locator("details.asks summary").click()
    page.locator(f"details.asks a[href*='/ask/{what}/']").click()
    page.fill("[name=reason]", "seen in a build log, ticket 4411")


def ask_to_revoke(page: Page, site: str) -> None:
    """What revoking would do."""
    asked_to(page, site, "revoke")
    page.select_option("[name=reason_code]", "key_compromise")
    send(page)


def ask_refused(page: Page, site: str) -> None:
    """A question that cannot be asked."""
    asked_to(page, site, "destroy")
    page.fill("[name=destroyed_on]", "2099-01-01")
    send(page)


def log_typed(page: Page, site: str, name: str, typed: str) -> None:
    page.goto(site + EVENTS)
    page.locator(f".filter:has(#typed-{name}) summary").click()
    page.fill(f"#typed-{name}", typed)
    with page.expect_navigation():
        page.locator(f".filter:has(#typed-{name}) button").click()


def log_from_where(page: Page, site: str) -> None:
    """Events by address, with what the page says of how far it looked."""
    log_typed(page, site, "where", "127.0.0.0/8")


def log_who(page: Page, site: str) -> None:
    """Several people of whom one is meant."""
    log_typed(page, site, "who", "a")


ACTS: dict[str, Callable[[Page, str], None]] = {
    "token-not-found": token_not_found,
    "form-refused": form_refused,
    "record-refused": record_refused,
    "clause-effect": clause_effect,
    "threat-effect": threat_effect,
    "ask-to-revoke": ask_to_revoke,
    "ask-refused": ask_refused,
    "log-from-where": log_from_where,
    "log-who": log_who,
    "import-columns": import_columns,
    "import-refused": import_refused,
    "import-preview": import_preview,  # the last, so that pictures can go on from it
}
