"""The installation's own keys: registered once, and every rotation of them reported."""

from datetime import date, timedelta
from io import StringIO

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.db.models import F

from audit.actions import Action
from audit.actor import Actor
from audit.checkpoints import begin_epoch, make_checkpoint
from audit.models import Event
from audit.sealing import digest_epochs, sealing_key_ids
from audit.selectors import signing_epochs
from inventory import services
from inventory.models import Finding, Key, KeyVersion, Owner, OwnKey, RotationEvidence, Service
from inventory.states import State
from inventory.tasks import note_master_key
from keyvault_admin.own_keys import OWN_KEYS, own_keys
from rotation.models import Request
from tests.deciding import approve, by, reject, request_of, waiting
from tests.inventory.world import NOW, events_of, make_key, make_owner, seal, told_of

pytestmark = pytest.mark.django_db
MADE = "2026-03-01"


@pytest.fixture(autouse=True)
def command(as_role):
    with as_role("command"):
        yield


def register(*words):
    out = StringIO()
    call_command("register_own_keys", *words, stdout=out, stderr=StringIO())
    return out.getvalue()


def first_run():
    make_owner("dana", "dana@example.org")
    return register("--owner", "dana", "--made-on", MADE)


def everything():
    return [
        list(model.objects.order_by("pk").values())
        for model in (Key, KeyVersion, OwnKey, Owner, Service, Request, RotationEvidence, Finding)
    ]


def own(code):
    return OwnKey.objects.select_related("key__service", "key__owner", "key__creator").get(code=code).key


def test_the_keys_are_registered_as_what_they_are(settings):
    settings.SECRET_SOURCES = dict.fromkeys(settings.SECRET_SOURCES, "file:///run/secrets/sealing_key")
    said = first_run()
    assert f"Keyvault Admin: sealing key: registered, key id {sealing_key_ids()[0].hex()}" in said
    key = own("sealing")
    assert (key.kind, key.algorithm, key.size_bits, key.state) == ("kek", "AES-256-GCM", 256, State.ACTIVE)
    assert (key.environment, key.storage_medium, key.is_exportable) == ("production", "file", True)
    assert key.storage_location == "file:///run/secrets/sealing_key"
    assert (key.owner.handle, key.creator.handle, key.created_on) == ("dana", "dana", date(2026, 3, 1))
    assert (key.service.name, key.service.tier, key.service.team) == ("Keyvault Admin", 3, key.owner)
    assert "rotate_sealing_key" in key.notes
    assert key.rotate_by is not None
    assert (own("digest").kind, own("secret").kind) == ("hmac_key", "hmac_key")
    assert Key.objects.count() == len(OWN_KEYS) - 2 == 3  # no signature yet, and the master key is the worker's alone
    assert [told_of(key) for key in Key.objects.all()] == [[]] * 3
    seal()
    assert [told_of(key) for key in Key.objects.all()] == [[Action.KEY_REGISTERED]] * 3


def test_nothing_of_the_keys_is_kept(settings):
    first_run()
    kept = repr(everything())
    for secret in (settings.SEALING_KEY, settings.DIGEST_KEY):
        assert secret.hex()[:16] not in kept
    assert settings.SECRET_KEY[:12] not in kept


def test_a_key_in_an_environment_variable_is_a_finding(settings):
    settings.SECRET_SOURCES = {
        "KEYVAULT_SEALING_KEY": "file:///run/secrets/sealing_key",
        "KEYVAULT_DIGEST_KEY": "env:KEYVAULT_DIGEST_KEY",
        "SECRET_KEY": "env:SECRET_KEY",
    }
    first_run()
    found = Finding.objects.filter(code="kept-in-environment-variable", closed_at=None)
    assert {finding.key_id for finding in found} == {own("digest").pk, own("secret").pk}
    assert own("digest").storage_location == "env:KEYVAULT_DIGEST_KEY"


def test_a_key_encryption_key_that_can_be_read_is_a_finding():
    first_run()
    found = Finding.objects.filter(code="exportable", closed_at=None)
    assert [finding.key_id for finding in found] == [own("sealing").pk]


def test_a_second_run_changes_nothing():
    first_run()
    before = everything()
    said = register()
    assert said.count("as recorded") == 3
    register("--owner", "somebody else <else@example.org>", "--tier", "1", "--environment", "test")
    assert everything() == before
    seal()
    assert len(events_of(Action.KEY_REGISTERED)) == 3


def test_what_people_wrote_on_a_record_stays(bob):
    first_run()
    key = own("digest")
    changes = {"name": "our digest key", "storage_medium": "secrets_manager"}
    services.edit_key(
        pk=key.pk, changes=changes, expected_revision=key.revision, actor=by(bob), reason="more exact", now=NOW
    )
    before = everything()
    assert "our digest key: as recorded" in register()
    assert everything() == before


