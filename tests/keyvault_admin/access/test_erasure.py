"""Erasing a person: what is gone, what stays, and that the log verifies as before."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from io import StringIO
from threading import Event as Signal
from threading import Thread

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, models, transaction
from django.db.models import Q
from django.utils import timezone

from audit import selectors, verification
from audit.actions import Action
from audit.actor import Actor, Identity
from audit.errors import AuditError
from audit.models import Event, EventSubject, IdentityKey
from audit.services import Subject, record
from inventory.models import Owner
from inventory.permits import Permit
from inventory.services import register_owner
from keyvault_admin.access import services
from keyvault_admin.access.errors import ErasedError, NameRefusedError, NotErasedError, ReasonMissingError
from keyvault_admin.access.guarded import BOOTSTRAP, Erased, erase_person, reactivate_person
from keyvault_admin.access.models import Passkey, SingleSignOnLink, TotpDevice, User
from keyvault_admin.access.personal_data import HOLDINGS, NOBODYS
from rotation.letters import write_letter
from rotation.models import Digest, DigestState, Request
from tests.conftest import CommittedDatabase, make_person
from tests.engines import ROOT
from tests.people import give_device
from tests.rotation.approval_world import vote
from tests.rotation.permits import being_carried_out

Role = Callable[[str], AbstractContextManager[None]]
COMMAND = Actor.system("command:erase_person")
PERMITS: dict[int, Permit] = {}  # of the test at hand
NAMES = ("carol", "Carol Example", "carol@example.org", "carols-phone", "192.0.2.44")


def acting(person: User) -> Actor:
    facts = Identity(name=person.full_name, mail=person.email, address="192.0.2.44", agent="Firefox")
    return Actor(kind="person", id=person.ref, role="Engineering", identity=facts)


def act(actor: Actor, now: datetime, **more: object) -> None:
    with transaction.atomic():
        record(Action.KEY_EDITED, actor=actor, now=now, subjects=[Subject(ref="key:12")], **more)


def erase(person: User, now: datetime, reason: str = "asked for it") -> Erased:
    permit = PERMITS.get(person.pk) or being_carried_out("person.erase", person.ref, person=person.pk)
    PERMITS[person.pk] = permit
    return erase_person(person=person, permit=permit, actor=COMMAND, reason=reason, now=now)


@pytest.fixture
def carols_world(committed_db: CommittedDatabase, as_role: Role, now: datetime) -> User:
    """Carol, who has left, with everything that can hold her name."""
    PERMITS.clear()
    carol, alice = make_person("carol", "Engineering"), make_person("alice", "Security")
    device = give_device(carol)
    with as_role("command"):
        TotpDevice.objects.filter(pk=device.pk).update(name="carols-phone")
    Passkey(
        user=carol, name="carols-phone", credential_id=b"carols-phone", public_key=b"key", user_handle=b"handle",
        confirmed=True, created_at=now,
    ).save()  # fmt: skip
    SingleSignOnLink(user=carol, issuer="https://id.example.org", subject="carol@example.org", confirmed=True).save()
    register_owner(handle="carol", mail="carol@example.org", user_id=carol.pk, actor=acting(alice), now=now)
    register_owner(handle="payments", mail="pay@example.org", kind="team", actor=acting(alice), now=now)
    told = "Carol Example (carol) was given the role DevOps. Write to carol@example.org, not to oscarol or carol-2."
    with transaction.atomic():
        write_letter(
            recipients=["carol@example.org", "alice@example.org"],
            subject="carol was promoted",
            lines=[told],
            url="/",
            now=now,
        )
    act(acting(carol), now)
    act(acting(alice), now, reason="Carol Example asked for it")
    act(acting(alice), now)
    services.deactivate_person(person=carol, actor=acting(alice), reason="has left", now=now)
    return carol


def names_in_the_database() -> list[str]:
    """Return where one of Carol's names still stands, in any column of any table that somebody may read."""
    found = []
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            table = model._meta.db_table
            cursor.execute("SELECT has_table_privilege(%s, 'SELECT')", [table])
            if not cursor.fetchone()[0]:
                continue
            cursor.execute(f"SELECT row_to_json({table})::text FROM {table}")
            for (row,) in cursor.fetchall():
                decoded = row + "".join(
                    bytes.fromhex(part.split('"')[0]).decode("latin-1") for part in row.split('"\\\\x')[1:]
                )
                found += [f"{table}: {name}" for name in NAMES if name in decoded]
    return sorted(set(found))


