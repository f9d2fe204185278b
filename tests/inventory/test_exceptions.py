"""Exceptions to clauses: what is accepted, until when, and that nothing counts it as compliant."""

from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.urls import reverse
from django.utils import timezone

from inventory import excepting, selectors, services
from inventory.counts import keys_of
from inventory.effects import simulate
from inventory.errors import ExceptionLengthError, ExceptionOverError, KeyGoneError, KeyMaterialError, NotBoundError
from inventory.models import ExceptionState, Finding, Key, PolicyClause, PolicyException
from inventory.policy import Facts, Rule, Scope, accepted_until, longest_exception
from inventory.replay.running import Run
from inventory.services.exceptions import expire_exceptions
from inventory.states import State
from inventory.terms import Access, Classification, Environment, KeyKind
from rotation.models import Digest, Notice
from rotation.notifications import gather
from rotation.overdue import flag_overdue
from tests.conftest import _become
from tests.inventory.world import ACTOR, NOW, actions_since, events_of, key_in, last_number, make_key, make_owner, seal
from tests.people import sign_in
from tests.rules_by_votes import edit_clause, grant, permit_for, retire_clause

pytestmark = pytest.mark.django_db
UNTIL = datetime(2026, 12, 21, tzinfo=UTC)
HOW = {"actor": ACTOR, "now": NOW}


def standing(key, until=UNTIL, *, now=NOW, **how):
    return grant(key, until=until, now=now, actor=ACTOR, **how)


def expire(now):
    with _become("worker"):
        return expire_exceptions(actor=ACTOR, now=now)


def counted(now=NOW):
    found = selectors.posture(now)
    return found.overdue, found.accepted, found.due_soon


def differences():
    seal()
    return [str(one) for one in Run().differences()]


# Pure

DUE = datetime(2026, 10, 11, tzinfo=UTC)
FACTS = Facts(
    kind="api_token", environment="production", classification="", access="",
    created_on=None, last_rotated_on=date(2026, 7, 13),
)  # fmt: skip


def rule(pk, days, **excepted):
    return Rule(
        clause_id=pk, label=str(pk), longest_age=timedelta(days=days), scope=Scope(),
        excepted={1: excepted["until"]} if excepted else {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "accepted"),
    [
        ([rule(1, 90)], None),
        ([rule(1, 90, until=UNTIL)], UNTIL),
        ([rule(1, 90, until=DUE)], None),  # ends before the key is late
        ([rule(1, 90, until=UNTIL), rule(2, 100)], DUE + timedelta(days=10)),  # late by another clause before that
        ([rule(1, 90, until=UNTIL), rule(2, 90)], None),
        ([rule(1, 90, until=UNTIL), rule(2, 100, until=UNTIL - timedelta(days=1))], UNTIL - timedelta(days=1)),
        ([rule(1, 90), rule(2, 100, until=UNTIL)], None),
        ([], None),
    ],
)
def test_a_key_is_accepted_until_a_clause_counts_from_which_it_is_not_excepted(rules, accepted):
    assert accepted_until(FACTS, rules, 1) == accepted
    assert accepted_until(FACTS, rules, 2) is None


def test_the_database_and_policy_agree_on_how_long_an_exception_may_last():
    limits = excepting.exception_limits()
    lengths = set()
    words = product(KeyKind.values, ["", *Environment.values], ["", *Classification.values], ["", *Access.values])
    with connection.cursor() as cursor:
        key = make_key()
        for kind, environment, classification, access in [*words][::7]:
            said = {"kind": kind, "environment": environment, "classification": classification, "access": access}
            Key.objects.filter(pk=key.pk).update(**said)
            cursor.execute("SELECT inventory_longest_exception(%s)", [key.pk])
            limit = longest_exception(Facts(**said, created_on=None, last_rotated_on=None), limits)
            assert cursor.fetchone() == (limit.longest_days,), said
            lengths.add(limit.longest_days)
    assert lengths == {90, 180}


# Granting


