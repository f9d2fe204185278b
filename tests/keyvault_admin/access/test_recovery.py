"""Recovery codes: drawn, shown once, good once."""

import re
from io import StringIO
from threading import Barrier, Thread

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import recovery, selectors, services
from keyvault_admin.access.models import RecoveryCode, RecoverySheet, User
from rotation.models import Digest
from tests.conftest import PASSWORD
from tests.keyvault_admin.access.test_passkeys import actions, events
from tests.people import give_device, sign_in

ACTOR = Actor.system("test")
WRITTEN = re.compile(r"(?:[A-Z2-7]{4}-){5}[A-Z2-7]{4}")


def codes_of(person: User) -> list[str]:
    return services.make_recovery_codes(person=person, actor=ACTOR, now=timezone.now())


def used(person: User, code: str) -> RecoverySheet | None:
    return services.use_recovery_code(person=person, code=code, actor=ACTOR, now=timezone.now())


# Drawing and reading


def test_draw_gives_120_bits_in_groups() -> None:
    codes = [recovery.draw() for _ in range(200)]
    assert all(WRITTEN.fullmatch(code) for code in codes)
    assert len(set(codes)) == 200
    assert 24 * 5 >= 112, "base32 holds five bits a character"
    assert set("".join(codes)) - {"-"} == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), "every character comes up"


@pytest.mark.parametrize("form", ["{}", "{} ", "lower", "gapless", "spaced", "misread"])
def test_normal_takes_a_code_as_people_type_it(form: str) -> None:
    code = "OIBA-CDEF-GHJK-LMNP-QRST-UVWX"
    typed = {
        "lower": code.lower(),
        "gapless": code.replace("-", ""),
        "spaced": code.replace("-", " "),
        "misread": code.replace("OIB", "018"),
    }.get(form, form.format(code))
    assert recovery.normal(typed) == "OIBACDEFGHJKLMNPQRSTUVWX"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "123456",
        "ABCD-EFGH-IJKL-MNOP-QRST-UVW",
        "ABCD-EFGH-IJKL-MNOP-QRST-UVWXY",
        "ABCD-EFGH-IJKL-MNOP-QRST-UVW9",
        "ABCD_EFGH_IJKL_MNOP_QRST_UVWX",
        "ABCD-EFGH-IJKL-MNOP-QRST-UVW\u017f",  # upper() of the long s is S
        "ABCD-EFGH-\u0131JKL-MNOP-QRST-UVWX",
        "\uff21BCD-EFGH-IJKL-MNOP-QRST-UVWX",
        "ABCD-EFGH-IJKL-MNOP-QRST-UVWX\n",
        "ABCD-EFGH-IJKL-MNOP-QRST-UVWX\x00",
    ],
)
def test_normal_refuses_what_can_be_no_code(typed: str) -> None:
    assert recovery.normal(typed) is None


# Making and using


def test_codes_are_stored_as_keyed_digests_only(alice: User) -> None:
    codes = codes_of(alice)
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(c::text, ' ') FROM access_recoverycode c")
        rows = cursor.fetchone()[0].upper()
        cursor.execute("SELECT string_agg(s::text, ' ') FROM access_recoverysheet s")
        rows += cursor.fetchone()[0].upper()
    log = str(events()).upper()
    mail = "".join(text + html for text, html in Digest.objects.values_list("text", "html")).upper()
    for code in codes:
        bare = code.replace("-", "")
        for place in (rows, log, mail):
            assert code not in place
            assert bare not in place
            assert bare.encode().hex().upper() not in place
    assert {len(bytes(digest)) for digest in RecoveryCode.objects.values_list("code_digest", flat=True)} == {36}
    assert not any(code in repr(RecoverySheet.objects.get()) for code in codes)


