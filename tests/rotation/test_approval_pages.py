"""The pages of approvals: what each person sees and may do on them, what a forged POST does, what they cost."""

import html
import re
import sys

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.actions import Action
from rotation.models import Request, RequestState, RequestTarget, Vote
from tests.conftest import make_person
from tests.engines import ROOT
from tests.inventory.world import events_of, make_key, seal
from tests.keyvault_admin.access.test_passkeys import give_passkey
from tests.people import give_device, next_code, sign_in
from tests.rotation.inbox_world import asked, execute, thing
from tests.rotation.request_world import payload_for, row_of, voted

pytestmark = pytest.mark.django_db
LIST = "/rotation/request/"
FULL = "tests.full" in sys.modules
PAYLOADS = ROOT / "tests" / "data" / "xss_payloads.txt"


def said_on(answer):
    assert answer.status_code == 200, answer.status_code
    return text_of(answer.content.decode())


def text_of(markup):
    text = re.sub(r"<(style|script|head)\b.*?</\1>", " ", markup, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def address(request, act="change"):
    return f"{LIST}{request.pk}/{act}/"


def ballot(request, device, *, approves=True, **said):
    """Return what a browser sends of the page of a request."""
    decision = "approve" if approves else "reject"
    sent = {
        "digest": bytes(request.digest).hex(),
        "decision": decision,
        "comment": "looked at",
        "code": next_code(device),
    }
    return sent | said


@pytest.fixture
def world():
    with thing() as made:
        yield made


@pytest.fixture
def request_of_carol(world, carol):
    return asked("test.thing", carol, world=world)


def test_a_request_is_decided_by_two_people(client, world, carol, alice, bob, as_role):
    request = asked("test.thing", carol, world=world)
    device = sign_in(client, bob)
    text = said_on(client.get(address(request)))
    assert "Turn thing 7 into blue" in text
    assert "What will happen" in text
    assert "asked by Carol Example (Engineering)" in text
    assert "DevOps: you can fill this step" in text
    assert "Security: missing" in text
    assert f"Digest {request.short_digest} …" in text
    answer = client.post(address(request, "vote"), ballot(request, device), follow=True)
    text = said_on(answer)
    assert "You have approved it: Turn thing 7 into blue." in text
    assert "DevOps: Bob Example approved" in text
    assert "You have voted. What is missing is somebody else's." in text
    assert 'name="code"' not in answer.content.decode()

    device = sign_in(client, alice)
    answer = client.post(address(request, "vote"), ballot(request, device), follow=True)
    text = said_on(answer)
    assert "The worker carries it out" in text
    assert f'data-waiting="{address(request, "progress")}"' in answer.content.decode()
    assert '<noscript><meta http-equiv="refresh"' in answer.content.decode()
    assert client.get(address(request, "progress")).json()["is_waiting"] is True
    execute(request, as_role)
    seal()
    assert_carried_out(client, request)


def assert_carried_out(client, request):
    assert client.get(address(request, "progress")).json()["is_waiting"] is False
    answer = client.get(address(request))
    text = said_on(answer)
    assert "It was carried out, exactly as it stands here." in text
    assert "What was asked" in text
    assert "data-waiting" not in answer.content.decode()
    assert "Alice Example" in text[text.index("What happened to it") :]


def test_a_rejection_says_why_and_ends_it(client, world, request_of_carol, bob):
    device = sign_in(client, bob)
    sent = ballot(request_of_carol, device, approves=False, comment="")
    text = said_on(client.post(address(request_of_carol, "vote"), sent))
    assert "Say why you reject it" in text
    assert not Vote.objects.exists()
    sent = ballot(request_of_carol, device, approves=False, comment="not this week")
    text = said_on(client.post(address(request_of_carol, "vote"), sent, follow=True))
    assert "You have rejected it" in text
    assert "DevOps: Bob Example rejected" in text
    assert "“not this week”" in text
    assert Request.objects.get().state == RequestState.REJECTED


def test_a_wrong_code_decides_nothing_and_leaves_a_trace(client, world, request_of_carol, bob):
    device = sign_in(client, bob)
    sent = ballot(request_of_carol, device, code="000000")
    answer = client.post(address(request_of_carol, "vote"), sent)
    assert "Your second factor was not accepted" in said_on(answer)
    assert "000000" not in answer.content.decode()
    sent = ballot(request_of_carol, device, code="")
    assert "Type the code of your authenticator app" in said_on(client.post(address(request_of_carol, "vote"), sent))
    assert not Vote.objects.exists()
    seal()
    (event,) = [event for event in events_of(Action.REQUEST_VOTED) if event.said.outcome == "refused"]
    assert "not accepted" in event.said.facts["refused"]
    assert [subject.ref for subject in event.said.subjects] == [request_of_carol.ref]


def test_a_form_of_another_page_is_refused_with_a_sentence(client, world, request_of_carol, bob):
    other = asked("test.thing", "command:test", world=world, number=8)
    device = sign_in(client, bob)
    sent = ballot(request_of_carol, device, digest=bytes(other.digest).hex())
    assert "is not what is asked here" in said_on(client.post(address(request_of_carol, "vote"), sent))
    for tampered in ("", "00", "zz" * 32, bytes(request_of_carol.digest).hex().upper(), "0" * 65):
        sent = ballot(request_of_carol, device, digest=tampered)
        assert "Nothing was decided" in said_on(client.post(address(request_of_carol, "vote"), sent))
    for tampered in ("", "execute", "approve,reject"):
        sent = ballot(request_of_carol, device) | {"decision": tampered}
        assert "Nothing was decided" in said_on(client.post(address(request_of_carol, "vote"), sent))
    assert client.get(address(request_of_carol, "vote")).status_code == 405
    assert not Vote.objects.exists()


def test_who_may_not_vote_sees_no_form_and_is_refused(client, world, request_of_carol, carol, dave, erin, alice):
    excluded = asked("test.thing", carol, world=world, number=8, excluded=(alice.ref,))
    cases = [
        (carol, request_of_carol, "You asked for this"),
        (dave, request_of_carol, ""),
        (erin, request_of_carol, ""),
    ]
    for person, request, why in [*cases, (alice, excluded, "You have a part in what this is about")]:
        device = sign_in(client, person)
        answer = client.get(address(request))
        assert why in said_on(answer)
        assert 'name="code"' not in answer.content.decode()
        assert client.post(address(request, "vote"), ballot(request, device)).status_code == 403
        if person != carol:
            if person != alice:
                assert client.post(address(request, "retry"), {"reason": "x"}).status_code == 403
            assert client.post(address(request, "withdraw"), {"reason": "x"}).status_code == 403
        client.logout()
    assert not Vote.objects.exists()
    seal()
    refused = [event for event in events_of(Action.REQUEST_VOTED) if event.said.outcome == "refused"]
    assert {event.said.actor_id for event in refused} == {carol.ref, dave.ref, erin.ref, alice.ref}


def test_mallory_sees_nothing(client, request_of_carol, mallory):
    client.force_login(mallory)
    for act in ("change", "progress"):
        assert client.get(address(request_of_carol, act)).status_code == 302
    assert client.get(LIST).status_code == 302


def test_the_requester_takes_it_back(client, world, request_of_carol, carol):
    sign_in(client, carol)
    assert "You can take it back" in said_on(client.get(address(request_of_carol)))
    assert "Nothing was decided" in said_on(client.post(address(request_of_carol, "withdraw"), {"reason": ""}))
    text = said_on(client.post(address(request_of_carol, "withdraw"), {"reason": "a mistake"}, follow=True))
    assert "It is withdrawn." in text
    assert "Whoever asked took it back" in text


def test_what_failed_can_be_tried_again(client, world, request_of_carol, alice, bob, carol, as_role):
    for person, role in ((bob, "DevOps"), (alice, "Security")):
        voted(request_of_carol, person, role)
    world.breaks = True
    now = timezone.now()
    Request.objects.update(state=RequestState.APPROVED, approved_at=now, next_attempt_at=now)
    execute(request_of_carol, as_role)
    assert Request.objects.get().state == RequestState.FAILED
    sign_in(client, carol)
    text = said_on(client.get(address(request_of_carol)))
    assert "could not be carried out" in text
    assert "Its votes still count" in text
    text = said_on(client.post(address(request_of_carol, "retry"), {"reason": "mended"}, follow=True))
    assert "It is tried again." in text
    assert Request.objects.get().state == RequestState.APPROVED


def test_what_changed_since_says_so(client, world, request_of_carol, bob):
    sign_in(client, bob)
    assert "Overtaken" not in said_on(client.get(address(request_of_carol)))
    world.revisions[7] += 1
    text = said_on(client.get(address(request_of_carol)))
    assert "Overtaken. thing 7 has changed since this was asked." in text
    world.refuses = "There is no such thing any more."
    assert "Overtaken. There is no such thing any more." in said_on(client.get(address(request_of_carol)))


def test_a_step_that_nobody_can_fill_is_named(client, world, request_of_carol, bob):
    sign_in(client, bob)
    assert "Security: missing Nobody can fill it as things are." in said_on(client.get(address(request_of_carol)))
    give_device(make_person("anna", "Security"))
    assert "Nobody can fill it" not in said_on(client.get(address(request_of_carol)))


def test_an_operation_that_this_version_does_not_know_is_shown_and_nothing_more(client, carol, bob):
    request = asked("gone.away", carol, parameters={"key": 12})
    sign_in(client, bob)
    text = said_on(client.get(address(request)))
    assert "is not known to this version" in text
    assert "key 12" in text


# A passkey


def test_a_passkey_votes_on_what_was_shown_and_on_nothing_else(client, world, request_of_carol, bob):
    other = asked("test.thing", "command:test", world=world, number=8)
    device = sign_in(client, bob)
    assert "use your passkey" not in said_on(client.get(address(request_of_carol)))
    _, authenticator = give_passkey(bob)
    sign_in(client, bob)
    page = client.get(address(request_of_carol)).content.decode()
    (challenge,) = re.findall(r'data-passkey-url="([^"]+)"', page)
    assert challenge == f"/account/passkey/vote/{bytes(request_of_carol.digest).hex()}/"
    answer = authenticator.get(client.post(challenge).json())
    sent = ballot(other, device, code="", answer=answer)
    assert "not accepted" in said_on(client.post(address(other, "vote"), sent))
    sent = ballot(request_of_carol, device, code="", answer=answer)
    assert "not accepted" in said_on(client.post(address(request_of_carol, "vote"), sent))  # spent by the try before
    sent["answer"] = authenticator.get(client.post(challenge).json())
    text = said_on(client.post(address(request_of_carol, "vote"), sent, follow=True))
    assert "You have approved it" in text
    assert Vote.objects.get().verified_by.startswith("passkey:")
    assert client.post("/account/passkey/vote/00/").status_code == 404


# Several at once


def test_one_code_decides_on_a_list(client, world, carol, bob):
    chosen = [asked("test.thing", carol, world=world, number=number) for number in range(3)]
    device = sign_in(client, bob)
    page = client.get(LIST)
    assert page.content.decode().count('name="_selected_action"') == 3
    ticked = {"action": "decide_together", "_selected_action": [str(one.pk) for one in chosen], "index": "0"}
    answer = client.post(LIST, ticked, follow=True)
    text = said_on(answer)
    for number in range(3):
        assert f"Turn thing {number} into blue" in text
    assert not Vote.objects.exists()
    (ballots,) = re.findall(r'name="ballots" value="([^"]+)"', answer.content.decode())
    sent = {"ballots": ballots, "decision": "approve", "comment": "", "code": next_code(device)}
    text = said_on(client.post(f"{LIST}together/", sent, follow=True))
    assert "You have approved 3 requests." in text
    assert Vote.objects.count() == 3


def test_a_list_that_was_tampered_with_decides_nothing(client, world, carol, bob):
    first, second = (asked("test.thing", carol, world=world, number=number) for number in range(2))
    device = sign_in(client, bob)
    own = asked("test.thing", bob, world=world, number=5)
    page = client.get(f"{LIST}together/?requests={first.pk},{second.pk},{own.pk},x,-1,{10**30}")
    assert "Left out, because it does not wait for your vote" in said_on(page)
    (ballots,) = re.findall(r'name="ballots" value="([^"]+)"', page.content.decode())
    assert str(own.pk) not in {each.partition(":")[0] for each in ballots.split(",")}
    swapped = f"{first.pk}:{bytes(second.digest).hex()},{second.pk}:{bytes(first.digest).hex()}"
    for tampered in ("", "x", ballots[:-1], ballots + ",", swapped, f"{ballots},{ballots}"):
        sent = {"ballots": tampered, "decision": "approve", "comment": "", "code": next_code(device)}
        assert "Nothing was decided" in said_on(client.post(f"{LIST}together/", sent))
    forged = {
        "ballots": f"{ballots},{own.pk}:{bytes(own.digest).hex()}",
        "decision": "approve",
        "code": next_code(device),
    }
    assert client.post(f"{LIST}together/", forged).status_code == 403
    assert not Vote.objects.exists()
    assert "Nothing is chosen" in said_on(client.get(f"{LIST}together/"))


# The inbox


def test_the_inbox_shows_what_waits_for_whom(client, world, alice, bob, carol, dave):
    mine = asked("test.thing", bob, world=world, number=1)
    hers = asked("test.thing", carol, world=world, number=2)
    sign_in(client, bob)
    assert listed(client) == {hers.pk}
    assert listed(client, "asked") == {mine.pk}
    assert listed(client, "open") == {mine.pk, hers.pk}
    assert listed(client, "decided") == set()
    text = said_on(client.get(LIST))
    assert "1 request that waits for your vote" in text
    assert "For your vote 1" in text
    assert "DevOps vote" in text
    assert "h left" in text
    voted(hers, bob, "DevOps")
    assert "2 requests not decided" in said_on(client.get(LIST))
    assert listed(client, "waiting") == set()
    assert "Nothing waits for your vote" in said_on(client.get(f"{LIST}?view=waiting"))
    assert "Nothing was decided yet" in said_on(client.get(f"{LIST}?view=decided"))
    client.logout()
    sign_in(client, alice)
    assert listed(client, "waiting") == {mine.pk, hers.pk}
    client.logout()
    sign_in(client, dave)
    assert listed(client) == {mine.pk, hers.pk}
    assert "You have asked for nothing yet" in said_on(client.get(f"{LIST}?view=asked"))
    assert "action-select" not in client.get(LIST).content.decode()


def listed(client, view=""):
    answer = client.get(f"{LIST}?view={view}" if view else LIST)
    assert answer.status_code == 200
    return {request.pk for request in answer.context["cl"].result_list}


def test_the_inbox_is_filtered_and_searched(client, world, carol, bob):
    asked("test.thing", carol, world=world, number=1)
    asked("other.thing", carol, title="Retire the clause")
    sign_in(client, bob)
    for query, count in (
        ("operation=test.thing", 1),
        ("operation=nothing", 2),
        ("state=open", 2),
        ("state=executed", 0),
        ("q=clause", 1),
        ("q=CLAUSE&operation=test.thing", 0),
        ("view=asked&q=clause", 0),
        ("view=nonsense", 2),
        ("o=-2", 2),
        ("o=4", 2),
        ("after=xx&before=yy", 2),
    ):
        assert client.get(f"{LIST}?{query}").context["cl"].result_count == count, query
    for refused in ("payload__contains=x", "requested_by__password__startswith=a", "digest=1", "barred__contains=x"):
        assert client.get(f"{LIST}?{refused}").status_code in {302, 400}, refused


def test_inbox_and_decision_cost_the_same_however_many_there_are(client, world, carol, bob, as_role):
    first = asked("test.thing", carol, world=world, number=1)
    fill(carol, 99)
    sign_in(client, bob)
    addresses = [LIST, f"{LIST}?view=open&q=thing", f"{LIST}?view=decided", f"{LIST}?view=asked", address(first), "/"]
    few = [queries(client, one) for one in addresses]
    fill(carol, (10_000 if FULL else 1_000) - 100)
    many = [queries(client, one) for one in addresses]
    assert few == many
    assert max(many[:4]) <= 10, many
    assert many[4] <= 22, many


def queries(client, where):
    with CaptureQueriesContext(connection) as asked_for:
        assert client.get(where).status_code == 200
    return len([one for one in asked_for if not one["sql"].startswith(("SAVEPOINT", "RELEASE"))])


def fill(person, count):
    made = [
        row_of(payload_for("test.thing", person), title=f"Do thing {number}", person=person) for number in range(count)
    ]
    Request.objects.bulk_create(made, batch_size=2_000)
    RequestTarget.objects.bulk_create(
        (RequestTarget(request=one, ref=one.subject_ref) for one in made), batch_size=2_000
    )


def test_the_first_page_leads_to_what_waits(client, world, carol, alice, dave):
    make_key()
    for number in range(5):
        asked("test.thing", carol, world=world, number=number)
    sign_in(client, alice)
    answer = client.get("/")
    text = said_on(answer)
    assert "Waiting for your vote 5" in text
    assert "Approvals 5 wait for your vote" in text
    assert "asked by Carol Example · DevOps and Security vote missing · 19 h left" in text
    assert "2 more wait for your vote" in text
    assert [step.title for step in answer.context["steps"]][:1] == ["Turn thing 0 into blue"]
    client.logout()
    sign_in(client, dave)
    assert "Waiting for your vote" not in said_on(client.get("/"))


def test_the_page_of_a_key_shows_what_waits_for_it(client, carol, dave):
    key = make_key(name="crm-sync/partner-sftp")
    request = asked("test.of_key", carol, title="Revoke crm-sync/partner-sftp", key=key, refs=[key.ref])
    sign_in(client, dave)
    answer = client.get(f"/inventory/key/{key.pk}/change/")
    assert "Waiting for votes" in said_on(answer)
    assert address(request) in answer.content.decode()


# What somebody wrote


def test_nothing_that_somebody_wrote_is_markup(client, world, carol, bob):
    payloads = [line for line in PAYLOADS.read_text(encoding="utf-8").splitlines() if line][:60]
    for number, written in enumerate(payloads):
        words = written[:200]
        request = asked(
            "test.thing",
            carol,
            world=world,
            number=number,
            title=words or "x",
            reason=words,
            facts={"colour": words, "before": words, "url": words},
        )
        vote = voted(request, bob, "DevOps", comment=words[:400])
        assert vote.comment
    sign_in(client, make_person("anna", "Security"))
    together = ",".join(str(pk) for pk in Request.objects.values_list("pk", flat=True)[:50])
    pages = [LIST, f"{LIST}together/?requests={together}", *(address(one) for one in Request.objects.all())]
    for page in pages:
        markup = client.get(page).content.decode()
        for written in payloads:
            if "<" in written:
                assert written[:200] not in markup, (page, written)
        assert not re.search(r'href="\s*(javascript|data|vbscript):', markup, re.IGNORECASE), page


def test_a_list_with_what_is_not_there_is_told_so(client, alice):
    sign_in(client, alice)
    said = {"ballots": f"999:{'00' * 32}", "decision": "approve", "code": "000000"}
    page = client.post("/rotation/request/together/", said)
    assert page.status_code == 200
    assert "is not what is asked here" in page.content.decode()