def test_erasing_takes_every_name_and_the_log_verifies(carols_world: User, as_role: Role, now: datetime) -> None:
    carol = carols_world
    with as_role("migrator"):
        assert {where.partition(":")[0] for where in names_in_the_database()} >= {
            "access_user", "access_totpdevice", "access_passkey", "access_singlesignonlink", "inventory_owner",
            "rotation_digest", "audit_event",
        }  # fmt: skip
    with as_role("command"):
        done = erase(carol, now)
    free_text = Event.objects.get(number=done.naming[0])
    assert b"Carol Example asked for it" in bytes(free_text.body)
    assert (done.had_identity, done.owners, done.mails, len(done.naming)) == (True, 1, 1, 1)
    with as_role("migrator"):
        assert names_in_the_database() == [
            "audit_event: Carol Example",
            "rotation_digest: carol",
        ]  # the reason; carol-2
    _look_at_the_tables(carol)
    # the log: whole, told by number, found by number, others still named
    verdict = verification.verify()
    assert verdict.is_whole, verdict.findings
    assert verdict.erased == 1
    about = EventSubject.objects.filter(subject=carol.ref).values("number")
    found = Event.objects.filter(Q(actor_id=carol.ref) | Q(number__in=about)).order_by("number")
    told = {event.number: event for event in selectors.read(found)}
    mine = next(event for event in told.values() if event.said.action == Action.KEY_EDITED)
    assert mine.who == f"erased person ({carol.ref})"
    assert mine.sentence.startswith(f"erased person ({carol.ref}) edited")
    last = max(told.values(), key=lambda event: event.number)
    assert last.said.action == Action.PERSON_ERASED
    assert not any(name in last.text for name in NAMES)
    assert selectors.event(free_text.number).who == "Alice Example"


def _look_at_the_tables(carol: User) -> None:
    letter = Digest.objects.get(recipient="alice@example.org")
    assert "Erased person (erased-" in letter.text
    assert "oscarol or carol-2" in letter.text
    waiting = Digest.objects.get(recipient__endswith="@erased.invalid")
    assert (waiting.state, waiting.text, waiting.html) == (DigestState.FAILED, "", "")
    carol.refresh_from_db()
    assert (str(carol), carol.is_erased, carol.is_active, carol.has_usable_password()) == (
        "Erased person",
        True,
        False,
        False,
    )
    owner = Owner.objects.get(user=carol)
    assert (owner.handle, owner.mail, owner.is_active) == (f"erased-owner-{owner.pk}", "", False)
    assert Owner.objects.get(handle="payments").is_active


def test_who_cannot_be_erased(carols_world: User, as_role: Role, now: datetime) -> None:
    carol, alice = carols_world, User.objects.get(username="alice")
    with as_role("command"):
        with pytest.raises(NotErasedError, match=r"is active\. Deactivate them first"):
            erase(alice, now)
        with pytest.raises(ReasonMissingError):
            erase(carol, now, " ")
    for role in ("web", "worker"):
        with as_role(role), pytest.raises((AuditError, DatabaseError)):
            erase(carol, now)
    assert not Event.objects.filter(action=Action.PERSON_ERASED).exists()
    with as_role("command"):
        erase(carol, now)
        with pytest.raises(ErasedError, match="was erased"):
            erase(carol, now)
        with pytest.raises(ErasedError):
            reactivate_person(person=carol, ends_on=None, permit=BOOTSTRAP, actor=COMMAND, reason="back", now=now)
        again = services.register_person(
            username="carol", mail="carol@example.org", full_name="Carol Example", actor=COMMAND, now=now
        )
        assert again.pk != carol.pk
        with pytest.raises(NameRefusedError, match="stand for people who were erased"):
            services.register_person(username="x", mail="erased-9@erased.invalid", full_name="", actor=COMMAND, now=now)
    with pytest.raises(AuditError, match="was erased"):  # nobody acts in that name
        act(acting(carol), now)
    assert Event.objects.filter(action=Action.PERSON_ERASED).count() == 1


