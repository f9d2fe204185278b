"""Taking over wrapped DEKs that exist: all rows or none, each mistake named, nothing in clear."""

import base64
import io
import json
import os

import pytest
from django.core.management import CommandError, call_command

from audit.actions import Action
from inventory.guarded.deks import rotate_dek
from inventory.kms.base import ToOpen, ToWrap
from inventory.models import DekVersion, Integration, Key, KeyParent, Tenant, Wrapping
from inventory.services import deks
from rotation.management.commands import confirm_hand_out, confirm_reencrypted, hand_out_dek, import_deks, new_dek
from rotation.models import Digest
from tests import canaries
from tests.approving import as_worker, permitted
from tests.conftest import make_person
from tests.inventory.dek_world import make_service, make_world, use_local_store
from tests.inventory.world import ACTOR, NOW, events_of, seal


@pytest.fixture
def world(db, settings, tmp_path):
    use_local_store(settings, tmp_path)
    return make_world()


def wrapped(world, count, version="1"):
    """Wrap DEKs as an application has them."""
    deks_in_clear = [os.urandom(32) for _ in range(count)]
    canaries.know("dek", deks_in_clear[0])
    store, name = world.store, world.kek.uri.partition("/")[2]
    return store.wrap(name, version, [ToWrap(dek=dek, context=b"") for dek in deks_in_clear])


def b64(some):
    return base64.b64encode(some).decode()


def table(blobs, **columns):
    lines = ["tenant,integration,version,ciphertext"]
    lines += [
        f"t{number // 5},i{number % 5},{columns.get('version', 1)},{b64(blob)}" for number, blob in enumerate(blobs)
    ]
    return "\n".join(lines)


def run(command, *arguments, role="worker", **options):
    out = io.StringIO()
    with as_worker():
        try:
            call_command(command.Command(), *arguments, stdout=out, **options)
            code = 0
        except SystemExit as error:
            code = error.code
    return code, out.getvalue()


def take(world, path, text, **options):
    path = path / "deks.csv"
    path.write_text(text)
    return run(import_deks, path, kek=world.kek.uri, **options)


def test_a_table_of_wrapped_deks_goes_in_whole_and_once(world, tmp_path):
    text = table(wrapped(world, 12))
    assert take(world, tmp_path, text, dry_run=True) == (
        0,
        "12 DEKs would be taken over, 0 are here already. Nothing was done (--dry-run).\n",
    )
    assert not Key.objects.filter(kind="dek").exists()
    code, said = take(world, tmp_path, text, environment="production")
    assert (code, said) == (0, "12 DEKs are taken over under local:house/payments, 0 are here already.\n")
    keys = Key.objects.filter(kind="dek")
    assert (keys.count(), Tenant.objects.count(), Integration.objects.count()) == (12, 3, 5)
    assert set(keys.values_list("environment", "state")) == {("production", "active")}
    assert KeyParent.objects.filter(parent=world.kek.key, relation="wrapped_by").count() == 12
    assert not DekVersion.objects.exclude(binding=None).exists()
    assert take(world, tmp_path, text) == (
        0,
        "0 DEKs are taken over under local:house/payments, 12 are here already.\n",
    )
    with as_worker():
        assert (deks.open_stretch(world.versions[0]).bound, deks.open_stretch(world.versions[0]).bound) == (12, 0)
    assert not DekVersion.objects.filter(binding=None).exists()
    seal()
    (event,) = events_of(Action.DEK_IMPORTED)
    assert (len(event.said.subjects), event.said.facts["kek_version"]) == (12, "1")


def test_json_lines_with_secrets_and_opening_them(world, tmp_path):
    lines = [
        json.dumps({"secret": f"s{n}", "version": 1, "ciphertext": b64(one)}) for n, one in enumerate(wrapped(world, 3))
    ]
    code, said = take(world, tmp_path, "\n".join(lines), open=True)
    assert (code, DekVersion.objects.exclude(binding=None).count()) == (0, 3), said
    with as_worker():
        assert deks.open_stretch(world.versions[0]).opened == 3


