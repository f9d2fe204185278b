"""What is held about a person, handed out: all of it, nothing secret, and recorded."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from audit.actions import Action
from audit.models import Event
from inventory.models import (
    DekVersion,
    Finding,
    HandOut,
    HeaderMapping,
    ImportDraft,
    Kek,
    KekVersion,
    Key,
    KeyVersion,
    Owner,
    PolicyClause,
    PolicyException,
    RotationEvidence,
    Service,
)
from keyvault_admin.access import services
from keyvault_admin.access.models import (
    EnrolmentLink,
    Lockout,
    PersonSession,
    QuorumReview,
    RecoveryCode,
    RecoverySheet,
    User,
)
from keyvault_admin.access.personal_data import HOLDINGS
from rotation.models import (
    AlertRoute,
    Duty,
    DutySignature,
    Notice,
    Order,
    Review,
    ReviewItem,
    ReviewSignature,
    RewrapJob,
    Vote,
)
from rotation.operations.base import Target
from tests.keyvault_admin.access.test_erasure import COMMAND, acting, carols_world, erase  # noqa: F401 - a fixture
from tests.people import sign_in
from tests.rotation import request_world as requests

Role = Callable[[str], AbstractContextManager[None]]
SECRETS = (b"secret-digest-of-a-link", b"secret-digest-of-a-code", b"secret-seed-of-an-app", b"sealed-file-of-hers")


@pytest.fixture
def full_world(carols_world: User, as_role: Role, now: datetime) -> User:  # noqa: F811
    """Carol with a row in every table that HOLDINGS lists; written as the owner, who may write anywhere."""
    carol = carols_world
    with as_role("migrator"):
        owner = Owner.objects.get(user=carol)
        key = Key(name="payments/hers", kind="api_token", owner=owner)
        key.save()
        carol.totp_devices.update(sealed_seed=SECRETS[2])
        sheet = RecoverySheet(user=carol, confirmed=True)
        sheet.save()
        RecoveryCode(sheet=sheet, code_digest=SECRETS[1], made_at=now).save()
        link = EnrolmentLink(user=carol, token_digest=SECRETS[0], issued_by="user:1", created_at=now)
        link.expires_at = now + timedelta(days=1)
        link.save()
        stored = Session(session_key="a" * 40, session_data="", expire_date=now + timedelta(days=1))
        stored.save(force_insert=True)
        session = PersonSession(session=stored, person=carol, opened_at=now, last_seen_at=now)
        session.seal_origin(acting(carol).identity)
        session.save(force_insert=True)
        Lockout(person=carol, locked_at=now).save()
        QuorumReview(person=carol, role="DevOps", reason="too few", restored_at=now).save()
        Finding(
            key=key, code="owner-gone", severity=2, clause="", opened_at=now, closed_at=now, facts={"owner": "carol"}
        ).save()
        RotationEvidence(key=key, rotated_on=now.date(), text="change 4711", reported_by=carol, reported_at=now).save()
        ImportDraft(
            uploaded_by=carol, uploaded_at=now, file_name="keys.csv", content=SECRETS[3], reason="first load"
        ).save()
        HeaderMapping(header="wer", field="owner", used_at=now, used_by=carol.ref).save()
        Notice(key=key, rotate_by=now, threshold_days=7, recipient=carol.email, written_at=now).save()
        _judge_and_sign(carol, now)
        _ask_and_vote(carol, now)
        _end_an_exception(key, carol, now)
        _act_alone_and_look(carol, key, now)
        _be_told_of_alerts(carol, now)
    return carol


def _be_told_of_alerts(carol: User, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE rotation_alertroute DISABLE TRIGGER rotation_route_guard")
        AlertRoute(kind="log", addresses=[carol.email], revision=1, set_at=now, set_by="request:0").save()
        cursor.execute("ALTER TABLE rotation_alertroute ENABLE TRIGGER rotation_route_guard")


def _end_an_exception(key: Key, carol: User, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE inventory_policyexception DISABLE TRIGGER inventory_exception_guard")
        PolicyException(
            key=key, clause=PolicyClause.objects.get(code="s0-5-annual"), compensating_control="c", residual_risk="r",
            reason="w", granted_at=now, until=now + timedelta(days=1), longest_days=180, request="request:0",
            state="ended", closed_at=now, closed_by=carol, closed_because="it failed",
        ).save()  # fmt: skip
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE inventory_policyexception ENABLE TRIGGER inventory_exception_guard")


def _ask_and_vote(carol: User, now: datetime) -> None:
    """Carol asked for something about herself, and voted on something else while she still could."""
    requests.asked("test.thing", carol, targets=(Target(ref=carol.ref, label="", revision=1),))
    other = requests.asked("test.thing", "command:test")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE rotation_vote DISABLE TRIGGER rotation_vote_guard")
        Vote(
            request=other, person=carol, role="DevOps", is_approval=True, comment="fine", digest=other.digest,
            verified_by="totp:1", voted_at=now,
        ).save()  # fmt: skip
        cursor.execute("ALTER TABLE rotation_vote ENABLE TRIGGER rotation_vote_guard")


def _act_alone_and_look(carol: User, key: Key, now: datetime) -> None:
    """Carol suspended a key, and looked at what a command did, while she still could; before, she had it wrapped."""
    _have_keys_wrapped(carol, key, now)
    said = {"key": key, "done_at": now, "opened_at": now, "due_at": now + timedelta(hours=24), "next_reminder_at": now}
    Duty(kind="suspension", title="Suspension", reason="x", done_by=carol, done_by_ref=carol.ref, **said).save()
    other = Duty(kind="suspension", title="Suspension", reason="x", done_by_ref="command:test", **said)
    other.save()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE rotation_dutysignature DISABLE TRIGGER rotation_dutysignature_guard")
        DutySignature(
            duty=other, person=carol, role="DevOps", verdict="in_order", words="fine", verified_by="totp:1",
            signed_at=now,
        ).save()  # fmt: skip
        cursor.execute("ALTER TABLE rotation_dutysignature ENABLE TRIGGER rotation_dutysignature_guard")


def _have_keys_wrapped(carol: User, key: Key, now: datetime) -> None:
    """Carol ordered a DEK, had it handed out, and opened a re-wrap job."""
    Order(act="dek.create", asked_by_ref=carol.ref, created_at=now, next_at=now, reason="x").save()
    version = KeyVersion(key=key, number=1)
    version.save()
    Kek(key=key, uri="local:house/hers", algorithm="AES-256-KW").save(force_insert=True)
    KekVersion(version=version, kek_id=key.pk, store_id="1", status_at=now).save(force_insert=True)
    DekVersion(version=version, key=key, number=1, reencrypted_at=now, reencrypted_by=carol.ref).save(force_insert=True)
    service = Service(name="hers")
    service.save()
    wrapped = {"dek_version_id": version.pk, "kek_version_id": version.pk, "service": service}
    HandOut(**wrapped, handed_at=now, handed_by=carol.ref).save()
    times = {"opened_at": now, "changed_at": now, "next_at": now}
    RewrapJob(kek_id=key.pk, target_id=version.pk, reason="x", opened_by_ref=carol.ref, **times).save()


def _judge_and_sign(carol: User, now: datetime) -> None:
    review = Review(
        kind="transitions", period_from=now - timedelta(days=14), period_to=now, due_at=now + timedelta(days=7),
        after_event=0, through_event=1, population=1, seed=bytes(32), opened_at=now, next_reminder_at=now,
    )  # fmt: skip
    review.save()
    judged = {"event_number": 1, "event_digest": bytes(32), "verdict": "in_order", "judged_at": now}
    ReviewItem(review=review, judged_by=carol, **judged).save()
    ReviewSignature(
        review=review, role="DevOps", person=carol, content_digest=bytes(32), verified_by="totp:1", signed_at=now
    ).save()


def document(person: User, now: datetime) -> tuple[str, dict]:
    text = "".join(services.export_person(person=person, actor=COMMAND, reason="asked for it", now=now))
    return text, json.loads(text)


def test_every_table_is_in_it_and_no_secret(full_world: User, as_role: Role, now: datetime) -> None:
    for role in ("command", "web"):
        with as_role(role):
            text, said = document(full_world, now)
        assert [model for model, rows in said["tables"].items() if not rows] == []
        assert set(said["tables"]) == {holding.model for holding in HOLDINGS if not holding.is_read_by_the_log}
        assert said["tables"]["access.User"][0]["email"] == "carol@example.org"
        assert said["tables"]["access.PersonSession"][0]["address"] == "192.0.2.44"
        assert [event["identity"]["name"] for event in said["events_done"]] == ["Carol Example"]
        assert {event["action"] for event in said["events_about"]} >= {Action.PERSON_DEACTIVATED}
        assert said["identity_key"]["erased_at"] is None
        for secret in (*SECRETS, full_world.password.encode(), b"handle", b"argon2"):
            assert secret.decode() not in text.replace('"handle"', "")
            assert secret.hex() not in text
        assert "Alice" not in text.replace(
            said["tables"]["rotation.Digest"][0]["text"], ""
        )  # others by reference alone
    assert Event.objects.filter(action=Action.PERSON_EXPORTED).count() == 2


def test_erasing_takes_the_names_out_of_all_of_it(full_world: User, as_role: Role, now: datetime) -> None:
    with as_role("command"):
        erase(full_world, now)
        said = document(User.objects.get(pk=full_world.pk), now)[1]
    text = json.dumps({**said, "events_about": []})
    for name in ("carol", "Carol", "192.0.2.44", "Firefox"):
        assert name not in text
    assert said["tables"]["access.PersonSession"] == said["tables"]["access.Lockout"] == []
    assert said["events_done"][0]["identity"] is None
    assert said["identity_key"]["erased_at"] is not None
    assert Finding.objects.get(closed_at__isnull=False).facts == {"owner": Owner.objects.get(user=full_world).handle}


def test_the_command_writes_a_file_that_was_not_there(full_world: User, as_role: Role, tmp_path: Path) -> None:
    words = ["export_person", "carol", "--out", str(tmp_path / "carol.json"), "--reason"]
    with as_role("command"):
        with pytest.raises(CommandError, match="Say why"):
            call_command(*words, " ")
        call_command(*words, "asked for it")
        with pytest.raises(CommandError, match="File exists"):
            call_command(*words, "again")
    assert json.loads((tmp_path / "carol.json").read_text())["person"] == full_world.ref
    assert (tmp_path / "carol.json").stat().st_mode & 0o077 == 0
    assert Event.objects.filter(action=Action.PERSON_EXPORTED).count() == 1


@pytest.fixture
def browser(client: Client, settings: Settings) -> Client:
    settings.SECURE_SSL_REDIRECT = False
    return client


def test_security_downloads_it_and_everybody_their_own(full_world: User, browser: Client) -> None:
    alice, address = User.objects.get(username="alice"), f"/access/user/{full_world.pk}/personal-data/"
    sign_in(browser, alice)
    assert b"What is held" in browser.get(address).content
    assert browser.post(address, {"reason": ""}).headers["Content-Type"].startswith("text/html")
    answer = browser.post(address, {"reason": "she asked for it"})
    assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="person-{full_world.pk}-')
    assert answer.headers["Cache-Control"] == "no-store"
    assert json.loads(b"".join(answer.streaming_content))["person"] == full_world.ref
    assert "Your data" in browser.get("/account/personal-data/").content.decode()
    own = json.loads(b"".join(browser.post("/account/personal-data/").streaming_content))
    assert own["person"] == alice.ref
    exports = Event.objects.filter(action=Action.PERSON_EXPORTED).order_by("number")
    assert [event.actor_id for event in exports] == [alice.ref] * 2
    assert timezone.now() - exports[0].recorded_at < timedelta(minutes=5)
    assert apps.get_model("access.User") is User
