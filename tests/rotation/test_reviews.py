"""Reviews: what is looked at, who may judge and sign it, and what voids a signature."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core import mail
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from audit.models import Event
from inventory import services as inventory
from inventory.errors import KeyMaterialError
from inventory.guarded.suspending import suspend_key
from rotation import notifications, reviews
from rotation.errors import (
    AlreadySignedError,
    ClosedReviewError,
    JudgedMeanwhileError,
    LogDiffersError,
    NobodyApartError,
    NoSuchItemError,
    NotReviewerError,
    OneRoleEachError,
    OwnTransitionError,
    ReviewChangedError,
    UnjudgedError,
    WordsMissingError,
)
from rotation.kinds import KINDS, SAMPLE, ReviewKind
from rotation.models import Digest, Review, ReviewItem, ReviewSignature, Verdict
from rotation.reviews import Judgement
from rotation.sampling import LABEL, draw
from rotation.selectors import items_of, overdue_reviews
from tests.approving import carried_through
from tests.conftest import make_person
from tests.inventory.world import events_of, key_in, last_number, make_key, seal, told_of
from tests.rotation.review_world import actor_for, judge, opened, shown, sign, transition

pytestmark = pytest.mark.django_db
RULES = KINDS[ReviewKind.TRANSITIONS]
DAY = timedelta(days=1)


def over():
    """Return a time at which the period at hand has been over for an hour, by the clock that stamps the events."""
    return RULES.latest_end(timezone.now()) + RULES.every + timedelta(hours=1)


# The sample


def test_a_sample_can_be_drawn_again_by_hand():
    """As docs/reviews.md says it, with nothing of ours but the label."""
    seed, numbers = bytes(range(32)), range(1, 501)
    ranks = {
        n: hashlib.sha256(b"keyvault-admin/review/sample/v1\0" + seed + n.to_bytes(8, "big")).digest() for n in numbers
    }
    assert draw(numbers, seed=seed, size=59) == sorted(sorted(numbers, key=ranks.get)[:59])
    assert draw(numbers, seed=bytes(32), size=59) != draw(numbers, seed=seed, size=59)
    assert draw([7, 3], seed=seed, size=59) == [3, 7]
    assert draw([], seed=seed, size=59) == []
    assert LABEL.endswith(b"v1\0")


def test_the_size_of_the_sample_says_what_it_promises():
    assert 0.95**SAMPLE < 0.05 < 0.95 ** (SAMPLE - 1)


def test_every_event_is_as_likely_as_any_other():
    drawn = [n for seed in range(400) for n in draw(range(1, 11), seed=seed.to_bytes(32, "big"), size=3)]
    counts = [drawn.count(n) for n in range(1, 11)]
    assert sum(counts) == 1200
    assert all(80 < count < 160 for count in counts), counts


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 5, tzinfo=UTC)),
        (datetime(2026, 1, 18, 23, 59, 59, tzinfo=UTC), datetime(2026, 1, 5, tzinfo=UTC)),
        (datetime(2026, 11, 22, 9, tzinfo=UTC), datetime(2026, 11, 9, tzinfo=UTC)),
        (datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)),
        (datetime(2025, 12, 31, tzinfo=UTC), datetime(2025, 12, 22, tzinfo=UTC)),
    ],
)
def test_periods_end_on_every_second_monday(now, end):
    assert RULES.latest_end(now) == end
    assert end.weekday() == 0


# Opening


def test_a_review_holds_every_transition_and_nothing_else(as_role, alice):
    keys = [transition(name) for name in ("one", "two")]
    suspended = suspend_key(pk=keys[0].pk, actor=actor_for(alice), reason="x", now=timezone.now())
    make_key(name="registered only")
    review = opened(as_role)
    found = {item.event_number: item for item in items_of(review)}
    events = {event.number: event for event in Event.objects.filter(number__in=found)}
    assert sorted(event.action for event in events.values()) == ["key.activated", "key.activated", "key.suspended"]
    assert review.population == len(found) == 3
    assert {number: bytes(item.event_digest) for number, item in found.items()} == {
        number: bytes(event.digest) for number, event in events.items()
    }
    (by_alice,) = (item for item in found.values() if item.done_by_id)
    assert (by_alice.done_by_id, events[by_alice.event_number].action) == (alice.pk, "key.suspended")
    assert suspended.ref in {subject.ref for subject in events_of("key.suspended")[0].said.subjects}
    (event,) = events_of("review.opened")
    assert event.said.facts["sample"] == sorted(found)
    assert event.said.facts["seed"] == bytes(review.seed).hex()
    assert event.said.subjects[0].ref == review.ref


def test_more_than_the_sample_are_drawn_by_the_recorded_seed(as_role, monkeypatch):
    for number in range(12):
        transition(f"key-{number}")
    monkeypatch.setitem(KINDS, ReviewKind.TRANSITIONS, _smaller(5))
    review = opened(as_role)
    numbers = Event.objects.filter(action="key.activated").values_list("number", flat=True)
    assert review.population == 12
    assert [item.event_number for item in items_of(review)] == draw(numbers, seed=bytes(review.seed), size=5)


def _smaller(sample):
    from dataclasses import replace

    return replace(RULES, sample=sample)


def test_what_was_refused_is_no_transition(as_role):
    key = key_in("destroyed")
    with pytest.raises(Exception, match="cannot become"):
        inventory.activate_key(pk=key.pk, actor=Actor.system("test"), reason="x", now=timezone.now())
    transitions = {"key.activated", "key.suspended", "key.destroyed"}
    assert opened(as_role).population == Event.objects.filter(action__in=transitions, outcome="done").count()


def test_periods_follow_upon_each_other_without_gap_or_overlap(as_role):
    transition("first")
    one = opened(as_role, now=timezone.now() + 3 * DAY)
    transition("second")
    two = opened(as_role, now=timezone.now() + 40 * DAY, until_now=False)
    assert (two.period_from, two.after_event) == (one.period_to, one.through_event)
    assert two.period_to.weekday() == 0
    assert [items_of(one)[0].event_number, items_of(two)[0].event_number] == list(
        Event.objects.filter(action="key.activated").order_by("number").values_list("number", flat=True)
    )


def test_nothing_is_opened_before_a_period_is_over_or_twice(as_role):
    transition("first")
    end = RULES.latest_end(timezone.now()) + RULES.every
    assert opened(as_role, now=end - timedelta(seconds=1), until_now=False) is None
    first = opened(as_role, now=end, until_now=False)
    assert (first.period_to, first.due_at) == (end, end + 7 * DAY)
    assert opened(as_role, now=end, until_now=False) is None
    assert opened(as_role, now=end + RULES.every - timedelta(seconds=1), until_now=False) is None
    assert Review.objects.count() == 1


def test_an_empty_installation_has_nothing_to_review(as_role, db):
    assert Event.objects.count() == 0
    assert opened(as_role, now=timezone.now() + 400 * DAY, until_now=False) is None


def test_after_a_pause_one_review_covers_what_was_missed(as_role):
    transition("first")
    end = RULES.latest_end(timezone.now()) + RULES.every
    opened(as_role, now=end, until_now=False)
    late = opened(as_role, now=end + timedelta(weeks=5), until_now=False)
    assert (late.period_from, late.period_to) == (end, end + timedelta(weeks=4))
    assert Review.objects.count() == 2


def test_a_period_without_transitions_is_reviewed_too(as_role, alice, bob):
    make_key(name="registered only")
    review = opened(as_role)
    assert (review.population, items_of(review)) == (0, [])
    sign(review, alice, "Security")
    assert sign(review, bob, "DevOps").state == "signed"


def test_a_clock_that_ran_ahead_does_not_stop_the_reviews(as_role):
    """The review it opened ends in 2036. The next one is opened in time, and no event is missed or seen twice."""
    transition("first")
    ahead = opened(as_role, now=datetime(2036, 1, 1, tzinfo=UTC), until_now=False)
    assert ahead.population == 1
    transition("second")
    review = opened(as_role, now=over(), until_now=False)
    assert review.period_to < over()
    assert (review.after_event, review.population) == (ahead.through_event, 1)


def test_a_clock_set_back_opens_and_reminds_nothing(as_role, alice):
    transition("first")
    now = over()
    opened(as_role, now=now, until_now=False)
    told = Digest.objects.count()
    for back in (DAY, 30 * DAY, 400 * DAY):
        assert opened(as_role, now=now - back, until_now=False) is None
        with as_role("worker"):
            assert reviews.remind(actor=Actor.system("worker"), now=now - back) == 0
    assert Digest.objects.count() == told == 1


def test_events_of_a_clock_set_back_are_in_the_next_review(as_role, as_owner):
    """What the server stamped with an earlier day than what is reviewed already is not lost for that."""
    transition("first")
    one = opened(as_role, now=timezone.now() + 3 * DAY)
    transition("second")
    seal()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_event SET recorded_at = '2020-01-01' WHERE number > %s", [one.through_event])
    assert opened(as_role, now=timezone.now() + 20 * DAY).population == 1


def test_what_happens_after_the_period_is_left_to_the_next(as_role, as_owner):
    for name in ("in it", "after it"):
        transition(name)
    seal()
    end = RULES.latest_end(timezone.now()) + RULES.every
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_event SET recorded_at = %s WHERE number = %s", [end, last_number()])
        cursor.execute("UPDATE audit_event SET recorded_at = %s WHERE number < %s", [end - DAY, last_number()])
    assert opened(as_role, now=end + DAY, until_now=False).population == 1
    assert opened(as_role, now=end + RULES.every, until_now=False).population == 1


# Mail


def test_reviewers_are_told_when_it_opens_before_it_is_due_and_weekly_while_late(as_role, alice, bob, carol, dave):
    transition("first")
    review = opened(as_role, now=over(), until_now=False)
    ends = review.due_at

    def told(now):
        before = Digest.objects.count()
        with as_role("worker"):
            for _ in range(3):
                reviews.remind(actor=Actor.system("worker"), now=now)
        return Digest.objects.count() - before

    assert set(Digest.objects.values_list("recipient", flat=True)) == {alice.email, bob.email}
    assert [told(ends + timedelta(days=day)) for day in (-6, -3, -2, -1, 0, 3, 7, 8, 13, 40)] == [
        0, 0, 2, 0, 2, 0, 2, 0, 0, 2,
    ]  # fmt: skip
    seal()
    (late,) = events_of("review.flagged_overdue")
    assert late.said.subjects[0].ref == review.ref


def test_only_the_role_that_is_missing_is_reminded(as_role, alice, bob):
    review = opened_and_judged(as_role, alice)
    sign(review, alice, "Security")
    before = set(Digest.objects.values_list("pk", flat=True))
    with as_role("worker"):
        reviews.remind(actor=Actor.system("worker"), now=review.due_at)
    assert [one.recipient for one in Digest.objects.exclude(pk__in=before)] == [bob.email]


def test_the_mail_says_what_to_do_and_gives_no_name_of_a_key(as_role, alice, settings):
    transition("billing/<b>stripe</b>")
    review = opened(as_role, now=over(), until_now=False)
    with as_role("worker"):
        notifications.deliver(actor=Actor.system("worker"), now=over())
    (sent,) = mail.outbox
    assert sent.subject == f"Review to sign by {review.due_at:%-d %B %Y}: state transitions"
    assert "reviewed every two weeks (S1 §9.6)" in sent.body
    assert "all are to be looked at, 0 are judged" in sent.body
    assert f"{settings.SITE_URL}/rotation/review/{review.pk}/change/" in sent.body
    assert "stripe" not in sent.body + str(sent.alternatives)


def test_an_overdue_review_stands_in_the_digest_of_who_signs_it(as_role, alice, bob):
    from rotation.overdue import flag_overdue
    from tests.inventory.world import make_owner

    make_key(name="late", owner=make_owner("alice", alice.email))
    make_key(name="also late", owner=make_owner("ann", "ann@example.org"))
    review = opened(as_role, now=over(), until_now=False)
    before = set(Digest.objects.values_list("pk", flat=True))
    with as_role("worker"):
        flag_overdue(actor=Actor.system("worker"), now=review.due_at + DAY)
        notifications.gather(now=review.due_at + DAY)
    texts = {one.recipient: one.text for one in Digest.objects.exclude(pk__in=before)}
    assert "REVIEWS OVERDUE" in texts[alice.email]
    assert f"/rotation/review/{review.pk}/change/" in texts[alice.email]
    assert "REVIEWS OVERDUE" not in texts["ann@example.org"]


# Judging


def opened_and_judged(as_role, person, count=2):
    for number in range(count):
        transition(f"key-{number}")
    review = opened(as_role)
    judge(review, person)
    return review


def test_a_finding_has_words_and_may_name_a_key_to_follow_up(as_role, alice):
    key = transition("first")
    review = opened(as_role)
    with pytest.raises(WordsMissingError):
        judge(review, alice, Verdict.FINDING, words="  ")
    with pytest.raises(KeyMaterialError):
        judge(review, alice, Verdict.FINDING, words="ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY2zA4")
    judge(review, alice, Verdict.FINDING, words="the reason names no ticket", follow_up=key.pk)
    (item,) = items_of(review)
    assert (item.verdict, item.words, item.follow_up, item.judged_by) == (
        "finding", "the reason names no ticket", key, alice,
    )  # fmt: skip
    (event,) = events_of("review.item_judged")
    assert event.said.subjects[0].after == {
        f"event_{item.event_number}": f"finding: the reason names no ticket (follow-up: {key.ref})"
    }
    assert told_of(key)[-1] == "review.follow_up_asked"


def test_nobody_judges_what_they_did_or_wished_for(as_role, alice, bob):
    transition("hers", actor_for(alice))
    review = opened(as_role)
    with pytest.raises(OwnTransitionError):
        judge(review, alice)
    judge(review, bob)
    assert items_of(review)[0].judged_by == bob


def test_nobody_judges_what_was_done_on_their_wish(as_role, alice, bob):
    transition("on her wish", Actor.system("worker", on_behalf_of=alice.ref))
    review = opened(as_role)
    with pytest.raises(OwnTransitionError):
        judge(review, alice)
    with pytest.raises(IntegrityError, match="reviewitem_not_judged_by_doer"), transaction.atomic():
        ReviewItem.objects.update(verdict="in_order", judged_by=alice, judged_at=timezone.now())


def test_who_asked_for_it_and_who_approved_it_do_not_judge_it(as_role, alice, bob):
    """The worker did it; the event says on whose wish and by whose votes, and so do service and database."""
    anna, ben = make_person("anna", "Security"), make_person("ben", "DevOps")
    key = make_key()
    about = {"key": key.pk, "reason_code": "superseded"}
    assert carried_through("key.revoke", about, asker=anna, by=(alice, bob)).state == "executed"
    review = opened(as_role)
    (item,) = items_of(review)
    assert (item.done_by_id, item.done_for_id, item.hands) == (None, anna.pk, sorted([anna.pk, alice.pk, bob.pk]))
    for person in (anna, alice, bob):
        with pytest.raises(OwnTransitionError, match="approved"):
            judge(review, person)
        with pytest.raises(IntegrityError, match="not_judged_by"), transaction.atomic():
            ReviewItem.objects.update(verdict="in_order", judged_by=person, judged_at=timezone.now())
    judge(review, ben)
    sign(review, alice, "Security")
    with pytest.raises(NobodyApartError):
        sign(review, bob, "DevOps")
    assert sign(review, ben, "DevOps").state == "signed"
    assert [event.said.facts["excepts"] for event in events_of("review.signed")] == [[item.event_number], []]


def test_the_database_completes_nothing_that_only_its_hands_have_signed(as_role, alice, bob):
    third, key = make_person("third", "Security"), make_key()
    about = {"key": key.pk, "reason_code": "superseded"}
    carried_through("key.revoke", about, asker=make_person("anna", "Security"), by=(alice, bob))
    review = opened(as_role)
    judge(review, third)
    for person, role in ((alice, "Security"), (bob, "DevOps")):
        ReviewSignature.objects.create(
            review=review, role=role, person=person, content_digest=shown(review), verified_by="totp:1",
            signed_at=timezone.now(),
        )  # fmt: skip
    with pytest.raises(IntegrityError, match="lacks a signature"), transaction.atomic():
        Review.objects.update(state="signed", completed_at=timezone.now())


@pytest.mark.parametrize("name", ["carol", "dave", "erin", "mallory"])
def test_only_security_and_devops_judge_and_sign(as_role, alice, request, name):
    person = request.getfixturevalue(name)
    review = opened_and_judged(as_role, alice, 1)
    with pytest.raises(NotReviewerError):
        judge(review, person, Verdict.FINDING, words="x")
    for role in ("Security", "DevOps"):
        with pytest.raises(NotReviewerError):
            sign(review, person, role)


def test_a_superuser_signs_nothing(as_role, alice, mallory):
    review = opened_and_judged(as_role, alice, 1)
    with as_role("command"):
        type(mallory).objects.filter(pk=mallory.pk).update(is_superuser=True)
    with pytest.raises(NotReviewerError):
        sign(review, mallory, "Security")


def test_a_system_actor_signs_nothing(as_role, alice):
    review = opened_and_judged(as_role, alice, 1)
    with pytest.raises(NotReviewerError):
        reviews.sign_review(
            pk=review.pk, role="Security", digest=shown(review), actor=Actor.system("worker"), now=timezone.now()
        )


def test_of_two_who_judge_the_same_event_the_second_is_told(as_role, alice, bob):
    transition("first")
    review = opened(as_role)
    (item,) = items_of(review)
    judge(review, bob)
    said = Judgement(item=item.pk, verdict=Verdict.FINDING, words="not so", seen=0)
    with pytest.raises(JudgedMeanwhileError):
        reviews.judge_items(pk=review.pk, judgements=[said], actor=actor_for(alice), now=timezone.now())


def test_an_item_of_another_review_is_refused(as_role, alice):
    one = opened_and_judged(as_role, alice, 1)
    transition("another")
    two = opened(as_role, now=timezone.now() + DAY)
    (foreign,) = items_of(one)
    said = Judgement(item=foreign.pk, verdict=Verdict.FINDING, words="x", seen=foreign.revision)
    with pytest.raises(NoSuchItemError):
        reviews.judge_items(pk=two.pk, judgements=[said], actor=actor_for(alice), now=timezone.now())


# Signing


def test_two_people_of_two_roles_complete_it(as_role, alice, bob):
    review = opened_and_judged(as_role, alice)
    digest = shown(review)
    assert sign(review, alice, "Security").state == "open"
    done = sign(review, bob, "DevOps")
    assert done.state == "signed"
    assert done.completed_at
    assert [event.said.facts["content"] for event in events_of("review.signed")] == [digest.hex()] * 2
    (event,) = events_of("review.completed")
    assert event.said.facts == {"content": digest.hex(), "findings": 0}
    assert not overdue_reviews(review.due_at + DAY).exists()
    with pytest.raises(ClosedReviewError):
        judge(review, alice, Verdict.FINDING, words="too late")
    with pytest.raises(ClosedReviewError):
        sign(review, bob, "DevOps")


def test_the_digest_is_that_of_canonical_bytes_which_say_everything(as_role, alice):
    review = opened_and_judged(as_role, alice, 1)
    (item,) = items_of(review)
    raw = reviews.content(review, [item])
    assert hashlib.sha256(raw).digest() == shown(review)
    said = json.loads(raw)
    assert said["sample"] == [
        {
            "event": item.event_number,
            "digest": bytes(item.event_digest).hex(),
            "verdict": "in_order",
            "words": "",
            "follow_up": "",
            "judged_by": alice.ref,
        }
    ]
    assert said["events"] == {"after": 0, "through": review.through_event, "of_this_kind": 1}


def test_nothing_is_signed_before_all_of_it_is_judged(as_role, alice):
    transition("first")
    transition("second")
    review = opened(as_role)
    judge(review, alice, only={items_of(review)[0].event_number})
    with pytest.raises(UnjudgedError, match="1 event has no verdict"):
        sign(review, alice, "Security")


def test_an_edit_voids_every_signature(as_role, alice, bob):
    review = opened_and_judged(as_role, alice)
    before = shown(review)
    sign(review, alice, "Security")
    judge(review, bob, Verdict.FINDING, words="look again", only={items_of(review)[0].event_number})
    (void,) = ReviewSignature.objects.all()
    assert (void.voided_by, bytes(void.content_digest)) == (bob, before)
    (event,) = events_of("review.signature_voided")
    assert event.said.subjects[0].before == {"signed_for_Security": alice.ref}
    with pytest.raises(ReviewChangedError):
        sign(review, bob, "DevOps", before)
    assert sign(review, bob, "DevOps").state == "open"
    assert sign(review, alice, "Security").state == "signed"


def test_saving_what_is_there_already_voids_nothing(as_role, alice, bob):
    review = opened_and_judged(as_role, alice)
    sign(review, alice, "Security")
    judge(review, bob)
    assert not events_of("review.signature_voided")
    assert ReviewSignature.objects.get().voided_at is None


def test_one_person_fills_one_place_whatever_their_roles(as_role, bob):
    both = make_person("both", "Security", "DevOps")
    other = make_person("other", "Security")
    review = opened_and_judged(as_role, both)
    sign(review, both, "Security")
    with pytest.raises(OneRoleEachError):
        sign(review, both, "DevOps")
    with pytest.raises(AlreadySignedError):
        sign(review, other, "Security")
    assert sign(review, bob, "DevOps").state == "signed"


def test_a_signature_needs_the_role_now(as_role, alice, bob):
    review = opened_and_judged(as_role, alice)
    with as_role("command"):
        bob.groups.clear()
    with pytest.raises(NotReviewerError):
        sign(review, bob, "DevOps")


def test_nobody_answers_for_what_they_did(as_role, alice, bob):
    transition("hers", actor_for(alice))
    transition("the system's")
    review = opened(as_role)
    judge(review, bob)
    sign(review, alice, "Security")
    done = sign(review, bob, "DevOps")
    assert done.state == "signed"
    excepted = [event.said.facts["excepts"] for event in events_of("review.signed")]
    assert excepted == [[items_of(review)[0].event_number], []]


def test_what_both_had_a_hand_in_needs_somebody_else(as_role, alice, bob):
    from dataclasses import replace

    transition("together", replace(actor_for(bob), on_behalf_of=alice.ref))
    third, fourth = make_person("third", "Security"), make_person("fourth", "DevOps")
    review = opened(as_role)
    judge(review, third)
    sign(review, alice, "Security")
    with pytest.raises(NobodyApartError):
        sign(review, bob, "DevOps")
    assert sign(review, fourth, "DevOps").state == "signed"


def test_nothing_is_signed_over_a_log_that_was_altered(as_role, as_owner, alice):
    review = opened_and_judged(as_role, alice, 1)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE audit_event SET digest = sha256('x') WHERE number = %s", [items_of(review)[0].event_number]
        )
    with pytest.raises(LogDiffersError):
        sign(review, alice, "Security")


def test_without_its_event_nothing_happens(as_role, alice, monkeypatch):
    """AUD: the event is part of the change. (A reason that the log refuses makes it fail.)"""
    review = opened_and_judged(as_role, alice, 1)
    broken = Actor(kind="person", id=alice.ref, role="Security", verified_by="totp:1", path="POST /x?query")
    with pytest.raises(AuditError), transaction.atomic():
        reviews.sign_review(pk=review.pk, role="Security", digest=shown(review), actor=broken, now=timezone.now())
    assert not ReviewSignature.objects.exists()


# What the database refuses, whoever asks


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("UPDATE rotation_reviewitem SET verdict = 'finding', words = 'x'", "once its signatures are void"),
        ("UPDATE rotation_review SET state = 'signed', completed_at = now()", "lacks a signature"),
        (
            "INSERT INTO rotation_reviewsignature (review_id, role, person_id, content_digest, verified_by, signed_at) "
            "SELECT review_id, 'DevOps', person_id, content_digest, 'totp:1', now() FROM rotation_reviewsignature",
            "distinct_people",
        ),
        (
            "INSERT INTO rotation_reviewsignature (review_id, role, person_id, content_digest, verified_by, signed_at) "
            "SELECT review_id, 'Security', %(bob)s, content_digest, 'totp:1', now() FROM rotation_reviewsignature",
            "one_for_each_role",
        ),
        (
            "INSERT INTO rotation_reviewsignature (review_id, role, person_id, content_digest, verified_by, signed_at) "
            "SELECT review_id, 'Auditor', %(bob)s, content_digest, 'totp:1', now() FROM rotation_reviewsignature",
            "role_known",
        ),
    ],
)
def test_the_database_keeps_what_was_signed(as_role, alice, bob, statement, refusal):
    review = opened_and_judged(as_role, alice)
    sign(review, alice, "Security")
    with pytest.raises(IntegrityError, match=refusal), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, {"bob": bob.pk})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rotation_reviewitem SET verdict = 'finding', words = 'x'",
        "UPDATE rotation_review SET state = 'open', completed_at = NULL",
        "UPDATE rotation_reviewsignature SET voided_at = now(), voided_by_id = person_id",
    ],
)
def test_the_database_changes_nothing_of_a_signed_review(as_role, alice, bob, statement):
    review = opened_and_judged(as_role, alice)
    sign(review, alice, "Security")
    sign(review, bob, "DevOps")
    with pytest.raises(IntegrityError, match="does not change"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_second_signature_over_other_content_does_not_complete_it(as_role, alice, bob):
    review = opened_and_judged(as_role, alice)
    sign(review, alice, "Security")
    ReviewSignature.objects.create(
        review=review,
        role="DevOps",
        person=bob,
        content_digest=bytes(32),
        verified_by="totp:1",
        signed_at=timezone.now(),
    )
    with pytest.raises(IntegrityError, match="lacks a signature"), transaction.atomic():
        Review.objects.update(state="signed", completed_at=timezone.now())


def test_no_login_role_deletes_and_web_opens_nothing(db):
    tables = ("rotation_review", "rotation_reviewitem", "rotation_reviewsignature")
    with connection.cursor() as cursor:
        for table in tables:
            for role in ("web", "worker", "beat", "signer", "command"):
                for privilege in ("DELETE", "TRUNCATE"):
                    cursor.execute("SELECT has_table_privilege(%s, %s, %s)", [f"keyvault_{role}", table, privilege])
                    assert cursor.fetchone() == (False,), (table, role, privilege)
        for role, table, expected in (
            ("web", "rotation_review", False),
            ("web", "rotation_reviewitem", False),
            ("web", "rotation_reviewsignature", True),
            ("worker", "rotation_reviewsignature", False),
            ("command", "rotation_reviewsignature", False),
            ("beat", "rotation_review", False),
        ):
            cursor.execute("SELECT has_table_privilege(%s, %s, 'INSERT')", [f"keyvault_{role}", table])
            assert cursor.fetchone() == (expected,), (role, table)
