"""The commands that stand in for votes: what they do, what they say, and what they refuse."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date, datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from keyvault_admin.access.models import QuorumReview, User
from keyvault_admin.access.services import close_bootstrap_if_complete
from rotation.approvals import payload_of
from rotation.models import Digest, Request
from tests.conftest import make_person
from tests.keyvault_admin.access.test_people import COMMAND
from tests.keyvault_admin.access.test_services import actions
from tests.people import give_device


@pytest.fixture(autouse=True)
def command(db: None, as_role: Callable[[str], AbstractContextManager[None]]) -> Iterator[None]:
    with as_role("command"):
        yield


def run(*typed: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command(*typed, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue().strip()


@pytest.fixture
def closed(alice: User, carol: User, erin: User, dave: User, now: datetime) -> None:
    """Enough people could vote, so that bootstrapping is over."""
    for person in (alice, make_person("anna", "Security"), make_person("bob", "DevOps"), make_person("dora", "DevOps")):
        give_device(person)
    close_bootstrap_if_complete(actor=COMMAND, now=now)


def test_grant_role_asks_and_says_who_can_vote(closed: None, carol: User, alice: User) -> None:
    out, err = run("grant_role", "CAROL", "DevOps", "--reason", "joins the team")
    request = Request.objects.get()
    assert out == ""
    assert f"Asked as request {request.pk}: Give carol the role DevOps" in err
    assert "These can:\n- Security: alice, anna\n- DevOps: bob, dora\n" in err
    assert err.endswith(f"/rotation/request/{request.pk}/change/")
    assert (request.requested_by, request.requested_by_ref) == (None, "command:grant_role")
    assert User.objects.get(pk=carol.pk).role == "Engineering"
    assert {letter.recipient for letter in Digest.objects.all()} == {
        f"{name}@example.org" for name in ("alice", "anna", "bob", "dora")
    }
    assert "joins the team" in Digest.objects.all()[0].text
    with pytest.raises(CommandError, match="asked for carol already"):
        run("grant_role", "carol", "Management", "--reason", "no")


def test_dry_run_says_the_same_and_changes_nothing(closed: None, carol: User) -> None:
    before = actions()
    for typed in (["grant_role", "carol", "DevOps"], ["grant_role", "carol", "Auditor", "--until", "2099-01-31"]):
        _, err = run(*typed, "--reason", "x", "--dry-run")
        assert err.startswith("Dry run, nothing was changed.")
    assert not Request.objects.exists()
    assert not Digest.objects.exists()
    assert actions() == before


def test_before_that_grant_role_points_to_the_other_command(carol: User) -> None:
    with pytest.raises(CommandError, match=r"bootstrap_admin carol carol@example\.org --role DevOps"):
        run("grant_role", "carol", "DevOps", "--reason", "x")


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (["grant_role", "nobody", "DevOps", "--reason", "x"], "Nobody is called nobody"),
        (["grant_role", "carol", "Engineering", "--reason", "x"], "has the role Engineering already"),
        (["grant_role", "carol", "DevOps", "--reason", " "], "Say why"),
        (["grant_role", "carol", "Auditor", "--reason", "x"], "An auditor's account has a last day"),
        (["grant_role", "carol", "Auditor", "--until", "2001-01-01", "--reason", "x"], "in the past"),
        (["grant_role", "carol", "devops", "--reason", "x"], "invalid choice"),
        (["grant_role", "carol", "DevOps"], "required: --reason"),
        (["reactivate_person", "carol", "--reason", "x"], "active already"),
        (["restore_quorum", "carol", "Security", "--reason", "x"], "nothing is lost. Ask them, with grant_role"),
        (["restore_quorum", "carol", "Auditor", "--reason", "x"], "invalid choice"),
    ],
)
def test_commands_refuse_with_a_sentence(closed: None, carol: User, typed: list[str], answer: str) -> None:
    before = actions()
    with pytest.raises(CommandError, match=answer) as caught:
        run(*typed)
    assert caught.value.returncode == 1
    assert User.objects.get(pk=carol.pk).role == "Engineering"
    assert actions() == before
    assert not Digest.objects.exists()


def test_an_auditor_gets_a_last_day_or_the_word_that_there_is_none(closed: None, carol: User, erin: User) -> None:
    run("grant_role", "carol", "Auditor", "--until", "2099-01-31", "--reason", "yearly audit")
    run("grant_role", "erin", "Auditor", "--without-end", "--reason", "internal audit")
    asked = {request.subject_ref: payload_of(request).parameters["ends_on"] for request in Request.objects.all()}
    assert asked == {carol.ref: "2099-01-31", erin.ref: None}


def test_reactivate_person_lets_somebody_back_in_while_there_is_no_quorum(carol: User) -> None:
    User.objects.filter(pk=carol.pk).update(is_active=False, ends_on=date(2020, 1, 1))
    _, err = run("reactivate_person", "carol", "--reason", "back from leave")
    assert "carol is active again, with Engineering" in err
    assert (User.objects.get(pk=carol.pk).is_active, User.objects.get(pk=carol.pk).ends_on) == (True, None)


def test_reactivate_person_asks_once_there_is(closed: None, carol: User) -> None:
    User.objects.filter(pk=carol.pk).update(is_active=False)
    _, err = run("reactivate_person", "carol", "--reason", "back from leave", "--until", "2099-01-31")
    assert "Let carol back in" in err
    assert not User.objects.get(pk=carol.pk).is_active


def test_restore_quorum_prints_a_link_on_standard_output_only(now: object) -> None:
    for name, role in (("s1", "Security"), ("s2", "Security"), ("d1", "DevOps"), ("d2", "DevOps")):
        give_device(make_person(name, role))
    close_bootstrap_if_complete(actor=COMMAND, now=now)
    User.objects.filter(username__in=["s1", "s2"]).update(is_active=False)
    typed = ["restore_quorum", "new", "Security", "--mail", "new@example.org", "--reason", "both have left"]
    out, err = run(*typed, "--dry-run")
    assert (out, QuorumReview.objects.count()) == ("", 0)
    out, err = run(*typed)
    assert "/enrol/#" in out
    assert "/enrol/#" not in err
    assert out.rpartition("#")[2] not in "".join(letter.text for letter in Digest.objects.all())
    assert QuorumReview.objects.get().reason == "both have left"
