"""A new sealing key: everything is brought under it, while people work, and nothing is lost on the way."""

import ast
import base64
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from io import StringIO

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

from audit import resealing, sealing, verification
from audit.actions import Action
from audit.actor import Actor, Identity
from audit.errors import SealError
from audit.models import Event, IdentityKey
from audit.selectors import read
from audit.services import Subject, erase_identity, record
from inventory.models import ImportDraft
from inventory.services import take_file
from inventory.services.jobs import _unpacked
from keyvault_admin.access.models import PersonSession, TotpDevice, User
from keyvault_admin.sealed import SEALED
from tests import canaries
from tests.conftest import CommittedDatabase
from tests.people import give_device, sign_in
from tests.rotation.permits import being_carried_out
from tests.test_architecture import CODE, ROOT

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
NEW = bytes(range(32))
ACTOR = Actor.system("test")
Role = Callable[[str], AbstractContextManager[None]]


def acts(person: User) -> Actor:
    known = Identity(name=person.full_name, mail=person.email, address="192.0.2.7", agent="Firefox")
    return Actor(kind="person", id=person.ref, identity=known)


def leave_an_event(*people: User) -> None:
    with transaction.atomic():
        for person in people:
            record(Action.KEY_EDITED, actor=acts(person), now=NOW)


def fill(alice: User, bob: User) -> None:
    """Leave something of each kind: a session, seeds, one of them removed, identities, a file."""
    sign_in(Client(), alice)
    give_device(bob).remove(NOW)
    give_device(bob)
    take_file(content=b"name\nbilling/stripe\n", file_name="a.csv", reason="test", person=alice.pk, now=NOW)
    leave_an_event(alice, bob)


def give_new_key(settings) -> str:
    """Make NEW the sealing key and the present one an earlier one; return the id of that."""
    earlier = sealing.sealing_key_ids()[0].hex()
    settings.SEALING_KEYS_PREVIOUS, settings.SEALING_KEY = (django_settings.SEALING_KEY,), NEW
    canaries.know("new sealing key", NEW)
    return earlier


def rotate(*words: str) -> str:
    out = StringIO()
    call_command("rotate_sealing_key", *words, stdout=out, stderr=StringIO())
    return out.getvalue()


def opened() -> dict[str, list[object]]:
    """Open everything there is."""
    return {
        "seeds": [one.seed() for one in TotpDevice.objects.filter(removed_at=None).order_by("pk")],
        "origins": [one.origin() for one in PersonSession.objects.order_by("pk")],
        "files": [_unpacked(one) for one in ImportDraft.objects.order_by("pk")],
        "identities": [event.identity for event in read(Event.objects.filter(actor_kind="person").order_by("number"))],
    }


def stored() -> dict[str, dict[object, bytes]]:
    return {one.code: {pk: bytes(held) for pk, held in one.rows().values_list("pk", one.column)} for one in SEALED}


def rotations() -> list[tuple[str, object]]:
    events = read(Event.objects.filter(action=Action.SEALING_KEY_ROTATED).order_by("number"))
    return [(said.subjects[0].ref, said.facts["rows"]) for event in events if (said := event.said)]


# The whole way


def test_everything_is_brought_under_the_new_key(
    committed_db: CommittedDatabase, alice: User, bob: User, as_role: Role, settings
) -> None:
    fill(alice, bob)
    before, stored_before = opened(), stored()
    assert all(stored_before[one.code] for one in SEALED)
    assert None not in before["identities"]
    old_key, old_id = settings.SEALING_KEY, give_new_key(settings)
    new_id = sealing.sealing_key_ids()[0].hex()
    with as_role("command"):
        said = rotate()
    head, _, tail = said.partition("Sealed after the run:")
    assert f"{old_id}  earlier            2  seeds of authenticator apps" in head
    assert f"{old_id}  earlier            0  nothing" in tail
    assert f"{new_id}  present            2  seeds of authenticator apps" in tail
    assert f"Nothing is sealed under {old_id} any more" in tail
    settings.SEALING_KEYS_PREVIOUS = ()
    assert opened() == before
    verdict = verification.verify()
    assert verdict.is_whole
    assert verdict.identities >= len(before["identities"]) > 0
    for code, held in stored().items():
        assert held.keys() == stored_before[code].keys()
        assert not set(held.values()) & set(stored_before[code].values())
    settings.SEALING_KEY = old_key  # whoever has the old key alone has nothing
    with pytest.raises(SealError):
        sealing.person_keys(alice.ref, stored()["identity_key"][alice.ref])  # though it was opened a moment ago
    for one in (TotpDevice.objects.filter(removed_at=None)[0].seed, PersonSession.objects.get().origin):
        with pytest.raises(SealError):
            one()
    with pytest.raises(SealError):
        _unpacked(ImportDraft.objects.get())