def test_an_event_that_is_being_written_loses_its_name_too(carols_world: User, as_role: Role, now: datetime) -> None:
    """A request of theirs read the key before it was destroyed and commits afterwards."""
    carol, recorded, erased = carols_world, Signal(), Signal()

    def write() -> None:
        with transaction.atomic():
            record(Action.KEY_EDITED, actor=acting(carol), now=now + timedelta(seconds=1))
            recorded.set()
            assert erased.wait(30)
        connection.close()

    with as_role("command"):
        thread = Thread(target=write)
        thread.start()
        assert recorded.wait(30)
        erase(carol, now)
        erased.set()
        thread.join()
    last = selectors.events(limit=1)[0]
    assert (last.said.action, last.who) == (Action.KEY_EDITED, f"erased person ({carol.ref})")
    verdict = verification.verify()
    assert verdict.is_whole, verdict.findings
    assert verdict.erased == 2


def test_killed_in_the_middle_nothing_is_erased(
    carols_world: User, as_role: Role, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    carol = carols_world
    with as_role("migrator"):
        before = names_in_the_database()
    with as_role("command"), monkeypatch.context() as patched:
        patched.setattr("keyvault_admin.access.guarded.erasure.erase_identity", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            erase(carol, now)
    with as_role("migrator"):
        assert names_in_the_database() == before
    assert IdentityKey.objects.get(person=carol.ref).sealed_key is not None


def test_the_command_says_what_is_out_of_reach(carols_world: User, as_role: Role) -> None:
    def run(*words: str) -> str:
        said = StringIO()
        call_command("erase_person", "carol", *words, stderr=said)
        return said.getvalue()

    with as_role("command"):
        with pytest.raises(CommandError, match="is active"):
            call_command("erase_person", "alice", "--reason", "x")
        dry = run("--reason", "asked for it", "--dry-run")
        assert dry.startswith("Dry run, nothing was changed. It would say: Asked as request ")
        assert not Request.objects.exists()
        assert (
            "These can:\n- Security: nobody\n- DevOps: nobody\nNobody can vote for Security and DevOps as things are"
            in run("--reason", "asked for it")
        )
        asked = Request.objects.get()
        with pytest.raises(CommandError, match="still waits for votes: 1 of Security and 1 of DevOps"):
            run("--request", str(asked.pk))
        with pytest.raises(CommandError, match="does not permit this"):
            call_command("erase_person", "alice", "--request", str(asked.pk))
        assert User.objects.filter(username="carol").exists()
    for name, role in (("anna", "Security"), ("dora", "DevOps")):
        vote(make_person(name, role), asked)
    with as_role("command"):
        said = run("--request", str(asked.pk))
    assert "the key of their identities in the log is destroyed; 1 owners and 1 mails were emptied" in said
    for words in (
        "events whose text names them, such as a reason: ",
        "backups and dumps",
        "VACUUM",
        "lie in mailboxes",
    ):
        assert words in said
    assert IdentityKey.objects.filter(erased_at__gte=timezone.now() - timedelta(minutes=5)).count() == 1


# The table


def _looks_personal() -> Iterator[str]:
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.concrete_fields:
            is_link = isinstance(field, models.ForeignKey) and field.related_model is User
            words = (
                "mail",
                "recipient",
                "username",
                "full_name",
                "handle",
                "ip_address",
                "agent",
                "_by",
                "person",
                "actor_id",
            )
            named = field.name == "by" or any(word in field.name for word in words)
            if is_link or named:
                yield model._meta.label
    yield from ("audit.Event", "audit.EventSubject", "audit.IdentityKey", "access.User")


def test_every_table_that_may_name_somebody_is_listed() -> None:
    listed = [holding.model for holding in HOLDINGS]
    assert len(set(listed)) == len(listed)
    assert not set(listed) & set(NOBODYS)
    assert set(_looks_personal()) - set(listed) - set(NOBODYS) == set()
    for holding in HOLDINGS:
        assert holding.is_read_by_the_log or (holding.matched and holding.shown), holding.model
        apps.get_model(holding.model)
    page = (ROOT / "docs" / "personal-data.md").read_text(encoding="utf-8")
    for holding in HOLDINGS:
        assert f"| `{apps.get_model(holding.model)._meta.db_table}` | {holding.what} | {holding.erasure} |" in page
    for model in NOBODYS:
        assert f"`{apps.get_model(model)._meta.db_table}`" in page
