"""Re-wrap jobs: all DEKs come under the newest version, each still its own; people steer; what is bent stays behind."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit import canonical
from audit.actor import Actor
from audit.models import Certificate, Event
from inventory.custody import store_of
from inventory.kms import SCHEMES
from inventory.models import DekVersion, KekVersion, Wrapping
from rotation import rewrap
from rotation.models import Digest, JobState, Quarantined, RewrapBatch, RewrapJob
from rotation.rewrap.batches import run_batch
from rotation.rewrap.errors import (
    ClosedJobError,
    JobRunningError,
    NoPrimaryError,
    NothingQuarantinedError,
    NothingToRewrapError,
    NotPausedError,
    NotRunningError,
    SpeedError,
)
from rotation.rewrap.finishing import finish, write_plan
from rotation.rewrap.ground import ground_of
from rotation.rewrap.leasing import LEASE, MOST_ATTEMPTS, Lease, Turn, claim
from rotation.rewrap.progress import progress_of, sample
from tests.inventory.world import events_of, seal
from tests.rotation.dying_store import POINTS
from tests.rotation.rewrap_world import (
    NOW,
    add_deks,
    bindings,
    census,
    forget_stores,
    house,
    make_kek,
    opens,
    quick_clock,
    rotate,
    sealed,
    spoil,
)

WORKER = Actor.system("worker")
PERSON = Actor(kind="person", id="user:3", role="DevOps")
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def worker(settings, tmp_path, as_role):
    house(settings, tmp_path)
    with as_role("worker"):
        yield
    forget_stores()


def opened(kek, **how):
    pace = {name: how.pop(name) for name in ("batch_size", "per_second", "verify_percent") if name in how}
    return rewrap.open_job(kek=kek, actor=PERSON, reason="yearly", now=NOW, pace=rewrap.Pace(**pace), **how)


def worked(job, *, clock=lambda: NOW, seconds=20.0, **how):
    return rewrap.work(pk=job.pk, actor=WORKER, clock=clock, seconds=seconds, **how)


def again(job):
    return RewrapJob.objects.get(pk=job.pk)


def actions():
    seal()
    return list(Event.objects.order_by("number").values_list("action", flat=True))


def made(deks=5, *, versions=2, **how):
    """Return a KEK with so many DEKs under its oldest version."""
    kek = make_kek(deks=deks, **how)
    for _ in range(versions - 1):
        rotate(kek)
    return kek


# The way through


def test_all_deks_come_under_the_newest_version_and_stay_what_they_are():
    kek = made(7)
    before = bindings(kek)
    job = opened(kek, batch_size=3)
    done = worked(job)
    assert (done.batches, done.rewrapped, done.ended) == (3, 7, rewrap.Ended.OVER)
    assert census(kek) == {"2": 7}
    assert bindings(kek) == before
    assert opens(kek) == 7
    job = again(job)
    assert (job.state, job.total, job.rewrapped, job.verified, job.bound) == (JobState.DONE, 7, 7, 7, 0)
    assert bytes(job.digest_before) == bytes(job.digest_after)
    assert actions() == [
        "rewrap.opened", *["rewrap.batch_done"] * 3, "certificate.made", "rewrap.finished",
    ]  # fmt: skip


def test_deks_come_from_every_old_version_there_is():
    kek = made(2)
    add_deks(kek, 3)
    rotate(kek)
    assert census(kek) == {"1": 2, "2": 3}
    planned = rewrap.plan(kek=kek)
    assert [(one.version.store_id, one.deks) for one in planned.old] == [("1", 2), ("2", 3)]
    worked(opened(kek))
    assert census(kek) == {"3": 5}


def test_the_event_of_a_batch_says_which_deks_and_no_more():
    kek = made(3)
    first, *_, last = sorted(bindings(kek))
    old = {row.dek_version_id: bytes(row.wrapped) for row in Wrapping.objects.all()}
    job = opened(kek)
    worked(job)
    seal()
    (event,) = events_of("rewrap.batch_done")
    said = event.said
    assert [subject.ref for subject in said.subjects] == [
        job.ref, f"kekversion:{kek.versions.earliest('pk').pk}", f"kekversion:{kek.primary_id}",
    ]  # fmt: skip
    digest = said.facts["digest"]
    assert said.facts == {
        "batch": 1, "pass": 1, "first": str(first), "last": str(last), "rewrapped": 3, "verified": 3, "bound": 0,
        "digest": digest,
    }  # fmt: skip
    new = {row.dek_version_id: bytes(row.wrapped) for row in Wrapping.objects.all()}
    assert digest == digest_over([(dek, old[dek], new[dek]) for dek in sorted(old)])


def digest_over(rows):
    """Compute what the manual says of the digest of a batch, in other words than the code."""
    import hashlib

    whole = hashlib.sha256()
    for dek, was, now in rows:
        whole.update(dek.to_bytes(8, "big"))
        for wrapped in (was, now):
            whole.update(len(wrapped).to_bytes(4, "big") + wrapped)
    return whole.hexdigest()


def test_the_certificate_says_what_was_done_and_who_wanted_it():
    kek = made(4)
    job = opened(kek, batch_size=2)
    worked(job)
    certificate = Certificate.objects.get()
    assert (certificate.kind, certificate.subject) == ("rewrap", job.ref)
    facts = canonical.read(bytes(certificate.body))["facts"]
    assert facts["kek"] == {"key": kek.key.ref, "name": kek.key.name, "uri": kek.uri, "algorithm": "AES-256-KW"}
    assert facts["deks"] == {"counted_before": 4, "rewrapped": 4, "bound_at_first_opening": 0, "after": 4}
    assert facts["from"] == [{"version": "1", "ref": f"kekversion:{kek.versions.earliest('pk').pk}", "deks": 4}]
    assert facts["to"] == {"version": "2", "ref": f"kekversion:{kek.primary_id}"}
    assert facts["verified"] == {"opened_again": 4, "percent_asked": 100, "by_the_store": False}
    assert facts["digests_are_equal"] is True
    assert len(facts["digest_before"]) == 64
    assert facts["batches"]["count"] == 2
    assert facts["opened"]["by"] == "user:3"
    assert facts["request"] is None
    assert again(job).certificate_id == certificate.pk


def test_a_dek_that_was_taken_over_gets_its_binding_digest_at_this_its_first_opening():
    kek = made(2)
    adopted = add_deks(kek, 3, version=kek.versions.earliest("pk"), is_bound=False)
    worked(opened(kek))
    assert all(DekVersion.objects.get(pk=pk).binding for pk in adopted)
    assert opens(kek) == 5
    facts = canonical.read(bytes(Certificate.objects.get().body))["facts"]
    assert facts["deks"]["bound_at_first_opening"] == 3
    assert facts["digests_are_equal"] is False  # nobody knew before what these were bound to


def test_a_writer_who_adds_under_an_old_version_is_caught_by_the_next_pass():
    kek = made(4)
    old = kek.versions.earliest("pk")
    late = []

    def write(lease, _done):
        if lease.number == 2:  # an id before those of the batch cannot be had; but the pass is behind version 1 by then
            late.extend(add_deks(kek, 2, version=old))

    job = opened(kek, batch_size=2)
    worked(job, tell=write)
    assert late
    assert census(kek) == {"2": 6}
    assert again(job).rewrapped == 6


def test_what_is_there_already_is_looked_at_before_the_old_one_goes():
    """Under the target by a path of its own: never two wrappings, never the one that does not open."""
    kek = made(3)
    good, bad, _ = sorted(bindings(kek))
    worked(opened(kek))
    new = {row.dek_version_id: bytes(row.wrapped) for row in Wrapping.objects.all()}
    rotate(kek)
    from inventory import custody

    items = {
        row.dek_version_id: custody.Item(row.dek_version.dek_id, 1, bytes(row.wrapped), bytes(row.dek_version.binding))
        for row in Wrapping.objects.select_related("dek_version")
    }
    moved = custody.rewrap(kek.uri, kek.algorithm, "2", "3", list(items.values()))
    there = {pk: one.wrapped for pk, one in zip(items, moved, strict=True)}
    Wrapping.objects.create(kek_version_id=kek.primary_id, dek_version_id=good, wrapped=there[good])
    Wrapping.objects.create(kek_version_id=kek.primary_id, dek_version_id=bad, wrapped=there[good])
    job = opened(kek)
    worked(job)
    left = {(row.kek_version_id, row.dek_version_id): bytes(row.wrapped) for row in Wrapping.objects.all()}
    assert left[kek.primary_id, good] == there[good]
    assert [dek for version, dek in left if version != kek.primary_id] == [bad]
    assert left[next(key for key in left if key[0] != kek.primary_id)] == new[bad]
    assert list(Quarantined.objects.values_list("dek_version_id", "reason")) == [(bad, "not_bound")]


def test_what_came_under_a_version_that_was_opened_again_meanwhile_is_brought_over_too():
    """The worker knows the old versions from when it began; nothing was under that one then."""
    kek = make_kek()
    first = kek.primary
    second = rotate(kek)
    KekVersion.objects.filter(pk=first.pk).update(closed_at=NOW)
    add_deks(kek, 3, version=second)
    rotate(kek)
    job = opened(kek)
    ground = ground_of(job.pk)
    write_plan(ground, claim(ground, size=None, now=NOW), now=NOW)
    run_batch(ground, claim(ground, size=None, now=NOW), actor=WORKER, now=NOW)
    assert claim(ground, size=None, now=NOW) is Turn.FINISH
    KekVersion.objects.filter(pk=first.pk).update(closed_at=None)
    add_deks(kek, 2, version=first)
    assert not finish(ground, actor=WORKER, now=NOW)
    worked(job)
    assert (again(job).state, again(job).rewrapped, census(kek)) == ("done", 5, {"3": 5})


# Opening


def test_a_kek_has_one_live_job():
    kek = made(1)
    opened(kek)
    with pytest.raises(JobRunningError):
        opened(kek)
    with pytest.raises(IntegrityError), transaction.atomic():
        RewrapJob.objects.create(
            kek=kek, target=kek.primary, opened_at=NOW, changed_at=NOW, next_at=NOW, reason="x", opened_by_ref="x"
        )


def test_nothing_is_opened_for_nothing():
    kek = make_kek(deks=2)
    with pytest.raises(NothingToRewrapError):
        opened(kek)
    kek.primary = None
    type(kek).objects.filter(pk=kek.pk).update(primary=None)
    with pytest.raises(NoPrimaryError):
        opened(kek)


@pytest.mark.parametrize("pace", [{"batch_size": 0}, {"batch_size": 50_001}, {"per_second": 0}, {"per_second": 10**10}])
def test_a_speed_that_is_none_is_refused(pace):
    kek = made(1)
    with pytest.raises(SpeedError):
        opened(kek, **pace)
    job = opened(kek)
    with pytest.raises(SpeedError):
        rewrap.change_speed(pk=job.pk, actor=PERSON, reason="x", now=NOW, **pace)


def test_batches_follow_the_algorithm():
    assert [rewrap.plan(kek=made(1, algorithm=name)).batch_size for name in ("AES-256-KW", "RSA-2048-OAEP-256")] == [
        2_000,
        500,
    ]


def test_another_rotation_closes_the_job_and_another_one_takes_over():
    kek = made(4)
    first = opened(kek, batch_size=2, per_second=None)
    worked(first, tell=lambda lease, _: rotate(kek) if lease.number == 1 else None)
    first = again(first)
    assert (first.state, first.rewrapped) == (JobState.SUPERSEDED, 2)
    second = RewrapJob.objects.get(state=JobState.RUNNING)
    assert (second.batch_size, second.reason, second.opened_by_ref) == (2, "yearly", "worker")
    worked(second)
    assert census(kek) == {"3": 4}
    assert actions().count("rewrap.superseded") == 1


def test_the_beat_sees_a_rotation_too_and_lets_a_paused_job_go():
    kek = made(2)
    job = opened(kek)
    rewrap.pause(pk=job.pk, actor=PERSON, reason="wait", now=NOW)
    rotate(kek)
    (lacking,) = rewrap.tend(actor=WORKER, now=NOW, workers=2)
    assert lacking == (RewrapJob.objects.get(state=JobState.RUNNING).pk, 2)
    assert again(job).state == JobState.SUPERSEDED


# Steering


def test_a_paused_job_begins_no_batch_and_goes_on_when_resumed():
    kek = made(6)
    job = opened(kek, batch_size=2)
    how = {"pk": job.pk, "actor": PERSON, "reason": "month's end", "now": NOW}
    worked(job, tell=lambda lease, _: rewrap.pause(**how) if lease.number == 1 else None)
    assert (again(job).state, again(job).paused_because, census(kek)) == (
        JobState.PAUSED,
        "month's end",
        {"1": 4, "2": 2},
    )
    assert worked(job).batches == 0
    with pytest.raises(NotRunningError):
        rewrap.pause(**how)
    rewrap.resume(**how)
    with pytest.raises(NotPausedError):
        rewrap.resume(**how)
    worked(job)
    assert census(kek) == {"2": 6}
    for act in (rewrap.pause, rewrap.resume, rewrap.stop, rewrap.change_speed, rewrap.retry_quarantined):
        with pytest.raises(ClosedJobError):
            act(**how)


def test_a_stopped_job_leaves_what_it_did_and_another_one_does_the_rest():
    kek = made(4)
    job = opened(kek, batch_size=2)
    how = {"pk": job.pk, "actor": PERSON, "reason": "wrong time", "now": NOW}
    worked(job, tell=lambda lease, _: rewrap.stop(**how) if lease.number == 1 else None)
    assert (again(job).state, again(job).closed_because) == (JobState.STOPPED, "wrong time")
    assert census(kek) == {"1": 2, "2": 2}
    assert worked(job).ended is rewrap.Ended.OVER
    worked(opened(kek))
    assert census(kek) == {"2": 4}


@pytest.mark.parametrize("role", ["web", "command"])
def test_web_and_command_open_and_steer_and_touch_no_wrapping(role, as_role):
    kek = made(2)
    with as_role(role):
        job = opened(kek)
        for act in (rewrap.pause, rewrap.resume, rewrap.change_speed, rewrap.stop):
            act(pk=job.pk, actor=PERSON, reason="x", now=NOW)
        with pytest.raises(Exception, match="permission denied"), transaction.atomic():
            RewrapBatch.objects.create(job=job, number=1, pass_number=1, begun_at=NOW, leased_until=NOW)


def test_a_limited_job_spaces_its_batches_out():
    kek = made(10)
    job = opened(kek, per_second=2)
    ground = ground_of(job.pk)
    assert claim(ground, size=None, now=NOW).number == 0
    RewrapBatch.objects.update(state="done", leased_until=None)
    leases = [claim(ground, size=None, now=NOW + timedelta(seconds=second)) for second in (0, 1, 2)]
    assert [lease if isinstance(lease, Turn) else lease.size for lease in leases] == [4, Turn.WAIT, 4]


# In quarantine


def test_what_was_altered_stays_where_it_is_and_the_others_go(as_owner, make_people):
    kek = made(5)
    with as_owner():
        bent = spoil(kek, 2)
    was = {row.dek_version_id: bytes(row.wrapped) for row in Wrapping.objects.filter(dek_version_id__in=bent)}
    job = opened(kek, batch_size=2)
    worked(job)
    assert census(kek) == {"1": 2, "2": 3}
    assert {row.dek_version_id: bytes(row.wrapped) for row in Wrapping.objects.filter(dek_version_id__in=bent)} == was
    job = again(job)
    assert (job.state, job.rewrapped) == (JobState.DONE, 3)
    assert set(Quarantined.objects.values_list("dek_version_id", "reason")) == {(pk, "altered") for pk in bent}
    facts = canonical.read(bytes(Certificate.objects.get().body))["facts"]
    assert (facts["quarantined"]["count"], facts["quarantined"]["reasons"]) == (2, {"altered": 2})
    seal()
    (refused,) = events_of("dek.opened")
    assert refused.said.outcome == "refused"
    assert events_of("rewrap.quarantined")
    assert Digest.objects.filter(subject__startswith="Wrapped DEKs were refused").count() == 1


@pytest.fixture
def make_people(db):
    from tests.conftest import make_person

    return make_person("sec", "Security")


def test_what_was_mended_is_tried_again(as_owner):
    kek = made(3)
    good = {row.dek_version_id: bytes(row.wrapped) for row in Wrapping.objects.all()}
    with as_owner():
        (bent,) = spoil(kek)
    job = opened(kek, batch_size=1)
    how = {"pk": job.pk, "actor": PERSON, "reason": "restored", "now": NOW}
    with pytest.raises(NothingQuarantinedError):
        rewrap.retry_quarantined(**how)
    worked(job, tell=lambda lease, _: rewrap.pause(**how) if lease.number == 2 else None)
    assert Quarantined.objects.filter(resolved_at__isnull=True).count() == 1
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE inventory_wrapping SET wrapped = %s WHERE dek_version_id = %s", [good[bent], bent])
    assert rewrap.retry_quarantined(**how) == 1
    rewrap.resume(**how)
    worked(job)
    assert census(kek) == {"2": 3}
    assert (again(job).state, opens(kek)) == (JobState.DONE, 3)


def test_a_later_job_takes_along_what_an_earlier_one_had_to_leave(as_owner):
    kek = made(2)
    good = {row.dek_version_id: bytes(row.wrapped) for row in Wrapping.objects.all()}
    with as_owner():
        (bent,) = spoil(kek)
    worked(opened(kek))
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE inventory_wrapping SET wrapped = %s WHERE dek_version_id = %s", [good[bent], bent])
    worked(opened(kek))
    assert census(kek) == {"2": 2}
    assert Quarantined.objects.get().resolved_because == "It was brought over after all."


# Trouble with the store, and leases


def test_a_store_that_is_away_for_a_while_costs_time_and_nothing_else():
    kek = made(6)
    job = opened(kek, batch_size=2)
    clock, away = quick_clock(), sealed(kek)
    done = worked(job, clock=clock, tell=lambda lease, _: away.__enter__() if lease.number == 1 else None)
    assert (done.rewrapped, census(kek)) == (2, {"1": 4, "2": 2})
    job = again(job)
    assert (job.state, RewrapBatch.objects.get(number=2).rewrapped) == (JobState.PAUSED, 0)
    assert job.paused_because
    away.__exit__(None, None, None)
    rewrap.resume(pk=job.pk, actor=PERSON, reason="back", now=clock())
    worked(job, clock=clock)
    assert census(kek) == {"2": 6}
    assert not RewrapBatch.objects.filter(state="leased").exists()


def test_trouble_that_may_pass_is_tried_again_and_pauses_the_job_in_the_end(monkeypatch):
    monkeypatch.setitem(SCHEMES, "local", ("tests.rotation.dying_store", "DyingBackend", ""))
    kek = made(2)
    job, clock = opened(kek), quick_clock()
    POINTS.begin(lambda _point: setattr(POINTS, "is_away", True))  # it answers every other time, never to the end
    worked(job, clock=clock)
    POINTS.end()
    job = again(job)
    assert (job.state, census(kek)) == (JobState.PAUSED, {"1": 2})
    assert job.paused_because == f"The key store did not answer in time. It was tried {MOST_ATTEMPTS} times."
    rewrap.resume(pk=job.pk, actor=PERSON, reason="back", now=clock())
    worked(job, clock=clock)
    assert census(kek) == {"2": 2}


def test_trouble_that_does_not_pass_pauses_the_job_at_once():
    kek = made(2)
    job = opened(kek)
    store, name = store_of(kek.uri)
    store.disable(name, "1")
    assert worked(job).rewrapped == 0
    job = again(job)
    assert (job.state, job.paused_because) == (JobState.PAUSED, f"Version 1 of {name} is disabled.")
    store.enable(name, "1")
    rewrap.resume(pk=job.pk, actor=PERSON, reason="enabled", now=NOW)
    worked(job)
    assert census(kek) == {"2": 2}


def test_a_lease_is_one_workers_alone_until_it_has_run_out():
    kek = made(2)
    ground = ground_of(opened(kek).pk)
    plan = claim(ground, size=None, now=NOW)
    assert plan.number == 0
    assert claim(ground, size=None, now=NOW) is Turn.WAIT
    RewrapBatch.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    taken = claim(ground, size=None, now=NOW)
    assert (taken.batch, taken.attempts) == (plan.batch, 2)
    RewrapBatch.objects.update(leased_until=timezone.now() + LEASE + timedelta(hours=1))  # the clock was set back
    assert isinstance(claim(ground, size=None, now=NOW), Lease)


def test_a_batch_that_kills_its_workers_pauses_the_job():
    kek = made(2)
    job = opened(kek)
    worked(job, seconds=0)
    claim(ground_of(job.pk), size=None, now=NOW)
    RewrapBatch.objects.update(leased_until=timezone.now() - timedelta(seconds=1), attempts=MOST_ATTEMPTS)
    worked(job)
    job = again(job)
    assert job.state == JobState.PAUSED
    assert "never came to an end" in job.paused_because
    rewrap.resume(pk=job.pk, actor=PERSON, reason="more memory", now=NOW)
    worked(job)
    assert again(job).state == JobState.DONE


def test_a_worker_that_was_taken_for_dead_writes_nothing():
    from rotation.rewrap.batches import run_batch
    from rotation.rewrap.errors import LeaseLostError

    kek = made(2)
    job = opened(kek)
    ground = ground_of(job.pk)
    claim(ground, size=None, now=NOW)
    RewrapBatch.objects.update(state="done", leased_until=None)
    late = claim(ground, size=None, now=NOW)
    RewrapBatch.objects.filter(pk=late.batch).update(leased_until=timezone.now() - timedelta(seconds=1))
    other = claim(ground, size=None, now=NOW)
    with pytest.raises(LeaseLostError):
        run_batch(ground, late, actor=WORKER, now=NOW)
    assert census(kek) == {"1": 2}
    run_batch(ground, other, actor=WORKER, now=NOW)
    assert census(kek) == {"2": 2}


def test_a_lease_of_a_job_that_is_over_is_closed_by_the_beat():
    kek = made(2)
    job = opened(kek)
    claim(ground_of(job.pk), size=None, now=NOW)
    rewrap.stop(pk=job.pk, actor=PERSON, reason="x", now=NOW)
    RewrapBatch.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    rewrap.tend(actor=WORKER, now=NOW, workers=2)
    assert not RewrapBatch.objects.filter(state="leased").exists()


# Looking


def test_progress_and_a_sample_say_how_it_stands(as_owner):
    kek = made(6)
    with as_owner():
        spoil(kek)
    planned = rewrap.plan(kek=kek, batch_size=4)
    assert (planned.total, planned.batches) == (6, 2)
    (seen,) = sample(planned, size=100)
    assert (seen.looked_at, seen.refused) == (6, ("altered",))
    assert census(kek) == {"1": 6}
    job = opened(kek, batch_size=2)
    worked(
        job,
        tell=lambda lease, _: rewrap.pause(pk=job.pk, actor=PERSON, reason="x", now=NOW) if lease.number == 2 else None,
    )
    seen = progress_of(job.pk, now=NOW + timedelta(seconds=10))
    assert (seen.rewrapped, seen.total, seen.quarantined, seen.left, seen.percent) == (3, 6, 1, 2, 50)
    assert seen.time_left is None
