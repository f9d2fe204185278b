"""A found token leads to its record; what was entered is nowhere afterwards."""

import base64
import logging
import secrets
import string
import traceback
from datetime import timedelta
from hashlib import shake_256
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from django.core.management import CommandError, call_command
from django.db import transaction
from django.urls import resolve, reverse
from django.views.debug import ExceptionReporter

from audit.models import Event
from audit.sealing import digest_epochs
from inventory import credentials, services
from inventory.errors import GuessableError, TooManyLookupsError
from inventory.models import KeyVersion
from inventory.selectors import kept_digests
from inventory.services import digests
from inventory.states import State
from tests.inventory.world import ACTOR, NOW, actions_since, events_of, key_in, last_number, make_key
from tests.people import sign_in

db = pytest.mark.django_db
LETTERS = string.ascii_letters + string.digits
TOKEN = "kvt_9fQx2LmZ7RwB4tYc8HvN3sKdJ6pGqX5aUe1WbT0z"
PAGE = "admin:inventory_key_find_token"


def digest(key, material=TOKEN, *, reason="so that it can be found"):
    return services.register_material_digest(
        pk=key.pk, material=material.encode() if isinstance(material, str) else material, actor=ACTOR, reason=reason,
        now=NOW,
    )  # fmt: skip


def find(material=TOKEN, *, now=NOW, actor=ACTOR):
    material = material.encode() if isinstance(material, str) else material
    return [key.name for key in services.find_token(material=material, actor=actor, now=now)]


def forms_of(secret):
    """Return the material as it could be written somewhere: plain, hex, base64, in a URL, backwards."""
    raw = secret.encode()
    return [
        secret,
        raw.hex(),
        base64.b64encode(raw).decode()[:-4],
        quote(secret, safe=""),
        secret[::-1],
        repr(raw)[2:-1],
    ]


def private_key_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


# What may have a digest


def drawn(number, length):
    """Return bytes like those of a generator, but the same in every run."""
    return shake_256(str(number).encode()).digest(length)


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("32 hexadecimal digits", lambda number: drawn(number, 16).hex()),
        ("64 hexadecimal digits", lambda number: drawn(number, 32).hex()),
        ("43 url-safe characters", lambda number: base64.urlsafe_b64encode(drawn(number, 32)).decode().rstrip("=")),
        ("40 letters and digits", lambda number: "".join(LETTERS[byte % 62] for byte in drawn(number, 40))),
        ("32 of base32", lambda number: base64.b32encode(drawn(number, 35)).decode()),
    ],
)
def test_what_a_machine_drew_has_enough_bits(what, make):
    refused = [number for number in range(500) if credentials.can_be_guessed(make(number).encode(), "api_token")]
    assert len(refused) <= 2, f"{what}: {len(refused)} of 500 are taken for something that somebody chose"


def test_bytes_that_a_machine_drew_have_enough_bits():
    for number in range(500):
        assert not credentials.can_be_guessed(drawn(number, 16) + b"\xff", "hmac_key")


@pytest.mark.parametrize(
    "chosen",
    [
        "", "hunter2", "correcthorsebatterystaple", "Correct-Horse-Battery-Staple-2024!", "correct horse " * 20,
        "Summer-Winter-Autumn-Spring-2024-Password", "qwertyuiopasdfghjklzxcvbnm1234567890", "a" * 200, "deadbeef" * 8,
        "0123456789abcdef" * 2, "hunter2" * 10, "1234567890" * 10, "P@ssw0rd" * 4,
        "MeinHundHeisstBelloUndIstSechsJahre!", "passwort-für-die-datenbank-äöü-2024",
        "63f5bbb0cde8c09fdcd5bb43fb13b5", "\N{PILE OF POO}" * 40, TOKEN[:20],
    ],
)  # fmt: skip
def test_what_somebody_chose_or_what_is_short_can_be_guessed(chosen):
    assert credentials.can_be_guessed(chosen.encode(), "api_token")


@pytest.mark.parametrize("kind", sorted(credentials.CHOSEN_BY_PEOPLE))
def test_passwords_have_no_digest_however_long(kind):
    assert credentials.can_be_guessed(secrets.token_hex(64).encode(), kind)


@db
def test_a_secret_that_can_be_guessed_is_refused_and_not_repeated(seal_events):
    key = make_key()
    seal_events()
    number = last_number()
    chosen = "Tr0ub4dor&3-horse"
    with pytest.raises(GuessableError) as caught, transaction.atomic():
        digest(key, chosen)
    assert chosen not in "".join(traceback.format_exception(caught.value))
    assert key.versions.get().reuse_digest is None
    seal_events()
    assert actions_since(number) == []


