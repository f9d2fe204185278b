"""The pages of reviews: what each person sees and may do on them, what a forged POST does, what they cost."""

import html
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.ranges import numbered
from inventory import services as inventory
from inventory.states import State
from rotation import tasks
from rotation.kinds import KINDS, ReviewKind
from rotation.models import Review, ReviewItem, ReviewSignature, Verdict
from rotation.review_views import sign as sign_view
from rotation.review_wording import keys_of
from rotation.selectors import items_of
from tests.conftest import make_person
from tests.engines import ROOT
from tests.inventory.world import actions_since, events_of, last_number, make_key, seal
from tests.people import sign_in, verified_before
from tests.rotation.review_world import SYSTEM, actor_for, judge, opened, shown, sign, transition

pytestmark = pytest.mark.django_db
LIST = "/rotation/review/"
PAYLOADS = ROOT / "tests" / "data" / "xss_payloads.txt"


def said_on(answer):
    assert answer.status_code == 200
    text = re.sub(r"<(style|script|head)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("&#x27;", "'").split())


def address(review, act="change"):
    return f"{LIST}{review.pk}/{act}/"


class _Fields(HTMLParser):
    """Collects what a browser would send of the fields of a sample."""

    def __init__(self):
        super().__init__()
        self.sent, self._area, self._select = {}, None, None

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        name = said.get("name") or ""
        if "item-" in name and tag == "input" and (said.get("type") != "radio" or "checked" in said):
            self.sent[name] = said.get("value") or ""
        elif tag in {"textarea", "select"}:
            self.sent[name] = ""
            self._area, self._select = (name, None) if tag == "textarea" else (None, name)
        elif tag == "option" and self._select and "selected" in said:
            self.sent[self._select] = said.get("value") or ""

    def handle_endtag(self, tag):
        if tag in {"textarea", "select"}:
            self._area = self._select = None

    def handle_data(self, text):
        if self._area:
            self.sent[self._area] += text.removeprefix("\n")


def filled(page, **chosen):
    """Return what a browser would send of a page: every field as it stands, with what somebody chose."""
    fields = _Fields()
    fields.feed(page.content.decode())
    return fields.sent | chosen


def field(item, name):
    return f"item-{item.pk}-{name}"


@pytest.fixture
def review(as_role, alice):
    transition("billing/stripe")
    transition("by alice", actor_for(alice))
    return opened(as_role)


def test_two_people_judge_and_sign_it(client, review, alice, bob):
    first, hers = items_of(review)
    sign_in(client, alice)
    page = client.get(address(review))
    text = said_on(page)
    assert "All 2 transitions of the period" in text
    assert "test activated billing/stripe: “because of billing/stripe”" in text
    assert "Alice Example activated by alice" in text
    assert "yours: somebody else judges it" in text
    assert "2 events have no verdict. You had a hand in 1; somebody else judges it." in text
    assert [row.item.pk for row in page.context["rows"] if row.form] == [first.pk]
    answer = client.post(address(review, "judge"), filled(page, **{field(first, "verdict"): "in_order"}), follow=True)
    assert "1 verdict is saved." in said_on(answer)

    sign_in(client, bob)
    page = client.get(address(review))
    follow_up = page.context["rows"][1].keys[0]
    found = {
        field(hers, "verdict"): "finding",
        field(hers, "words"): "the reason names no ticket",
        field(hers, "follow_up"): str(follow_up.pk),
    }
    text = said_on(client.post(address(review, "judge"), filled(page, **found), follow=True))
    assert "1 finding" in text
    assert "DevOps: you can sign" in text
    digest = client.get(address(review)).context["digest"]
    assert digest == shown(review).hex()
    answer = client.post(address(review, "sign"), {"role": "DevOps", "digest": digest}, follow=True)
    assert "You have signed for DevOps. It waits for the other signature." in said_on(answer)
    assert "DevOps: Bob Example signed" in said_on(answer)

    _the_other_signs(client, review, alice, digest)
    seal()
    assert "asked in a review for a follow-up on it" in said_on(client.get(f"/inventory/key/{follow_up.pk}/change/"))


def _the_other_signs(client, review, alice, digest):
    _, hers = items_of(review)
    sign_in(client, alice)
    text = said_on(client.get(address(review)))
    assert "the reason names no ticket" in text
    assert f"Your signature does not cover event {hers.event_number}" in text
    answer = client.post(address(review, "sign"), {"role": "Security", "digest": digest}, follow=True)
    assert "You have signed for Security. It is complete." in said_on(answer)
    assert "Nothing in it changes any more." in said_on(answer)
    assert not any(row.form for row in answer.context["rows"])
    assert "1 finding" in text
    assert "Security: Alice Example · DevOps: Bob Example" in said_on(client.get(f"{LIST}?state=signed"))


def test_an_edit_in_between_is_told_to_both(client, review, alice, bob):
    judge(review, bob, only={items_of(review)[1].event_number})
    judge(review, alice, only={items_of(review)[0].event_number})
    sign(review, alice, "Security")
    before = shown(review).hex()
    sign_in(client, bob)
    page = client.get(address(review))
    changed = {field(items_of(review)[0], "verdict"): "finding", field(items_of(review)[0], "words"): "no ticket"}
    text = said_on(client.post(address(review, "judge"), filled(page, **changed), follow=True))
    assert "What was signed before is void, because it was over other verdicts." in text
    assert "Security: missing" in text
    assert "when Bob Example changed a verdict" in text
    text = said_on(client.post(address(review, "sign"), {"role": "DevOps", "digest": before}))
    assert "The review was changed while you looked at it, and nothing was signed." in text
    assert not ReviewSignature.objects.filter(voided_at__isnull=True).exists()


def test_what_is_missing_is_said_beside_its_field_and_nothing_is_lost(client, review, bob):
    first, second = items_of(review)
    sign_in(client, bob)
    page = client.get(address(review))
    chosen = {field(first, "verdict"): "finding", field(second, "verdict"): "in_order"}
    answer = client.post(address(review, "judge"), filled(page, **chosen))
    assert "Nothing was saved. Mend what is marked below." in said_on(answer)
    assert "Say in words what is wrong" in said_on(answer)
    forms = {row.item.pk: row.form for row in answer.context["rows"]}
    assert forms[second.pk]["verdict"].value() == "in_order"
    chosen[field(first, "words")] = "ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY2zA4"
    assert set(ReviewItem.objects.values_list("verdict", flat=True)) == {""}
    answer = client.post(address(review, "judge"), filled(page, **chosen))
    assert answer.context["problems"]
    assert set(ReviewItem.objects.values_list("verdict", flat=True)) == {""}


def test_only_what_somebody_changed_is_sent_to_be_saved(client, review, alice, bob):
    """Of two people with the page open, the second saves their verdicts and leaves those of the first."""
    first, second = items_of(review)
    sign_in(client, bob)
    page = client.get(address(review))
    judge(review, alice, only={first.event_number})
    answer = client.post(address(review, "judge"), filled(page, **{field(second, "verdict"): "in_order"}), follow=True)
    assert "1 verdict is saved." in said_on(answer)
    late = {field(first, "verdict"): "finding", field(first, "words"): "x"}
    text = said_on(client.post(address(review, "judge"), filled(page, **late)))
    assert "Somebody has judged event" in text
    assert [item.verdict for item in items_of(review)] == ["in_order", "in_order"]


def test_forged_posts_are_refused_and_recorded(client, review, alice, dave):
    first, hers = items_of(review)
    sign_in(client, alice)
    own = {field(hers, "verdict"): "in_order", field(hers, "seen"): "0", f"initial-{field(hers, 'verdict')}": ""}
    number = last_number()
    assert client.post(address(review, "judge"), own).status_code == 403
    judge(review, make_person("other", "DevOps"))
    assert client.post(address(review, "sign"), {"role": "DevOps", "digest": shown(review).hex()}).status_code == 403
    for digest in ("", "zz", "00" * 32, "00" * 3000):
        assert "nothing was signed" in said_on(
            client.post(address(review, "sign"), {"role": "Security", "digest": digest})
        )
    sign_in(client, dave)
    sent = {"role": "Security", "digest": shown(review).hex()}
    assert client.post(address(review, "sign"), sent).status_code == 403
    theirs = {field(first, "verdict"): "finding", field(first, "words"): "x", field(first, "seen"): "1"}
    assert client.post(address(review, "judge"), theirs).status_code == 403
    seal()
    refused = [event for event in events_of("review.signed") + events_of("review.item_judged") if event.number > number]
    assert sorted(event.said.actor_id for event in refused if event.said.outcome == "refused") == sorted(
        [alice.ref, alice.ref, dave.ref, dave.ref]
    )
    assert not ReviewSignature.objects.exists()


def test_signing_asks_for_the_second_factor_once_more(client, review, alice, bob):
    assert sign_view.requires_step_up
    judge(review, make_person("other", "DevOps"))
    sign_in(client, alice)
    verified_before(client, timedelta(minutes=6))
    answer = client.post(address(review, "sign"), {"role": "Security", "digest": shown(review).hex()})
    assert "/account/step-up/" in answer["Location"]
    assert not ReviewSignature.objects.exists()


@pytest.mark.parametrize(("name", "status"), [("dave", 200), ("carol", 403), ("erin", 403)])
def test_auditors_read_and_others_see_nothing(client, review, request, name, status):
    sign_in(client, request.getfixturevalue(name))
    assert client.get(LIST).status_code == client.get(address(review)).status_code == status
    if status == 200:
        page = client.get(address(review))
        assert not any(row.form for row in page.context["rows"])
        assert "<button" not in page.content.decode().partition("<main")[2]
        assert "Security and DevOps are judging it." in said_on(page)
    for act in ("judge", "sign"):
        assert client.post(address(review, act), {}).status_code in {403, 302}


def test_a_log_that_was_altered_is_shown_and_not_signed(client, review, alice, bob, as_owner):
    judge(review, make_person("other", "DevOps"))
    with as_owner(), connection.cursor() as cursor:
        number = items_of(review)[0].event_number
        cursor.execute("UPDATE audit_event SET digest = sha256('x') WHERE number = %s", [number])
    sign_in(client, alice)
    text = said_on(client.get(address(review)))
    assert f"What it holds of event {number} is not what it was" in text
    assert "you can sign" not in text
    answer = client.post(address(review, "sign"), {"role": "Security", "digest": shown(review).hex()})
    assert "Nothing is signed over that" in said_on(answer)


def test_words_of_people_are_text_wherever_they_stand(client, as_role, alice, bob):
    """The browser's own test of this is tests/browser/test_xss.py; these places are read as markup."""
    payloads = [line for line in PAYLOADS.read_text(encoding="utf-8").splitlines() if "<" in line][:12]
    for payload in payloads:
        key = make_key(name=f"key {payload}", state=State.PRE_ACTIVATION)
        inventory.activate_key(pk=key.pk, actor=SYSTEM, reason=f"why {payload}", now=timezone.now())
    review = opened(as_role)
    for item, payload in zip(items_of(review), payloads, strict=True):
        judge(review, bob, Verdict.FINDING, only={item.event_number}, words=f"found {payload}", follow_up=_key_of(item))
    sign_in(client, alice)
    pages = [client.get(address(review)).content.decode()]
    sign(review, bob, "DevOps")
    sign(review, alice, "Security")
    pages.append(client.get(address(review)).content.decode())
    for page in pages:
        told = " ".join(html.unescape(page).split())
        for payload in payloads:
            assert payload not in page, payload
            for place in ("key", "why", "found"):
                assert " ".join(f"{place} {payload}".split()) in told, (place, payload)


def _key_of(item):
    (key,) = keys_of(numbered([item.event_number])[item.event_number].said.subjects)
    return key.pk


def test_lateness_is_shown_on_the_list_the_first_page_and_the_menu(client, review, alice):
    sign_in(client, alice)
    tile = {one.label: one for one in client.get("/").context.get("tiles", [])}["Reviews overdue"]
    assert (tile.figure, tile.look) == ("0", "ok")
    step = client.get("/").context["steps"][0]
    assert step.title == "Judge and sign a review"
    assert client.get(step.url).context["cl"].result_list == [review]
    assert "in 7 days" in said_on(client.get(LIST))
    with connection.cursor() as cursor:
        cursor.execute("RESET SESSION AUTHORIZATION")
        cursor.execute(
            "UPDATE rotation_review SET due_at = now() - interval '3 days', period_to = now() - interval '10 days', "
            "period_from = now() - interval '24 days'"
        )
        cursor.execute("SET SESSION AUTHORIZATION keyvault_web")
    page = client.get("/")
    tile = {one.label: one for one in page.context["tiles"]}["Reviews overdue"]
    assert (tile.figure, tile.look) == ("1", "late")
    assert client.get(tile.url).context["cl"].result_count == 1
    assert "3 days late" in said_on(client.get(tile.url))
    assert "Reviews 1 overdue" in said_on(page)
    assert client.get(f"{LIST}?state=signed").context["cl"].result_count == 0
    assert client.get(f"{LIST}?findings=none").context["cl"].result_count == 1


def test_pages_cost_the_same_however_much_there_is(client, as_role, alice, bob, monkeypatch):
    monkeypatch.setitem(KINDS, ReviewKind.TRANSITIONS, replace(KINDS[ReviewKind.TRANSITIONS], sample=30))
    sign_in(client, alice)

    def cost(path):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        return len(queries)

    transition("first")
    one = opened(as_role)
    first = (cost(LIST), cost(address(one)), cost("/"))
    for number in range(8):
        transition(f"key-{number}")
    many = opened(as_role, now=timezone.now() + timedelta(days=1))
    judge(many, bob)
    sign(many, bob, "DevOps")
    then = (cost(LIST), cost(address(many)), cost("/"))
    assert then == first
    assert then[0] <= 10
    assert then[1] <= 14
    assert then[2] <= 17, then


def test_the_command_says_what_it_would_do_and_does_it(as_role, alice, bob, capsys):
    transition("first")
    seal()
    with as_role("command"):
        call_command("open_reviews")
        assert "no period is over that has no review yet" in capsys.readouterr().out
        call_command("open_reviews", "--until-now", "--dry-run")
        assert "nothing was written (--dry-run)" in capsys.readouterr().out
        assert not Review.objects.exists()
        call_command("open_reviews", "--until-now")
        assert "1 of 1 events to judge" in capsys.readouterr().out
    assert Review.objects.count() == 1


def test_a_tick_of_the_beat_without_reviewers_says_so(as_role, caplog):
    import time_machine

    transition("first")
    seal()
    with as_role("worker"), time_machine.travel(timezone.now() + timedelta(days=30), tick=False):
        tasks.tend_reviews()
        tasks.tend_reviews()
    assert caplog.text.count("nobody could be told") == 1
    assert Review.objects.count() == 1
    assert actions_since(0).count("review.opened") <= 1