def test_a_dry_run_changes_nothing():
    make_owner("dana", "dana@example.org")
    before = everything()
    assert "nothing was written" in register("--owner", "dana", "--dry-run")
    assert everything() == before


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "need somebody who answers for them"),
        (["--owner", "nobody"], "Nobody who answers for keys is called nobody"),
        (["--owner", "dana@"], "no person or team"),
        (["--owner", "Dana <dana@example.org>", "--made-on", "2030-01-01"], "lies after today"),
    ],
)
def test_it_is_refused_with_a_sentence(words, answer):
    before = everything()
    with pytest.raises(CommandError, match=answer):
        register(*words)
    assert everything() == before


def test_an_owner_who_is_not_known_is_registered_by_address():
    register("--owner", "Dana Petrova <Dana@Example.org>", "--team", "platform-team@example.org", "--tier", "2")
    key = own("sealing")
    assert (key.owner.handle, key.owner.mail) == ("dana", "dana@example.org")
    assert (key.service.team.handle, key.service.team.kind, key.service.tier) == ("platform-team", "team", 2)
    assert key.created_on is None
    codes = Finding.objects.filter(key=key, closed_at=None).values_list("code", flat=True)
    assert {"missing-created", "age-unknown"} <= set(codes)  # nobody said when it was made


def test_a_name_that_is_taken_is_refused():
    make_key(name=OWN_KEYS[0].name)
    before = everything()
    with pytest.raises(CommandError, match="A key of this name is registered already"):
        register("--owner", "dana@example.org")
    assert everything() == before


def test_a_new_sealing_key_is_reported_and_counts_once_devops_confirmed_it(settings, bob, as_role):
    first_run()
    key, due = own("sealing"), own("sealing").rotate_by
    before = sealing_key_ids()[0].hex()
    settings.SEALING_KEYS_PREVIOUS, settings.SEALING_KEY = (django_settings.SEALING_KEY,), bytes(range(32))
    present = sealing_key_ids()[0].hex()
    said = register()
    asked, evidence = waiting(), RotationEvidence.objects.get()
    assert f"sealing key: rotated (key id {present}, was {before}); {asked.ref} waits for somebody of DevOps" in said
    assert said.count("as recorded") == 2
    assert (asked.key, asked.requested_by, asked.requested_by_ref) == (key, None, "command:register_own_keys")
    assert f"key id {present}" in evidence.text
    assert evidence.reported_by is None
    key.refresh_from_db()
    assert (key.rotate_by, key.current_number) == (due, 1)  # nothing counts yet
    assert register().count("as recorded") == 3  # and nothing is reported twice
    with as_role("web"):
        approve(asked, bob, now=asked.requested_at + timedelta(hours=1))
    key.refresh_from_db()
    assert (key.last_rotated_on, key.never_rotated, key.current_number) == (evidence.rotated_on, False, 2)
    assert key.rotate_by > due
    assert list(key.versions.values_list("number", "state")) == [(2, "active"), (1, "deactivated")]
    seal()
    assert [action for action in told_of(key) if action.startswith("key.")] == [
        Action.KEY_REGISTERED, Action.KEY_ROTATION_REPORTED, Action.KEY_ROTATED,
    ]  # fmt: skip
    rotated = events_of(Action.KEY_ROTATED)[0].said
    assert rotated.on_behalf_of == "command:register_own_keys"
    assert register().count("as recorded") == 3


def test_a_new_digest_epoch_and_a_new_secret_key_are_reported(settings):
    first_run()
    settings.DIGEST_KEYS_PREVIOUS, settings.DIGEST_KEY = (django_settings.DIGEST_KEY,), bytes(range(32))
    settings.SECRET_KEY = "another one " * 5
    said = register()
    assert f"digest key: rotated (key id {digest_epochs()[0].hex()}" in said
    assert "secret key: rotated" in said
    assert Request.objects.filter(operation="key.rotation", state="open").count() == 2


def test_a_rotation_that_cannot_be_reported_yet_is_tried_again(settings, bob, as_role):
    first_run()
    key = own("digest")
    settings.DIGEST_KEY = bytes(range(32))
    register()
    settings.DIGEST_KEY = bytes(range(1, 33))  # once more, before the first was confirmed
    before = everything()
    with pytest.raises(CommandError, match="Run this again") as caught:
        register()
    assert caught.value.returncode == 2
    assert everything() == before
    with as_role("web"):
        reject(waiting(), bob)
    assert "digest key: rotated" in register()
    assert waiting().key == key


@pytest.mark.parametrize("how", ["rejected", "void"])
def test_a_report_that_came_to_nothing_is_made_again(how, settings, bob, as_role):
    first_run()
    key, before = own("digest"), digest_epochs()[0].hex()
    settings.DIGEST_KEYS_PREVIOUS, settings.DIGEST_KEY = (django_settings.DIGEST_KEY,), bytes(range(32))
    register()
    asked = waiting()
    with as_role("web"):
        if how == "rejected":
            reject(asked, bob)
        else:
            Key.objects.filter(pk=key.pk).update(revision=F("revision") + 1)
            approve(asked, bob)
    assert request_of(asked).state == how
    assert f"was {before}" in register()
    again = waiting()
    first, second = RotationEvidence.objects.order_by("pk")
    assert (again.pk != asked.pk, first.text) == (True, second.text)
    assert register().count("as recorded") == 3
    with as_role("web"):
        approve(again, bob)
    assert register().count("as recorded") == 3
    assert own("digest").current_number == 2


