"""Every page on a phone and on a desk: no sideways scroll, no complaint of the browser, and no need of a mouse."""

import sys
from datetime import date

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from audit.actor import Actor
from inventory import services
from inventory.models import Key
from rotation import at_once, notifications, overdue, reviews
from rotation.models import Review
from tests.browser import tour
from tests.browser.conftest import Visitor
from tests.browser.test_journey import code_of, sign_in
from tests.people import give_device

pytestmark = pytest.mark.browser
TEST = Actor.system("test")
LONG = "a-very-long-name-of-a-service-without-any-space/and-of-its-signing-key-for-the-partner-gateway-0001"
UNSEEN = """() => {
  const shown = element => {
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    return box.width && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  };
  const held = document.activeElement;
  if (held === document.body) return "end";
  return shown(held) ? held.outerHTML.slice(0, 120) : "UNSEEN " + held.outerHTML.slice(0, 200);
}"""


@pytest.fixture
def world(carol, as_role):
    """Something on every page: a late key with a mail about it, one without anything, a suspended one, a change."""
    now = timezone.now()
    owner = services.register_owner(handle="carol", mail=carol.email, user_id=carol.pk, actor=TEST, now=now)
    vendor = services.register_vendor(name="Stripe", actor=TEST, now=now)
    shop = services.register_service(name=LONG[:60], team=owner, tier=1, vendor=vendor, actor=TEST, now=now)
    services.register_service(name="bare", tier=2, data_classes=["restricted"], actor=TEST, now=now)
    old = {"created_on": date(2021, 1, 10), "last_rotated_on": date(2022, 2, 1), "environment": "production"}
    for name, said in {
        LONG: {"kind": "tls_certificate", "algorithm": "RSA-2048", "size_bits": 2048, "owner": owner, "service": shop},
        "kek": {"kind": "kek", "algorithm": "RSA-3072", "owner": owner},
        "nothing-known": {"kind": "api_token"},
    }.items():
        facts = {"name": name, **said} | (old if "owner" in said else {})
        services.register_key(facts=facts, actor=TEST, reason="found by an audit", now=now)
    at_once.suspend(pk=Key.objects.get(name="nothing-known").pk, actor=TEST, reason="nobody knows it", now=now)
    services.report_rotation(
        pk=Key.objects.get(name="kek").pk, rotated_on=now.date(), evidence="version 2 in the store",
        actor=Actor(kind="person", id=carol.ref), now=now,
    )  # fmt: skip
    with as_role("worker"):
        overdue.flag_overdue(actor=TEST, now=now)
        notifications.gather(now=now)
        reviews.open_reviews(actor=TEST, now=timezone.now(), until_now=True)


def come_in(visitor: Visitor, person) -> None:
    seed = give_device(person).seed()
    visitor.go("/")
    sign_in(visitor, person.username, code_of(seed, timezone.now()))
    expect(visitor.page.get_by_role("heading", name="Posture")).to_be_visible()


@pytest.mark.timeout(600)
def test_every_page_fits_and_nothing_complains(visitor, world, alice):
    come_in(visitor, alice)
    seen = set()
    for name, address in tour.addresses(visitor.page, visitor.site):
        visitor.go(address)
        assert visitor.page.locator("html[lang]").count() == 1, name
        seen.add(name)
    assert {*tour.LISTS, *tour.RECORDS} <= seen  # each list has a first record
    for act in tour.ACTS.values():
        act(visitor.page, visitor.site)
        visitor.look()
    assert visitor.complaints == []


@pytest.mark.parametrize("width", [390, 1440] if "tests.full" in sys.modules else [390])
def test_the_keyboard_reaches_every_control_and_shows_where_it_is(visitor, world, alice, width):
    come_in(visitor, alice)
    page, review = visitor.page, f"/rotation/review/{Review.objects.get().pk}/change/"
    for address in (
        "/",
        tour.KEYS,
        f"{tour.KEYS}add/",
        "/inventory/service/add/",
        f"{tour.CLAUSES}threat-level/",
        review,
    ):
        page.goto(visitor.site + address)
        page.set_viewport_size({"width": width, "height": 844})
        page.locator("main").focus()
        controls = page.locator(
            "main :is(a[href], button, input:not([type=hidden]), select, textarea, summary):visible"
        )
        radios = page.locator("main input[type=radio]:visible")
        names = radios.evaluate_all("all => new Set(all.map(one => one.name)).size")
        expected = controls.count() - radios.count() + names  # a group of radio buttons is one stop
        stops = []
        while len(stops) < 400:
            page.keyboard.press("Tab")
            stops.append(page.evaluate(UNSEEN))
            if stops[-1] == "end" or not page.evaluate("document.activeElement.closest('main')"):
                break
        assert [stop for stop in stops if stop.startswith("UNSEEN")] == [], address
        assert len(stops) - 1 >= expected, address