GOOD = b64(bytes(range(40)))
WRONG = {
    "tenant,integration,version,ciphertext\na,,1," + GOOD: "row 1, tenant: A DEK is for one integration",
    "secret,tenant,integration,version,ciphertext\ns,a,b,1," + GOOD: "row 1, tenant: A DEK is for one",
    "secret,version,ciphertext\ns,," + GOOD: "row 1, version: It does not say",
    "secret,version,ciphertext\ns,9," + GOOD: "row 1, version: The KEK has no such version.",
    "secret,version,ciphertext\ns,1,not base64!": "row 1, ciphertext: It is no base64.",
    "secret,version,ciphertext\ns,1," + b64(bytes(32)): "Give the wrapped DEK, and never one in clear.",
    "secret,version,ciphertext\ns,1,vault:v1:" + GOOD: "row 1, ciphertext: Transit has written it",
    "secret,version,ciphertext\ns,1," + GOOD + "\ns,1," + b64(bytes(40)): "row 2, secret: Row 1 is for the same",
    "secret,version,ciphertext\ns,1," + GOOD + "\nr,1," + GOOD: "row 2, ciphertext: Row 1 has the same wrapped DEK",
    "name,secret\nx,y": "row 0, file: The header names name.",
    '{"secret": "s", "version": 1, "ciphertext": 5}': "row 1, ciphertext: It is no text.",
    '{"secret": "s"\n': "row 1, row: It is no JSON object",
    "secret,version,ciphertext\n" + "AKIAIOSFODNN7EXAMPLE" + ",1," + GOOD: "It looks like key material.",
    "": "row 0, file: It is empty.",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_row_that_cannot_go_in_is_named_with_its_field_and_mend(world, tmp_path, text):
    code, said = take(world, tmp_path, text)
    assert (code, WRONG[text] in said) == (2, True), said
    assert "Nothing was taken over" in said
    assert not Key.objects.filter(kind="dek").exists()
    assert GOOD not in said


def test_one_wrong_row_keeps_all_out(world, tmp_path):
    text = table(wrapped(world, 5)) + "\nt9,i9,1,nonsense"
    code, said = take(world, tmp_path, text)
    assert (code, said.splitlines()[-1]) == (2, "Nothing was taken over: 1 row has to be mended first.")
    assert not Key.objects.filter(kind="dek").exists()
    assert not Tenant.objects.exists()


def test_other_bytes_for_a_dek_that_is_here_are_refused_until_they_were_compared(world, tmp_path):
    first = wrapped(world, 2)
    take(world, tmp_path, table(first), open=True)
    world.turn()
    name = world.kek.uri.partition("/")[2]
    opened = world.store.unwrap(name, "1", [ToOpen(ciphertext=one, context=b"") for one in first])
    again = world.store.wrap(name, "2", [ToWrap(dek=one, context=b"") for one in opened])
    text = table(again, version=2)
    code, said = take(world, tmp_path, text)
    assert (code, "its wrapped bytes are others" in said) == (2, True)
    assert take(world, tmp_path, text, open=True)[0] == 0
    code, said = take(world, tmp_path, table(wrapped(world, 2, "2"), version=2), open=True)
    assert (code, "another DEK than the one that is here" in said) == (2, True)


def test_a_bent_row_that_is_opened_is_refused_and_security_is_told_once(world, tmp_path):
    make_person("sam", "Security")
    blobs = [bytes([one[0] ^ 1]) + one[1:] for one in wrapped(world, 3)]
    code, said = take(world, tmp_path, table(blobs), open=True)
    assert (code, said.count("Its key store does not open it")) == (2, 3)
    seal()
    (event,) = events_of(Action.DEK_OPENED)
    assert (event.said.outcome, event.said.facts["reasons"]) == ("refused", {"altered": 3})
    assert Digest.objects.filter(subject__startswith="Wrapped DEKs were refused").count() == 1


def test_many_go_in_with_few_queries(world, tmp_path, django_assert_max_num_queries):
    blobs = [os.urandom(40) for _ in range(2_000)]
    with django_assert_max_num_queries(160):
        assert take(world, tmp_path, table(blobs))[0] == 0
    with as_worker():
        assert Wrapping.objects.count() == 2_000


# The other commands


def test_a_dek_is_made_handed_out_and_confirmed_by_commands(world, capsys):
    make_service("billing")
    arguments = {"kek": "kek/payments", "tenant": "acme", "integration": "crm", "reason": "new customer"}
    assert "would be made" in run(new_dek, dry_run=True, **arguments)[1]
    assert not Tenant.objects.exists()
    _, said = run(new_dek, **arguments)
    assert said.startswith("dek/acme/crm is made")
    with as_worker(), pytest.raises(CommandError, match="crm of acme already"):
        call_command(new_dek.Command(), **arguments)
    assert "Nothing was done" in run(hand_out_dek, "dek/acme/crm", service="billing", reason="go", dry_run=True)[1]
    _, said = run(hand_out_dek, "dek/acme/crm", service="billing", reason="go")
    given = json.loads(said)
    assert (given["kek"], given["kek_version"], given["version"]) == ("local:house/payments", "1", 1)
    assert len(base64.b64decode(given["ciphertext"])) == 40
    _, said = run(confirm_hand_out, given["hand_out"], reason="it has a later one")
    assert said.startswith(
        "Confirmed: billing uses dek/acme/crm, version 1, wrapped by local:house/payments, version 1"
    )


def test_a_command_confirms_an_earlier_version_and_asks_to_clear_it(world):
    key = world.dek("smtp")
    with as_worker():
        drawn = deks.draw_next(dek=key.pk, now=NOW)
    with permitted(Action.KEY_ROTATED, key) as facts:
        rotate_dek(drawn=drawn, facts=facts, actor=ACTOR, reason="test", now=NOW)
    said = {"number": 1, "evidence": "job 17", "reason": "done"}
    assert "waits for Security and DevOps" in run(confirm_reencrypted, "dek/secret/smtp", **said)[1]
    with as_worker(), pytest.raises(CommandError, match="already"):
        call_command(confirm_reencrypted.Command(), str(key.pk), **said)
    with as_worker(), pytest.raises(CommandError, match="the one that"):
        call_command(confirm_reencrypted.Command(), str(key.pk), **{**said, "number": 2})


def test_other_logins_are_sent_away(world, tmp_path):
    with pytest.raises(CommandError, match="KEYVAULT_ROLE=worker"):
        call_command(new_dek.Command(), kek="kek/payments", secret="s", reason="x")
    with pytest.raises(CommandError, match="KEYVAULT_ROLE=worker"):
        call_command(import_deks.Command(), tmp_path / "none", kek="kek/payments")
