from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timedelta
from threading import Barrier, BrokenBarrierError, Thread, current_thread
from time import sleep

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from audit.actor import Actor, Identity
from audit.errors import AuditError
from audit.sealing import digest_epochs
from keyvault_admin.access import alone, selectors, services, totp
from keyvault_admin.access.errors import (
    AlreadyEnrolledError,
    BootstrapClosedError,
    InactiveError,
    LastOfRoleError,
    LinkRefusedError,
    NameRefusedError,
    PersonExistsError,
)
from keyvault_admin.access.guarded import BOOTSTRAP, give_role
from keyvault_admin.access.models import BootstrapClosing, EnrolmentLink, TotpDevice, User
from keyvault_admin.access.roles import Role
from keyvault_admin.access.services import pieces
from tests.conftest import PASSWORD, make_person
from tests.people import give_device, next_code

AsRole = Callable[[str], AbstractContextManager[None]]
COMMAND = Actor.system("command:bootstrap_admin")
GOOD = "correct horse battery staple"


def bodies() -> list[str]:
    """Return the hashed bytes of every event of this test."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("SELECT convert_from(body, 'UTF8') FROM audit_event ORDER BY number")
        return [row[0] for row in cursor.fetchall()]


def actions() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("SELECT convert_from(body, 'UTF8')::jsonb ->> 'action' FROM audit_event ORDER BY number")
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture
def command(db: None, as_role: AsRole) -> Iterator[None]:
    """Act as the role of a person's command."""
    with as_role("command"):
        yield


def bearer(person: User) -> Actor:
    identity = Identity(name=str(person), mail=person.email, address="192.0.2.7", agent="test")
    return Actor(kind="person", id=person.ref, identity=identity, verified_by="link:1")


def token_of(link: str) -> str:
    return link.rpartition("#")[2]


def issue(person: User, now: datetime, as_role: AsRole) -> str:
    with as_role("command"):
        return token_of(services.issue_enrolment_link(person=person, actor=COMMAND, now=now))


def complete(link: EnrolmentLink, now: datetime, *, password: str = GOOD, code: str = "") -> TotpDevice | None:
    device = selectors.pending_device(link.user)
    assert device is not None
    enrolment = services.complete_enrolment(
        link_id=link.pk, code=code or next_code(device), password=password, actor=bearer(link.user), now=now
    )
    return enrolment.device if enrolment else None


# Registering


def test_register_person_normalises_and_leaves_an_event_without_the_name(command: None, now: datetime) -> None:
    person = services.register_person(
        username=" Frances ", mail="Frances@Example.org", full_name="Frances Doe", actor=COMMAND, now=now
    )
    person.refresh_from_db()
    assert (person.username, person.email, person.date_joined) == ("frances", "frances@example.org", now)
    assert not person.has_usable_password()
    assert actions() == ["person.registered"]
    assert "rances" not in bodies()[0]


@pytest.mark.parametrize(("name", "mail"), [("ALICE", "new@example.org"), ("new", "\uff21lice@example.org")])
def test_register_person_refuses_a_name_or_address_twice(
    alice: User, command: None, now: datetime, name: str, mail: str
) -> None:
    with pytest.raises(PersonExistsError):
        services.register_person(username=name, mail=mail, full_name="", actor=COMMAND, now=now)
    assert actions() == []


def test_register_person_refuses_what_is_no_name(command: None, now: datetime) -> None:
    with pytest.raises(NameRefusedError):
        services.register_person(username="a b", mail="a@example.org", full_name="", actor=COMMAND, now=now)


