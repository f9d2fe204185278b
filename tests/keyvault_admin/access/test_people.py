"""Adding, editing, limiting and ending accounts; giving and taking roles; a lost quorum."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from functools import partial
from threading import Barrier, Thread

import pytest
from django.db import DatabaseError, connection
from django.db.utils import IntegrityError

from audit.actor import Actor
from audit.errors import AuditError
from inventory.permits import Permit
from keyvault_admin.access import alone, selectors, services
from keyvault_admin.access.errors import (
    ActiveError,
    EndDateError,
    InactiveError,
    LastOfRoleError,
    LinkRefusedError,
    OwnAccountError,
    PersonExistsError,
    QuorumError,
    ReasonMissingError,
    ReviewError,
    RoleError,
)
from keyvault_admin.access.guarded import BOOTSTRAP, grant_role, reactivate_person, reset_factors
from keyvault_admin.access.models import BootstrapClosing, EnrolmentLink, QuorumReview, User
from keyvault_admin.access.roles import Role
from rotation.models import Digest
from tests.conftest import make_person
from tests.keyvault_admin.access.test_services import actions, bodies
from tests.people import give_device

AsRole = Callable[[str], AbstractContextManager[None]]
COMMAND = Actor.system("command:test")
WHY = "because of the test"


def by(person: User) -> Actor:
    return Actor(kind="person", id=person.ref, role=person.role)


def fresh(person: User) -> User:
    return User.objects.get(pk=person.pk)


def told() -> dict[str, str]:
    """Return who is written to, and with what subject."""
    return {letter.recipient: letter.subject for letter in Digest.objects.all()}


@pytest.fixture
def second(any_db: None) -> User:
    """Somebody of Security besides alice, so that neither is the last."""
    person = make_person("second", "Security")
    give_device(person)
    return person


# Registering and editing, as web may


def test_web_registers_people_who_can_do_nothing(alice: User, now: datetime) -> None:
    person = services.register_person(username="Frances", mail="f@example.org", full_name="F", actor=by(alice), now=now)
    assert (person.is_superuser, person.has_usable_password(), fresh(person).role_names) == (False, False, ())
    link = services.hand_enrolment_link(person=person, actor=by(alice), now=now)
    assert told() == {"f@example.org": "A link to set up your sign-in was made"}
    letter, token = Digest.objects.get(), link.rpartition("#")[2]
    assert token not in letter.text + letter.html + "".join(bodies())
    with pytest.raises(OwnAccountError):
        services.hand_enrolment_link(person=alice, actor=by(alice), now=now)


def test_edit_person_says_which_facts_changed_and_not_what_they_are(alice: User, carol: User, now: datetime) -> None:
    services.edit_person(
        person=carol, mail="Caroline@example.org", full_name="Caroline", actor=by(alice), reason=WHY, now=now
    )
    assert (fresh(carol).email, fresh(carol).full_name) == ("caroline@example.org", "Caroline")
    assert set(told()) == {"carol@example.org", "caroline@example.org"}
    (body,) = bodies()
    assert '"changed":["mail","name"]' in body
    assert "aroline" not in body


def test_edit_person_refuses_an_address_that_is_taken(alice: User, carol: User, now: datetime) -> None:
    with pytest.raises(PersonExistsError):
        services.edit_person(person=carol, mail=alice.email, full_name="x", actor=by(alice), reason=WHY, now=now)
    with pytest.raises(ReasonMissingError):
        services.edit_person(person=carol, mail="c@example.org", full_name="x", actor=by(alice), reason=" ", now=now)
    services.edit_person(
        person=carol, mail=carol.email, full_name=carol.full_name, actor=by(alice), reason=WHY, now=now
    )
    assert actions() == []


@pytest.mark.parametrize("service", ["edit_person", "set_end_date", "deactivate_person", "revoke_role"])
def test_nothing_is_changed_without_its_event(
    alice: User, carol: User, second: User, now: datetime, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AuditError("no")

    for module in ("people", "roles"):
        monkeypatch.setattr(f"keyvault_admin.access.services.{module}.record", fail)
    more = {
        "edit_person": {"mail": "x@example.org", "full_name": "x"},
        "set_end_date": {"ends_on": date(2027, 1, 1)},
        "revoke_role": {"role": Role.ENGINEERING},
    }.get(service, {})
    before = User.objects.filter(pk=carol.pk).values().get(), fresh(carol).role_names
    with pytest.raises(AuditError):
        getattr(services, service)(person=carol, actor=by(alice), reason=WHY, now=now, **more)
    assert (User.objects.filter(pk=carol.pk).values().get(), fresh(carol).role_names) == before


# The end of an account


def test_an_account_works_until_the_end_of_its_last_day(
    alice: User, dave: User, now: datetime, as_role: AsRole
) -> None:
    services.set_end_date(person=dave, ends_on=now.date(), actor=by(alice), reason=WHY, now=now)
    with as_role("worker"):
        assert services.end_due_accounts(actor=Actor.system("worker"), now=now) == 0
        tomorrow = now + timedelta(days=1)
        assert services.end_due_accounts(actor=Actor.system("worker"), now=tomorrow) == 1
        assert services.end_due_accounts(actor=Actor.system("worker"), now=tomorrow) == 0
    assert not fresh(dave).is_active
    assert actions() == ["person.end_set", "person.deactivated"]
    assert "their last day is over" in bodies()[-1]


def test_set_end_date_refuses(alice: User, dave: User, now: datetime) -> None:
    yesterday = now.date() - timedelta(days=1)

    def limit(person: User, day: date | None, actor: User = alice) -> None:
        services.set_end_date(person=person, ends_on=day, actor=by(actor), reason=WHY, now=now)

    with pytest.raises(EndDateError):
        limit(dave, yesterday)
    with pytest.raises(OwnAccountError):
        limit(dave, None, actor=dave)
    User.objects.filter(pk=dave.pk).update(ends_on=yesterday)
    with pytest.raises(InactiveError, match="last day of this account is over"):
        limit(dave, None)
    assert actions() == []


def test_an_account_with_an_end_keeps_no_step_open(alice: User, bob: User, second: User, now: datetime) -> None:
    give_device(alice)
    day = now.date() + timedelta(days=30)
    services.set_end_date(person=second, ends_on=day, actor=by(bob), reason=WHY, now=now)
    for refused in (
        lambda: services.set_end_date(person=alice, ends_on=day, actor=by(bob), reason=WHY, now=now),
        lambda: services.deactivate_person(person=alice, actor=by(bob), reason=WHY, now=now),
        lambda: services.revoke_role(person=alice, role=Role.SECURITY, actor=by(bob), reason=WHY, now=now),
    ):
        with pytest.raises(LastOfRoleError):
            refused()
    services.deactivate_person(person=second, actor=by(alice), reason=WHY, now=now)


def test_nobody_deactivates_themselves_and_web_lets_nobody_back_in(
    alice: User, carol: User, second: User, now: datetime
) -> None:
    with pytest.raises(OwnAccountError):
        services.deactivate_person(person=alice, actor=by(alice), reason=WHY, now=now)
    services.deactivate_person(person=carol, actor=by(alice), reason=WHY, now=now)
    with pytest.raises(DatabaseError, match="re-activated by votes"):
        reactivate_person(person=carol, ends_on=None, permit=BOOTSTRAP, actor=by(alice), reason=WHY, now=now)


# Roles


def test_revoke_role_takes_one_and_leaves_the_others(alice: User, second: User, now: datetime) -> None:
    person = make_person("frank", "Engineering", "DevOps")
    services.revoke_role(person=person, role=Role.ENGINEERING, actor=by(alice), reason=WHY, now=now)
    assert fresh(person).role_names == ("DevOps",)
    with pytest.raises(RoleError):
        services.revoke_role(person=person, role=Role.ENGINEERING, actor=by(alice), reason=WHY, now=now)
    assert actions() == ["role.revoked"]


def test_grant_role_tells_the_person_security_and_devops(
    alice: User, bob: User, carol: User, erin: User, now: datetime, as_role: AsRole
) -> None:
    how = {"role": Role.DEVOPS, "ends_on": None, "permit": BOOTSTRAP, "actor": COMMAND, "reason": WHY, "now": now}
    with as_role("command"):
        grant_role(person=carol, **how)
        with pytest.raises(RoleError):
            grant_role(person=carol, **how)
    assert set(told()) == {alice.email, bob.email, carol.email}
    assert actions() == ["role.granted"]


def test_reactivate_person_voids_links_and_keeps_the_roles(
    alice: User, carol: User, second: User, now: datetime, as_role: AsRole
) -> None:
    services.deactivate_person(person=carol, actor=by(alice), reason=WHY, now=now)
    with as_role("command"):
        alone.reactivate_alone(person=carol, ends_on=date(2027, 1, 1), actor=COMMAND, reason=WHY, now=now)
        with pytest.raises(ActiveError):
            alone.reactivate_alone(person=carol, ends_on=None, actor=COMMAND, reason=WHY, now=now)
    assert (fresh(carol).is_active, fresh(carol).ends_on) == (True, date(2027, 1, 1))
    assert fresh(carol).role_names == ("Engineering",)
    assert actions() == ["person.deactivated", "person.reactivated"]


DEACTIVATE = services.deactivate_person
VOTED = Permit(request="request:1", asked_by="user:8", approved_by=["user:9"])  # web needs none: it removes for people
RESET = partial(reset_factors, permit=VOTED)
REVOKE = partial(services.revoke_role, role=Role.SECURITY)
LIMIT = partial(services.set_end_date, ends_on=date(2026, 11, 21))


@pytest.mark.parametrize(
    "ways",
    [(DEACTIVATE, DEACTIVATE), (REVOKE, REVOKE), (LIMIT, LIMIT), (DEACTIVATE, REVOKE), (RESET, RESET), (LIMIT, RESET)],
    ids=["deactivate", "revoke", "limit", "deactivate and revoke", "reset", "limit and reset"],
)
def test_two_people_at_once_do_not_take_the_last_two_of_a_role(
    committed_db: object, now: datetime, ways: tuple[Callable[..., object], Callable[..., object]]
) -> None:
    """Each thread ends the other one's vote; one of them must be refused, whatever they do it with."""
    pair = [make_person(name, "Security") for name in ("one", "two")]
    for person in pair:
        give_device(person)
    meeting, refused = Barrier(2), []

    def attack(number: int) -> None:
        who, whom = pair[number], pair[1 - number]
        how = {"actor": by(who), "reason": WHY, "now": now}
        meeting.wait(timeout=10)
        try:
            ways[number](person=whom, **how)
        except LastOfRoleError:
            refused.append(number)
        finally:
            connection.close()

    threads = [Thread(target=attack, args=[number]) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert selectors.enrolled_with(Role.SECURITY).filter(ends_on=None).count() == 1


def test_two_registrations_of_one_name_at_once_make_one_person(committed_db: object, now: datetime) -> None:
    meeting, refused = Barrier(2), []

    def register() -> None:
        meeting.wait(timeout=10)
        try:
            services.register_person(username="same", mail="s@example.org", full_name="", actor=COMMAND, now=now)
        except PersonExistsError:
            refused.append(1)
        finally:
            connection.close()

    threads = [Thread(target=register) for _ in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), User.objects.filter(username="same").count()) == (1, 1)