def test_an_accepted_key_is_neither_overdue_nor_compliant_wherever_keys_are_counted():
    ann = make_owner("ann")
    late, other = make_key(owner=ann), make_key(name="late too", owner=ann)
    flag_overdue(actor=ACTOR, now=NOW)
    seal()
    number = last_number()
    assert counted() == (2, 0, 0)
    granted = standing(late)
    seal()
    assert actions_since(number) == ["exception.granted"]
    stored = Key.objects.get(pk=late.pk)
    assert (stored.rotate_by, stored.winning_clause.code) == (DUE, "s4-production-90")
    assert (stored.accepted_until, stored.flagged_overdue_at, stored.revision) == (UNTIL, None, 1)
    assert (granted.longest_days, granted.state) == (90, ExceptionState.STANDING)
    assert counted() == (1, 1, 0)
    assert counted(UNTIL) == (2, 0, 0)  # by time alone
    assert list(Key.objects.overdue(NOW)) == [other]
    assert list(Key.objects.accepted(NOW)) == [late]
    assert selectors.most_overdue(NOW, 6) == [other]
    assert selectors.held_by(ann, NOW) == (2, 1)
    held = keys_of("owner", [ann.pk], NOW)[ann.pk]
    assert (held.keys, held.late, held.accepted) == (2, 1, 1)
    (event,) = events_of("exception.granted")
    (subject,) = event.said.subjects
    assert subject.after == {
        "exception": granted.ref, "excepted_from": stored.winning_clause.ref, "excepted_until": UNTIL.isoformat(),
        "compensating_control": "reachable from two hosts only", "longest_days": 90,
        "residual_risk": "a stolen token works for longer", "accepted_until": UNTIL.isoformat(),
    }  # fmt: skip
    assert event.said.facts["request"] == granted.request
    assert len(event.said.facts["approved_by"]) == 2
    assert flag_overdue(actor=ACTOR, now=NOW).newly_late == 0
    assert differences() == []


def test_what_cannot_be_excepted_is_refused_and_leaves_nothing():
    late = make_key()
    gone = key_in(State.DESTROYED, name="gone")
    test = make_key(name="test", environment="test")
    day = timedelta(days=1)
    refused = [
        (lambda: standing(late, NOW + 91 * day), ExceptionLengthError),
        (lambda: standing(late, NOW), ExceptionLengthError),
        (lambda: standing(test), NotBoundError),
        (lambda: standing(test, NOW + 181 * day, clause="s0-5-annual"), ExceptionLengthError),
        (lambda: standing(gone), KeyGoneError),
        (lambda: standing(late, compensating_control="it is ghp_a1B2c3D4e5F6g7H8i9J0"), KeyMaterialError),
    ]
    seal()
    number = last_number()
    for act, error in refused:
        with pytest.raises(error), transaction.atomic():
            act()
    retire_clause(pk=PolicyClause.objects.get(code="s4-production-90").pk, expected_revision=1, reason="x", **HOW)
    with pytest.raises(NotBoundError), transaction.atomic():
        standing(late)
    seal()
    assert actions_since(number) == ["clause.retired"]
    assert not PolicyException.objects.exists()
    assert standing(test, NOW + 180 * day, clause="s0-5-annual").longest_days == 180


def test_the_database_takes_an_exception_from_its_request_alone(as_role):
    late = make_key()
    clause = late.winning_clause
    said = {
        "key": late, "clause": clause, "compensating_control": "c", "residual_risk": "r", "reason": "w",
        "granted_at": NOW, "until": UNTIL, "longest_days": 90,
    }  # fmt: skip

    def made(**changes):
        with transaction.atomic():
            PolicyException.objects.create(**said | changes)

    with pytest.raises(DatabaseError, match="permission denied"):
        made(request="request:1")
    with as_role("worker"), pytest.raises(DatabaseError, match="granted by a request"):
        made(request="request:1")
    request, _ = permit_for("exception.grant", "key:0")
    with as_role("worker"), pytest.raises(DatabaseError, match="granted by a request"):
        made(request=request.ref)
    request, _ = permit_for("exception.grant", late.ref)
    for changes in ({"longest_days": 180}, {"until": NOW + timedelta(days=91)}, {"state": "ended", "closed_at": NOW}):
        with as_role("worker"), pytest.raises(DatabaseError, match="longest length"):
            made(request=request.ref, **changes)
    with as_role("worker"):
        made(request=request.ref)
    again, _ = permit_for("exception.grant", "key:1")
    with as_role("worker"), pytest.raises(IntegrityError):
        made(request=request.ref)
    for role, changes in [
        ("web", {"until": UNTIL + timedelta(days=1)}),
        ("worker", {"compensating_control": "another"}),
        ("web", {"state": "expired", "closed_at": UNTIL}),
        ("worker", {"state": "expired", "closed_at": NOW}),
    ]:
        with as_role(role), pytest.raises(DatabaseError), transaction.atomic():
            PolicyException.objects.update(**changes)
    PolicyException.objects.update(state="ended", closed_at=NOW, closed_because="over")
    with pytest.raises(DatabaseError, match="ends once"), transaction.atomic():
        PolicyException.objects.update(state="standing", closed_at=None)
    assert again