def test_each_kind_leaves_its_event_and_a_second_run_none(
    committed_db: CommittedDatabase, alice: User, bob: User, as_role: Role, settings
) -> None:
    fill(alice, bob)
    held, old_id = {code: len(rows) for code, rows in stored().items()}, give_new_key(settings)
    with as_role("command"):
        rotate()
        after = stored()
        assert rotations() == [(f"sealed:{one.code}", held[one.code]) for one in SEALED]
        event = read(Event.objects.filter(action=Action.SEALING_KEY_ROTATED))[0].said
        assert event
        assert event.facts["from_key_ids"] == [old_id]
        assert event.facts["to_key_id"] == sealing.sealing_key_ids()[0].hex()
        assert "Sealed after" not in rotate()
    assert stored() == after
    assert len(rotations()) == len(SEALED)


def test_a_dry_run_counts_and_changes_nothing(
    committed_db: CommittedDatabase, alice: User, bob: User, as_role: Role, settings
) -> None:
    fill(alice, bob)
    before, old_id = stored(), give_new_key(settings)
    with as_role("command"):
        said = rotate("--dry-run")
    assert f"{old_id}  earlier            1  files that wait to be imported" in said
    assert f"{old_id} is still needed: {sum(len(rows) for rows in before.values()):,} rows" in said
    assert "nothing was written" in said
    assert (stored(), rotations()) == (before, [])


def test_people_sign_in_before_during_and_after(
    committed_db: CommittedDatabase, alice: User, bob: User, as_role: Role, settings
) -> None:
    device = sign_in(Client(), alice)
    give_new_key(settings)
    sign_in(Client(), alice)
    with as_role("command"):
        rotate()
    sign_in(Client(), alice)
    settings.SEALING_KEYS_PREVIOUS = ()
    assert sign_in(Client(), alice) == device
    leave_an_event(alice)


# Killed, repeated, disturbed


def test_a_run_that_is_killed_is_finished_by_the_next(
    committed_db: CommittedDatabase, alice: User, bob: User, as_role: Role, settings
) -> None:
    fill(alice, bob)
    before = opened()
    give_new_key(settings)
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED_IN_THE_SECOND_KIND, "rotate_sealing_key"],
        cwd=ROOT,
        env=committed_db.environ(
            KEYVAULT_SEALING_KEY=base64.b64encode(NEW).decode(),
            KEYVAULT_SEALING_KEYS_PREVIOUS=base64.b64encode(settings.SEALING_KEYS_PREVIOUS[0]).decode(),
        ),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    said = killed.communicate(timeout=60)[1].decode()
    assert killed.returncode == -9, said
    assert "sealed anew, seeds of authenticator apps: 2" in said
    assert opened() == before
    assert rotations() == [("sealed:totp_seed", 2)]  # what stands is in the log, and nothing else is
    ids = {one.code: set(resealing.census(one)) for one in SEALED}
    present, earlier = sealing.sealing_key_ids()
    assert (ids["totp_seed"], ids["identity_key"]) == ({present}, {earlier})
    with as_role("command"):
        rotate()
    settings.SEALING_KEYS_PREVIOUS = ()
    assert opened() == before


KILLED_IN_THE_SECOND_KIND = """
import os, signal, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "keyvault_admin.settings"
import django
django.setup()
from django.core.management import call_command
from audit import resealing
replace = resealing.SealedColumn.replace
def dies(column, *row):
    done = replace(column, *row)
    if column.code == "identity_key":
        os.kill(os.getpid(), signal.SIGKILL)
    return done
resealing.SealedColumn.replace = dies
call_command("rotate_sealing_key")
"""


def disturbed(monkeypatch: pytest.MonkeyPatch, code: str, change: Callable[[], None], times: int = 1) -> None:
    """Let a change of somebody else be committed between the reading of a batch and its writing."""
    real, left = resealing.SealedColumn.replace, [times]

    def replace(column, *row):
        if column.code == code and left[0]:
            left[0] -= 1
            other = threading.Thread(target=lambda: (change(), connection.close()))
            other.start()
            other.join(10)
            assert not other.is_alive()
        return real(column, *row)

    monkeypatch.setattr(resealing.SealedColumn, "replace", replace)