# A quorum that was lost


@pytest.fixture
def quorum(db: None, carol: User, now: datetime, as_role: AsRole) -> dict[str, User]:
    """Two and two, enrolled, bootstrapping closed."""
    people = {name: make_person(name, role) for name, role in
              (("s1", "Security"), ("s2", "Security"), ("d1", "DevOps"), ("d2", "DevOps"))}  # fmt: skip
    for person in people.values():
        give_device(person)
    with as_role("command"):
        services.close_bootstrap_if_complete(actor=COMMAND, now=now)
    assert BootstrapClosing.objects.exists()
    return people


def restore(name: str, role: Role, now: datetime, **how: str) -> str | None:
    return alone.restore_quorum(username=name, role=role, actor=COMMAND, reason=WHY, now=now, **how)


def test_restore_quorum_works_only_while_it_is_lost(quorum: dict[str, User], now: datetime, as_role: AsRole) -> None:
    with as_role("command"):
        with pytest.raises(QuorumError, match="nothing is lost"):
            restore("d1", Role.SECURITY, now)
        User.objects.filter(username="s2").update(is_active=False)
        with pytest.raises(QuorumError, match="would not bring the quorum back"):
            restore("d1", Role.DEVOPS, now)
        with pytest.raises(InactiveError):
            restore("s2", Role.SECURITY, now)
        with pytest.raises(RoleError):
            restore("s1", Role.SECURITY, now)
        link = restore("s3", Role.SECURITY, now, mail="s3@example.org", full_name="Sam Three")
    assert link is not None
    assert fresh(User.objects.get(username="s3")).role_names == ("Security",)
    assert actions()[-4:] == ["person.registered", "role.granted", "enrolment.issued", "quorum.restored"]
    assert set(told()) == {f"{name}@example.org" for name in ("s1", "s3", "d1", "d2", "carol")}
    assert link.rpartition("#")[2] not in "".join(letter.text for letter in Digest.objects.all())