# Registering and finding


@db
def test_a_token_is_found_by_its_digest_whatever_stands_around_it():
    key, _other = make_key(), make_key(name="other")
    digest(key)
    assert find(f"  {TOKEN}\r\n") == ["billing/stripe"]
    assert find(TOKEN[:-1]) == find(TOKEN.lower()) == find("x") == []
    assert len(key.versions.get().reuse_digest) == 36


@db
def test_the_same_material_has_the_same_digest_in_every_record():
    for name in ("staging", "production"):
        digest(make_key(name=name))
    assert find() == ["staging", "production"]
    assert KeyVersion.objects.values("reuse_digest").distinct().count() == 1


@db
def test_the_digest_is_keyed(settings):
    digest(make_key())
    settings.DIGEST_KEY = bytes(32)
    assert find() == []


@db
def test_a_token_is_found_under_every_digest_key_given(settings):
    digest(make_key(name="before"))
    first, settings.DIGEST_KEY = settings.DIGEST_KEY, bytes(32)
    settings.DIGEST_KEYS_PREVIOUS = (first,)
    digest(make_key(name="after"))
    assert find() == ["before", "after"]
    present, earlier = digest_epochs()
    assert kept_digests() == {present: 1, earlier: 1}
    settings.DIGEST_KEYS_PREVIOUS = ()
    assert find() == ["after"]


@db
def test_the_command_says_which_digest_keys_are_needed(settings, capsys):
    digest(make_key(name="before"))
    first, unused = settings.DIGEST_KEY, b"u" * 32
    settings.DIGEST_KEY, settings.DIGEST_KEYS_PREVIOUS = bytes(32), (first, unused)
    digest(make_key(name="after"))
    call_command("digest_epochs", "--check")
    _, present, earlier, dropped = capsys.readouterr().out.splitlines()
    assert present.split()[1:] == ["present", "1", "0", "0"]
    assert earlier.split(maxsplit=1)[1].split() == ["earlier,", "still", "needed", "1", "0", "0"]
    assert "nothing is kept: drop it" in dropped
    settings.DIGEST_KEYS_PREVIOUS = ()
    call_command("digest_epochs")
    assert "not given: nothing finds these" in capsys.readouterr().out
    with pytest.raises(CommandError, match="KEYVAULT_DIGEST_KEYS_PREVIOUS"):
        call_command("digest_epochs", "--check")


@db
@pytest.mark.parametrize("pair", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()])
def test_a_pair_is_found_by_either_half(pair):
    public = pair.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    line = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    digest(make_key(kind="ssh_key"), pem)
    assert find(private_key_pem(pair)) == find(line + b" carol@laptop") == find(pem) == ["billing/stripe"]


@db
def test_both_acts_leave_their_event_without_token_or_digest(seal_events):
    key = make_key()
    seal_events()
    number = last_number()
    digest(key)
    find()
    find("kvt_" + secrets.token_hex(20))
    seal_events()
    assert actions_since(number) == ["key.digest_registered", "token.looked_up", "token.looked_up"]
    (registered,) = events_of("key.digest_registered")
    assert registered.said.facts == {"of": "secret", "version": "1"} or registered.said.facts["version"] == 1
    hit, miss = events_of("token.looked_up")
    assert ([one.ref for one in hit.said.subjects], hit.said.facts["found"]) == ([key.ref], 1)
    assert (list(miss.said.subjects), miss.said.facts["found"]) == ([], 0)
    stored = key.versions.get().reuse_digest
    for event in Event.objects.all():
        text = bytes(event.body).decode()
        assert not [form for form in (*forms_of(TOKEN), bytes(stored).hex()) if form in text]


@db
def test_ten_look_ups_an_hour_and_no_more(seal_events):
    for minute in range(digests.LOOKUPS_AN_HOUR):
        find(now=NOW + timedelta(minutes=minute))
        seal_events()
    later = NOW + timedelta(minutes=59)
    with pytest.raises(TooManyLookupsError), transaction.atomic():
        find(now=later)
    assert find(now=later, actor=type(ACTOR).system("somebody else")) == []
    assert find(now=NOW + timedelta(minutes=60)) == []  # the first of them is an hour ago


# The page


