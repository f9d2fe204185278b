"""A source is registered and retired by votes of Security and DevOps; the worker looks before it is."""

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from rotation import approvals
from rotation.errors import NotAskingError, RotationError, RuleRefusedError, WrongParametersError
from rotation.models import JobState, RequestState, RewrapJob, RewrapSource
from rotation.operations import operation_of
from rotation.rewrap import open_job
from tests.approving import carried_through, voters
from tests.inventory.world import events_of, seal
from tests.rotation.approval_world import actor_for
from tests.rotation.sources.elsewhere import WORKER, fill, make_kek, registered, source_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def kek(ring, db, as_role):
    with as_role("worker"):
        return make_kek()


@pytest.fixture
def people(db):
    return voters()


def said(other, kek, /, **changes):
    return {"kek": kek.pk, **other.said} | changes


def test_a_source_is_registered_with_what_is_in_it(other, kek, people):
    fill(other, kek, "1", range(1, 8))
    request = registered(other, kek, people)
    assert (request.state, request.closed_because) == (RequestState.EXECUTED, "")
    source = RewrapSource.objects.get()
    assert source.counts == {"1": 7}
    assert source.counted_at == source.registered_at
    assert {name: getattr(source, name) for name in other.said} == other.said
    seal()
    (event,) = events_of("source.registered")
    assert event.said.facts["request"] == request.ref
    assert event.said.subjects[0].after["table"] == "public.data_keys"
    assert "password" not in str(event.said.subjects[0].after).replace("password_file", "").replace("passwords/", "")


@pytest.mark.parametrize(
    ("spoil", "because"),
    [
        (lambda other: other.execute(f"GRANT DELETE ON public.data_keys TO {other.login}"), "DELETE"),
        (lambda other: other.execute("DROP TABLE public.data_keys"), "no table"),
        (lambda other: other.execute(f"ALTER ROLE {other.login} NOLOGIN"), "could not be used"),
        (lambda other: other.execute("UPDATE public.data_keys SET kek_version = '9'"), "does not have here"),
    ],
)
def test_what_is_not_as_it_was_said_to_be_is_not_registered(other, kek, people, spoil, because):
    fill(other, kek, "1", [1])
    spoil(other)
    request = registered(other, kek, people)
    assert request.state == RequestState.FAILED
    assert because in request.closed_because
    assert not RewrapSource.objects.exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"table": "public.x; DROP TABLE y"}, RotationError),
        ({"kek": 0}, WrongParametersError),
        ({"port": "5432"}, WrongParametersError),
        ({"port": 0}, WrongParametersError),
        ({"form": "xml"}, RuleRefusedError),
        ({"name": ""}, RuleRefusedError),
        ({"name": "x" * 101}, RuleRefusedError),
        ({"host": None}, WrongParametersError),
        ({"password": "x"}, WrongParametersError),
    ],
)
def test_what_cannot_be_a_source_is_not_asked_for(other, kek, people, changes, error):
    with pytest.raises(error):
        approvals.ask(
            operation="source.register",
            parameters=said(other, kek, **changes),
            actor=actor_for(people[0]),
            reason="because",
            now=timezone.now(),
        )


def test_security_alone_asks(other, kek, people):
    with pytest.raises(NotAskingError):
        approvals.ask(
            operation="source.register",
            parameters=said(other, kek),
            actor=actor_for(people[2]),
            reason="because",
            now=timezone.now(),
        )


def test_the_same_table_is_registered_once(other, kek, people):
    assert registered(other, kek, people).state == RequestState.EXECUTED
    with pytest.raises(RuleRefusedError, match="already"):
        registered(other, kek, people, name="again")


def test_no_login_registers_or_retires_one_without_votes(other, kek, people, as_role):
    with as_role("worker"), pytest.raises(DatabaseError, match="by a request"), transaction.atomic():
        source_of(other, kek).save(force_insert=True)
    registered(other, kek, people)
    with as_role("worker"), pytest.raises(DatabaseError, match="by a request"), transaction.atomic():
        RewrapSource.objects.update(retired_at=timezone.now())


def test_a_source_is_retired_but_not_while_it_is_rewrapped(other, kek, people, as_role):
    fill(other, kek, "1", [1])
    registered(other, kek, people)
    source, (asker, *by) = RewrapSource.objects.get(), people
    with as_role("worker"):
        job = open_job(kek=kek, source=source, actor=WORKER, reason="test", now=timezone.now())
    with pytest.raises(RuleRefusedError, match="being re-wrapped"):
        carried_through("source.retire", {"source": source.pk}, asker=asker, by=by)
    with as_role("worker"):
        RewrapJob.objects.filter(pk=job.pk).update(state=JobState.STOPPED, closed_at=timezone.now())
    request = carried_through("source.retire", {"source": source.pk}, asker=asker, by=by)
    assert (request.state, request.closed_because) == (RequestState.EXECUTED, "")
    assert RewrapSource.objects.get().retired_at is not None
    seal()
    assert len(events_of("source.retired")) == 1
    with pytest.raises(RuleRefusedError, match="already"):
        carried_through("source.retire", {"source": source.pk}, asker=asker, by=by)


def test_what_is_voted_on_says_what_happens(other, kek, people):
    operation = operation_of("source.register")
    bare = operation.draft(said(other, kek, binding_column=""), now=timezone.now(), hold=False)
    assert bare.facts["kek"]["uri"] == "local:house/kek"
    assert [step.role for step in operation.steps] == ["Security", "DevOps"]