def test_a_quorum_that_never_was_is_not_restored(alice: User, carol: User, now: datetime, as_role: AsRole) -> None:
    with as_role("command"), pytest.raises(QuorumError, match="bootstrap_admin"):
        restore("carol", Role.SECURITY, now)


def test_a_restored_quorum_waits_for_somebody_else_of_security(
    quorum: dict[str, User], carol: User, now: datetime, as_role: AsRole
) -> None:
    with as_role("command"):
        User.objects.filter(username="s2").update(is_active=False)
        restore("carol", Role.SECURITY, now)
    give_device(carol)
    review = QuorumReview.objects.get()

    def acknowledge(person: User, comment: str = "asked them") -> None:
        services.acknowledge_review(review=review, person=person, comment=comment, actor=by(person), now=now)

    for person, error in ((carol, ReviewError), (quorum["d1"], ReviewError)):
        with pytest.raises(error):
            acknowledge(person)
    with pytest.raises(ReasonMissingError):
        acknowledge(quorum["s1"], " ")
    assert selectors.open_reviews() == [review]
    acknowledge(quorum["s1"])
    assert selectors.open_reviews() == []
    with pytest.raises(ReviewError):
        acknowledge(quorum["s1"])
    with pytest.raises(IntegrityError, match="acknowledged already"):
        QuorumReview.objects.update(comment="another")


def test_the_database_refuses_who_acknowledges_their_own(
    quorum: dict[str, User], now: datetime, as_role: AsRole
) -> None:
    with as_role("command"):
        review = QuorumReview.objects.create(person=quorum["s1"], role="Security", reason="x", restored_at=now)
    with pytest.raises(IntegrityError, match="by_another"):
        QuorumReview.objects.filter(pk=review.pk).update(
            acknowledged_by=quorum["s1"], acknowledged_at=now, comment="fine"
        )


def test_links_of_an_account_that_has_ended_open_nothing(alice: User, carol: User, now: datetime) -> None:
    token = services.hand_enrolment_link(person=carol, actor=by(alice), now=now).rpartition("#")[2]
    User.objects.filter(pk=carol.pk).update(ends_on=now.date() - timedelta(days=1))
    with pytest.raises(LinkRefusedError):
        services.begin_enrolment(token=token, now=now)
    assert selectors.open_link(EnrolmentLink.objects.get().pk, now) is None
