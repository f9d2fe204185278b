"""Exceptions and changes of clauses from the question to the deed: who asks, who votes, and what makes them void."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from inventory import services
from inventory.effects import simulate
from inventory.errors import EffectChangedError, ExceptionLengthError, NothingChangesError, StaleError
from inventory.models import Key, PolicyClause, PolicyException, ThreatLevel
from rotation import approvals
from rotation.errors import (
    AlreadyAskedError,
    NotAskingError,
    NotLoweringError,
    NotVotingError,
    RotationError,
    WrongParametersError,
)
from rotation.models import Request, RequestState
from rotation.operations import operation_of
from tests.conftest import make_person
from tests.inventory.world import ACTOR, make_key, make_owner, seal
from tests.people import sign_in
from tests.rotation.approval_world import actor_for, again, carry_out, vote
from tests.rules_by_votes import edit_clause

pytestmark = pytest.mark.django_db
CLAUSE = "s4-production-90"


def clause():
    return PolicyClause.objects.get(code=CLAUSE)


def ask(person, operation, parameters):
    return approvals.ask(
        operation=operation, parameters=parameters, actor=actor_for(person), reason="because", now=timezone.now()
    )


def excepting(key, days=30, **said):
    day = timezone.now().date() + timedelta(days=days)
    return {
        "key": key.pk, "clause": clause().pk, "revision": clause().revision, "until": day.isoformat(),
        "compensating_control": "two hosts only", "residual_risk": "a stolen token works longer",
    } | said  # fmt: skip


def shortening(days=60):
    proposed = clause()
    proposed.longest_age_days = days
    seen = simulate(clause=proposed, now=timezone.now()).digest
    return {
        "clause": proposed.pk,
        "revision": proposed.revision,
        "changes": {"longest_age_days": days},
        "seen": seen,
    }


@pytest.fixture
def late(any_db, carol):
    """A key of carol that is ten days late by 90 days."""
    owner = make_owner("carol", "carol@example.org", user_id=carol.pk)
    rotated = timezone.now().date() - timedelta(days=100)
    return make_key(owner=owner, last_rotated_on=rotated, now=timezone.now())


def test_an_exception_asked_by_the_owner_needs_management_and_security(late, as_role, alice, bob, carol, erin):
    request = ask(carol, "exception.grant", excepting(late))
    assert request.title == f"Accept an exception of {late.name} from S4 Key Management"
    for person in (bob, carol):
        with pytest.raises(NotVotingError):
            vote(person, request)
    vote(alice, request)
    with pytest.raises(RotationError):
        vote(make_person("another", "Security"), request)
    assert again(request).state == RequestState.OPEN
    vote(erin, request)
    with as_role("worker"):
        assert carry_out(request).state == RequestState.EXECUTED, again(request).closed_because
    granted = PolicyException.objects.get()
    assert (granted.request, granted.key, granted.clause) == (request.ref, late, clause())
    assert Key.objects.accepted(timezone.now()).get() == late
    seal()


def test_what_is_shown_of_an_exception_is_what_is_granted(late, as_role, alice, carol, erin):
    request = ask(carol, "exception.grant", excepting(late, 40))
    shown = operation_of("exception.grant").describe(approvals.payload_of(request))
    lines = {line.label: line.text for line in shown.lines}
    for person in (alice, erin):
        vote(person, request)
    with as_role("worker"):
        carry_out(request)
    granted = PolicyException.objects.get()
    assert lines["Instead"] == granted.compensating_control
    assert lines["Risk that remains"] == granted.residual_risk
    assert lines["Until"] == f"{granted.until:%-d %B %Y}"
    said = " ".join(shown.sentences)
    assert "never as compliant" in said
    assert f"being late is accepted from then until {granted.until:%-d %B %Y}" in said


def test_who_may_not_ask_and_what_cannot_be_asked(late, bob, carol, dave, erin):
    foreign = make_key(name="foreign", now=timezone.now())
    for person in (bob, dave, erin, make_person("engineer", "Engineering")):
        with pytest.raises(NotAskingError):
            ask(person, "exception.grant", excepting(late))
    with pytest.raises(NotAskingError):
        ask(carol, "exception.grant", excepting(foreign))
    refused = [
        (excepting(late, 91), ExceptionLengthError),
        (excepting(late, 0), ExceptionLengthError),
        (excepting(late, revision=9), StaleError),
        (excepting(late, residual_risk=" "), WrongParametersError),
        (excepting(late, until="soon"), WrongParametersError),
        (excepting(late, clause="1"), WrongParametersError),
        (excepting(late, keys=[late.pk]), WrongParametersError),
    ]
    for parameters, error in refused:
        with pytest.raises(error):
            ask(carol, "exception.grant", parameters)
    ask(carol, "exception.grant", excepting(late))
    with pytest.raises(AlreadyAskedError):
        ask(carol, "exception.grant", excepting(late))
    with pytest.raises(NotAskingError):
        ask(bob, "clause.edit", shortening())
    assert Request.objects.count() == 1


@pytest.mark.parametrize("meanwhile", ["the clause", "the key"])
def test_an_exception_is_void_when_what_it_is_about_has_changed(late, as_role, alice, carol, erin, meanwhile):
    request = ask(carol, "exception.grant", excepting(late))
    for person in (alice, erin):
        vote(person, request)
    how = {"reason": "x", "actor": ACTOR, "now": timezone.now(), "expected_revision": 1}
    if meanwhile == "the key":
        services.edit_key(pk=late.pk, changes={"notes": "new"}, **how)
    else:
        edit_clause(pk=clause().pk, changes={"text": "Other words."}, **how)
    with as_role("worker"):
        assert carry_out(request).state == RequestState.VOID
    assert not PolicyException.objects.exists()
    assert "changed" in again(request).closed_because


def test_a_clause_is_edited_by_security_and_devops_with_the_effect_that_was_shown(late, as_role, alice, bob):
    asker = make_person("asker", "Security")
    shown = shortening()
    refused = [
        ("clause.edit", shown | {"seen": "something else"}, EffectChangedError),
        ("clause.edit", shown | {"changes": {"longest_age_days": 90}}, NothingChangesError),
        ("clause.edit", shown | {"revision": 7}, StaleError),
        ("clause.edit", shown | {"changes": {"code": "x"}}, WrongParametersError),
        ("clause.retire", {"clause": 0, "revision": 1, "seen": ""}, WrongParametersError),
        ("threat_level.lower", {"revision": 1, "changes": {"level": "high"}, "seen": ""}, NotLoweringError),
    ]
    for operation, parameters, error in refused:
        with pytest.raises(error):
            ask(asker, operation, parameters)
    request = ask(asker, "clause.edit", shown)
    described = operation_of("clause.edit").describe(approvals.payload_of(request))
    assert [(line.label, line.before, line.text) for line in described.lines if line.before] == [
        ("Longest age in days", "90", "60")
    ]
    for person in (alice, bob):
        vote(person, request)
    with as_role("worker"):
        assert carry_out(request).state == RequestState.EXECUTED, again(request).closed_because
    assert clause().longest_age_days == 60
    seal()


def test_another_effect_than_people_voted_on_is_not_carried_out(late, as_role, alice, bob):
    request = ask(make_person("asker", "Security"), "clause.edit", shortening())
    for person in (alice, bob):
        vote(person, request)
    make_key(name="another", now=timezone.now())
    with as_role("worker"):
        assert carry_out(request).state == RequestState.VOID
    assert again(request).closed_because.startswith("What this would do to the keys has changed")
    assert clause().longest_age_days == 90


def test_the_page_of_a_change_of_clauses_looks_at_the_clause_and_at_no_key(late, client, alice):
    """A simulation over a million keys is made when it is asked and when it is done, not whenever somebody looks."""
    level = ThreatLevel.objects.get()
    services.set_threat_level(
        changes={"level": "high"}, expected_revision=level.revision, reason="x", actor=ACTOR, now=timezone.now()
    )
    proposed = ThreatLevel.objects.get()
    proposed.level = "normal"
    seen = simulate(threat=proposed, now=timezone.now()).digest
    lower = {"revision": proposed.revision, "changes": {"level": "normal"}, "seen": seen}
    asker = make_person("asker", "Security")
    asked = [ask(asker, "clause.edit", shortening()), ask(asker, "threat_level.lower", lower)]
    sign_in(client, alice)
    pages = [reverse("admin:rotation_request_change", args=[request.pk]) for request in asked]
    for page in pages:
        with CaptureQueriesContext(connection) as queries:
            assert "Overtaken" not in client.get(page).content.decode()
        assert not [one["sql"] for one in queries if "statement_timeout" in one["sql"]]  # as a simulation begins
    strict, how = {"high_percent": proposed.high_percent - 1}, {"actor": ACTOR, "reason": "x", "now": timezone.now()}
    services.set_threat_level(changes=strict, expected_revision=proposed.revision, **how)
    overtaken = ["Overtaken" in client.get(page).content.decode() for page in pages]
    assert overtaken == [False, True]


def test_time_alone_does_not_make_a_change_of_clauses_void(late, as_role, alice, bob):
    request = ask(make_person("asker", "Security"), "clause.edit", shortening(100))
    for person in (alice, bob):
        vote(person, request)
    with as_role("worker"):
        assert carry_out(request, now=timezone.now() + timedelta(hours=20)).state == RequestState.EXECUTED
    assert clause().longest_age_days == 100


def test_the_threat_level_is_lowered_by_votes_and_the_database_takes_it_no_other_way(late, as_role, alice, bob):
    how = {"reason": "x", "actor": ACTOR, "now": timezone.now()}
    services.set_threat_level(changes={"level": "high"}, expected_revision=1, **how)
    lower = {"level": "normal"}
    with pytest.raises(services.clauses.LowersThreatLevelError):
        services.set_threat_level(changes=lower, expected_revision=2, **how)
    for role in ("web", "worker", "command"):
        with as_role(role), pytest.raises(Exception, match=r"lowered by a request|permission denied"):
            ThreatLevel.objects.update(level="normal")
    for role in ("web", "worker"):
        with as_role(role), pytest.raises(Exception, match=r"changes by a request|permission denied"):
            PolicyClause.objects.update(longest_age_days=3000)
    level = ThreatLevel.objects.get()
    level.level = "normal"
    seen = simulate(threat=level, now=timezone.now()).digest
    request = ask(
        make_person("asker", "Security"), "threat_level.lower", {"revision": 2, "changes": lower, "seen": seen}
    )
    for person in (alice, bob):
        vote(person, request)
    with as_role("worker"):
        assert carry_out(request).state == RequestState.EXECUTED, again(request).closed_because
    assert ThreatLevel.objects.get().level == "normal"


def hidden(answer):
    return answer.content.decode().partition('name="draft" value="')[2].partition('"')[0]


def test_the_owner_asks_on_the_page_and_nobody_for_a_foreign_key(late, client, carol):
    foreign = make_key(name="foreign", now=timezone.now())
    sign_in(client, carol)
    page = reverse("admin:inventory_policyexception_ask", args=[late.pk])
    assert client.get(reverse("admin:inventory_policyexception_ask", args=[foreign.pk])).status_code == 403
    assert "decides: due" in client.get(page).content.decode()
    day = timezone.now().date() + timedelta(days=30)
    entered = {
        "clause": clause().pk, "until": day.isoformat(), "reason": "the vendor is late",
        "compensating_control": "two hosts only", "residual_risk": "a stolen token works longer",
    }  # fmt: skip
    too_long = client.post(page, entered | {"until": (day + timedelta(days=61)).isoformat()}).content.decode()
    assert "lasts at most 90 days" in too_long
    answer = client.post(page, entered)
    assert f"accepted until {day:%-d %b %Y}" in answer.content.decode()
    assert not Request.objects.exists()
    again_page = client.post(page, {"draft": hidden(answer), "again": "1"}).content.decode()
    assert "two hosts only" in again_page
    assert "enter it again" in client.post(page, {"draft": "x"}, follow=True).content.decode()
    asked = client.post(page, {"draft": hidden(answer)}, follow=True)
    request = Request.objects.get()
    assert asked.redirect_chain[-1][0] == reverse("admin:rotation_request_change", args=[request.pk])
    assert "Management" in asked.content.decode()
    twice = client.post(page, {"draft": hidden(answer)}, follow=True).content.decode()
    assert "already" in twice
