"""Resetting somebody's second factors: by a command, told to everybody who must know."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from keyvault_admin import access
from keyvault_admin.access import selectors, services
from keyvault_admin.access.models import EnrolmentLink, RecoveryCode, TotpDevice, User
from rotation.models import Digest, Request
from tests.conftest import make_person
from tests.keyvault_admin.access.test_passkeys import ACTOR, actions, events, give_passkey
from tests.people import give_device, next_code, sign_in

REASON = "phone stolen, recognised on a call"


@pytest.fixture
def link(client: Client, alice: User, bob: User, carol: User, as_role) -> tuple[str, str]:
    """What the command prints about carol, who had one of each kind."""
    services.make_recovery_codes(person=carol, actor=ACTOR, now=timezone.now())
    give_passkey(carol)
    sign_in(client, carol)
    services.begin_app(person=carol)
    with as_role("command"):
        return run("carol", "--reason", REASON)


def run(*words: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("reset_second_factors", *words, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue()


def test_reset_takes_every_factor_and_gives_a_link(client: Client, carol: User, link: tuple[str, str]) -> None:
    address, words = link
    assert "/enrol/#" in address
    assert address not in words
    assert not selectors.is_enrolled(carol)
    assert not TotpDevice.objects.exclude(sealed_seed=b"").exists(), "the one that waited too"
    assert not selectors.usable_codes(carol).exists()
    assert RecoveryCode.objects.filter(voided_at__isnull=False).count() == 10
    assert client.get("/").status_code == 302, "the session is worth nothing"


def test_reset_is_recorded_with_its_reason(carol: User, link: tuple[str, str]) -> None:
    assert actions()[-2:] == ["factor.reset", "enrolment.issued"]
    event = events()[-2]
    assert event["reason"] == REASON
    assert event["actor"]["id"] == "command:reset_second_factors"
    assert [name.split(":")[0] for name in event["facts"]["removed"]] == ["totp", "totp", "passkey", "recovery"]
    assert "carol" not in str(event)


def test_reset_tells_the_person_and_security_and_devops(carol: User, link: tuple[str, str]) -> None:
    mine = Digest.objects.get(subject="Your second factors were reset")
    assert mine.recipient == carol.email
    others = Digest.objects.filter(subject="Somebody's second factors were reset")
    assert set(others.values_list("recipient", flat=True)) == {"alice@example.org", "bob@example.org"}
    assert REASON in others[0].text
    assert not any("single sign-on" in text for text in Digest.objects.values_list("text", flat=True))
    token = link[0].rpartition("#")[2]
    assert not any(token in text + html for text, html in Digest.objects.values_list("text", "html"))


def test_after_a_reset_the_link_enrols_anew_and_the_password_stays(carol: User, link: tuple[str, str]) -> None:
    browser = Client()
    assert browser.post("/enrol/", {"token": link[0]}).status_code == 302
    device = selectors.pending_device(carol)
    answer = browser.post("/enrol/factor/", {"code": next_code(device)})
    assert answer.status_code == 200
    assert selectors.usable_codes(carol).count() == 10
    assert sign_in(Client(), carol) == device


def test_dry_run_changes_nothing(client: Client, carol: User, as_role) -> None:
    sign_in(client, carol)
    before = actions()
    with as_role("command"):
        out, err = run("carol", "--reason", REASON, "--dry-run")
    assert out == ""
    assert "1 authenticator apps, 0 passkeys and 0 recovery codes" in err
    assert "Dry run, nothing was changed" in err
    assert actions() == before
    assert not EnrolmentLink.objects.exists()
    assert client.get("/").status_code == 200


def everybodys() -> set[str]:
    found = Digest.objects.filter(subject__startswith="Too few people of")
    return set(found.values_list("recipient", flat=True))


def test_the_last_of_a_role_is_reset_only_when_somebody_insists(alice: User, bob: User, dave: User, as_role) -> None:
    for person in (alice, bob):
        give_device(person)
    with as_role("command"):
        with pytest.raises(CommandError, match=r"nobody of Security would be left.*add --even-if-last"):
            run("alice", "--reason", REASON)
        assert selectors.is_enrolled(alice)
        assert actions() == []
        address, _ = run("alice", "--reason", REASON, "--even-if-last")
    assert "/enrol/#" in address
    assert not selectors.is_enrolled(alice)
    assert events()[-2]["facts"]["too_few_left_of"] == ["Security"]
    assert everybodys() == {"alice@example.org", "bob@example.org", "dave@example.org"}
    mail = Digest.objects.filter(subject__startswith="Too few people of Security").first()
    assert "restore_quorum" in mail.text
    assert REASON in mail.text


def test_a_reset_that_leaves_one_of_two_is_loud_and_one_that_leaves_two_is_not(alice: User, bob: User, as_role) -> None:
    pair = [make_person(name, "Security") for name in ("one", "two")]
    others = [make_person(name, "DevOps") for name in ("three", "four")]
    for person in (alice, bob, *pair, *others):
        give_device(person)
    with as_role("command"):
        run("one", "--reason", REASON)
        assert events()[-2]["facts"]["too_few_left_of"] == []
        assert everybodys() == set()
        run("two", "--reason", REASON)
    assert events()[-2]["facts"]["too_few_left_of"] == ["Security"]
    assert len(everybodys()) == 6


@pytest.mark.parametrize(("words", "answer"), [(["nobody"], "Nobody is called nobody"), (["carol"], "Say why")])
def test_reset_refuses_with_a_sentence(carol: User, as_role, words: list[str], answer: str) -> None:
    give_device(carol)
    with as_role("command"), pytest.raises(CommandError, match=answer) as caught:
        run(*words, "--reason", " ")
    assert caught.value.returncode == 1
    assert selectors.is_enrolled(carol)


def test_reset_refuses_somebody_deactivated(carol: User, as_role) -> None:
    with as_role("command"):
        User.objects.filter(pk=carol.pk).update(is_active=False)
        with pytest.raises(CommandError, match="deactivated"):
            run("carol", "--reason", REASON)


def test_no_page_resets_anybody() -> None:
    callers = {
        path.stem for path in Path(access.__file__).parents[1].rglob("*.py") if "reset_factors(" in path.read_text()
    }
    assert callers == {"factors", "operations", "resetting"}


def test_once_people_can_vote_it_is_asked_for(alice: User, carol: User, as_role) -> None:
    pair = [make_person("two", "Security"), *(make_person(name, "DevOps") for name in ("three", "four"))]
    for person in (alice, carol, *pair):
        give_device(person)
    with as_role("command"):
        services.close_bootstrap_if_complete(actor=ACTOR, now=timezone.now())
        out, err = run("alice", "--reason", REASON)
        assert out == ""
        assert "Nothing is done before people have voted. These can:\n- Security: two\n- DevOps: four, three" in err
        assert f"/rotation/request/{Request.objects.get().pk}/change/" in err
        with pytest.raises(CommandError, match=r"nothing is lost\. Ask them"):
            run("carol", "--reason", REASON, "--even-if-last")
        assert selectors.is_enrolled(alice)
        User.objects.filter(username="two").update(is_active=False)
        address, _ = run("alice", "--reason", REASON, "--even-if-last")
    assert "/enrol/#" in address
    assert events()[-2]["facts"]["alone"] == "the quorum is lost"
    assert everybodys() == {f"{name}@example.org" for name in ("alice", "carol", "three", "four")}
