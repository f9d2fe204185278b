"""APP-02: everybody at once, on real connections. 30 races on every run, 300 under `make test-full`.

However they fall: what is done is done once, and never with fewer than two people besides who asked.
"""

import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from inventory.models import Key
from rotation import approvals
from rotation.approvals import Proof
from rotation.approvals.executing import LEASE
from rotation.errors import AlreadyAskedError, RotationError
from rotation.models import Request, RequestState
from tests.conftest import make_person
from tests.inventory.world import events_of, make_key
from tests.people import give_device, next_code
from tests.rotation.approval_world import WORKER, actor_for, again, ask, declared

FULL = "tests.full" in sys.modules
RACES = 300 if FULL else 15


def _connect():
    connection.ensure_connection()  # that of the thread


def _disconnect():
    connection.close()


class Runners:
    """Threads with connections of their own, each opened as one of the login roles and kept."""

    def __init__(self, role, count, as_role):
        self.pools = [ThreadPoolExecutor(1) for _ in range(count)]
        with as_role(role):
            for pool in self.pools:
                pool.submit(_connect).result()

    def begin(self, acts, ready):
        return [pool.submit(self._do, act, ready) for pool, act in zip(self.pools, acts, strict=False)]

    @staticmethod
    def _do(act, ready):
        ready.wait(timeout=30)
        try:
            return act()
        except RotationError as error:
            return error

    def end(self):
        for pool in self.pools:
            pool.submit(_disconnect).result()
            pool.shutdown()


class World:
    """Two of each role, one who is of both, one who asks; six voters and two workers with their connections."""

    def __init__(self, as_role):
        self.anna = make_person("anna", "Security")
        names = {"alice": ["Security"], "abel": ["Security"], "bob": ["DevOps"], "ben": ["DevOps"]}
        people = {name: make_person(name, *roles) for name, roles in names.items()}
        people["both"] = make_person("both", "Security", "DevOps")
        self.people = people
        self.devices = {name: give_device(person) for name, person in people.items()}
        self.web, self.workers = Runners("web", 6, as_role), Runners("worker", 2, as_role)
        self.races = 0

    def asked(self):
        self.races += 1
        return ask(self.anna, make_key(name=f"key-{self.races}"))

    def voting(self, name, request, *, approves=True):
        """Return the act of a person who votes; the code is taken now."""
        person, proof = self.people[name], Proof(code=next_code(self.devices[name]))
        return lambda: approvals.vote(
            pk=request.pk, digest=bytes(request.digest), approves=approves, comment="" if approves else "no",
            proof=proof, actor=actor_for(person), now=timezone.now(),
        )  # fmt: skip

    def race(self, web, work=()):
        ready = threading.Barrier(len(web) + len(work))
        doing = [*self.web.begin(web, ready), *self.workers.begin(work, ready)]
        return [one.result(timeout=60) for one in doing]

    def working(self, request, times=10):
        """Return the act of a worker that looks again and again, as the beat and nudges have it."""

        def act():
            for _ in range(times):
                found = approvals.carry_out(pk=request.pk, actor=WORKER, now=timezone.now())
                if found.state == RequestState.EXECUTED:
                    return found
                time.sleep(0.01)
            return found

        return act


@pytest.fixture
def world(committed_db, as_role):
    with declared():
        made = World(as_role)
        yield made
        made.web.end(), made.workers.end()


def test_races(world):
    kinds = [_many_vote_and_two_carry_out, _one_person_twice, _taken_back, _rejected_and_approved, _asked_twice]
    ended = Counter()
    for number in range(RACES):
        request = kinds[number % len(kinds)](world)
        ended[_checked(request)] += 1
    assert sum(ended.values()) == RACES
    assert ended["executed"] >= RACES // 5
    executed = Request.objects.filter(state=RequestState.EXECUTED)
    events = Counter(event.said.facts["request"] for event in events_of("request.executed"))
    assert events == {request.ref: 1 for request in executed}


def test_who_takes_longer_than_the_lease_is_left_alone(world):
    request = world.asked()
    for name in ("alice", "bob"):
        world.race([world.voting(name, request)])
    now, (first, second) = timezone.now(), world.workers.pools
    with transaction.atomic():
        Key.objects.select_for_update().get(pk=request.key_id)
        done = first.submit(approvals.carry_out, pk=request.pk, actor=WORKER, now=now)
        _until(_somebody_waits)
        later = now + LEASE + timedelta(minutes=1)
        assert second.submit(approvals.carry_out_due, actor=WORKER, now=later).result(timeout=30) == 0
        assert (again(request).state, again(request).attempts) == (RequestState.EXECUTING, 1)
    assert done.result(timeout=30).state == RequestState.EXECUTED
    assert _checked(request) == RequestState.EXECUTED


def _until(holds):
    for _ in range(200):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError("nobody came to wait")


def _somebody_waits():
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid())")
        return cursor.fetchone()[0]


def _checked(request):
    """Look at what a race has left; return the state."""
    found = again(request)
    votes = list(found.votes.filter(voided_at__isnull=True, is_approval=True).values_list("person_id", "role"))
    people = {person for person, _ in votes}
    assert len(people) == len(votes)
    assert found.requested_by_id not in people
    key = Key.objects.get(pk=found.key_id)
    if found.state == RequestState.EXECUTED:
        assert (key.revision, key.notes, sorted(role for _, role in votes)) == (2, "new", ["DevOps", "Security"])
    else:
        assert (key.revision, key.notes) == (1, "")
    return found.state


def _finish(world, request):
    """Let the workers end what was approved."""
    world.race([], [world.working(request, 1)] * 2)


def _many_vote_and_two_carry_out(world):
    request = world.asked()
    names = ["alice", "abel", "bob", "ben", "both"]
    world.race([world.voting(name, request) for name in names], [world.working(request)] * 2)
    _finish(world, request)
    assert again(request).state == RequestState.EXECUTED
    return request


def _one_person_twice(world):
    """Somebody of both roles clicks twice, and sends a second code along."""
    request = world.asked()
    first = world.voting("both", request)
    results = world.race([first, first, first], [world.working(request)] * 2)
    assert sum(not isinstance(one, RotationError) for one in results[:3]) == 1
    assert again(request).state == RequestState.OPEN
    return request


def _taken_back(world):
    request = world.asked()
    world.race([world.voting("alice", request)])
    withdrawing = actor_for(world.anna)
    world.race(
        [
            world.voting("bob", request),
            lambda: approvals.withdraw(pk=request.pk, actor=withdrawing, reason="no", now=timezone.now()),
        ],
        [world.working(request)] * 2,
    )
    _finish(world, request)
    assert again(request).state in (RequestState.EXECUTED, RequestState.WITHDRAWN)
    return request


def _rejected_and_approved(world):
    request = world.asked()
    world.race(
        [
            world.voting("alice", request),
            world.voting("bob", request),
            world.voting("ben", request, approves=False),
            world.voting("both", request),
        ],
        [world.working(request)] * 2,
    )
    _finish(world, request)
    assert again(request).state in (RequestState.EXECUTED, RequestState.REJECTED, RequestState.OPEN)
    return request


def _asked_twice(world):
    world.races += 1
    key = make_key(name=f"key-{world.races}")
    results = world.race([lambda: ask(world.anna, key)] * 4)
    (request,) = [one for one in results if isinstance(one, Request)]
    assert sum(isinstance(one, AlreadyAskedError) for one in results) == 3
    return request
