"""One try too many: who is locked, by what, for how long, and what is left of it in the database."""

import json
import re
import threading
import unicodedata
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.core import mail
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import services, tasks
from keyvault_admin.access.models import Lockout, User
from keyvault_admin.access.services import tries
from tests.conftest import PASSWORD, RoleSwitch
from tests.hashing import CheapHasher
from tests.people import give_device, next_code, sign_in

WRONG = "not the pass phrase"


def attempt(name="alice", *, password=WRONG, code="000000", address="192.0.2.1", client=None):
    form = {"username": name, "password": password, "code": code}
    return (client or Client()).post("/login/", form, REMOTE_ADDR=address)


def statuses(count, *names, **how):
    return [attempt(names[number % len(names)], **how).status_code for number in range(count)]


def counters():
    with connection.cursor() as cursor:
        cursor.execute("SELECT failures_since_start FROM axes_accessattempt ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def bodies():
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("SELECT convert_from(body, 'UTF8') FROM audit_event ORDER BY number")
        return [json.loads(row[0]) for row in cursor.fetchall()]


# AUT-01: fifty tries


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_the_fifth_wrong_try_closes_the_door_and_fifty_leave_it_closed(alice: User, name: str) -> None:
    device = give_device(alice)
    assert statuses(50, name) == [200] * 4 + [429] * 46
    assert counters() == [5]
    assert attempt(password=PASSWORD, code=next_code(device)).status_code == (429 if name == "alice" else 302)


def test_the_door_opens_a_quarter_of_an_hour_after_the_last_counted_try(alice: User) -> None:
    device, start = give_device(alice), timezone.now()
    with time_machine.travel(start, tick=False):
        statuses(5, "alice")
    with time_machine.travel(start + timedelta(minutes=14, seconds=59), tick=False):
        assert attempt(password=PASSWORD, code=next_code(device)).status_code == 429
    with time_machine.travel(start + timedelta(minutes=15), tick=False):
        assert attempt(password=PASSWORD, code=next_code(device)).status_code == 302
        assert counters() == []


def test_a_right_try_begins_again_at_nought(alice: User) -> None:
    device = give_device(alice)
    statuses(4, "alice")
    assert attempt(password=PASSWORD, code=next_code(device)).status_code == 302
    assert statuses(4, "alice") == [200] * 4


def test_a_wrong_code_counts_like_a_wrong_password(alice: User) -> None:
    give_device(alice)
    assert statuses(6, "alice", password=PASSWORD) == [200] * 4 + [429] * 2


def test_another_address_is_not_locked_nor_another_name(alice: User, bob: User) -> None:
    device, other = give_device(alice), give_device(bob)
    statuses(5, "alice")
    assert attempt(password=PASSWORD, code=next_code(device), address="192.0.2.2").status_code == 302
    assert attempt("bob", password=PASSWORD, code=next_code(other)).status_code == 302


def test_one_address_that_tries_many_names_is_locked(db: None) -> None:
    now = timezone.now()
    found = [
        services.count_try(services.DOOR_SIGN_IN, name=f"person{number}", address="192.0.2.1", now=now)
        for number in range(tries.TRIES_OF_ADDRESS + 2)
    ]
    assert found == [1] * tries.TRIES_OF_ADDRESS + [None] * 2
    assert attempt("somebody-else").status_code == 429
    assert attempt("somebody-else", address="192.0.2.2").status_code == 200


def test_the_address_is_the_one_our_proxy_saw(alice: User, settings) -> None:
    settings.TRUSTED_PROXIES = 1
    for number in range(5):
        forged = f"203.0.113.{number}, 198.51.100.1"  # the first was written by the client
        form = {"username": "alice", "password": WRONG, "code": "000000"}
        answer = Client().post("/login/", form, headers={"x-forwarded-for": forged}, REMOTE_ADDR="10.0.0.1")
    assert answer.status_code == 429
    assert counters() == [5]


def test_of_many_tries_at_once_no_more_than_five_get_through(committed_db: object) -> None:
    """Counting after the try would let as many through as there are threads."""
    now, numbers, barrier = timezone.now(), [], threading.Barrier(24)

    def one() -> None:
        barrier.wait()
        numbers.append(services.count_try(services.DOOR_SIGN_IN, name="alice", address="192.0.2.1", now=now))
        connections.close_all()

    threads = [threading.Thread(target=one) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for number in numbers if number) == [1, 2, 3, 4, 5]
    assert numbers.count(None) == 19


@pytest.mark.parametrize(
    ("address", "other", "together"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "192.0.2.2", False),
    ],
)
def test_a_subscriber_s_ipv6_addresses_share_one_counter(
    settings,
    address: str,
    other: str,
    together: bool,  # noqa: FBT001
) -> None:
    """A network of 2^64 addresses is one attacker's; each of them with five tries would be no limit at all."""
    same = tries.counter("sign-in", name="alice", address=address) == tries.counter(
        "sign-in", name="alice", address=other
    )
    assert same is together


