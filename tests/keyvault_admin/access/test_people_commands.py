"""The commands that stand in for votes: what they do, what they say, and what they refuse."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from keyvault_admin.access.models import QuorumReview, User
from keyvault_admin.access.services import close_bootstrap_if_complete
from rotation.models import Digest
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


def test_grant_role_gives_it_and_says_who_is_told(carol: User, alice: User) -> None:
    out, err = run("grant_role", "CAROL", "DevOps", "--reason", "joins the team")
    assert (out, err) == ("", "carol has the role DevOps. Security, DevOps and the person are told by mail.")
    assert User.objects.get(pk=carol.pk).role == "DevOps+Engineering"
    assert {letter.recipient for letter in Digest.objects.all()} == {carol.email, alice.email}
    assert "joins the team" in Digest.objects.all()[0].text


def test_dry_run_says_the_same_and_changes_nothing(carol: User) -> None:
    for typed in (["grant_role", "carol", "DevOps"], ["grant_role", "carol", "Auditor", "--until", "2027-01-31"]):
        _, err = run(*typed, "--reason", "x", "--dry-run")
        assert err.startswith("Dry run, nothing was changed.")
    assert User.objects.get(pk=carol.pk).role == "Engineering"
    assert not Digest.objects.exists()
    assert actions() == []


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
        (["restore_quorum", "carol", "Security", "--reason", "x"], "has never been reached"),
        (["restore_quorum", "carol", "Auditor", "--reason", "x"], "invalid choice"),
    ],
)
def test_commands_refuse_with_a_sentence(carol: User, typed: list[str], answer: str) -> None:
    with pytest.raises(CommandError, match=answer) as caught:
        run(*typed)
    assert caught.value.returncode == 1
    assert User.objects.get(pk=carol.pk).role == "Engineering"
    assert actions() == []
    assert not Digest.objects.exists()


def test_an_auditor_gets_a_last_day_or_the_word_that_there_is_none(carol: User, erin: User) -> None:
    run("grant_role", "carol", "Auditor", "--until", "2027-01-31", "--reason", "yearly audit")
    run("grant_role", "erin", "Auditor", "--without-end", "--reason", "internal audit")
    assert User.objects.get(pk=carol.pk).ends_on == date(2027, 1, 31)
    assert User.objects.get(pk=erin.pk).ends_on is None


def test_reactivate_person_lets_somebody_back_in(carol: User) -> None:
    User.objects.filter(pk=carol.pk).update(is_active=False, ends_on=date(2020, 1, 1))
    _, err = run("reactivate_person", "carol", "--reason", "back from leave")
    assert "carol is active again, with Engineering" in err
    assert (User.objects.get(pk=carol.pk).is_active, User.objects.get(pk=carol.pk).ends_on) == (True, None)


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
