"""What one person does alone while others, or they themselves, are at it too; and what SQL cannot do. Real logins."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit.actor import Actor
from inventory.models import Key
from inventory.states import State
from rotation import at_once, duties
from rotation.approvals import Proof
from rotation.errors import GlassStillOpenError
from rotation.models import Duty, DutySignature, Request, RequestState
from rotation.operations.base import Target
from tests.conftest import make_person
from tests.inventory.world import events_of, make_key
from tests.people import give_device, next_code
from tests.rotation.duty_world import acting, sign
from tests.rotation.request_world import payload_for, row_of
from tests.rotation.test_at_once import EMERGENCY, revocation
from tests.rotation.test_review_races import at_once as together

WORKER = Actor.system("worker")


def test_races_of_what_is_done_at_once(committed_db, as_role, alice, bob):
    """Several races over one database."""
    sam = make_person("sam", "Security")
    acting(sam)
    for round_ in range(2):
        _one_person_breaks_two_glasses(f"a{round_}", alice)
        _both_signatures_at_once(sam, bob)
    _two_people_break_one(alice, sam)
    _many_sign_for_one_role(as_role)
    _several_report_one_key(alice, bob, sam)
    _the_beat_is_run_by_several(as_role, alice)


def _glass(key, person, code):
    entered = revocation(key)
    return at_once.break_glass(
        operation="key.revoke",
        entered=entered,
        digest=at_once.glass_digest("key.revoke", entered),
        actor=acting(person),
        reason=EMERGENCY,
        proof=Proof(code=code),
        now=timezone.now(),
    )


def _one_person_breaks_two_glasses(name, person):
    """With two devices, so that both factors are right: one of the two stands, and leaves one duty."""
    keys = [make_key(name=f"{name}-{nth}") for nth in range(2)]
    codes = [next_code(give_device(person)) for _ in keys]
    done = together(
        *(lambda key=key, code=code: _glass(key, person, code) for key, code in zip(keys, codes, strict=True))
    )
    assert sorted(type(one).__name__ for one in done) == [GlassStillOpenError.__name__, "Request"], done
    duty = Duty.objects.get(kind="break_glass", state="open")
    assert duty.request == next(one for one in done if isinstance(one, Request))
    assert Request.objects.filter(is_break_glass=True, key__in=keys).count() == 1


def _both_signatures_at_once(sam, bob):
    duty = Duty.objects.get(kind="break_glass", state="open")
    done = together(lambda: sign(duty, sam, "Security"), lambda: sign(duty, bob, "DevOps"))
    assert all(isinstance(one, Duty) for one in done)
    duty.refresh_from_db()
    assert duty.state == "closed"
    assert len([event for event in events_of("duty.closed") if event.said.facts["duty"] == duty.ref]) == 1


def _two_people_break_one(alice, sam):
    key = make_key(name="wanted by two")
    codes = {person: next_code(give_device(person)) for person in (alice, sam)}
    done = together(*(lambda who=who, code=code: _glass(key, who, code) for who, code in codes.items()))
    assert sorted(type(one).__name__ for one in done) == ["AlreadyAskedError", "Request"], done
    assert Duty.objects.filter(kind="break_glass", state="open", key=key).count() == 1


def _many_sign_for_one_role(as_role):
    duty = Duty.objects.get(kind="break_glass", state="open")
    people = [make_person(f"signer-{nth}", "DevOps") for nth in range(4)]
    for person in people:
        acting(person)
    done = together(*(lambda who=who: sign(duty, who, "DevOps") for who in people))
    assert sum(isinstance(one, Duty) for one in done) == 1
    assert DutySignature.objects.filter(duty=duty).count() == 1


def _several_report_one_key(*people):
    key = make_key(name="reported")
    now = timezone.now()
    how = {"reason": "seen on a paste site", "now": now}
    together(*(lambda who=who: at_once.report_compromise(pk=key.pk, actor=acting(who), **how) for who in people))
    assert Key.objects.get(pk=key.pk).state == State.SUSPENDED
    assert Request.objects.filter(key=key).count() == 1
    assert Duty.objects.filter(key=key, kind="report").count() == len(people)


def _the_beat_is_run_by_several(as_role, alice):
    now = timezone.now() + timedelta(hours=80)
    with as_role("worker"):
        opened = together(*[lambda: duties.open_due(actor=WORKER, now=now)] * 4)
        assert sum(map(len, opened)) == Duty.objects.filter(kind="still_suspended").count() == 1
        told = together(*[lambda: duties.remind(actor=WORKER, now=now)] * 4)
    assert sum(told) > 0
    flagged = [event.said.facts["duty"] for event in events_of("duty.flagged_overdue")]
    assert len(flagged) == len(set(flagged)) > 0


# SQL as the web process


def _refused(act):
    try:
        with transaction.atomic():
            act()
    except IntegrityError as error:
        return str(error).splitlines()[0]
    pytest.fail("it was done")


def _row(person, key, *, lasting=timedelta(hours=1), operation="key.revoke", is_break_glass=True, now=None):
    made = payload_for(
        operation,
        person,
        now=now,
        lasting=lasting,
        steps=(),
        is_break_glass=is_break_glass,
        targets=(Target(ref=key.ref, label=key.name, revision=key.revision),),
        parameters=revocation(key),
    )
    return row_of(made, person=person, key=key)


def _duty(request, person, **changes):
    now = timezone.now()
    said = {
        "kind": "break_glass", "key": request.key, "request": request, "title": "x", "reason": "x", "done_by": person,
        "done_by_ref": person.ref, "done_at": now, "verified_by": acting(person).verified_by, "opened_at": now,
        "due_at": now + timedelta(hours=24), "next_reminder_at": now,
    }  # fmt: skip
    return Duty(**said | changes)


def test_sql_breaks_no_glass(committed_db, as_role, alice, bob, carol):
    """APP-07: what the web process writes past every service is refused when it commits."""
    key = make_key()

    def glass(person, *, leaves_duty=True, duty=None, **how):
        def act():
            request = _row(person, key, **how)
            request.save(force_insert=True)
            if leaves_duty:
                _duty(request, person, **(duty or {})).save(force_insert=True)
            Request.objects.filter(pk=request.pk).update(
                state=RequestState.APPROVED, approved_at=timezone.now(), next_attempt_at=timezone.now()
            )

        return act

    assert "leaves a duty" in _refused(glass(alice, leaves_duty=False))
    assert "needs votes" in _refused(glass(alice, operation="key.destroy"))
    assert "over after an hour" in _refused(glass(alice, lasting=timedelta(hours=2)))
    ahead = timezone.now() + timedelta(days=1)
    assert "over after an hour" in _refused(glass(alice, now=ahead))
    assert "without role and second factor" in _refused(glass(carol))
    assert "without role and second factor" in _refused(glass(alice, duty={"verified_by": acting(bob).verified_by}))
    assert "without role and second factor" in _refused(glass(alice, duty={"verified_by": "totp:999"}))
    assert "without role and second factor" in _refused(glass(alice, duty={"verified_by": ""}))
    assert "about another request" in _refused(glass(alice, duty={"done_by": bob, "done_by_ref": bob.ref}))
    assert "a day to look" in _refused(glass(alice, duty={"due_at": timezone.now() + timedelta(days=30)}))
    assert "a day to look" in _refused(glass(alice, duty={"state": "closed", "closed_at": timezone.now()}))
    assert not Request.objects.exists()

    with transaction.atomic():
        glass(alice)()
    key = make_key(name="other")
    assert "duty_one_open_glass_each" in _refused(glass(alice))
    duty = Duty.objects.get()
    assert "signatures are missing" in _refused(
        lambda: Duty.objects.filter(pk=duty.pk).update(state="closed", closed_at=timezone.now())
    )

    _after_the_hour(as_role, duty)


def _after_the_hour(as_role, duty):
    """Nobody begins it after an hour by the server's clock, whatever time the worker says it is."""
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE rotation_request DISABLE TRIGGER USER")
        was = "requested_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'"
        cursor.execute(f"UPDATE rotation_request SET {was}")
        cursor.execute("ALTER TABLE rotation_request ENABLE TRIGGER USER")
    with as_role("worker"):
        assert "the hour is over" in _refused(
            lambda: Request.objects.filter(pk=duty.request_id).update(
                state=RequestState.EXECUTING, leased_until=timezone.now() + timedelta(minutes=5)
            )
        )
