"""The pages by which one person acts at once, and those on which others look at it."""

import html
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from inventory.models import Kek, KekVersion, Key
from inventory.states import State
from rotation.models import Digest, Duty, Order, Request
from tests.conftest import make_person
from tests.inventory.world import events_of, key_in, last_number, make_key, seal
from tests.people import give_device, next_code, sign_in, verified_before
from tests.rotation.approval_world import carry_out
from tests.rotation.duty_world import sign, suspended
from tests.rotation.test_at_once import EMERGENCY, break_glass

pytestmark = pytest.mark.django_db
KEYS, LIST = "/inventory/key/", "/rotation/duty/"


def said_on(answer):
    assert answer.status_code == 200, answer.status_code
    text = re.sub(r"<(style|script|head)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", text).split()))


def test_everybody_finds_the_way_to_report_and_is_asked_for_a_factor(client, alice, bob, carol, dave, erin):
    for person in (alice, bob, carol, dave, erin):
        key = make_key(name=f"seen by {person.username}")
        path = f"{KEYS}{key.pk}/report-compromise/"
        sign_in(client, person)
        assert path in client.get(f"{KEYS}{key.pk}/change/").content.decode()
        text = said_on(client.get(path))
        assert "becomes Suspended" in text
        assert "others vote on it" in text
        verified_before(client, timedelta(minutes=6))
        assert "/account/step-up/" in client.post(path, {"reason": "seen on a paste site"}).url
        assert Key.objects.get(pk=key.pk).state == State.ACTIVE
        verified_before(client, timedelta(minutes=4))
        assert "Nothing was changed." in said_on(client.post(path, {"reason": " "}))
        answer = client.post(path, {"reason": "seen on a paste site"}, follow=True)
        assert "is suspended, and its revocation waits for the votes of others." in said_on(answer)
        assert Request.objects.get(key=key).requested_by == person
        client.logout()


def test_the_page_says_what_a_report_does_in_each_state(client, carol):
    sign_in(client, carol)
    for state, words in {
        State.PRE_ACTIVATION: "becomes Compromised",
        State.SUSPENDED: "As it is already.",
        State.DESTROYED: "becomes Destroyed (compromised)",
    }.items():
        key = key_in(state, name=f"is {state}")
        assert words in said_on(client.get(f"{KEYS}{key.pk}/report-compromise/"))
    key = key_in(State.COMPROMISED, name="known")
    text = said_on(client.get(f"{KEYS}{key.pk}/report-compromise/", follow=True))
    assert "known is recorded as compromised already." in text
    assert "Report a compromise" not in text


def test_another_person_looks_and_signs(client, alice, bob, dave, erin):
    duty = suspended(alice)
    path = f"{LIST}{duty.pk}/"
    sign_in(client, alice)
    text = said_on(client.get(f"{path}change/"))
    assert "You did this yourself: somebody else looks at it." in text
    assert "Your signature" not in text
    number = last_number()
    forged = {"verdict": "in_order", "words": "fine", "role": "Security"}
    assert client.post(f"{path}sign/", forged).status_code == 403
    seal()
    (refusal,) = [event for event in events_of("duty.signed") if event.number > number]
    assert refusal.said.outcome == "refused"
    assert refusal.said.facts["refused"] == "You did this yourself: somebody else looks at it."
    client.logout()
    _somebody_else_signs(client, path, forged, bob)
    _others_read_it(client, path, forged, dave, erin)


def _somebody_else_signs(client, path, forged, bob):
    sign_in(client, bob)
    assert "Look at what somebody did alone" in said_on(client.get("/"))
    text = said_on(client.get(f"{path}change/"))
    assert "Alice Example did this alone" in text
    assert "seen in a build log" in text
    assert "Security or DevOps: missing" in text
    answer = client.post(f"{path}sign/", {"verdict": "finding", "words": "", "role": "DevOps"})
    assert "Nothing was signed." in said_on(answer)
    verified_before(client, timedelta(minutes=6))
    assert "/account/step-up/" in client.post(f"{path}sign/", forged).url
    verified_before(client, timedelta(minutes=1))
    sent = {"verdict": "finding", "words": "the log was a test's", "role": "DevOps"}
    text = said_on(client.post(f"{path}sign/", sent, follow=True))
    assert "You have signed for DevOps. It is closed." in text
    assert "“the log was a test's”" in text
    assert "1 finding" in text
    assert "DevOps: Bob Example" in said_on(client.get(f"{LIST}?state=closed"))
    assert "Look at what somebody did alone" not in said_on(client.get("/"))
    client.logout()


def _others_read_it(client, path, forged, dave, erin):
    sign_in(client, dave)  # reads, and no more
    assert "“the log was a test's”" in said_on(client.get(f"{path}change/"))
    assert client.post(f"{path}sign/", forged).status_code == 403
    client.logout()
    sign_in(client, erin)
    assert client.get(LIST).status_code == client.get(f"{path}change/").status_code == 403


def glass(key, act="revoke"):
    return f"{KEYS}{key.pk}/break-glass/{act}/"


def digest_on(answer):
    return re.search(r'name="shown" value="([0-9a-f]*)"', answer.content.decode())[1]


