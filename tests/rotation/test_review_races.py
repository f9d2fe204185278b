"""Reviews while somebody else is at it too; real transactions, logged in as the roles."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from django.db import connection
from django.utils import timezone

from audit.actor import Actor
from rotation import reviews
from rotation.errors import AlreadySignedError, JudgedMeanwhileError, ReviewChangedError, RotationError
from rotation.models import Review, ReviewItem, ReviewSignature, Verdict
from rotation.reviews import Judgement
from rotation.selectors import items_of
from tests.conftest import make_person
from tests.inventory.world import events_of
from tests.rotation.review_world import actor_for, judge, opened, shown, sign, transition


def at_once(*acts):
    """Do all of it at the same moment; return what each gave or raised."""
    ready = threading.Barrier(len(acts))

    def do(act):
        try:
            ready.wait(timeout=10)
            return act()
        except RotationError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [done.result(timeout=60) for done in [pool.submit(do, act) for act in acts]]


def judged_review(as_role, person):
    for name in ("one", "two", "three"):
        transition(f"{name} of {Review.objects.count()}")
    review = opened(as_role)
    judge(review, person)
    return review


def test_races_of_judging_and_signing(committed_db, as_role, alice, bob):
    """Several races over one database, each over a review of its own."""
    other = make_person("other", "Security")
    _two_roles_sign(as_role, alice, bob)
    _two_sign_for_one_role(as_role, alice, other)
    for _ in range(4):
        _one_edits_while_another_signs(as_role, alice, bob)
    _two_judge_the_same(as_role, alice, bob)
    _two_judge_different_events(as_role, alice, bob)


def _two_roles_sign(as_role, alice, bob):
    review = judged_review(as_role, alice)
    digest = shown(review)
    at_once(lambda: sign(review, alice, "Security", digest), lambda: sign(review, bob, "DevOps", digest))
    review.refresh_from_db()
    assert review.state == "signed"
    assert len(events_of("review.completed")) == 1


def _two_sign_for_one_role(as_role, alice, other):
    review = judged_review(as_role, alice)
    digest = shown(review)
    done = at_once(lambda: sign(review, alice, "Security", digest), lambda: sign(review, other, "Security", digest))
    assert sorted(type(one).__name__ for one in done) == ["AlreadySignedError", "Review"]
    assert isinstance(next(one for one in done if isinstance(one, RotationError)), AlreadySignedError)
    assert ReviewSignature.objects.filter(review=review).count() == 1


def _one_edits_while_another_signs(as_role, alice, bob):
    """Either the signature was first, and is void now, or it was refused; never does it stand over what was edited."""
    review = judged_review(as_role, alice)
    digest, first = shown(review), items_of(review)[0].event_number
    edited, signed = at_once(
        lambda: judge(review, bob, Verdict.FINDING, words="look again", only={first}),
        lambda: sign(review, alice, "Security", digest),
    )
    assert isinstance(edited, Review)
    assert not ReviewSignature.objects.filter(review=review, voided_at__isnull=True).exists()
    voided = ReviewSignature.objects.filter(review=review).count()
    assert voided == 1 or isinstance(signed, ReviewChangedError)
    assert shown(review) != digest


def _two_judge_the_same(as_role, alice, bob):
    transition("same")
    review = opened(as_role)
    (item,) = items_of(review)
    said = [Judgement(item=item.pk, verdict=Verdict.FINDING, words=f"says {name}", seen=0) for name in ("a", "b")]
    done = at_once(
        *(
            lambda one=one, who=who: reviews.judge_items(
                pk=review.pk, judgements=[one], actor=actor_for(who), now=timezone.now()
            )
            for one, who in zip(said, (alice, bob), strict=True)
        )
    )
    assert sorted(type(one).__name__ for one in done) == [JudgedMeanwhileError.__name__, "Review"]
    assert ReviewItem.objects.get(pk=item.pk).revision == 1


def _two_judge_different_events(as_role, alice, bob):
    transition("mine")
    transition("yours")
    review = opened(as_role)
    one, two = (item.event_number for item in items_of(review))
    at_once(lambda: judge(review, alice, only={one}), lambda: judge(review, bob, only={two}))
    assert {item.judged_by for item in items_of(review)} == {alice, bob}


def test_the_beat_opens_and_reminds_once_however_many_run(committed_db, as_role, alice, bob):
    transition("first")
    now = timezone.now() + timedelta(seconds=1)
    worker = Actor.system("worker")
    with as_role("worker"):
        done = at_once(*[lambda: reviews.open_reviews(actor=worker, now=now, until_now=True)] * 6)
        assert sorted(len(one) for one in done) == [0, 0, 0, 0, 0, 1]
        (review,) = Review.objects.all()
        told = at_once(*[lambda: reviews.remind(actor=worker, now=review.due_at)] * 6)
    assert sorted(told) == [0, 0, 0, 0, 0, 2]
    assert len(events_of("review.opened")) == len(events_of("review.flagged_overdue")) == 1