@db
def test_the_page_finds_and_forgets(client, alice, caplog, seal_events):
    key = key_in(State.ACTIVE)
    digest(key)
    sign_in(client, alice)
    with caplog.at_level(logging.DEBUG):
        answer = client.post(reverse(PAGE), {"token": TOKEN})
        refused = client.post(reverse(PAGE), {"token": TOKEN + "x" * 30_000})
    seal_events()
    assert (answer.status_code, refused.status_code) == (200, 200)
    page = answer.content.decode()
    assert "It belongs to" in page
    assert reverse("admin:inventory_key_change", args=[key.pk]) in page
    assert "Nothing was looked up" in refused.content.decode()
    bytes_of_log = b"\n".join(bytes(body) for body in Event.objects.values_list("body", flat=True)).decode()
    session = repr(dict(client.session))
    for form in forms_of(TOKEN):
        for place in (page, refused.content.decode(), bytes_of_log, caplog.text, session, str(answer.headers)):
            assert form not in place


@db
def test_the_page_takes_nothing_from_an_address(client, alice, seal_events):
    digest(make_key())
    sign_in(client, alice)
    seal_events()
    number = last_number()
    answer = client.get(reverse(PAGE), {"token": TOKEN})
    seal_events()
    assert "It belongs to" not in answer.content.decode()
    assert actions_since(number) == []


@db
def test_only_security_and_devops_may_look(client, alice, bob, carol, dave, erin):
    allowed = []
    for person in (alice, bob, carol, dave, erin):
        sign_in(client, person)
        allowed.append((client.get(reverse(PAGE)).status_code, client.post(reverse(PAGE), {"token": "x"}).status_code))
        client.post(reverse("admin:logout"))
    assert allowed == [(200, 200), (200, 200), (403, 403), (403, 403), (403, 403)]


@db
def test_the_eleventh_look_up_is_refused_and_recorded(client, alice, seal_events):
    sign_in(client, alice)
    answers = []
    for _ in range(11):
        answers.append(client.post(reverse(PAGE), {"token": TOKEN}).content.decode())
        seal_events()
    assert ["Nothing is recorded with it" in answer for answer in answers] == [True] * 10 + [False]
    assert "which is the most one person may" in answers[-1]
    outcomes = [event.said.outcome for event in events_of("token.looked_up")]
    assert outcomes == ["done"] * 10 + ["refused"]


@db
def test_both_doors_ask_for_step_up(client, alice):
    for address in (reverse(PAGE), reverse("admin:inventory_key_digest", args=[1])):
        assert resolve(address).func.requires_step_up is True
    assert not hasattr(resolve(reverse("admin:inventory_key_edit", args=[1])).func, "requires_step_up")


@db
def test_the_page_of_a_key_makes_it_findable(client, alice, carol, seal_events):
    key = make_key()
    address = reverse("admin:inventory_key_digest", args=[key.pk])
    sign_in(client, carol)
    assert client.get(address).status_code == 403
    client.post(reverse("admin:logout"))
    sign_in(client, alice)
    weak = client.post(address, {"token": "hunter2hunter2", "reason": "x"})
    assert "could be guessed" in weak.content.decode()
    assert "hunter2" not in weak.content.decode()
    assert client.post(address, {"token": TOKEN, "reason": "so that it is found"}).status_code == 302
    seal_events()
    assert find() == [key.name]
    shown = client.get(reverse("admin:inventory_key_change", args=[key.pk])).content.decode()
    assert "yes, by the digest of version 1" in shown
    assert bytes(key.versions.get().reuse_digest).hex() not in shown


@db
@pytest.mark.parametrize("where", ["count_done_by", "record", "keyed_digest", "keyed_digests", "public_key_of"])
def test_an_exception_on_the_way_shows_no_token(monkeypatch, rf, where):
    """What Django would mail or show of it: every frame, with its variables."""

    def fails(*_arguments, **_named):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(digests, where, fails)
    key = make_key()
    acts = {"count_done_by": [find], "keyed_digests": [find], "keyed_digest": [lambda: digest(key)]}
    for act in acts.get(where, [find, lambda: digest(key)]):
        with pytest.raises(RuntimeError) as caught, transaction.atomic():
            act()
        report = ExceptionReporter(rf.get("/"), caught.type, caught.value, caught.tb)
        ours = [
            one for one in report.get_traceback_frames() if one["filename"].endswith("inventory/services/digests.py")
        ]
        assert ours
        assert not [form for form in forms_of(TOKEN) if form in repr([one["vars"] for one in ours])]
        assert TOKEN not in "".join(traceback.format_exception(caught.value))
