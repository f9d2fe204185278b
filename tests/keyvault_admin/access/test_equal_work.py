"""AUT-01: whatever is wrong with a sign-in, and whichever second factor is shown, it costs the same work.

Time is measured by bench/sign_in.py; here the reason why it is equal: the same statements, the same hashing.
"""

import re
from collections.abc import Iterator
from itertools import count

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keyvault_admin.access import services
from keyvault_admin.access.forms import LONGEST_TYPED
from keyvault_admin.access.models import RecoverySheet, User
from tests.authenticator import Authenticator
from tests.conftest import PASSWORD, make_person
from tests.hashing import CheapHasher
from tests.keyvault_admin.access.test_passkeys import ACTOR, give_passkey
from tests.people import give_device

WRONG = "not the pass phrase"
STATEMENT = re.compile(r'(SELECT|INSERT|UPDATE|DELETE).*?(?:FROM|INTO|UPDATE)? "?(\w+_\w+)', re.S)
KINDS = ("code", "recovery code", "passkey")
# What must be touched in vain, so that the comparison is one of something.
TOUCHED = {
    "code": {("SELECT", "access_totpdevice"), ("UPDATE", "access_totpdevice")},
    "recovery code": {("UPDATE", "access_recoverycode"), ("UPDATE", "access_recoverysheet")},
    "passkey": {("SELECT", "access_passkey"), ("INSERT", "axes_accessattempt")},
}
addresses = (f"198.18.{number // 250}.{number % 250 + 1}" for number in count())


class CountedHasher(CheapHasher):
    """The real hasher; it writes down that it was run."""

    runs: list[str] = []

    def encode(self, *arguments):
        self.runs.append("hash")
        return super().encode(*arguments)

    def verify(self, *arguments):
        self.runs.append("hash")
        return super().verify(*arguments)


@pytest.fixture(autouse=True)
def _world(settings, alice: User) -> Iterator[None]:
    """Alice has everything; bare has a password alone, blank a device and no password; the clock stands."""
    settings.PASSWORD_HASHERS = [f"{__name__}.CountedHasher"]
    with time_machine.travel(timezone.now(), tick=False):
        give_device(alice)
        give_passkey(alice)
        services.make_recovery_codes(person=alice, actor=ACTOR, now=timezone.now())
        make_person("bare", "Security")
        give_device(blank := make_person("blank", "Security"))
        User.objects.filter(pk=blank.pk).update(password="!unusable")
        refused("nobody", WRONG, "code")  # makes the month's key of strangers in the log
        yield


def shown(client: Client, kind: str) -> dict[str, str]:
    """Return a second factor of this kind that opens nothing."""
    if kind == "code":
        return {"code": "999999"}
    if kind == "recovery code":
        return {"code": "", "recovery_code": "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF"}
    return {"code": "", "assertion": Authenticator().get(client.post("/login/passkey/").json())}


def refused(name: str, password: str, kind: str, address: str = "", status: int = 200) -> tuple[list[tuple], int]:
    """Return the statements of one refused sign-in, and how often Argon2 was run."""
    client = Client(REMOTE_ADDR=address or next(addresses))
    form = {"username": name, "password": password, **shown(client, kind)}
    CountedHasher.runs.clear()
    with CaptureQueriesContext(connection) as queries:
        assert client.post("/login/", form).status_code == status
    found = [STATEMENT.search(query["sql"]) for query in queries]
    return sorted(each.groups() for each in found if each), len(CountedHasher.runs)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_wrong_the_work_is_the_same(kind: str) -> None:
    unknown = refused("nobody", WRONG, kind)
    assert unknown[1] == 1
    assert set(unknown[0]) >= TOUCHED[kind]
    assert refused("alice", WRONG, kind) == unknown, "a wrong password"
    assert refused("alice", PASSWORD, kind) == unknown, "the right password with a wrong factor"
    assert refused("blank", WRONG, kind) == unknown, "no password yet"
    assert refused("bare", PASSWORD, kind) == unknown, "the right password of somebody who has no such factor"
    assert refused("alice", PASSWORD, kind) == unknown, "the right password while the factor waits after a wrong code"


@pytest.mark.parametrize("kind", KINDS)
def test_the_locking_try_and_those_after_it_cost_the_same_for_everybody(kind: str) -> None:
    """The fifth wrong try is looked at as well, so it must not tell either; the sixth is not looked at."""
    found = {}
    for name, password in (("nobody", WRONG), ("alice", WRONG), ("alice", PASSWORD)):
        address = next(addresses)
        for _ in range(4):
            refused(name, password, kind, address)
        found[name, password] = [refused(name, password, kind, address, 429) for _ in range(2)]
    unknown, wrong, right = found.values()
    assert len({str(work) for work in (unknown[1], wrong[1], right[1])}) == 1
    assert unknown[1][1] == 0, "no password is looked at behind a closed door"
    assert {hashed for _, hashed in (unknown[0], wrong[0], right[0])} == {1}
    assert unknown[0] == wrong[0] == right[0]


def test_what_is_far_too_long_for_a_name_is_cut_before_it_is_brought_into_its_normal_form() -> None:
    """Two million of these letters stand for thirty-six; their normal form took five seconds."""
    form = {"username": "\ufdfa" * 100_000, "password": WRONG, "code": "999999"}
    answer = Client().post("/login/", form)
    assert answer.status_code == 200
    assert answer.context["form"].cleaned_data["username"] == "\ufdfa" * LONGEST_TYPED


def test_a_wait_is_neither_shortened_nor_lengthened_by_codes_that_come_too_early(alice: User) -> None:
    device = alice.totp_devices.get()
    sheet = RecoverySheet.objects.get(user=alice)
    for kind in ("code", "recovery code"):
        for _ in range(3):
            refused("alice", PASSWORD, kind)
    device.refresh_from_db()
    sheet.refresh_from_db()
    assert (device.throttling_failure_count, sheet.throttling_failure_count) == (1, 1)


def test_nobody_is_nobody() -> None:
    """What is spent in vain changes no row and verifies no one."""
    nobody, now = services.nobody(), timezone.now()
    before = [list(model.objects.order_by("pk").values()) for model in (User, RecoverySheet)]
    assert services.verify_code(person=nobody, code="000000") is None
    assert services.use_recovery_code(person=nobody, code="A" * 24, actor=ACTOR, now=now) is None
    answer = Authenticator().get({"challenge": "AAAA"})
    assert services.verify_assertion(person=nobody, answer=answer, challenge=b"\0" * 32, actor=ACTOR, now=now) is None
    assert [list(model.objects.order_by("pk").values()) for model in (User, RecoverySheet)] == before
    assert not User.objects.filter(pk=nobody.pk).exists()