def test_four_wrong_old_passwords_are_all_that_an_open_session_gets(client: Client, alice: User) -> None:
    sign_in(client, alice)
    right = {"old_password": PASSWORD, "new_password1": "correct horse battery", "new_password2": "another"}
    wrong = right | {"old_password": WRONG}
    assert [client.post("/password_change/", wrong).status_code for _ in range(4)] == [200] * 4
    assert client.post("/password_change/", right | {"old_password": ""}).status_code == 200, "counted too"
    assert client.post("/password_change/", right).status_code == 429, "the right one neither"
    assert [body["action"] for body in bodies()].count("session.refused") == 4


def test_a_new_password_that_is_refused_is_no_wrong_try(client: Client, alice: User) -> None:
    sign_in(client, alice)
    form = {"old_password": PASSWORD, "new_password1": "short", "new_password2": "short"}
    assert [client.post("/password_change/", form).status_code for _ in range(9)] == [200] * 9
    assert counters() == []


def test_the_fifth_wrong_old_password_locks_and_is_recorded(client: Client, alice: User) -> None:
    sign_in(client, alice)
    form = {"old_password": WRONG, "new_password1": "correct horse battery", "new_password2": "correct horse battery"}
    assert [client.post("/password_change/", form).status_code for _ in range(6)] == [200] * 4 + [429] * 2
    assert [body["action"] for body in bodies()].count("sign_in.locked") == 1


# AUT-02: one normaliser