def test_the_glass_is_broken_for_exactly_what_was_shown(client, as_role, alice, bob):
    key = make_key()
    device = sign_in(client, alice)
    page = client.get(glass(key))
    text = said_on(page)
    assert "You revoke it alone, now, without the votes of Security and DevOps." in text
    assert "becomes Compromised with reason key compromise" in text
    sent = {"reason_code": "superseded", "reason": EMERGENCY, "code": next_code(device), "shown": digest_on(page)}
    page = client.post(glass(key), sent)  # something else than was shown: the code is not even looked at
    text = said_on(page)
    assert "Nothing is done yet." in text
    assert "becomes Deactivated with reason superseded" in text
    assert not Request.objects.exists()
    sent["shown"] = digest_on(page)
    assert sent["code"] not in page.content.decode()
    for name, wrong, words in (
        ("code", "", "Type the code"),
        ("code", "000000", "not accepted"),
        ("reason", "urgent", "at least 20"),
    ):
        assert words in said_on(client.post(glass(key), sent | {name: wrong}))
    assert not Request.objects.exists()
    give_device(alice)
    sent["code"] = next_code(alice.totp_devices.last())
    answer = client.post(glass(key), sent)
    made = Request.objects.get()
    assert (answer.status_code, answer.url) == (302, f"/rotation/request/{made.pk}/change/")
    text = said_on(client.get(answer.url))
    assert "You have broken the glass. Everybody is told, and two people look at it." in text
    assert {mail.recipient for mail in Digest.objects.filter(subject__startswith="Break-glass by Alice")} == {
        "alice@example.org",
        "bob@example.org",
    }
    with as_role("worker"):
        assert carry_out(made).state == "executed"
    _the_next_one_waits(client, key)


def _the_next_one_waits(client, key):
    other = make_key(name="other")
    text = said_on(client.get(glass(other)))
    assert "You have broken the glass already." in text
    assert "Revoke it alone, now" not in text
    said = Duty.objects.get()
    assert f"{LIST}{said.pk}/change/" in client.get(f"{KEYS}{key.pk}/change/").content.decode()


def test_a_rotation_is_shown_before_it_counts(client, alice):
    key, today = make_key(), timezone.now().date().isoformat()
    device = sign_in(client, alice)
    assert "Say when it was rotated" in said_on(client.get(glass(key, "rotation")))
    sent = {"rotated_on": today, "evidence": "version 2 in the store", "url": "", "reason": EMERGENCY}
    page = client.post(glass(key, "rotation"), sent)
    assert "version 1 is deactivated as superseded" in said_on(page)
    sent |= {"shown": digest_on(page), "code": next_code(device)}
    assert client.post(glass(key, "rotation"), sent).status_code == 302
    assert Request.objects.get().operation == "key.rotation"


def test_nobody_else_reaches_the_glass(client, bob, carol, dave, erin):
    key = make_key()
    for person in (carol, dave, erin):
        sign_in(client, person)
        assert "break-glass" not in client.get(f"{KEYS}{key.pk}/change/").content.decode()
        for act in ("revoke", "rotation"):
            assert client.get(glass(key, act)).status_code == 403
            assert client.post(glass(key, act), {"reason": EMERGENCY}).status_code == 403
        client.logout()
    sign_in(client, bob)
    verified_before(client, timedelta(minutes=6))
    assert "/account/step-up/" in client.get(glass(key)).url
    verified_before(client, timedelta(minutes=1))
    assert client.get(f"{KEYS}{key.pk}/break-glass/destroy/", follow=True).status_code == 404


def test_what_is_late_is_seen_everywhere(client, alice, bob, dave):
    duty = suspended(alice, now=timezone.now() - timedelta(hours=30))
    sam = make_person("sam", "Security")
    break_glass(make_key(name="glass"), sam)
    sign_in(client, dave)
    text = said_on(client.get("/"))
    assert "Done alone, overdue 1 2 open" in text
    listed = said_on(client.get(f"{LIST}?state=overdue"))
    assert duty.title in listed
    assert "6 hours late" in listed
    assert "Break-glass" not in listed.partition("Clear all filters")[2]
    sign(duty, bob, "DevOps")
    with CaptureQueriesContext(connection) as few:
        client.get(f"{LIST}{duty.pk}/change/")
    with CaptureQueriesContext(connection) as listing:
        client.get(LIST)
    before = len(listing)
    for nth in range(12):
        sign(suspended(alice, name=f"more-{nth}"), bob, "DevOps")
    with CaptureQueriesContext(connection) as listing:
        client.get(LIST)
    assert len(listing) == before
    assert len(few) <= 12, [query["sql"] for query in few]


def test_a_kek_is_rotated_alone_by_an_order(client, as_role, bob):
    with as_role("worker"):
        key = make_key(kind="kek", name="house/payments")
        kek = Kek.objects.create(key=key, uri="local:house/payments", algorithm="AES-256-KW", newest_seen="1")
        version = key.versions.get()
        KekVersion.objects.create(version=version, kek=kek, store_id="1", status_at=timezone.now())
        Kek.objects.update(primary=version.pk)
    device = sign_in(client, bob)
    assert glass(key, "kek") in client.get(f"{KEYS}{key.pk}/change/").content.decode()
    page = client.get(glass(key, "kek"))
    assert "You have it rotated in its key store alone, now, without the vote of Security." in said_on(page)
    sent = {"reason": EMERGENCY, "code": next_code(device), "shown": digest_on(page)}
    answer = client.post(glass(key, "kek"), sent)
    assert answer.status_code == 302, said_on(answer)
    made = Request.objects.get()
    assert (made.operation, made.is_break_glass) == ("kek.rotate", True)
    with as_role("worker"):
        assert carry_out(made).state == "executed"
    assert Order.objects.get(request=made).act == "kek.rotate"