def test_register_person_is_undone_when_the_event_cannot_be_written(
    command: None, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AuditError("no")

    monkeypatch.setattr("keyvault_admin.access.services.people.record", fail)
    with pytest.raises(AuditError):
        services.register_person(username="gina", mail="gina@example.org", full_name="", actor=COMMAND, now=now)
    assert not User.objects.filter(username="gina").exists()


def test_give_role_is_recorded_once(carol: User, command: None, now: datetime) -> None:
    for _ in range(2):
        give_role(person=carol, role=Role.DEVOPS, permit=BOOTSTRAP, actor=COMMAND, reason="", now=now)
    assert User.objects.get(pk=carol.pk).role == "DevOps+Engineering"
    assert actions() == ["role.granted"]
    assert '"after":{"roles":["DevOps","Engineering"]}' in bodies()[0]


def test_web_cannot_grant_a_role(carol: User, now: datetime) -> None:
    from django.db import DatabaseError

    with pytest.raises(DatabaseError, match="permission denied"):
        give_role(person=carol, role=Role.SECURITY, permit=BOOTSTRAP, actor=bearer(carol), reason="", now=now)


# Deactivating


def test_deactivate_person_voids_links_and_says_why(carol: User, now: datetime, as_role: AsRole) -> None:
    issue(carol, now, as_role)
    with as_role("command"):
        services.deactivate_person(person=carol, actor=COMMAND, reason="left the company", now=now)
    carol.refresh_from_db()
    assert not carol.is_active
    assert EnrolmentLink.objects.get(user=carol).voided_at == now
    assert actions() == ["enrolment.issued", "person.deactivated"]


def test_deactivate_person_keeps_the_last_who_can_fill_a_step(alice: User, now: datetime, as_role: AsRole) -> None:
    give_device(alice)
    second = make_person("second", "Security")
    with as_role("command"), pytest.raises(LastOfRoleError):
        services.deactivate_person(person=alice, actor=COMMAND, reason="x", now=now)
    give_device(second)
    with as_role("command"):
        services.deactivate_person(person=alice, actor=COMMAND, reason="x", now=now)
        with pytest.raises(LastOfRoleError):
            services.deactivate_person(person=second, actor=COMMAND, reason="x", now=now)
        with pytest.raises(InactiveError):
            give_role(person=alice, role=Role.DEVOPS, permit=BOOTSTRAP, actor=COMMAND, reason="", now=now)


# Enrolment


def test_enrolment_gives_a_password_and_a_device_and_uses_the_link_up(db: None, as_role: AsRole, now: datetime) -> None:
    with as_role("command"):
        person = services.register_person(
            username="frances", mail="f@example.org", full_name="", actor=COMMAND, now=now
        )
    token = issue(person, now, as_role)
    link = services.begin_enrolment(token=token, now=now).link
    device = complete(link, now)
    assert device is not None
    assert device.confirmed
    person.refresh_from_db()
    assert person.check_password(GOOD)
    assert person.password.startswith("argon2$argon2id$")
    assert actions() == ["person.registered", "enrolment.issued", "person.enrolled"]
    for refused in (lambda: services.begin_enrolment(token=token, now=now), lambda: issue(person, now, as_role)):
        with pytest.raises((LinkRefusedError, AlreadyEnrolledError)):
            refused()


def test_enrolment_leaves_a_password_alone_that_is_there(carol: User, now: datetime, as_role: AsRole) -> None:
    link = services.begin_enrolment(token=issue(carol, now, as_role), now=now).link
    assert complete(link, now, password=GOOD)
    carol.refresh_from_db()
    assert carol.check_password(PASSWORD)


def test_nothing_of_a_link_or_a_seed_is_in_the_log_or_in_clear_in_a_row(
    carol: User, now: datetime, as_role: AsRole
) -> None:
    token = issue(carol, now, as_role)
    link = services.begin_enrolment(token=token, now=now).link
    device = complete(link, now)
    assert device is not None
    log = "\n".join(bodies())
    for secret in (token, device.seed().hex(), totp.base32(device.seed()), "carol", "example.org", "192.0.2.7"):
        assert secret.lower() not in log.lower()
    assert token.encode() not in bytes(link.token_digest)
    assert len(bytes(link.token_digest)) == 36


def test_a_link_dies_at_its_hour(carol: User, now: datetime, as_role: AsRole) -> None:
    token = issue(carol, now, as_role)
    link = services.begin_enrolment(token=token, now=now + timedelta(hours=24, seconds=-1)).link
    with pytest.raises(LinkRefusedError):
        services.begin_enrolment(token=token, now=now + timedelta(hours=24))
    with pytest.raises(LinkRefusedError):
        complete(link, now + timedelta(hours=24))


def test_a_new_link_voids_the_older_one(carol: User, now: datetime, as_role: AsRole) -> None:
    older = issue(carol, now, as_role)
    opened = services.begin_enrolment(token=older, now=now).link
    newer = issue(carol, now, as_role)
    for refused in (lambda: services.begin_enrolment(token=older, now=now), lambda: complete(opened, now)):
        with pytest.raises(LinkRefusedError):
            refused()
    assert services.begin_enrolment(token=newer, now=now)


@pytest.mark.parametrize("variant", ["{}x", " {}", "{}=", "", "A" * 43])
def test_only_the_very_token_opens(carol: User, now: datetime, as_role: AsRole, variant: str) -> None:
    token = issue(carol, now, as_role)
    with pytest.raises(LinkRefusedError):
        services.begin_enrolment(token=variant.format(token), now=now)


def test_a_link_of_an_earlier_digest_key_still_opens(
    carol: User, now: datetime, as_role: AsRole, settings: Settings
) -> None:
    token = issue(carol, now, as_role)
    first, settings.DIGEST_KEY = settings.DIGEST_KEY, bytes(32)
    with pytest.raises(LinkRefusedError):
        services.begin_enrolment(token=token, now=now)
    settings.DIGEST_KEYS_PREVIOUS = (first,)
    assert selectors.open_links(now) == {digest_epochs()[1]: 1}
    assert services.begin_enrolment(token=token, now=now)
    assert selectors.open_links(now + timedelta(hours=25)) == {}


def test_a_deactivated_person_cannot_enrol(carol: User, now: datetime, as_role: AsRole) -> None:
    token = issue(carol, now, as_role)
    with as_role("command"):
        User.objects.filter(pk=carol.pk).update(is_active=False)
    with pytest.raises(LinkRefusedError):
        services.begin_enrolment(token=token, now=now)


def test_a_wrong_code_is_counted_and_the_link_stays(carol: User, now: datetime, as_role: AsRole) -> None:
    link = services.begin_enrolment(token=issue(carol, now, as_role), now=now).link
    assert complete(link, now, code="12345x") is None
    device = selectors.pending_device(carol)
    assert device is not None
    assert device.throttling_failure_count == 1
    assert EnrolmentLink.objects.get(pk=link.pk).used_at is None
    assert actions() == ["enrolment.issued"]


@pytest.mark.parametrize("weak", ["", "short", "password1234", "frances-frances"])
def test_a_weak_password_is_refused_before_the_code_is_used(
    db: None, as_role: AsRole, now: datetime, weak: str
) -> None:
    with as_role("command"):
        person = services.register_person(
            username="frances-frances", mail="f@example.org", full_name="", actor=COMMAND, now=now
        )
    link = services.begin_enrolment(token=issue(person, now, as_role), now=now).link
    with pytest.raises(ValidationError):
        complete(link, now, password=weak)
    assert complete(link, now), "the same code still works"


def test_opening_a_link_again_draws_another_seed(carol: User, now: datetime, as_role: AsRole) -> None:
    token = issue(carol, now, as_role)
    seeds = set()
    for _ in range(2):
        services.begin_enrolment(token=token, now=now)
        device = selectors.pending_device(carol)
        assert device is not None
        seeds.add(device.seed())
    assert len(seeds) == 2


def test_complete_enrolment_under_race_happens_once(
    committed_db: object, carol: User, as_role: AsRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have a good code of their own, and go on together as soon as both have found the device."""
    now = timezone.now()
    with as_role("command"):
        token = token_of(services.issue_enrolment_link(person=carol, actor=COMMAND, now=now))
    link = services.begin_enrolment(token=token, now=now).link
    found, meeting, answers = selectors.pending_device(carol), Barrier(2), []
    assert found is not None
    seed, step = found.seed(), totp.step_at(timezone.now())

    def find_together(person: User) -> TotpDevice | None:
        device = TotpDevice.objects.filter(user=person, confirmed=False).first()
        with suppress(BrokenBarrierError):
            meeting.wait(timeout=1)
        if current_thread() is threads[1]:
            sleep(0.5)  # so that the later code comes after the earlier one, which would be refused the other way round
        return device

    def finish(code: str) -> None:
        try:
            done = services.complete_enrolment(link_id=link.pk, code=code, password="", actor=bearer(carol), now=now)
            answers.append(done is not None)
        except LinkRefusedError:
            answers.append(False)
        connection.close()

    monkeypatch.setattr(selectors, "pending_device", find_together)
    threads = [Thread(target=finish, args=[totp.code_at(seed, step + ahead)]) for ahead in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False, True]
    assert actions().count("person.enrolled") == 1


def test_a_link_that_is_shown_waits_for_whoever_voids_it(committed_db: object, carol: User, as_role: AsRole) -> None:
    """Who deactivates or resets somebody locks the person, then the links; the other way round one of the two died."""
    now, answers = timezone.now(), []
    token = issue(carol, now, as_role)

    def show() -> None:
        try:
            services.begin_enrolment(token=token, now=now)
        except (LinkRefusedError, DatabaseError) as error:
            answers.append(type(error))
        connection.close()

    shown = Thread(target=show)
    with transaction.atomic():
        person = pieces.locked(carol)
        shown.start()
        sleep(0.5)  # time enough for the other to lock what it locks first
        pieces.void_links(person, now)
    shown.join()
    assert answers == [LinkRefusedError]


# Sign-in


def test_verify_code_takes_either_of_two_devices_without_slowing_the_other(alice: User) -> None:
    first, second = give_device(alice), give_device(alice)
    assert services.verify_code(person=alice, code=next_code(second)) == second
    first.refresh_from_db()
    assert first.throttling_failure_count == 0
    assert services.verify_code(person=alice, code="000000") in {None, first}


def test_verify_code_ignores_other_peoples_and_unconfirmed_devices(alice: User, bob: User) -> None:
    other = give_device(bob)
    waiting = TotpDevice(user=alice, confirmed=False)
    waiting.draw_seed()
    waiting.save()
    assert services.verify_code(person=alice, code=next_code(other)) is None
    assert services.verify_code(person=alice, code=next_code(waiting)) is None


def test_change_password_is_recorded_and_checked(alice: User, now: datetime) -> None:
    with pytest.raises(ValidationError):
        services.change_password(person=alice, password="short", actor=bearer(alice), now=now)
    services.change_password(person=alice, password=GOOD, actor=bearer(alice), now=now)
    assert User.objects.get(pk=alice.pk).check_password(GOOD)
    assert actions() == ["person.password_changed"]


# Bootstrapping


def bootstrap(name: str, role: Role, now: datetime) -> str | None:
    return alone.bootstrap_person(
        username=name, mail=f"{name}@example.org", full_name="", role=role, actor=COMMAND, now=now
    )


def enrol(name: str, role: Role, now: datetime, as_role: AsRole) -> None:
    with as_role("command"):
        link = bootstrap(name, role, now)
    assert link is not None
    complete(services.begin_enrolment(token=token_of(link), now=now).link, now)


def test_bootstrapping_closes_with_the_fourth_person_and_stays_closed(db: None, as_role: AsRole, now: datetime) -> None:
    for name, role in (("s1", Role.SECURITY), ("s2", Role.SECURITY), ("d1", Role.DEVOPS)):
        enrol(name, role, now, as_role)
    assert not BootstrapClosing.objects.exists()
    enrol("d2", Role.DEVOPS, now, as_role)
    assert BootstrapClosing.objects.get().closed_at == now
    assert actions()[-1] == "bootstrap.closed"
    with as_role("command"):
        User.objects.update(is_active=False)
        with pytest.raises(BootstrapClosedError):
            bootstrap("late", Role.SECURITY, now)
    assert not User.objects.filter(username="late").exists()


def test_two_people_in_both_roles_are_not_four(db: None, as_role: AsRole, now: datetime) -> None:
    for name in ("one", "two"):
        give_device(make_person(name, "Security", "DevOps"))
    assert selectors.is_bootstrap_open()
    give_device(make_person("three", "Security"))
    assert selectors.is_bootstrap_open()
    give_device(make_person("four", "Security"))
    assert not selectors.is_bootstrap_open()


def test_bootstrapping_again_gives_a_new_link_to_who_is_not_enrolled(db: None, as_role: AsRole, now: datetime) -> None:
    with as_role("command"):
        first, second = bootstrap("s1", Role.SECURITY, now), bootstrap("S1", Role.SECURITY, now)
        with pytest.raises(PersonExistsError):
            alone.bootstrap_person(
                username="s1", mail="other@example.org", full_name="", role=Role.SECURITY, actor=COMMAND, now=now
            )
    assert first != second
    assert User.objects.count() == 1
    assert actions() == ["person.registered", "role.granted", "enrolment.issued", "enrolment.issued"]


def test_bootstrapping_gives_no_link_to_who_is_enrolled(db: None, as_role: AsRole, now: datetime) -> None:
    enrol("s1", Role.SECURITY, now, as_role)
    with as_role("command"):
        assert bootstrap("s1", Role.DEVOPS, now) is None
    assert User.objects.get().role == "DevOps+Security"
