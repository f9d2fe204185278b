"""Who decides what, who is told of what, how long the log is kept: changed by votes, and by no other way."""

from datetime import timedelta
from html import unescape

import pytest
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from audit.periods import keeping
from keyvault_admin.access.models import User
from rotation import approvals
from rotation.errors import RotationError, RuleRefusedError
from rotation.kinds import AlertKind
from rotation.models import AlertRoute, ApprovalRule, Request, RequestState
from rotation.operations import in_force, operation_of, operations
from rotation.operations.base import Step
from rotation.routing import alert_mails
from tests.conftest import make_person
from tests.inventory.world import events_of, seal
from tests.people import give_device, sign_in
from tests.rotation.approval_world import actor_for, again, carry_out, vote

WHY = "because of the test"


@pytest.fixture
def house(db, as_role):
    roles = {"s1": "Security", "s2": "Security", "s3": "Security", "d1": "DevOps", "d2": "DevOps"}
    people = {name: make_person(name, role) for name, role in roles.items()}
    for person in people.values():
        give_device(person)
    return people


def asked(code, by, /, **parameters):
    return approvals.ask(operation=code, parameters=parameters, actor=actor_for(by), reason=WHY, now=timezone.now())


def done(house, as_role, code, /, **parameters):
    """Ask, vote and carry out; return the request as it is then."""
    request = asked(code, house["s1"], **parameters)
    for name in ("s2", "s3")[: in_votes(request, "Security")] + ("d1", "d2")[: in_votes(request, "DevOps")]:
        vote(house[name], request)
    with as_role("worker"):
        carry_out(request)
    return again(request)


def in_votes(request, role):
    return sum(step.count for step in approvals.payload_of(request).steps if step.role == role)


def lines_of(request):
    shown = operation_of(request.operation).describe(approvals.payload_of(request))
    return {line.label: (line.before, line.text) for line in shown.lines}, " ".join(shown.sentences)


# Rules of approval


def test_the_house_asks_for_more_votes_and_less_time(house, as_role, carol):
    waiting = asked("role.grant", house["s1"], person=carol.pk, role="DevOps", ends_on=None)
    changed = done(house, as_role, "rule.change", operation="role.grant", votes={"Security": 2}, lifetime_hours=4)
    assert changed.state == RequestState.EXECUTED, changed.closed_because
    lines, said = lines_of(changed)
    assert lines["Votes"] == ("1 DevOps and 1 Security", "1 DevOps and 2 Security")
    assert lines["Waits for"] == ("24 hours", "4 hours")
    assert "takes back" not in said
    assert approvals.payload_of(waiting).steps == (Step("Security"), Step("DevOps")), "as it was asked"
    approvals.withdraw(pk=waiting.pk, actor=actor_for(house["s1"]), reason="anew", now=timezone.now())
    anew = asked("role.grant", house["s1"], person=carol.pk, role="DevOps", ends_on=None)
    assert approvals.payload_of(anew).steps == (Step("Security", 2), Step("DevOps"))
    assert anew.expires_at - anew.requested_at == timedelta(hours=4)
    vote(house["s2"], anew)
    vote(house["d1"], anew)
    assert again(anew).state == RequestState.OPEN
    vote(house["s3"], anew)
    assert again(anew).state == RequestState.APPROVED
    seal()
    (event,) = events_of("approval_rule.changed")
    assert event.said.facts["request"] == changed.ref
    back = done(house, as_role, "rule.change", operation="role.grant", votes={}, lifetime_hours=None)
    assert "takes back part" in lines_of(back)[1]
    assert in_force(operation_of("role.grant")) == operation_of("role.grant")
    assert ApprovalRule.objects.get().revision == 2


def test_a_rule_below_the_release_is_not_asked_and_lowers_nothing_when_it_stands_there(house, as_role):
    for votes, hours in (
        ({"Security": 0}, None),
        ({"DevOps": -1}, None),
        ({"Security": 6}, None),
        ({"Security": True}, None),
        ({"Auditor": 1}, None),
        ({"Security": "2"}, None),
        ({}, 25),
        ({}, 0),
        ({"Management": 1}, None),  # nobody of them is enrolled
        ({"Security": 1}, 24),  # as it is
    ):
        with pytest.raises(RuleRefusedError), transaction.atomic():
            asked("rule.change", house["s1"], operation="role.grant", votes=votes, lifetime_hours=hours)
    with pytest.raises(RotationError):
        asked("rule.change", house["s1"], operation="no.such", votes={}, lifetime_hours=1)
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE rotation_approvalrule DISABLE TRIGGER USER")
        ApprovalRule.objects.create(
            operation="role.grant", votes={"Security": 0, "DevOps": 0}, lifetime_hours=999, revision=1,
            set_at=timezone.now(), set_by="somebody",
        )  # fmt: skip
    assert in_force(operation_of("role.grant")) == operation_of("role.grant")