def test_a_renewal_is_a_row_of_its_own_and_takes_the_place_of_the_one_before():
    late = make_key()
    first = standing(late)
    later = UNTIL + timedelta(days=20)
    second = standing(late, later, now=NOW + timedelta(days=1))
    first.refresh_from_db()
    assert (first.state, first.closed_at) == (ExceptionState.SUPERSEDED, NOW + timedelta(days=1))
    assert (second.state, Key.objects.get().accepted_until) == (ExceptionState.STANDING, later)
    assert excepting.exceptions_of(late) == [second]
    assert differences() == []


# How it ends


def test_an_exception_that_has_run_out_makes_the_key_late_by_itself_and_stays_over():
    late = make_key()
    granted = standing(late)
    assert expire(UNTIL - timedelta(seconds=1)).exceptions == 0
    seal()
    number = last_number()
    assert expire(UNTIL + timedelta(minutes=5)).exceptions == 1
    assert expire(UNTIL + timedelta(minutes=5)).exceptions == 0
    seal()
    assert actions_since(number) == ["exception.expired"]
    granted.refresh_from_db()
    assert (granted.state, Key.objects.get().accepted_until) == (ExceptionState.EXPIRED, None)
    an_hour_back = UNTIL - timedelta(minutes=55)
    assert counted(an_hour_back)[:2] == (1, 0)
    with pytest.raises(ExceptionOverError):
        services.end_exception(pk=granted.pk, reason="x", actor=ACTOR, now=an_hour_back)
    assert differences() == []


def test_ending_it_early_is_one_persons_act_and_tells_the_owner_again():
    late = make_key(owner=make_owner("ann", "ann@example.org"))
    flag_overdue(actor=ACTOR, now=NOW)
    granted = standing(late)
    Notice.objects.update(digest=None)
    then = NOW + timedelta(days=3)
    services.end_exception(pk=granted.pk, reason="the control failed", actor=ACTOR, now=then)
    granted.refresh_from_db()
    assert (granted.state, granted.closed_because) == (ExceptionState.ENDED, "the control failed")
    assert flag_overdue(actor=ACTOR, now=then).newly_late == 1
    assert sorted(Notice.objects.values_list("rotate_by", "threshold_days")) == [(DUE, 0), (then, 0)]
    assert differences() == []


def test_mail_lists_what_is_accepted_apart_and_reminds_before_it_ends():
    ann = make_owner("ann", "ann@example.org")
    late = make_key(owner=ann)
    standing(late)
    make_key(name="soon", owner=ann, last_rotated_on=NOW.date() - timedelta(days=80))
    flag_overdue(actor=ACTOR, now=NOW)
    assert set(Notice.objects.values_list("key__name", "threshold_days", "rotate_by")) >= {
        ("billing/stripe", 30, UNTIL)
    }
    gather(now=NOW)
    (digest,) = Digest.objects.all()
    overdue, _, accepted = digest.text.partition("ACCEPTED FOR NOW")
    assert "OVERDUE" not in overdue
    assert "billing/stripe" in accepted.partition("WHAT TO DO")[0]
    assert "an exception holds until 21 December 2026, in 30 days" in accepted
    assert "billing/stripe" not in overdue
    assert digest.subject == "Rotate your key: 1 due soon"
    assert "Accepted for now" in digest.html
    expire(UNTIL)
    assert flag_overdue(actor=ACTOR, now=UNTIL).newly_late == 2
    gather(now=UNTIL)
    text = Digest.objects.exclude(pk=digest.pk).get().text
    assert "was accepted until 21 December 2026, today" in text.partition("WHAT TO DO")[0]


# What else moves


