"""Every role at every URL, by each method, on one's own and on somebody else's object: as the committed table says."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
import time_machine
from django.conf import settings
from django.test import Client

from audit.actor import Actor
from audit.models import Certificate, Event
from inventory.models import Algorithm, Finding, ImportDraft, PolicyClause
from keyvault_admin.access.models import QuorumReview, User
from rotation import at_once
from rotation.letters import write_letter
from rotation.models import Digest, Duty
from tests import matrix, rules_by_votes
from tests.approving import as_worker
from tests.conftest import make_person
from tests.inventory import world
from tests.inventory.world import NOW, make_key, make_owner, seal
from tests.matrix import Somebody, Table, Things
from tests.people import give_device, sign_in
from tests.rotation.custody_world import CustodyWorld
from tests.rotation.request_world import asked
from tests.rotation.review_world import opened

AsRole = Callable[[str], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def _things(person: User, shared: dict[str, object], review: int) -> Things:
    """Make one of everything that can be somebody's."""
    owner = make_owner(person.username, person.email, user_id=person.pk)
    key = make_key(name=f"key-{person.username}", owner=owner)
    draft = ImportDraft.objects.create(
        uploaded_by=person, uploaded_at=NOW, file_name="keys.csv", content=b"Name,Type\nfresh,SSH key\n", reason="x"
    )
    request = asked("test.gone", person, refs=[key.ref], key=key)
    own = {"rotation.request": request.pk, "inventory.key": key.pk, "inventory.owner": owner.pk}
    by_model = {**shared, **own, "access.user": person.pk}
    return Things(by_model, draft.pk, review, Event.objects.order_by("number").values_list("number", flat=True)[0])


def _custody() -> dict[str, object]:
    """Make a KEK, DEKs, a job and an order. Votes alone register a source, so there is none."""
    stores = CustodyWorld()
    job = stores.job()
    stores.quarantine(job)
    with as_worker():
        made = {"kind": "rewrap", "subject": job.ref, "title": "x", "made_at": NOW}
        certificate = Certificate.objects.create(body=b"{}", digest=sha256(b"{}").digest(), **made)
    return {
        "inventory.kek": stores.kek.pk,
        "inventory.dekversion": stores.deks[0].pk,
        "dek": stores.deks[0].key_id,
        "hand_out": stores.hand_out().pk,
        "rotation.rewrapjob": job.pk,
        "rotation.order": stores.order().pk,
        "rotation.rewrapsource": 1,
        "audit.certificate": certificate.pk,
    }


@pytest.fixture
def table(db: None, as_role: AsRole) -> Table:
    """What everybody is answered."""
    people = {role: make_person(role.lower(), role) for role in matrix.ROLES}
    people |= {"no role": make_person("norole"), "superuser": make_person("root")}
    with as_role("command"):
        User.objects.filter(username="root").update(is_superuser=True)
    for role in ("Security", "DevOps"):
        give_device(make_person(f"second-{role.lower()}", role))  # so that nobody is the last of a role
    stranger = make_person("stranger", "Engineering", "Management")
    with as_role("command"):
        review = QuorumReview.objects.create(person=stranger, role="DevOps", reason="x", restored_at=NOW)
    world.services.refresh_findings(keys=[make_key(name="first").pk], actor=world.ACTOR, now=NOW)
    seal()
    write_letter(recipients=["a@example.org"], subject="x", lines=["x"], url="https://localhost/", now=NOW)
    letter = Digest.objects.get().pk
    suspended = at_once.suspend(
        pk=make_key(name="suspended").pk, actor=Actor(kind="person", id=stranger.ref), reason="x", now=NOW
    )
    excepted = rules_by_votes.grant(
        make_key(name="excepted"), until=NOW + timedelta(days=9), actor=world.ACTOR, now=NOW
    )
    review_to_sign = opened(as_role, now=datetime(2100, 1, 1, tzinfo=UTC)).pk  # past what the server stamps events with
    shared = {
        **_custody(),
        "inventory.policyclause": PolicyClause.objects.filter(is_in_force=True).order_by("pk")[0].pk,
        "inventory.finding": Finding.objects.order_by("pk")[0].pk,
        "inventory.algorithm": Algorithm.objects.order_by("pk")[0].pk,
        "inventory.service": world.services.register_service(name="billing", actor=world.ACTOR, now=NOW).pk,
        "inventory.vendor": world.services.register_vendor(name="v", notes="", actor=world.ACTOR, now=NOW).pk,
        "inventory.policyexception": excepted.pk,
        "rotation.duty": Duty.objects.get(key=suspended).pk,
        "rotation.digest": letter,
        "rotation.review": review_to_sign,
    }
    somebody = {"anonymous": Somebody("", None, None)} if "anonymous" in matrix.ASKED else {}
    for column in [column for column in matrix.ASKED if column != "anonymous"]:
        person, client = people[column], Client()
        sign_in(client, person)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        somebody[column] = Somebody(session, _things(person, shared, review.pk), person)
    other = _things(stranger, shared, review.pk)
    seal()
    return matrix.observe(somebody, other)