SMALL = {letter: chr(0xFF41 + place) for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
BOLD = {letter: chr(0x1D41A + place) for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
CIRCLED = {letter: chr(0x24D0 + place) for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
SPACES = " \t\u00a0\u1680\u2000\u2002\u2003\u2007\u2009\u200a\u202f\u205f\u3000"
VARIANTS = [
    *("alice", "ALICE", "Alice", "aLICE", "AlIcE", "alicE"),
    *(f"{space}alice" for space in SPACES),
    *(f"alice{space}" for space in SPACES),
    *("".join(table[letter] for letter in "alice") for table in (SMALL, BOLD, CIRCLED)),
    *("\uff21lice", "ali\u217de", "a\u2113ice", "al\u2148ce", "\u1d43lice"),
]


def test_forty_ways_to_type_a_name_share_one_counter(alice: User) -> None:
    assert len(set(VARIANTS)) >= 40
    for number, typed in enumerate(VARIANTS[:40]):
        assert attempt(typed).status_code == (200 if number < 4 else 429), ascii(typed)
    assert counters() == [5]
    digests = {tries.counter("sign-in", name=typed, address="192.0.2.1").name for typed in VARIANTS}
    assert len(digests) == 1


def test_every_way_to_sign_in_as_somebody_is_counted_for_them(alice: User) -> None:
    """What the model takes for alice, over all characters that could stand for one of hers, is what is counted."""
    expected = tries.counter("sign-in", name="alice", address="")
    for point in range(0x110000):
        character = chr(point)
        if unicodedata.normalize("NFKC", character).casefold() != "a" or "\ud800" <= character <= "\udfff":
            continue
        assert User.objects.get_by_natural_key(f"{character}lice") == alice
        assert tries.counter("sign-in", name=f"{character}lice", address="") == expected


# AUT-01: equal work for everybody


class CountedHasher(CheapHasher):
    """The real hasher; it writes down that it was run."""

    runs: list[str] = []

    def encode(self, *arguments):
        self.runs.append("hash")
        return super().encode(*arguments)

    def verify(self, *arguments):
        self.runs.append("hash")
        return super().verify(*arguments)


def work(name, password, address):
    """Return the statements of one refused sign-in, and how often Argon2 was run."""
    CountedHasher.runs.clear()
    with CaptureQueriesContext(connection) as queries:
        assert attempt(name, password=password, address=address).status_code == 200
    found = [
        re.search(r'(SELECT|INSERT|UPDATE|DELETE).*?(?:FROM|INTO|UPDATE)? "?(\w+_\w+)', q["sql"], re.S) for q in queries
    ]
    return sorted(each.groups() for each in found if each), len(CountedHasher.runs)


def test_whatever_is_wrong_the_work_is_the_same(alice: User, bob: User, settings) -> None:
    """Timing is measured by bench/sign_in.py; here the reason why it is equal: the same queries, the same hashing."""
    settings.PASSWORD_HASHERS = [f"{__name__}.CountedHasher"]
    for person in (alice, bob):
        give_device(person)
    User.objects.filter(pk=bob.pk).update(password="!unusable")
    attempt("nobody", address="192.0.2.99")  # makes the month's key of strangers in the log
    unknown = work("nobody", WRONG, "192.0.2.1")
    assert unknown[1] == 1
    assert {("SELECT", "access_totpdevice"), ("UPDATE", "access_totpdevice")} <= set(unknown[0])
    assert work("alice", WRONG, "192.0.2.2") == unknown, "a wrong password"
    assert work("alice", PASSWORD, "192.0.2.3") == unknown, "a right password, a wrong code"
    assert work("bob", WRONG, "192.0.2.4") == unknown, "no password yet"


def test_the_locking_try_costs_the_same_for_everybody(alice: User) -> None:
    give_device(alice)
    found = []
    for name in ("nobody", "alice"):
        statuses(4, name)
        with CaptureQueriesContext(connection) as queries:
            assert attempt(name).status_code == 429
        found.append(sum("SAVEPOINT" not in query["sql"] for query in queries))
    assert found[0] == found[1]


# What is said, told and kept


def test_the_page_says_the_same_for_every_name_and_carries_no_word_that_was_typed(alice: User) -> None:
    pages = []
    for name in ("alice", "nobody-typed-this"):
        statuses(5, name, password="typed-by-mistake")
        answer = attempt(name, password="typed-by-mistake")
        assert answer.status_code == 429
        assert answer["Retry-After"] == "900"
        assert answer["Cache-Control"] == "no-store"
        assert "Content-Security-Policy" in answer
        pages.append(answer.content)
    assert pages[0] == pages[1]
    assert b"typed" not in pages[0]


def test_a_script_gets_the_same_page(alice: User) -> None:
    """django-axes would answer with the counter's name, for every origin."""
    for _ in range(6):
        form = {"username": "alice", "password": WRONG, "code": "000000"}
        answer = Client().post("/login/", form, headers={"x-requested-with": "XMLHttpRequest"})
    assert answer.status_code == 429
    assert answer["Content-Type"].startswith("text/html")
    assert "Access-Control-Allow-Origin" not in answer


def test_the_log_names_the_person_and_never_what_was_typed(alice: User) -> None:
    statuses(7, "ALICE ")
    statuses(7, "my-password-in-the-wrong-field")
    locked = [body for body in bodies() if body["action"] == "sign_in.locked"]
    assert [[subject["ref"] for subject in body["subjects"]] for body in locked] == [[alice.ref], []]
    assert {body["facts"]["door"] for body in locked} == {"sign-in"}
    assert "my-password" not in json.dumps(bodies())


def test_nothing_that_was_typed_is_in_the_tables_of_the_lockout(alice: User) -> None:
    statuses(7, "my-password-in-the-wrong-field", address="192.0.2.77")
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(t)::text FROM axes_accessattempt t")
        rows = [row[0] for row in cursor.fetchall()]
    assert len(rows) == 1
    assert not any(word in rows[0] for word in ("my-password", "192.0.2", "csrf", WRONG, "login"))


@pytest.mark.parametrize(
    ("column", "text"),
    [("username", "alice"), ("user_agent", "curl"), ("post_data", "password=x"), ("ip_address", "192.0.2.1")],
)
def test_the_database_takes_digests_only(db: None, column: str, text: str) -> None:
    counter = tries.counter("sign-in", name="alice", address="192.0.2.1")
    row = dict.fromkeys(("user_agent", "http_accept", "path_info", "get_data", "post_data"), "")
    row |= {"username": counter.name, "ip_address": counter.address} | {column: text}
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO axes_accessattempt ({names}, failures_since_start, attempt_time) VALUES ({marks}, 1, now())",
            list(row.values()),
        )


def test_without_its_table_nobody_gets_in(committed_db: object, alice: User, as_role: RoleSwitch) -> None:
    device = give_device(alice)
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute("REVOKE INSERT, UPDATE ON axes_accessattempt FROM keyvault_web")
    client = Client(raise_request_exception=False)
    answer = attempt(password=PASSWORD, code=next_code(device), client=client)
    assert answer.status_code == 500
    assert "_auth_user_id" not in client.session
    with pytest.raises(DatabaseError):
        services.count_try(services.DOOR_ENROLMENT, address="192.0.2.1", now=timezone.now())


# Mail, opening, forgetting


def test_the_person_is_told_once_a_day(committed_db: object, alice: User, as_role: RoleSwitch, settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    statuses(9, "alice")
    statuses(9, "alice", address="192.0.2.2")
    statuses(9, "nobody")
    assert Lockout.objects.filter(person=alice).count() == 2
    with as_role("worker"):
        tasks.tell_locked()
        tasks.tell_locked()
        assert len(mail.outbox) == 1
        assert mail.outbox[0].to == [alice.email]
        assert "5 times in a row" in mail.outbox[0].body
        assert "closed for 15 minutes" in mail.outbox[0].body
        assert "192.0.2" not in mail.outbox[0].body
        with time_machine.travel(timezone.now() + timedelta(hours=25)):
            tasks.tell_locked()
            assert len(mail.outbox) == 2
            tasks.forget_tries()
        with time_machine.travel(timezone.now() + timedelta(days=3)):
            tasks.forget_tries()
        assert not Lockout.objects.exists()
        assert counters() == []


def test_a_mail_that_is_not_accepted_waits(committed_db: object, alice: User, as_role: RoleSwitch, settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    statuses(5, "alice")
    with as_role("worker"):
        tasks.tell_locked()
        assert Lockout.objects.get().told_at is None


@pytest.mark.parametrize(
    "command",
    [("axes_reset",), ("axes_reset_username", "Alice "), ("axes_reset_ip", "192.0.2.1"),
     ("axes_reset_ip_username", "192.0.2.1", "alice")],
)  # fmt: skip
def test_the_commands_of_axes_open_the_door_and_leave_an_event(
    alice: User, as_role: RoleSwitch, command: tuple[str, ...]
) -> None:
    statuses(5, "alice")
    with as_role("command"):
        call_command(*command, stdout=StringIO())
    assert attempt().status_code == 200
    last = [body for body in bodies() if body["action"] == "sign_in.unlocked"][-1]
    assert last["actor"]["id"] == "command:axes_reset"
    assert last["facts"]["counters"] == 1


def test_unlocking_takes_what_it_is_told_and_no_more(alice: User, bob: User, as_role: RoleSwitch) -> None:
    statuses(5, "alice")
    statuses(5, "bob")
    with as_role("command"):
        done = services.unlock(name="bob", address=None, actor=Actor.system("command:test"), now=timezone.now())
    assert done == 1
    assert [attempt(name).status_code for name in ("alice", "bob")] == [429, 200]


@pytest.mark.parametrize("door", tries.DOORS)
def test_every_door_is_opened_earlier_by_the_commands(db: None, as_role: RoleSwitch, door: str) -> None:
    now, name = timezone.now(), "alice" if door == services.DOOR_SIGN_IN else ""

    def is_open(address: str) -> bool:
        return services.count_try(door, name=name, address=address, now=now) is not None

    for command in (("axes_reset_ip", "192.0.2.1"), ("axes_reset",)):
        for address in ("192.0.2.1", "192.0.2.2"):
            while is_open(address):
                pass
        with as_role("command"):
            call_command(*command, stdout=StringIO())
        assert is_open("192.0.2.1")
        assert is_open("192.0.2.2") is (command == ("axes_reset",))


# Enrolment


def test_wrong_links_are_counted_by_address(db: None) -> None:
    def show(address):
        return Client().post("/enrol/", {"token": "x" * 43}, REMOTE_ADDR=address).status_code

    assert [show("192.0.2.1") for _ in range(7)] == [200] * 5 + [429] * 2
    assert show("192.0.2.2") == 200
    assert attempt().status_code == 200, "sign-in has a counter of its own"
