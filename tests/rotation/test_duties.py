"""What one person did alone, and the others who look at it: services, beat, and what the database keeps."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit.actor import Actor
from inventory.errors import KeyMaterialError
from rotation import duties
from rotation.errors import (
    ClosedDutyError,
    DutyWordsMissingError,
    NotSigningError,
    OwnActError,
)
from rotation.models import Digest, DutySignature, Verdict
from rotation.selectors import duties_to_sign, overdue_duties
from tests.conftest import make_person
from tests.inventory.world import actions_since, events_of, last_number, make_owner, seal
from tests.people import give_device
from tests.rotation.duty_world import sign, suspended
from tests.rotation.review_world import actor_for

pytestmark = pytest.mark.django_db
WORKER = Actor.system("worker")


def mails():
    return {(mail.recipient, mail.subject) for mail in Digest.objects.all()}


def test_a_suspension_leaves_a_duty_that_another_person_signs(alice, bob, carol):
    now, before = timezone.now(), last_number()
    owner = make_owner("carol", "carol@example.org", user_id=carol.pk)
    duty = suspended(alice, now=now, owner=owner)
    assert actions_since(before)[-2:] == ["key.suspended", "duty.opened"]
    assert (duty.kind, duty.done_by, duty.due_at) == ("suspension", alice, now + timedelta(hours=24))
    told = mails()
    assert {who for who, _ in told} == {"bob@example.org", "carol@example.org"}  # not the one who did it
    assert ("carol@example.org", "billing/stripe was suspended") in told

    with pytest.raises(OwnActError):
        sign(duty, alice, "Security")
    number = last_number()
    assert sign(duty, bob, "DevOps", Verdict.FINDING, "the log was a test's").state == "closed"
    assert actions_since(number) == ["duty.signed", "duty.closed"]
    (signed,) = events_of("duty.signed")
    assert signed.said.reason == "the log was a test's"
    assert (signed.said.facts["duty"], signed.said.facts["verdict"]) == (duty.ref, "finding")
    assert signed.sentence == "Bob Example looked at what was done to billing/stripe, and signed"
    with pytest.raises(ClosedDutyError):
        sign(duty, make_person("other", "Security"), "Security")


def test_only_enrolled_people_of_the_roles_sign_and_say_what_they_found(alice, bob, carol, dave, erin, mallory):
    duty = suspended(alice)
    for person in (carol, dave, erin, mallory):
        for role in ("Security", "DevOps", "Engineering"):
            with pytest.raises(NotSigningError):
                sign(duty, person, role)
    with pytest.raises(NotSigningError):  # not of that role
        sign(duty, bob, "Security")
    with pytest.raises(NotSigningError):  # no factor of their own that may vote
        duties.sign_duty(
            pk=duty.pk,
            role="Security",
            verdict=Verdict.IN_ORDER,
            words="x",
            actor=actor_for(make_person("new", "Security")),
            now=timezone.now(),
        )
    with pytest.raises(NotSigningError):
        duties.sign_duty(
            pk=duty.pk, role="DevOps", verdict=Verdict.IN_ORDER, words="x", actor=WORKER, now=timezone.now()
        )
    with pytest.raises(DutyWordsMissingError):
        sign(duty, bob, "DevOps", words="  ")
    with pytest.raises(KeyMaterialError):
        sign(duty, bob, "DevOps", words="ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY2zA4")
    assert not DutySignature.objects.exists()
    assert not duties_to_sign(alice.pk, ["Security"]).exists()
    assert not duties_to_sign(carol.pk, ["Engineering"]).exists()
    assert duties_to_sign(bob.pk, ["DevOps"]).get() == duty


def test_what_is_late_is_flagged_once_and_reminded_of_every_day(as_role, alice, bob):
    now = timezone.now()
    duty = suspended(alice, now=now)
    Digest.objects.all()
    with as_role("worker"):
        assert duties.remind(actor=WORKER, now=now) == 0
        assert duties.remind(actor=WORKER, now=now + timedelta(hours=20)) == 1
        assert duties.remind(actor=WORKER, now=now + timedelta(hours=20)) == 0
        assert not overdue_duties(now + timedelta(hours=23)).exists()
        for hours in (24, 48, 72):
            assert duties.remind(actor=WORKER, now=now + timedelta(hours=hours)) == 1
            assert duties.remind(actor=WORKER, now=now + timedelta(hours=hours, minutes=5)) == 0
        seal()
    (flagged,) = events_of("duty.flagged_overdue")
    assert flagged.said.facts["duty"] == duty.ref
    assert overdue_duties(now + timedelta(hours=24)).get() == duty
    assert {who for who, subject in mails() if subject.startswith("Overdue")} == {"bob@example.org"}
    sign(duty, bob, "DevOps")
    with as_role("worker"):
        assert duties.remind(actor=WORKER, now=now + timedelta(hours=96)) == 0


def test_what_is_suspended_for_72_hours_becomes_a_duty_once(as_role, alice, bob):
    now = timezone.now() - timedelta(hours=80)
    first = suspended(alice, now=now)
    sign(first, bob, "DevOps", now=now + timedelta(hours=1))
    with as_role("worker"):
        assert duties.open_due(actor=WORKER, now=now + timedelta(hours=71)) == []
        (duty,) = duties.open_due(actor=WORKER, now=now + timedelta(hours=72))
        assert duties.open_due(actor=WORKER, now=now + timedelta(hours=73)) == []
        assert duties.close_moot(actor=WORKER, now=now + timedelta(hours=73)) == 0
        seal()
    assert (duty.kind, duty.done_by, duty.title) == ("still_suspended", alice, "billing/stripe is still suspended")
    with pytest.raises(OwnActError):  # who suspended it does not say that it may stay so
        sign(duty, alice, "Security")
    assert sign(duty, bob, "DevOps", words="stays so until Monday").state == "closed"


def refused(statement, *values):
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, values)
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except IntegrityError:
        return True
    return False


SIGNATURE = """INSERT INTO rotation_dutysignature (duty_id, person_id, role, verdict, words, verified_by, signed_at)
VALUES (%s, %s, %s, %s, %s, %s, now())"""
CLOSE = "UPDATE rotation_duty SET state = 'closed', closed_at = now() WHERE id = %s"


def test_the_database_keeps_signers_apart_from_doers(as_role, alice, bob, carol):
    """What SQL of the web process is refused, whatever the services say."""
    duty, stranger = suspended(alice), make_person("new", "DevOps")
    both = make_person("both", "Security", "DevOps")
    for person in (bob, carol, both):
        give_device(person)
    assert refused(CLOSE, duty.pk)  # nobody has signed
    assert refused(SIGNATURE, duty.pk, alice.pk, "Security", "in_order", "x", "totp:1")  # her own act
    assert refused(SIGNATURE, duty.pk, bob.pk, "Security", "in_order", "x", "totp:1")  # not his role
    assert refused(SIGNATURE, duty.pk, carol.pk, "Engineering", "in_order", "x", "totp:1")
    assert refused(SIGNATURE, duty.pk, stranger.pk, "DevOps", "in_order", "x", "totp:1")  # not enrolled
    assert refused(SIGNATURE, duty.pk, bob.pk, "DevOps", "in_order", "", "totp:1")
    assert refused(SIGNATURE, duty.pk, bob.pk, "DevOps", "in_order", "x", "")
    assert refused(SIGNATURE, duty.pk, bob.pk, "DevOps", "", "x", "totp:1")
    sign(duty, bob, "DevOps")
    assert refused(SIGNATURE, duty.pk, both.pk, "Security", "in_order", "x", "totp:1")  # closed
    assert refused("UPDATE rotation_duty SET closed_at = now() WHERE id = %s", duty.pk)
    for statement in (
        "DELETE FROM rotation_duty WHERE id = %s",
        "DELETE FROM rotation_dutysignature WHERE duty_id = %s",
        "UPDATE rotation_duty SET done_by_id = NULL WHERE id = %s",
        "UPDATE rotation_duty SET due_at = now() WHERE id = %s",
        "UPDATE rotation_dutysignature SET verdict = 'finding' WHERE duty_id = %s",
    ):
        for role in ("web", "worker", "command", "beat"):
            with as_role(role), pytest.raises(Exception, match="permission denied"), transaction.atomic():
                connection.cursor().execute(statement, [duty.pk])
