"""Workers that die between "approved" and "executed", at five points, and what is left without a broker.

A worker is a child process of its own that kills itself with SIGKILL inside an operation, as the kernel would do it:
nothing of it gets a chance to tidy up. The operations are those of the tests; the engine has no switch for it.
"""

import os
import signal
import time
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from inventory.models import Key
from inventory.tasks import nudge_import
from keyvault_admin.access.models import User
from keyvault_admin.celery import app
from rotation import approvals, tasks
from rotation.models import RequestState
from tests.conftest import make_person
from tests.engines import superuser_connection
from tests.inventory.world import events_of, make_key
from tests.rotation.approval_world import (
    NOTE,
    WORKER,
    actor_for,
    again,
    ask,
    carry_out,
    declared,
    draft,
    execute,
    operation,
    vote,
)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def _while_looking(payload_or_parameters, *, now, hold):
    """Point 2: the request is claimed, and nothing of it is done."""
    if hold:
        die()
    return draft(payload_or_parameters, now=now, hold=hold)


def _before_it_is_done(payload, permit, actor, now):
    """Point 3: the records are locked."""
    die()


def _after_it_was_done(payload, permit, actor, now):
    """Point 4: everything is written, and nothing of it committed."""
    execute(payload, permit, actor, now)
    die()


def _once_it_is_committed(payload, permit, actor, now):
    """Point 5: all of it stands, and nobody was told."""
    execute(payload, permit, actor, now)
    transaction.on_commit(die)


POINTS = {
    "before it is claimed": {},
    "while looking": {"draft": _while_looking},
    "before it is done": {"execute": _before_it_is_done},
    "after it was done": {"execute": _after_it_was_done},
    "once it is committed": {"execute": _once_it_is_committed},
}


@pytest.fixture
def approved(committed_db):
    """Return a function that gives a request with its votes."""
    anna, alice, bob = (
        make_person("anna", "Security"), make_person("alice", "Security"), make_person("bob", "DevOps"),
    )  # fmt: skip

    def make(name):
        request = ask(anna, make_key(name=name))
        vote(alice, request)
        vote(bob, request)
        return request

    with declared():
        yield make


def in_a_child(act, as_role):
    """Do it in another process, logged in as the worker; return the signal that ended it."""
    with as_role("worker"):  # no connection is open, so the child makes its own
        child = os.fork()
        if child == 0:
            try:
                act()
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status)


def test_a_worker_killed_at_five_points_and_it_is_done_once(approved, as_role):
    for name, changes in POINTS.items():
        request, now = approved(name), timezone.now()
        with declared(operation(NOTE, **changes)):
            act = partial(carry_out, request, now=now) if changes else die
            assert in_a_child(act, as_role) == signal.SIGKILL, name
        left = again(request)
        is_done = name == "once it is committed"
        assert Key.objects.get(pk=left.key_id).notes == ("new" if is_done else ""), name
        assert left.state == (
            {"before it is claimed": "approved", "once it is committed": "executed"}.get(name, "executing")
        ), name
        with as_role("worker"):
            if left.state == RequestState.EXECUTING:  # the lease still runs: it could be slow, and not dead
                assert carry_out(request, now=now + timedelta(minutes=4)).state == RequestState.EXECUTING
            for _ in range(2):
                approvals.carry_out_due(actor=WORKER, now=now + timedelta(minutes=5))
        found = again(request)
        assert (found.state, Key.objects.get(pk=found.key_id).revision) == ("executed", 2), name
    done = [event.said.facts["request"] for event in events_of("request.executed")]
    assert len(done) == len(set(done)) == len(POINTS)


def test_a_worker_that_dies_each_time_ends_as_failed(approved, as_role):
    request, now = approved("deadly"), timezone.now()
    with declared(operation(NOTE, execute=_after_it_was_done)):
        for attempt in range(5):
            act = partial(carry_out, request, now=now + attempt * timedelta(minutes=5))
            assert in_a_child(act, as_role) == signal.SIGKILL
        with as_role("worker"):
            found = carry_out(request, now=now + timedelta(minutes=25))
    assert (found.state, found.attempts) == ("failed", 5)
    assert "never came to an end" in found.closed_because
    assert Key.objects.get(pk=found.key_id).notes == ""