@pytest.mark.timeout(300)
def test_the_matrix_is_as_committed(table: Table) -> None:
    if os.environ.get(matrix.WRITE):
        matrix.TABLE.write_text(matrix.written(table), encoding="utf-8")
        return
    found = matrix.differences(matrix.committed(), table)
    assert not found, "\n".join(
        [
            f"{len(found)} answers are not as tests/data/permission_matrix.csv says:",
            *found[:60],
            "If they are meant: python -m tests.matrix --write, and read the diff.",
        ]
    )


def test_whoever_has_no_role_gets_no_further_than_who_is_not_there() -> None:
    """A superuser without a role among them; what they may do is sign out, and set up a factor with a link."""
    known = {"live", "ready", "enrol", "enrol-factor", "admin:login", "admin:logout", "passkey-sign-in"}
    known |= {"sign-in-return"}
    for row, cells in matrix.committed().items():
        if row[0] not in known:
            assert {cells["anonymous"], cells["no role"], cells["superuser"]} <= {"login", "403", "404", "-"}, row
        assert cells["no role"] == cells["superuser"], row


def test_no_answer_is_an_error_of_ours() -> None:
    answers = {cell for cells in matrix.committed().values() for cell in cells.values()}
    assert answers <= {"200", "302", "403", "404", "405", "429", "login", matrix.NOTHING}


def test_auditors_and_managers_get_nothing_done() -> None:
    """What they POST leads nowhere."""
    for column in ("Auditor", "Management"):
        done = {
            (route, whose)
            for (route, method, whose), cells in matrix.committed().items()
            if method == "POST" and route.startswith("admin:") and cells[column] == "302"
        }
        leads_on = {("admin:inventory_finding_change", "-")}  # to the page of the key, whatever the method
        if column == "Auditor":  # to the list, filtered; and a comparison of log and tables, which changes neither
            leads_on |= {("admin:audit_event_choose", "-"), ("admin:inventory_key_replay", "-")}
        reported = {("admin:inventory_key_report_compromise", whose) for whose in ("own", "other")}  # everybody may
        assert done == {("admin:rotation_request_withdraw", "own"), *reported, *leads_on}


def test_engineering_acts_on_keys_of_their_own_alone() -> None:
    for (route, _, whose), cells in matrix.committed().items():
        act = route.removeprefix("admin:inventory_key_")
        if act in {"activate", "digest", "edit", "suspend"}:
            assert (cells["Engineering"] == "403") == (whose == "other"), (route, whose)


def test_a_new_route_without_a_row_is_found() -> None:
    expected = matrix.committed()
    gone = next(iter(expected))
    fewer = {row: cells for row, cells in expected.items() if row != gone}
    assert matrix.differences(fewer, expected) == [f"no row for {' '.join(gone)}: {expected[gone]}"]
    changed = {**expected, gone: {**expected[gone], "Auditor": "999"}}
    assert len(matrix.differences(changed, expected)) == 1
    assert matrix.differences(expected, fewer) == [f"row of a route that is gone: {' '.join(gone)}"]