def test_a_key_that_is_the_recorded_one_again_after_a_rejection_is_no_rotation(settings, bob, as_role):
    first_run()
    recorded, settings.DIGEST_KEY = settings.DIGEST_KEY, bytes(range(32))
    register()
    with as_role("web"):
        reject(waiting(), bob)
    settings.DIGEST_KEY = recorded
    assert register().count("as recorded") == 3
    assert not Request.objects.filter(state="open").exists()


@pytest.mark.parametrize("role", ["web", "worker", "beat", "signer"])
def test_only_the_command_says_which_records_are_ours(as_role, role):
    first_run()
    with as_role(role):
        assert OwnKey.objects.count() == 3
        for write in (
            lambda: OwnKey.objects.update(material_id="00000000"),
            lambda: OwnKey(code="x", key=make_key(), material_id="00000000").save(force_insert=True),
            lambda: OwnKey.objects.all().delete(),
        ):
            with pytest.raises(DatabaseError), transaction.atomic():
                write()


def test_each_key_has_its_line_in_the_manual():
    page = (django_settings.BASE_DIR / "docs/operate.md").read_text()
    table = page.partition("## Which key protects what")[2].partition("\n## ")[0]
    for key in OWN_KEYS:
        assert f"`{key.variable}`" in table
    assert {one.facts["name"] for one in own_keys()} == {
        key.name for key in OWN_KEYS if key.code not in {"signing", "master"}
    }


def test_the_signing_key_is_known_from_its_first_checkpoint_on(as_role, settings):
    """The command never holds it: what it is and where it is kept comes from the signer, by the log."""
    first_run()
    seal()
    settings.SIGNING_KEY, settings.LOG_ORIGIN = bytes(range(7, 39)), "keys.example.org/audit"
    settings.SECRET_SOURCES = {**settings.SECRET_SOURCES, "KEYVAULT_SIGNING_KEY": "file:///run/secrets/signing_key"}
    with as_role("signer"):
        make_checkpoint(actor=Actor.system("signer"), now=NOW)
        seal()
    settings.SIGNING_KEY = None
    settings.SECRET_SOURCES = {name: it for name, it in settings.SECRET_SOURCES.items() if "SIGNING" not in name}
    (verifier,) = signing_epochs().values()
    assert f"signing key: registered, key id {verifier.id.hex()}" in register("--owner", "dana")
    key = own("signing")
    assert (key.kind, key.algorithm, key.size_bits) == ("signing_key", "Ed25519", 256)
    assert (key.storage_medium, key.storage_location) == ("file", "file:///run/secrets/signing_key")
    assert "begin_signing_epoch" in key.notes
    settings.SIGNING_KEY = bytes(range(90, 122))
    with as_role("signer"):
        begin_epoch(actor=Actor.system("signer"), reason="rotated", now=NOW)
        seal()
    assert "signing key: rotated" in register()


def test_the_master_key_is_known_once_the_worker_has_noted_it(as_role, settings):
    """The command never holds it: what it is called and where it is kept comes from the worker, by the log."""
    first_run()
    settings.MASTER_KEY = bytes(range(60, 92))
    settings.SECRET_SOURCES = {**settings.SECRET_SOURCES, "KEYVAULT_MASTER_KEY": "env:KEYVAULT_MASTER_KEY"}
    for _twice in range(2):
        with as_role("worker"):
            note_master_key()
            seal()
    noted = list(Event.objects.filter(action=Action.MASTER_KEY_NOTED))
    assert len(noted) == 1
    settings.MASTER_KEY = None
    assert "Keyvault Admin: master key: registered, key id " in register("--owner", "dana", "--made-on", MADE)
    key = own("master")
    assert (key.kind, key.algorithm, key.size_bits) == ("master_key", "AES-256-GCM", 256)
    assert (key.storage_medium, key.storage_location) == ("environment_variable", "env:KEYVAULT_MASTER_KEY")
    assert bytes(range(60, 92)).hex()[:16] not in repr(everything())
    assert Finding.objects.filter(key=key, closed_at=None, code="kept-in-environment-variable").exists()
    assert "master key: as recorded" in register()
    settings.MASTER_KEY = bytes(range(61, 93))
    with as_role("worker"):
        note_master_key()
        seal()
    assert "master key: rotated" in register()


def test_a_worker_without_a_master_key_notes_nothing(as_role, settings):
    settings.MASTER_KEY = None
    with as_role("worker"):
        note_master_key()
        seal()
    assert not Event.objects.filter(action=Action.MASTER_KEY_NOTED).exists()