def test_the_clock_is_set_back_while_a_dead_worker_holds_the_lease(approved, as_role):
    request, now = approved("clock"), timezone.now()
    with declared(operation(NOTE, execute=_before_it_is_done)):
        in_a_child(partial(carry_out, request, now=now), as_role)
    with as_role("worker"):
        assert carry_out(request, now=now - timedelta(hours=1)).state == RequestState.EXECUTED


def test_a_connection_that_is_cut_is_tried_again(approved, as_role):
    request, now, cut = approved("cut"), timezone.now(), []

    def cut_once(payload, permit, actor, now):
        execute(payload, permit, actor, now)
        if not cut:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                cut.append(cursor.fetchone()[0])
            with superuser_connection() as superuser:
                superuser.execute("SELECT pg_terminate_backend(%s, 5000)", cut)

    with declared(operation(NOTE, execute=cut_once)), as_role("worker"):
        found = carry_out(request, now=now)
        assert (found.state, found.attempts, found.next_attempt_at) == ("approved", 1, now + timedelta(minutes=1))
        assert Key.objects.get(pk=found.key_id).notes == ""
        assert carry_out(request, now=found.next_attempt_at).state == RequestState.EXECUTED
    assert len(events_of("request.executed")) == 1


@contextmanager
def clauses_held(committed_db):
    """Derive dates from the clauses, as an import does, or change them: whoever needs them waits, and not for long."""
    with superuser_connection() as superuser:
        where, password = superuser.info.dsn, superuser.info.password
    with psycopg.connect(where, password=password, dbname=committed_db.name) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('inventory.policy'))")
        yield


def test_a_moment_in_which_somebody_holds_the_clauses_ends_no_request(approved, committed_db, as_role):
    """Whether the lock is missed in looking at the keys (key.revoke) or in changing them (the note)."""
    note, anna = approved("noted"), User.objects.get(username="anna")
    revoke = approvals.ask(
        operation="key.revoke", parameters={"key": make_key(name="revoked").pk, "reason_code": "superseded"},
        actor=actor_for(anna), reason="because", now=timezone.now(),
    )  # fmt: skip
    for name in ("alice", "bob"):
        vote(User.objects.get(username=name), revoke)
    now = timezone.now()
    with as_role("worker"):
        with clauses_held(committed_db):
            for request in (note, revoke):
                found = carry_out(request, now=now)
                assert (found.state, found.attempts, found.closed_because) == ("approved", 1, "")
        for request in (note, revoke):
            assert carry_out(request, now=now + timedelta(minutes=1)).state == RequestState.EXECUTED
    assert not events_of("request.voided")
    assert not events_of("request.failed")


def _nudge_in_vain(request):
    """Hurry a request as the doors do, with a broker at whose address nobody answers."""
    nobody = "redis://:nobody@127.0.0.1:1/0"
    app.conf.update(broker_url=nobody, broker_write_url=nobody)
    app._after_fork()  # this process has connections of its own, none yet
    began = time.monotonic()
    with pytest.raises(BrokerError):
        tasks.carry_out_request.apply_async(args=(request.pk,), retry=False)
    for nudge in (tasks.nudge_request, nudge_import):
        with transaction.atomic():
            transaction.on_commit(partial(nudge, request.pk), robust=True)
    assert time.monotonic() - began < 5, "a door would keep people waiting"
    die()


def test_without_a_broker_the_vote_stands_and_the_beat_finds_it(approved, as_role):
    request = approved("no broker")
    assert in_a_child(partial(_nudge_in_vain, request), as_role) == signal.SIGKILL  # it came so far
    assert again(request).state == RequestState.APPROVED
    with as_role("worker"):
        tasks.carry_out_requests()
        tasks.tend_requests()
    assert again(request).state == RequestState.EXECUTED