def test_no_login_writes_a_rule_a_route_or_the_retention_by_hand(house, as_role):
    rows = (
        lambda: ApprovalRule.objects.create(
            operation="role.grant", votes={}, lifetime_hours=1, revision=1, set_at=timezone.now(), set_by="me"
        ),
        lambda: AlertRoute.objects.create(
            kind="quorum", roles=["Auditor"], addresses=[], revision=1, set_at=timezone.now(), set_by="me"
        ),
    )
    for role in ("web", "worker", "command", "beat"):
        for row in rows:
            with as_role(role), pytest.raises(DatabaseError, match=r"permission denied|by votes"), transaction.atomic():
                row()
        how = {"days": 400, "request": "request:1", "facts": {}, "reason": WHY, "now": timezone.now()}
        with as_role(role), pytest.raises((DatabaseError, AuditError)), transaction.atomic():
            keeping.set_retention(**how, actor=Actor.system("worker"))


# Alerts


def test_others_are_told_and_an_address_outside_is_said_in_words(house, as_role):
    assert alert_mails(AlertKind.LOG_DIFFERS) == ["s1@example.org", "s2@example.org", "s3@example.org"]
    away = "soc@elsewhere.example"
    changed = done(
        house, as_role, "alerts.change", kind="log_differs", roles=["DevOps"], addresses=[away, "s1@example.org"]
    )
    assert changed.state == RequestState.EXECUTED, changed.closed_because
    said = lines_of(changed)[1]
    assert f"{away}: nobody with an account here has this address" in said
    assert "s1@example.org: nobody" not in said
    assert alert_mails(AlertKind.LOG_DIFFERS) == ["d1@example.org", "d2@example.org", "s1@example.org", away]
    seal()
    (event,) = events_of("alert_route.changed")
    assert away not in str(event.said)
    done(house, as_role, "alerts.change", kind="quorum", roles=[], addresses=[away])
    assert {"s1@example.org", "d1@example.org", away} <= set(alert_mails(AlertKind.QUORUM))


def test_an_alert_never_goes_to_nobody(house, as_role):
    for kind, roles, addresses in (
        ("log_differs", [], ["a@example.com"]),
        ("log_differs", ["Nobody"], []),
        ("log_differs", ["DevOps", "DevOps"], []),
        ("log_differs", ["DevOps"], ["no address"]),
        ("log_differs", ["DevOps"], [f"a{number}@example.com" for number in range(11)]),
        ("log_differs", ["Security"], []),  # as it is
        ("quorum", ["Security"], []),  # everybody is
    ):
        with pytest.raises(RuleRefusedError), transaction.atomic():
            asked("alerts.change", house["s1"], kind=kind, roles=roles, addresses=addresses)
    done(house, as_role, "alerts.change", kind="log_differs", roles=["Auditor"], addresses=[])
    assert alert_mails(AlertKind.LOG_DIFFERS) == ["s1@example.org", "s2@example.org", "s3@example.org"], "no auditors"


# Retention


def test_the_log_is_kept_as_long_as_people_voted_for(house, as_role):
    assert keeping.kept_days() == settings.AUDIT_RETENTION_DAYS
    changed = done(house, as_role, "retention.change", days=400)
    assert changed.state == RequestState.EXECUTED, changed.closed_because
    lines, said = lines_of(changed)
    assert lines["Kept for"] == ("2,557 days (7.0 years)", "400 days (1.1 years)")
    assert "365 by SmartPresence" in lines["Policies ask for at least"][1]
    assert "may then be exported" in said
    assert (keeping.kept().days, keeping.voted_by()) == (400, changed.ref)
    for days in (364, 400, 0, 40_000):
        with pytest.raises((AuditError, RuleRefusedError)), transaction.atomic():
            asked("retention.change", house["s1"], days=days)


# The page


def test_the_page_shows_every_operation_and_who_could_vote(house, client: Client, mallory: User):
    sign_in(client, house["s1"])
    with_rule = client.get("/rotation/approvalrule/")
    page = unescape(with_rule.content.decode())
    for operation in operations():
        assert operation.title in page
    assert "3 Security" in page
    answer = client.post(
        "/rotation/approvalrule/rule/role.grant/",
        {
            "votes_Security": 2,
            "votes_DevOps": 1,
            "votes_Management": 0,
            "votes_Engineering": 0,
            "hours": 24,
            "reason": WHY,
        },
    )
    request = Request.objects.get()
    assert answer.url == f"/rotation/request/{request.pk}/change/"
    assert approvals.payload_of(request).parameters["votes"] == {"Security": 2, "DevOps": 1}
    assert "a change waits for votes" in client.get("/rotation/approvalrule/").content.decode()
    lowered = client.post(
        "/rotation/approvalrule/rule/factors.reset/",
        {
            "votes_Security": 0,
            "votes_DevOps": 0,
            "votes_Management": 1,
            "votes_Engineering": 0,
            "hours": 24,
            "reason": WHY,
        },
    )
    assert Request.objects.count() == 1
    assert b"Nothing was asked" in lowered.content
    for path in ("alert/log_differs/", "retention/", "rule/rule.change/"):
        assert client.get(f"/rotation/approvalrule/{path}").status_code == 200
    assert client.get("/rotation/approvalrule/rule/no.such/").status_code == 404
    other = Client()
    sign_in(other, house["d1"])
    assert other.get("/rotation/approvalrule/").status_code == 200
    assert other.get("/rotation/approvalrule/retention/").status_code == 403
