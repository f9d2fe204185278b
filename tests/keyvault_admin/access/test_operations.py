"""What is decided about people by votes: asked, voted on, carried out by the worker, and by no other way."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import selectors, services
from keyvault_admin.access.errors import AccessError, ActiveError, LastOfRoleError, NotEnrolledError, RoleError
from keyvault_admin.access.models import EnrolmentLink, QuorumReview, RecoveryCode, TotpDevice, User
from rotation import approvals
from rotation.errors import ExcludedError, NotAskingError, OwnRequestError
from rotation.models import Digest, Request, RequestState
from rotation.operations import operation_of
from tests.conftest import make_person
from tests.inventory.world import events_of, seal
from tests.keyvault_admin.access.test_passkeys import give_passkey
from tests.people import give_device, sign_in
from tests.rotation.approval_world import actor_for, again, carry_out, vote

AsRole = Callable[[str], AbstractContextManager[None]]
WHY = "because of the test"


@pytest.fixture
def house(db: None, carol: User, dave: User, as_role: AsRole) -> dict[str, User]:
    """Three of Security and two of DevOps, enrolled; bootstrapping is over."""
    roles = {"s1": "Security", "s2": "Security", "s3": "Security", "d1": "DevOps", "d2": "DevOps"}
    people = {name: make_person(name, role) for name, role in roles.items()}
    for person in people.values():
        give_device(person)
    with as_role("command"):
        services.close_bootstrap_if_complete(actor=Actor.system("command:test"), now=timezone.now())
    assert selectors.is_bootstrap_closed()
    return people


def asked(operation: str, by: User | Actor, **parameters: object) -> Request:
    actor = by if isinstance(by, Actor) else actor_for(by)
    return approvals.ask(operation=operation, parameters=parameters, actor=actor, reason=WHY, now=timezone.now())


def voted(house: dict[str, User], request: Request, *names: str) -> Request:
    for name in names or ("s2", "d1"):
        vote(house[name], request)
    return again(request)


def fresh(person: User) -> User:
    return User.objects.get(pk=person.pk)


def told(person: User) -> str:
    return "".join(Digest.objects.filter(recipient=person.email).values_list("text", flat=True))


# Each operation, whole


def test_a_role_is_given_by_two_votes(house: dict[str, User], carol: User, as_role: AsRole) -> None:
    request = asked("role.grant", house["s1"], person=carol.pk, role="DevOps", ends_on=date(2099, 1, 31))
    shown = operation_of("role.grant").describe(approvals.payload_of(request))
    assert shown.title == "Give carol the role DevOps"
    lines = {line.label: (line.before, line.text) for line in shown.lines}
    assert lines["Roles"] == ("Engineering", "DevOps, Engineering")
    assert lines["Last day"] == ("none", "31 January 2099")
    assert "import an inventory" in lines["May from then on"][1]
    assert "register a key" not in lines["May from then on"][1], "she may that already"
    assert lines["Enrolled"][1].startswith("not yet")
    assert "carol@example.org" not in str(bytes(request.payload))
    assert voted(house, request).state == RequestState.APPROVED
    assert fresh(carol).role_names == ("Engineering",)
    with as_role("worker"):
        assert carry_out(request).state == RequestState.EXECUTED
    assert fresh(carol).role_names == ("DevOps", "Engineering")
    assert fresh(carol).ends_on == date(2099, 1, 31)
    seal()
    (granted,) = events_of("role.granted")
    assert granted.said.facts["approved_by"] == [house["s2"].ref, house["d1"].ref]
    assert granted.said.on_behalf_of == house["s1"].ref
    assert "by the votes of several people" in told(carol)


def test_second_factors_are_reset_by_two_votes(house: dict[str, User], carol: User, as_role: AsRole) -> None:
    give_device(carol)
    give_passkey(carol)
    services.make_recovery_codes(person=carol, actor=actor_for(carol), now=timezone.now())
    request = asked("factors.reset", house["s1"], person=carol.pk)
    shown = operation_of("factors.reset").describe(approvals.payload_of(request))
    lines = {line.label: (line.before, line.text) for line in shown.lines}
    assert [lines[of] for of in ("Authenticator apps", "Passkeys", "Recovery codes")] == [
        ("1", "0"),
        ("1", "0"),
        ("10", "0"),
    ]
    voted(house, request)
    with as_role("worker"):
        assert carry_out(request).state == RequestState.EXECUTED, again(request).closed_because
    assert not selectors.is_enrolled(carol)
    assert not TotpDevice.objects.filter(user=carol).exclude(sealed_seed=b"").exists()
    assert RecoveryCode.objects.filter(voided_at__isnull=False).count() == 10
    assert not EnrolmentLink.objects.exists(), "Security hands one over, on the person's page"
    assert "Security gives you" in told(carol)
    assert services.hand_enrolment_link(person=carol, actor=actor_for(house["s1"]), now=timezone.now())


def test_somebody_comes_back_by_two_votes(house: dict[str, User], carol: User, as_role: AsRole) -> None:
    services.deactivate_person(person=carol, actor=actor_for(house["s1"]), reason=WHY, now=timezone.now())
    until = timezone.now().date() + timedelta(days=90)
    request = asked("person.reactivate", house["s1"], person=carol.pk, ends_on=until)
    voted(house, request)
    with as_role("worker"):
        assert carry_out(request).state == RequestState.EXECUTED, again(request).closed_because
    assert (fresh(carol).is_active, fresh(carol).ends_on) == (True, until)
    assert fresh(carol).role_names == ("Engineering",)


def test_somebody_is_erased_by_two_votes_and_a_command(house: dict[str, User], carol: User, as_role: AsRole) -> None:
    services.deactivate_person(person=carol, actor=actor_for(house["s1"]), reason=WHY, now=timezone.now())
    request = asked("person.erase", house["s1"], person=carol.pk)
    assert "carol" not in str(bytes(request.payload))
    voted(house, request)
    with as_role("worker"), pytest.raises(Exception, match="command on the server"):
        carry_out(request)
    with as_role("command"):
        assert carry_out(request, actor=Actor.system("command:erase_person")).state == RequestState.EXECUTED
    assert fresh(carol).is_erased


# Who asks, who votes


def test_who_asks_or_whom_it_is_about_does_not_vote(house: dict[str, User], carol: User) -> None:
    request = asked("role.grant", house["s1"], person=house["s2"].pk, role="Management")
    with pytest.raises(ExcludedError):
        vote(house["s2"], request)
    with pytest.raises(OwnRequestError):
        vote(house["s1"], request)
    for nobody in (carol, house["d1"]):
        with pytest.raises(NotAskingError):
            asked("factors.reset", nobody, person=house["s2"].pk)
    assert voted(house, request, "s3", "d1").state == RequestState.APPROVED


def test_what_makes_no_sense_is_not_asked(house: dict[str, User], carol: User, dave: User) -> None:
    for operation, parameters, error in (
        ("role.grant", {"person": carol.pk, "role": "Engineering"}, RoleError),
        ("role.grant", {"person": carol.pk, "role": "DevOps", "ends_on": "2020-01-01"}, AccessError),
        ("role.grant", {"person": 0, "role": "DevOps"}, AccessError),
        ("factors.reset", {"person": dave.pk}, NotEnrolledError),
        ("person.reactivate", {"person": dave.pk}, ActiveError),
        ("person.erase", {"person": dave.pk}, AccessError),
    ):
        with pytest.raises(error), transaction.atomic():
            asked(operation, house["s1"], **parameters)
    assert not Request.objects.exists()


def test_what_changed_meanwhile_is_void(house: dict[str, User], carol: User, as_role: AsRole) -> None:
    request = voted(house, asked("role.grant", house["s1"], person=carol.pk, role="DevOps"))
    services.revoke_role(person=carol, role="Engineering", actor=actor_for(house["s1"]), reason=WHY, now=timezone.now())
    with as_role("worker"):
        assert carry_out(request).state == RequestState.VOID
    assert fresh(carol).role_names == ()


def test_the_last_who_can_vote_is_not_reset_by_votes(house: dict[str, User], as_role: AsRole) -> None:
    """Asked while there were two, carried out when there is one: the rule holds at execution too."""
    request = voted(house, asked("factors.reset", house["s1"], person=house["d2"].pk))
    # d1 has voted, so that taking the role away voids the vote; the last day makes d1 no lasting holder.
    services.set_end_date(
        person=house["d1"],
        ends_on=timezone.now().date() + timedelta(days=9),
        actor=actor_for(house["s1"]),
        reason=WHY,
        now=timezone.now(),
    )
    with as_role("worker"):
        done = carry_out(request)
    assert done.state == RequestState.VOID
    assert "nobody of DevOps would be left" in done.closed_because
    assert selectors.is_enrolled(house["d2"])
    with pytest.raises(LastOfRoleError):
        asked("factors.reset", house["s1"], person=house["d2"].pk)


# No other way


def refused(act: Callable[[], object], words: str) -> None:
    with pytest.raises(DatabaseError, match=words), transaction.atomic():
        act()


def test_no_login_gives_a_role_without_its_request(house: dict[str, User], carol: User, as_role: AsRole) -> None:
    devops, security = Group.objects.get(name="DevOps"), Group.objects.get(name="Security")
    refused(lambda: carol.groups.add(devops), "permission denied")  # web
    for role in ("worker", "command"):
        with as_role(role):
            refused(lambda: carol.groups.add(devops), "a role is given by votes")
    request = voted(house, asked("role.grant", house["s1"], person=carol.pk, role="DevOps"))
    with as_role("worker"):
        refused(lambda: carol.groups.add(devops), "a role is given by votes")  # approved, and not being carried out
        Request.objects.filter(pk=request.pk).update(
            state="executing", leased_until=timezone.now() + timedelta(hours=1)
        )
        refused(lambda: carol.groups.add(security), "a role is given by votes")  # another role
        refused(lambda: house["d1"].groups.add(security), "a role is given by votes")  # another person
        carol.groups.add(devops)


def test_no_login_lets_somebody_back_in_without_a_request(house: dict[str, User], carol: User, as_role: AsRole) -> None:
    services.deactivate_person(person=carol, actor=actor_for(house["s1"]), reason=WHY, now=timezone.now())
    row, other = User.objects.filter(pk=carol.pk), User.objects.filter(pk=house["d2"].pk)
    for role in ("web", "worker", "command"):
        with as_role(role):
            refused(lambda: row.update(is_active=True), "re-activated by votes")
    with as_role("migrator"):
        other.update(ends_on=date(2020, 1, 1))
    for role in ("web", "worker", "command"):
        with as_role(role):
            refused(lambda: other.update(ends_on=None), "re-activated by votes")
    with as_role("worker"):
        refused(
            lambda: User.objects.filter(pk=house["s1"].pk).update(ends_on=date(2099, 1, 1)), "re-activated by votes"
        )


def test_no_login_takes_factors_without_a_request(house: dict[str, User], as_role: AsRole) -> None:
    device = TotpDevice.objects.filter(user=house["s1"])
    gone = {"confirmed": False, "removed_at": timezone.now(), "sealed_seed": b""}
    for role in ("worker", "command"):
        with as_role(role):
            refused(lambda: device.update(**gone), "second factors are reset by votes")
    with as_role("worker"):
        refused(lambda: device.update(sealed_seed=b"mine"), "takes factors out of use, and no more")
        refused(lambda: device.update(confirmed=False, sealed_seed=b"mine"), "knows no seeds")


def test_the_machine_alone_gives_a_role_only_where_the_quorum_is_lost(
    house: dict[str, User], carol: User, as_role: AsRole
) -> None:
    devops = Group.objects.get(name="DevOps")
    with as_role("command"):
        QuorumReview.objects.create(person=carol, role="DevOps", reason=WHY, restored_at=timezone.now())
        refused(lambda: carol.groups.add(devops), "a role is given by votes")
        User.objects.filter(pk=house["d2"].pk).update(is_active=False)
        refused(lambda: carol.groups.add(Group.objects.get(name="Security")), "a role is given by votes")
        carol.groups.add(devops)


# The pages that ask


def test_security_asks_on_the_pages_of_a_person(
    house: dict[str, User], carol: User, dave: User, client: Client, as_role: AsRole
) -> None:
    sign_in(client, house["s1"])
    page = f"/access/user/{carol.pk}/"
    assert "Ask for a role" in client.get(f"{page}change/").content.decode()
    entered = {"role": "Auditor", "reason": WHY}
    assert b"An auditor&#x27;s account has a last day" in client.post(f"{page}ask-role/", entered).content
    answer = client.post(f"{page}ask-role/", {**entered, "ends_on": "2099-01-31"})
    request = Request.objects.get()
    assert answer.url == f"/rotation/request/{request.pk}/change/"
    assert approvals.payload_of(request).parameters == {"person": carol.pk, "role": "Auditor", "ends_on": "2099-01-31"}
    assert (
        f'/rotation/request/{request.pk}/change/">Give carol the role Auditor'
        in client.get(f"{page}change/").content.decode()
    )
    assert b"is asked for carol already" in client.post(f"{page}ask-role/", {**entered, "of_the_house": "1"}).content
    assert b"no second factor" in client.post(f"{page}ask-reset/", {"reason": WHY}).content
    assert b"is active already" in client.post(f"{page}ask-return/", {"reason": WHY}).content
    services.deactivate_person(person=dave, actor=actor_for(house["s1"]), reason=WHY, now=timezone.now())
    for act in ("return", "erasure"):
        assert client.post(f"/access/user/{dave.pk}/ask-{act}/", {"reason": WHY}).status_code == 302
    assert Request.objects.count() == 3
    assert carol.role_names == ("Engineering",)


def test_others_do_not_see_the_pages_that_ask(house: dict[str, User], carol: User, dave: User, client: Client) -> None:
    for person in (house["d1"], carol, dave):
        browser = Client()
        sign_in(browser, person)
        for act in ("role", "reset", "return", "erasure"):
            assert browser.post(f"/access/user/{carol.pk}/ask-{act}/", {"reason": WHY}).status_code == 403
    assert not Request.objects.exists()


def test_a_refused_asking_is_recorded(house: dict[str, User], client: Client) -> None:
    sign_in(client, house["s1"])
    services.set_end_date(
        person=house["d1"],
        ends_on=timezone.now().date() + timedelta(days=9),
        actor=actor_for(house["s1"]),
        reason=WHY,
        now=timezone.now(),
    )
    answer = client.post(f"/access/user/{house['d2'].pk}/ask-reset/", {"reason": WHY})
    assert b"nobody of DevOps would be left" in answer.content
    seal()
    (event,) = events_of("factor.reset")
    assert event.said.outcome == "refused"