def test_the_same_code_of_two_people_has_two_digests(alice: User, bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([recovery.draw() for _ in range(10)] * 2)
    monkeypatch.setattr(recovery, "draw", lambda: next(drawn))
    assert codes_of(alice) == codes_of(bob)
    assert RecoveryCode.objects.count() == 20, "the digests are unique"


def test_a_code_works_once_and_leaves_an_event_and_a_mail(alice: User) -> None:
    codes = codes_of(alice)
    sheet = used(alice, codes[3].lower())
    assert sheet is not None
    assert sheet.ref == f"recovery:{sheet.pk}"
    assert used(alice, codes[3]) is None
    assert actions() == ["recovery_code.made", "recovery_code.used"]
    assert events()[-1]["facts"] == {"left": 9, "sheet": sheet.ref}
    mail = Digest.objects.get(subject="A recovery code was used to sign in as you")
    assert mail.recipient == alice.email
    assert "9 of them are left" in mail.text


def test_a_code_of_somebody_else_is_refused(alice: User, bob: User) -> None:
    codes_of(alice)
    assert used(alice, codes_of(bob)[0]) is None
    assert used(bob, "nonsense") is None


def test_making_new_codes_voids_the_old_ones(alice: User) -> None:
    old, new = codes_of(alice), codes_of(alice)
    assert used(alice, old[0]) is None
    with time_machine.travel(timezone.now().replace(year=2027)):
        assert used(alice, new[0])
    assert selectors.usable_codes(alice).count() == 9
    assert RecoveryCode.objects.filter(voided_at__isnull=False).count() == 10


def test_wrong_codes_slow_down_like_those_of_an_app(alice: User) -> None:
    codes = codes_of(alice)
    start = timezone.now()
    with time_machine.travel(start, tick=False) as clock:
        assert used(alice, "wrong") is None
        assert used(alice, codes[0]) is None, "the right one too, while the wait lasts"
        clock.shift(1)
        assert used(alice, codes[0])
    assert RecoverySheet.objects.get().throttling_failure_count == 0


def test_database_refuses_a_code_that_is_used_and_void(alice: User) -> None:
    codes_of(alice)
    now = timezone.now()
    with pytest.raises(IntegrityError), transaction.atomic():
        RecoveryCode.objects.update(used_at=now, voided_at=now)


def test_use_recovery_code_under_race_accepts_one_of_many(committed_db: object, alice: User) -> None:
    code, barrier, answers = codes_of(alice)[0], Barrier(12), []

    def try_code() -> None:
        barrier.wait()
        answers.append(used(alice, code) is not None)
        connection.close()

    threads = [Thread(target=try_code) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 11 + [True]
    assert actions().count("recovery_code.used") == 1


def test_a_digest_key_is_needed_until_no_code_that_works_is_kept_under_it(alice: User, settings, as_role) -> None:
    """Without it a sheet of paper in a safe opens nothing, when it is the last thing that could."""
    codes = codes_of(alice)
    first, settings.DIGEST_KEY = settings.DIGEST_KEY, bytes(32)
    settings.DIGEST_KEYS_PREVIOUS = (first,)
    assert epochs(as_role)[1].split(maxsplit=1)[1].split() == ["earlier,", "still", "needed", "0", "0", "10"]
    assert used(alice, codes[0])
    assert epochs(as_role)[1].split()[-1] == "9"
    settings.DIGEST_KEYS_PREVIOUS = ()
    with pytest.raises(CommandError, match="new recovery codes"):
        epochs(as_role)
    codes_of(alice)
    settings.DIGEST_KEYS_PREVIOUS = (first,)
    present, earlier = epochs(as_role)
    assert present.split()[1:] == ["present", "0", "0", "10"]
    assert "nothing is kept: drop it" in earlier


def epochs(as_role) -> list[str]:
    """Return the lines of `digest_epochs --check`, without their heading."""
    out = StringIO()
    with as_role("command"):
        call_command("digest_epochs", "--check", stdout=out)
    return out.getvalue().splitlines()[1:]


# Signing in, and the pages


def attempt(client: Client, code: str, name: str = "alice", password: str = PASSWORD) -> bool:
    form = {"username": name, "password": password, "code": "", "recovery_code": code}
    return client.post("/login/", form).status_code == 302


def test_a_recovery_code_signs_in_and_says_what_is_left(client: Client, alice: User) -> None:
    give_device(alice)
    codes = codes_of(alice)
    assert attempt(client, codes[0])
    page = client.get("/").content.decode()
    assert "You used a recovery code; 9 are left" in page
    assert "signed in with a recovery code" in page
    request = client.get("/account/factors/").wsgi_request
    assert request.actor.verified_by == f"recovery:{RecoverySheet.objects.get().pk}"
    assert events()[-1]["actor"]["verified_by"] == request.actor.verified_by
    assert not attempt(Client(), codes[0])


def test_a_recovery_code_needs_the_password(client: Client, alice: User, bob: User) -> None:
    codes = codes_of(alice)
    assert not attempt(client, codes[0], password="wrong")
    assert not attempt(client, codes[0], name="bob")
    assert selectors.usable_codes(alice).count() == 10
    assert attempt(client, codes[0])


def test_a_recovery_code_is_no_one_time_code(client: Client, alice: User) -> None:
    codes = codes_of(alice)
    form = {"username": "alice", "password": PASSWORD, "code": codes[0]}
    assert client.post("/login/", form).status_code == 200


def test_recovery_codes_alone_are_no_enrolment(alice: User) -> None:
    codes_of(alice)
    assert not selectors.is_enrolled(alice)
    assert alice not in selectors.enrolled(User.objects.all())


def test_the_page_makes_codes_by_post_and_shows_them_once(client: Client, alice: User) -> None:
    sign_in(client, alice)
    asked = client.get("/account/factors/recovery/").content.decode()
    assert not WRITTEN.search(asked)
    assert not RecoverySheet.objects.exists(), "looking changes nothing"
    answer = client.post("/account/factors/recovery/")
    codes = WRITTEN.findall(answer.content.decode())
    assert len(set(codes)) == 10
    assert answer["Cache-Control"] == "no-store"
    assert not WRITTEN.search(str(dict(client.session)))
    for address in ("/account/factors/recovery/", "/account/factors/"):
        assert not WRITTEN.search(client.get(address).content.decode())
    assert used(alice, codes[9])


def test_making_codes_again_keeps_the_session_that_a_code_opened(client: Client, alice: User) -> None:
    assert attempt(client, codes_of(alice)[0])
    client.post("/account/factors/recovery/")
    assert client.get("/account/factors/").status_code == 200