def test_a_change_meanwhile_is_not_lost(
    committed_db: CommittedDatabase, alice: User, bob: User, as_role: Role, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed, kept = give_device(alice), give_device(bob)
    seed = kept.seed()
    give_new_key(settings)
    disturbed(monkeypatch, "totp_seed", lambda: TotpDevice.objects.get(pk=removed.pk).remove(NOW))
    with as_role("command"):
        rotate()
    removed.refresh_from_db()
    kept.refresh_from_db()
    assert (bytes(removed.sealed_seed), removed.removed_at) == (b"", NOW)
    settings.SEALING_KEYS_PREVIOUS = ()
    assert kept.seed() == seed
    assert rotations() == [("sealed:totp_seed", 1)]  # the batch began again: one event, of what was written


def test_rows_that_somebody_changes_all_the_time_are_left_to_the_next_run(
    committed_db: CommittedDatabase, alice: User, as_role: Role, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, old_key = give_device(alice), settings.SEALING_KEY
    give_new_key(settings)

    def draw_again() -> None:
        sealer = sealing.Sealer(old_key)  # a process that was not started anew
        sealed = sealer.seal(bytes(20), context=f"totp:user:{alice.pk}")
        TotpDevice.objects.filter(pk=device.pk).update(sealed_seed=sealed)

    disturbed(monkeypatch, "totp_seed", draw_again, times=resealing.TRIES)
    with as_role("command"):
        with pytest.raises(CommandError, match="Run the command again") as caught:
            rotate()
        assert caught.value.returncode == 2
        assert rotations() == []
        assert "Nothing is sealed under" in rotate()
    device.refresh_from_db()
    assert device.seed() == bytes(20)


def test_a_row_that_is_locked_is_left_to_the_next_run(
    committed_db: CommittedDatabase, alice: User, as_role: Role, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = give_device(alice)
    give_new_key(settings)
    monkeypatch.setattr(resealing, "TRIES", 1)
    url = connection.settings_dict
    holder = psycopg.connect(
        host=url["HOST"], port=url["PORT"], dbname=url["NAME"], user=url["USER"], password=url["PASSWORD"]
    )
    holder.execute("SELECT FROM access_totpdevice WHERE id = %s FOR UPDATE", [device.pk])
    with as_role("command"):
        with pytest.raises(CommandError, match="1 rows were in use"):
            rotate()
        holder.close()
        assert "Nothing is sealed under" in rotate()


# What does not open


def test_what_is_under_a_key_that_is_not_given_is_said(
    committed_db: CommittedDatabase, alice: User, as_role: Role, settings
) -> None:
    give_device(alice)
    old_id = sealing.sealing_key_ids()[0].hex()
    settings.SEALING_KEY = NEW
    before = stored()
    with as_role("command"), pytest.raises(CommandError, match=f"1 rows are sealed under {old_id}, which is not given"):
        rotate("--dry-run")
    with as_role("command"), pytest.raises(CommandError, match="KEYVAULT_SEALING_KEYS_PREVIOUS") as caught:
        rotate()
    assert caught.value.returncode == 1
    assert stored() == before


def test_an_altered_row_is_named_and_the_others_go_on(
    committed_db: CommittedDatabase, alice: User, bob: User, as_role: Role, settings
) -> None:
    altered, whole = give_device(alice), give_device(bob)
    broken = bytes(altered.sealed_seed)[:-1] + bytes([bytes(altered.sealed_seed)[-1] ^ 1])
    TotpDevice.objects.filter(pk=altered.pk).update(sealed_seed=broken)
    old_id = give_new_key(settings)
    with as_role("command"), pytest.raises(CommandError, match=f"1 rows do not open .* as they are: {altered.pk}\\."):
        rotate()
    altered.refresh_from_db()
    whole.refresh_from_db()
    assert bytes(altered.sealed_seed) == broken
    assert resealing.census(SEALED[0]) == {bytes.fromhex(old_id): 1, sealing.sealing_key_ids()[0]: 1}


# Identities and rights


def test_erased_people_stay_erased(
    committed_db: CommittedDatabase, alice: User, bob: User, as_role: Role, settings
) -> None:
    leave_an_event(alice, bob)
    being_carried_out("person.erase", alice.ref)
    with as_role("command"):
        erase_identity(alice.ref, actor=ACTOR, reason="asked for it", now=NOW)
        give_new_key(settings)
        rotate()
    key = IdentityKey.objects.get(person=alice.ref)
    assert (key.sealed_key, key.erased_at is not None) == (None, True)
    assert [event.identity and event.identity.name for event in read(Event.objects.filter(actor_kind="person"))] == [
        None if event.actor_id == alice.ref else "Bob Example" for event in Event.objects.filter(actor_kind="person")
    ]
    assert verification.verify().is_whole


def test_somebody_erased_meanwhile_stays_erased(
    committed_db: CommittedDatabase, alice: User, bob: User, as_role: Role, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_an_event(alice, bob)
    being_carried_out("person.erase", alice.ref)
    give_new_key(settings)
    disturbed(
        monkeypatch, "identity_key", lambda: erase_identity(alice.ref, actor=ACTOR, reason="asked for it", now=NOW)
    )
    with as_role("command"):
        rotate()
    assert IdentityKey.objects.get(person=alice.ref).sealed_key is None
    assert rotations() == [("sealed:identity_key", 1)]
    assert verification.verify().is_whole


def reseal_identity(person: str, old: bytes, new: bytes, *, says: str = "sealed:identity_key") -> bool:
    with transaction.atomic():
        if says:
            record(Action.SEALING_KEY_ROTATED, actor=ACTOR, now=NOW, subjects=[Subject(ref=says)])
        return SEALED[1].replace(person, old, new)


def test_the_database_replaces_exactly_the_bytes_that_were_there(
    committed_db: CommittedDatabase, alice: User, bob: User, as_role: Role
) -> None:
    leave_an_event(alice, bob)
    held = {key.person: bytes(key.sealed_key or b"") for key in IdentityKey.objects.all()}
    old = held[alice.ref]
    new = b"\x01" + bytes(4) + old[5:]
    with as_role("command"):
        assert not reseal_identity(alice.ref, held[bob.ref], new)
        assert not reseal_identity("user:0", old, new)
        for person, gone, renewed, says, state in (
            (alice.ref, old, new, "", "42501"),
            (alice.ref, old, new, "sealed:totp_seed", "42501"),
            (alice.ref, old, new + b"\0", "sealed:identity_key", "22023"),
            (alice.ref, old, b"\x02" + new[1:], "sealed:identity_key", "22023"),
            (alice.ref, old, old[:5] + bytes(len(old) - 5), "sealed:identity_key", "22023"),
        ):
            with pytest.raises(DatabaseError) as caught:
                reseal_identity(person, gone, renewed, says=says)
            assert caught.value.__cause__.sqlstate == state
        assert {key.person: bytes(key.sealed_key or b"") for key in IdentityKey.objects.all()} == held
        assert reseal_identity(alice.ref, old, new)
    assert bytes(IdentityKey.objects.get(person=alice.ref).sealed_key or b"") == new


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["web", "worker", "beat", "signer"])
def test_only_the_command_may_seal_identities_anew(alice: User, as_role: Role, role: str) -> None:
    leave_an_event(alice)
    old = bytes(IdentityKey.objects.get().sealed_key or b"")
    with as_role(role), pytest.raises(DatabaseError) as caught:
        reseal_identity(alice.ref, old, b"\x01" + bytes(4) + old[5:])
    assert caught.value.__cause__.sqlstate == "42501"


@pytest.mark.django_db
def test_the_command_may_write_nothing_but_the_sealed_bytes_of_a_session(alice: User, as_role: Role) -> None:
    sign_in(Client(), alice)
    with as_role("command"):
        PersonSession.objects.update(sealed_origin=b"x")
        for change in ({"verified_by": "totp:1"}, {"last_seen_at": NOW}, {"wrong_codes": 0}):
            with pytest.raises(DatabaseError), transaction.atomic():
                PersonSession.objects.update(**change)
        for change in ({"state": "applying"}, {"reason": "x"}, {"options": {}}):
            with pytest.raises(DatabaseError), transaction.atomic():
                ImportDraft.objects.update(**change)


# Nothing is forgotten

SEALS_IN = {
    "audit/explorer/asked.py": "",  # an address that is looked for: in the address of the page, kept nowhere
    "audit/sealing.py": "identity_key",
    "inventory/services/jobs.py": "import_file",
    "keyvault_admin/access/models/devices.py": "totp_seed",
    "keyvault_admin/access/models/sessions.py": "session_origin",
}


def test_whatever_is_sealed_is_sealed_anew() -> None:
    """A file that calls seal() has its line above, and its column in keyvault_admin/sealed.py."""
    callers = set()
    for source in CODE:
        imported = "audit.sealing" in source.text or "import sealing" in source.text or "sealing," in source.text
        names = [ast.unparse(node.func) for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
        if (imported or source.path == "audit/sealing.py") and {"seal", "sealing.seal"} & set(names):
            callers.add(source.path)
    assert callers == set(SEALS_IN)
    assert {code for code in SEALS_IN.values() if code} == {one.code for one in SEALED}
