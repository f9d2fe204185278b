"""One-time codes under attack, and the page of one's own second factors."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Thread

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import selectors, services, totp, views
from keyvault_admin.access import urls as access_urls
from keyvault_admin.access.errors import FactorGoneError, LastFactorError
from keyvault_admin.access.models import TotpDevice, User
from rotation.models import Digest
from tests.keyvault_admin.access.test_passkeys import actions, give_passkey
from tests.people import give_device, next_code, sign_in, sign_in_with_password_only

ACTOR = Actor.system("test")
THREADS, TRIES = 40, 200


def remove(person: User, ref: str) -> None:
    services.remove_factor(person=person, ref=ref, actor=ACTOR, now=timezone.now())


# AUT-03


def test_200_parallel_submissions_of_one_code_succeed_once(committed_db: object, alice: User) -> None:
    device = give_device(alice)
    code, barrier = next_code(device), Barrier(THREADS)

    def submit(_: int) -> int:
        barrier.wait()
        successes = sum(services.verify_code(person=alice, code=code) is not None for _ in range(TRIES // THREADS))
        connection.close()
        return successes

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(submit, range(THREADS))) == 1


VARIANTS = {
    "space before": " {}",
    "space behind": "{} ",
    "line break": "{}\n",
    "carriage return": "{}\r\n",
    "tabulator": "\t{}",
    "no-break space": "\u00a0{}",
    "zero-width space": "\u200b{}",
    "byte order mark": "\ufeff{}",
    "NUL": "{}\x00",
    "plus": "+{}",
    "minus": "-{}",
    "leading zero": "0{}",
    "seventh digit": "{}0",
    "fraction": "{}.0",
    "exponent": "{}e0",
    "quoted": "'{}'",
}
DIGITS = {"full-width": 0xFF10, "Arabic-Indic": 0x0660, "Devanagari": 0x0966, "mathematical": 0x1D7CE}
INSIDE = ("_", " ", "-", "\u2009")


def test_no_variant_of_a_right_code_is_taken(alice: User) -> None:
    device = give_device(alice)
    right = next_code(device)
    tried = [shape.format(right) for shape in VARIANTS.values()]
    tried += [right.translate({ord(str(n)): zero + n for n in range(10)}) for zero in DIGITS.values()]
    tried += [right[0] + gap + right[1:] for gap in INSIDE]
    assert len(tried) == 24
    for variant in tried:
        TotpDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
        assert services.verify_code(person=alice, code=variant) is None, repr(variant)
    TotpDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    assert services.verify_code(person=alice, code=right) == device, "the code itself was good all along"


def test_the_wait_doubles_to_a_quarter_of_an_hour_and_no_further(alice: User) -> None:
    """The n-th wrong code is looked at and counted; whatever follows within its wait is not, the right code too."""
    device = give_device(alice)
    waits = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for count, wait in enumerate(waits, start=1):
            assert not device.verify_token("wrong")
            assert device.throttling_failure_count == count
            clock.shift(wait - 0.001)
            assert not device.verify_token(totp.code_at(device.seed(), totp.step_at(timezone.now())))
            assert device.throttling_failure_count == count, "a try during the wait is not counted"
            clock.shift(0.001)
        assert device.verify_token(totp.code_at(device.seed(), totp.step_at(timezone.now())))
        assert device.throttling_failure_count == 0


def test_each_of_several_apps_works_under_its_name(client: Client, alice: User) -> None:
    first, second = give_device(alice), give_device(alice)
    assert services.verify_code(person=alice, code=next_code(second)) == second
    assert services.verify_code(person=alice, code=next_code(first)) == first


# Removing


def test_remove_factor_wipes_the_seed_keeps_the_row_and_tells(alice: User) -> None:
    device, other = give_device(alice), give_device(alice)
    code = next_code(device)
    remove(alice, device.ref)
    device.refresh_from_db()
    assert (device.confirmed, bytes(device.sealed_seed)) == (False, b"")
    assert device.removed_at is not None
    assert not device.verify_token(code)
    assert services.verify_code(person=alice, code=next_code(other)) == other
    assert actions() == ["factor.removed"]
    assert Digest.objects.get().recipient == alice.email


def test_the_last_factor_stays_even_with_recovery_codes(alice: User) -> None:
    device = give_device(alice)
    services.make_recovery_codes(person=alice, actor=ACTOR, now=timezone.now())
    with pytest.raises(LastFactorError):
        remove(alice, device.ref)
    passkey, _ = give_passkey(alice)
    remove(alice, device.ref)
    with pytest.raises(LastFactorError):
        remove(alice, passkey.ref)


@pytest.mark.parametrize("ref", ["totp:0", "totp:", "totp:x", "totp:²", "recovery:1", "", "user:1", "totp:1 OR 1=1"])
def test_remove_factor_refuses_what_is_not_there(alice: User, ref: str) -> None:
    give_device(alice)
    with pytest.raises(FactorGoneError):
        remove(alice, ref)


def test_nobody_removes_what_is_somebody_elses(client: Client, alice: User, bob: User) -> None:
    theirs = [give_device(bob), give_device(bob)]
    sign_in(client, alice)
    with pytest.raises(FactorGoneError):
        remove(alice, theirs[0].ref)
    address = f"/account/factors/totp/{theirs[0].pk}/remove/"
    for answer in (client.get(address), client.post(address)):
        assert (answer.status_code, answer["Location"]) == (302, "/account/factors/")
    assert len(selectors.factors_of(bob).apps) == 2


def test_two_removals_at_once_leave_one(committed_db: object, alice: User) -> None:
    devices, barrier, refused = [give_device(alice), give_device(alice)], Barrier(2), []

    def take_away(device: TotpDevice) -> None:
        barrier.wait()
        try:
            remove(alice, device.ref)
        except LastFactorError:
            refused.append(device)
        connection.close()

    threads = [Thread(target=take_away, args=[device]) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert selectors.is_enrolled(alice)


# The pages


def begin(client: Client) -> TotpDevice:
    assert client.post("/account/factors/app/new/")["Location"] == "/account/factors/app/"
    return TotpDevice.objects.get(confirmed=False, removed_at=None)


def test_adding_an_app_from_a_verified_session(client: Client, alice: User) -> None:
    sign_in(client, alice)
    device = begin(client)
    page = client.get("/account/factors/app/").content.decode()
    assert totp.base32(device.seed()) in page
    assert 'src="data:image/svg+xml' in page
    answer = client.post("/account/factors/app/", {"name": "Second phone", "code": "12345x"})
    assert "That is not the code of now" in answer.content.decode()
    TotpDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    answer = client.post("/account/factors/app/", {"name": "Second phone", "code": next_code(device)})
    assert answer["Location"] == "/account/factors/"
    assert "Second phone" in client.get("/account/factors/").content.decode()
    assert client.get("/account/factors/app/").status_code == 302, "the page of the seed is gone"
    assert actions() == ["session.opened", "factor.added"]
    assert Digest.objects.get().subject == "An authenticator app was added to your sign-in"


def test_looking_draws_no_seed_and_another_session_sees_none(client: Client, alice: User) -> None:
    sign_in(client, alice)
    assert client.get("/account/factors/app/").status_code == 302
    assert client.get("/account/factors/app/new/").status_code == 405
    assert not TotpDevice.objects.filter(confirmed=False).exists()
    device = begin(client)
    other = Client()
    sign_in(other, alice)
    assert other.get("/account/factors/app/").status_code == 302
    form = {"name": "x", "code": next_code(device)}
    assert other.post("/account/factors/app/", form)["Location"] == "/account/factors/"
    assert not TotpDevice.objects.get(pk=device.pk).confirmed


def test_an_app_that_waits_signs_nobody_in(client: Client, alice: User) -> None:
    sign_in(client, alice)
    device = begin(client)
    assert services.verify_code(person=alice, code=next_code(device)) is None


def test_the_page_shows_what_is_there_and_what_opened_this_session(client: Client, alice: User) -> None:
    give_passkey(alice)
    sign_in(client, alice)
    services.make_recovery_codes(person=alice, keep=client.session.session_key, actor=ACTOR, now=timezone.now())
    page = re.sub(r"\s+", " ", client.get("/account/factors/").content.decode())
    assert "Laptop" in page
    assert "10 left." in page
    assert page.count("opened this session") == 1
    removal = client.get(f"/account/factors/totp/{alice.totp_devices.get().pk}/remove/").content.decode()
    assert "You signed in with it" in removal


def test_the_page_says_what_to_do_about_the_last_one(client: Client, alice: User) -> None:
    device = sign_in(client, alice)
    address = f"/account/factors/totp/{device.pk}/remove/"
    page = client.get(address).content.decode()
    assert "Add another first" in page
    assert "Remove it" not in page
    answer = client.post(address, follow=True)
    assert "This is your last second factor, so it stays" in answer.content.decode()


def test_removing_the_app_of_this_session_ends_it(client: Client, alice: User) -> None:
    device = sign_in(client, alice)
    give_passkey(alice)
    client.post(f"/account/factors/totp/{device.pk}/remove/")
    assert client.get("/account/factors/").status_code == 302


def own_addresses() -> list[str]:
    routes = [str(entry.pattern) for entry in access_urls.urlpatterns]
    return ["/account/" + route.replace("<slug:kind>", "totp").replace("<int:pk>", "1") for route in routes]


@pytest.mark.parametrize("visitor", ["nobody", "password only"])
def test_a_second_factor_comes_from_a_verified_session_only(client: Client, alice: User, visitor: str) -> None:
    device = give_device(alice)
    give_device(alice)
    if visitor == "password only":
        sign_in_with_password_only(client, alice)
        session = client.session
        session["app_to_confirm"] = device.pk
        session.save()
    assert len(own_addresses()) >= 8
    for address in own_addresses():
        for answer in (client.get(address), client.post(address, {"name": "x", "code": "123456", "creation": "{}"})):
            assert (answer.status_code, answer["Location"][:7]) == (302, "/login/"), address
    assert TotpDevice.objects.filter(confirmed=True).count() == 2
    assert not TotpDevice.objects.filter(confirmed=False).exists()


def test_each_change_asks_to_step_up_first() -> None:
    changing = {
        "NewAppView",
        "AddAppView",
        "AddPasskeyView",
        "LinkView",
        "PasskeyOptionsView",
        "RemoveFactorView",
        "RecoveryCodesView",
        "end_other_sessions",
        "end_own_session",
        "own_data",
    }
    assert {name for name in views.__all__ if getattr(getattr(views, name), "requires_step_up", False)} == changing


def test_the_list_costs_few_queries(client: Client, alice: User, django_assert_max_num_queries: object) -> None:
    for _ in range(5):
        give_device(alice)
    sign_in(client, alice)
    with django_assert_max_num_queries(14):
        client.get("/account/factors/")


def test_an_old_session_does_not_outlive_its_device(client: Client, alice: User) -> None:
    device = sign_in(client, alice)
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        give_device(alice)
        remove(alice, device.ref)
        assert client.get("/").status_code == 302