def test_clauses_that_change_move_what_is_accepted_and_the_effect_knows(db):
    late = make_key()
    standing(late)
    annual = PolicyClause.objects.get(code="s0-5-annual")
    annual.longest_age_days = 100
    effect = simulate(clause=annual, now=NOW)
    assert (effect.changed, effect.shares.become_late, effect.get_less_time) == (1, 1, 1)
    edit_clause(
        pk=annual.pk, changes={"longest_age_days": 100}, expected_revision=1, reason="x",
        expected_changes=effect.digest, **HOW,
    )  # fmt: skip
    stored = Key.objects.get()
    assert (stored.rotate_by, stored.accepted_until) == (DUE, DUE + timedelta(days=10))
    assert counted()[:2] == (1, 0)
    assert differences() == []
    retire_clause(pk=late.winning_clause_id, expected_revision=1, reason="x", **HOW)
    assert (Key.objects.get().rotate_by, Key.objects.get().accepted_until) == (DUE + timedelta(days=10), None)
    assert differences() == []


def test_an_edit_of_the_key_keeps_what_is_accepted():
    late = make_key()
    standing(late)
    edited = services.edit_key(
        pk=late.pk, changes={"last_rotated_on": date(2026, 7, 1)}, expected_revision=1, reason="x", **HOW
    )
    assert (edited.rotate_by, edited.accepted_until) == (DUE - timedelta(days=12), UNTIL)
    assert differences() == []


def test_a_finding_is_accepted_when_every_clause_that_it_rests_on_is_excepted():
    kept = make_key(storage_medium="source_control", environment="test", access="none")
    code = "kept-in-source-control"
    named = [clause.code for clause in excepting.binding_clauses(kept) if "source_control" in clause.forbidden_media]
    assert len(named) > 1
    assert selectors.posture(NOW).critical_findings == 1
    for clause in named:
        assert Finding.objects.get(key=kept, code=code).accepted_until is None
        standing(kept, clause=clause)
    finding = Finding.objects.get(key=kept, code=code)
    assert (finding.accepted_until, finding.closed_at) == (UNTIL, None)
    posture = selectors.posture(NOW)
    assert (posture.critical_findings, posture.accepted_findings) == (0, 1)
    assert selectors.posture(UNTIL).critical_findings == 1
    expire(UNTIL)
    assert Finding.objects.get(key=kept, code=code).accepted_until is None
    assert differences() == []


# Pages


def test_the_pages_show_what_is_accepted(client, alice):
    sign_in(client, alice)
    now = timezone.now()
    ann = make_owner("ann")
    rotated = now.date() - timedelta(days=100)
    late = make_key(owner=ann, storage_medium="source_control", last_rotated_on=rotated, now=now)
    until = datetime.combine(now.date() + timedelta(days=9), datetime.min.time(), tzinfo=UTC)
    granted = standing(late, until, now=now)
    words = f"accepted until {until:%-d %b %Y}"
    assert "1 accepted" in client.get("/").content.decode()
    keys = "/inventory/key/"
    assert words in client.get(f"{keys}?due=accepted").content.decode()
    assert words not in client.get(f"{keys}?due=overdue").content.decode()
    dossier = client.get(f"{keys}{late.pk}/change/").content.decode()
    assert words in dossier
    assert "Being late is accepted until" in dossier
    assert "reachable from two hosts only" in dossier
    assert "1</a> accepted" in client.get("/inventory/owner/").content.decode()
    shown = client.get("/inventory/policyexception/").content.decode()
    assert "ends in 9 days" in shown
    assert "reachable from two hosts only" in client.get("/inventory/policyexception/?state=ending").content.decode()
    assert "0 exceptions" in client.get("/inventory/policyexception/?state=over").content.decode()
    page = client.get(reverse("admin:inventory_policyexception_change", args=[granted.pk])).content.decode()
    assert granted.request.replace(":", " ") in page
    exported = b"".join(client.post(f"{keys}export/", {"format": "csv"}).streaming_content).decode()
    assert f",{until.isoformat()}," in exported
    ended = client.post(
        reverse("admin:inventory_policyexception_end", args=[granted.pk]), {"reason": "no longer true"}, follow=True
    )
    assert "it counts by the clause again" in ended.content.decode()
    assert "ended early" in ended.content.decode()
    assert words not in client.get(f"{keys}{late.pk}/change/").content.decode()
