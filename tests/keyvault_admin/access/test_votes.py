"""The second factor of a vote: whose it may be, what it may be, and that it is spent."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import services
from keyvault_admin.access.challenges import draw_challenge, vote_purpose
from keyvault_admin.access.models import Passkey, User
from tests.authenticator import Authenticator, b64
from tests.conftest import RoleSwitch
from tests.people import give_device, next_code

DIGEST = bytes(range(32))

pytestmark = pytest.mark.django_db


def verified(person: User, *, digest: bytes = DIGEST, actor: Actor | None = None, **shown: object) -> str | None:
    return services.verify_for_vote(
        actor=actor or Actor(kind="person", id=person.ref),
        **{"code": "", "answer": "", "challenge": None, **shown},
        digest=digest,
        now=timezone.now(),
    )


def test_a_code_is_accepted_once_and_only_from_who_may_act(alice: User, bob: User, as_role: RoleSwitch) -> None:
    device, other = give_device(alice), give_device(bob)
    code = next_code(device)
    for wrong in (" " + code, code[:3] + "_" + code[3:], "", "000000x", next_code(other)):
        assert verified(alice, code=wrong) is None
    device.refresh_from_db()
    assert device.throttling_failure_count > 0
    device.throttle_reset()
    assert verified(alice, code=code, actor=Actor.system("command:x", on_behalf_of=alice.ref)) is None
    assert verified(alice, code=code) == device.ref
    assert verified(alice, code=code) is None


def test_who_has_ended_or_is_deactivated_shows_nothing(alice: User, as_role: RoleSwitch) -> None:
    device = give_device(alice)
    for change in ({"is_active": False}, {"ends_on": datetime.now(UTC).date() - timedelta(days=1)}):
        with as_role("command"):
            User.objects.filter(pk=alice.pk).update(**change)
        assert verified(alice, code=next_code(device)) is None
        with as_role("command"):
            User.objects.filter(pk=alice.pk).update(is_active=True, ends_on=None)
    assert verified(alice, code=next_code(device)) == device.ref


def test_recovery_codes_do_not_vote(alice: User, now: datetime) -> None:
    give_device(alice)
    codes = services.make_recovery_codes(person=alice, actor=Actor.system("test"), now=now)
    assert verified(alice, code=codes[0]) is None


@pytest.mark.parametrize(
    "bend", [lambda it: it[:-1], lambda it: bytes(32) + it[32:], lambda it: it[32:], lambda _: None]
)
def test_a_passkey_answers_for_the_digest_it_was_asked_about(
    alice: User, bend: Callable[[bytes], bytes | None]
) -> None:
    authenticator = Authenticator()
    passkey = Passkey(
        user=alice, name="phone", credential_id=authenticator.credential_id, public_key=authenticator._cose_key(),
        user_handle=b"", sign_count=1,
    )  # fmt: skip
    passkey.save()
    challenge = DIGEST + draw_challenge()
    answer = authenticator.get({"challenge": b64(challenge)})
    assert verified(alice, answer=answer, challenge=bend(challenge)) is None
    assert verified(alice, answer=answer, challenge=challenge, digest=bytes(32)) is None
    assert verified(alice, answer=answer, challenge=challenge, digest=b"") is None
    assert verified(alice, answer=answer, challenge=challenge) == passkey.ref
    assert verified(alice, answer=answer, challenge=challenge) is None
    assert vote_purpose(DIGEST) == f"vote:{DIGEST.hex()}"


def test_it_is_counted_outside_whatever_is_rolled_back(alice: User) -> None:
    device = give_device(alice)
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        verified(alice, code="000000")
    device.refresh_from_db()
    assert device.throttling_failure_count == 0
    assert Group.objects.filter(user=alice).exists()
