import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from keyvault_admin.access import totp
from keyvault_admin.access.models import EnrolmentLink, User
from tests.conftest import make_person
from tests.people import give_device


@pytest.fixture(autouse=True)
def command(db: None, as_role: Callable[[str], AbstractContextManager[None]]) -> Iterator[None]:
    with as_role("command"):
        yield


def run(*words: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command(*words, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue().strip()


def test_bootstrap_admin_prints_the_link_on_standard_output_only() -> None:
    link, words = run("bootstrap_admin", "alice", "alice@example.org", "--role", "Security", "--full-name", "Alice")
    token = re.fullmatch(r"https?://[^?#]+/enrol/#([A-Za-z0-9_-]{43})", link)
    assert token
    assert token[1] not in words
    assert "24 hours" in words
    assert User.objects.get().role == "Security"
    assert EnrolmentLink.objects.get().issued_by == "command:bootstrap_admin"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["al ice", "alice@example.org", "--role", "Security"], "A user name has"),
        (["alice", "nonsense", "--role", "Security"], "This is no mail address"),
        (["alice", "alice@example.org", "--role", "security"], "invalid choice"),
        (["alice", "alice@example.org"], "required: --role"),
    ],
)
def test_bootstrap_admin_refuses_with_a_sentence(words: list[str], answer: str) -> None:
    with pytest.raises(CommandError, match=answer):
        run("bootstrap_admin", *words)
    assert not User.objects.exists()


def test_bootstrap_admin_is_closed_once_four_are_enrolled() -> None:
    for name, role in (("s1", "Security"), ("s2", "Security"), ("d1", "DevOps"), ("d2", "DevOps")):
        give_device(make_person(name, role))
    with pytest.raises(CommandError, match="stays closed") as caught:
        run("bootstrap_admin", "late", "late@example.org", "--role", "Security")
    assert caught.value.returncode == 1
    assert not User.objects.filter(username="late").exists()


def test_demo_code_gives_a_code_that_works_and_then_the_next() -> None:
    device = give_device(make_person("alice", "Security"))
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        codes = []
        for _ in range(2):
            code, words = run("demo_code", " ALICE")
            assert re.fullmatch(r"Good once, for at least \d+ seconds\.", words)
            assert device.verify_token(code)
            codes.append(code)
        assert codes == [totp.code_at(device.seed(), totp.step_at(start) + ahead) for ahead in (0, 1)]
        with pytest.raises(CommandError, match=r"Ask again in \d+ seconds"):
            run("demo_code", "alice")
    with time_machine.travel(start + timedelta(seconds=30), tick=False):
        assert device.verify_token(run("demo_code", "alice")[0])


def test_demo_code_knows_only_people_who_are_enrolled() -> None:
    make_person("alice", "Security")
    with pytest.raises(CommandError, match="Nobody called alice is enrolled here"):
        run("demo_code", "alice")


def test_demo_code_refuses_where_people_are_real(monkeypatch: pytest.MonkeyPatch) -> None:
    give_device(make_person("alice", "Security"))
    monkeypatch.setattr(settings, "IS_LOCAL", False)
    with pytest.raises(CommandError, match="embedded engines only"):
        run("demo_code", "alice")
