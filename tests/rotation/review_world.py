"""Transitions, and reviews of them, for tests."""

from datetime import timedelta

from django.utils import timezone

from audit.actor import Actor, Identity
from inventory import services as inventory
from inventory.states import State
from rotation import reviews
from rotation.models import Review, Verdict
from rotation.reviews import Judgement
from rotation.selectors import items_of
from tests.inventory.world import make_key, seal

SYSTEM = Actor.system("test")


def actor_for(person):
    """Return the actor of a door that has asked for a second factor."""
    who = Identity(name=person.full_name, mail=person.email, address="", agent="")
    return Actor(kind="person", id=person.ref, role=person.role, verified_by="totp:1", identity=who)


def transition(name, actor=SYSTEM, *, now=None):
    """Bring a new key into use: one event of a transition. Return the key."""
    key = make_key(name=name, state=State.PRE_ACTIVATION)
    return inventory.activate_key(pk=key.pk, actor=actor, reason=f"because of {name}", now=now or timezone.now())


def opened(as_role, *, now=None, until_now=True):
    """Seal what was recorded and open a review, by default of everything until now; return it, or None.

    The server stamps events by its own clock, so `now` is counted from the real one.
    """
    seal()
    with as_role("worker"):
        found = reviews.open_reviews(
            actor=Actor.system("worker"), now=now or timezone.now() + timedelta(seconds=1), until_now=until_now
        )
    seal()
    return Review.objects.get(pk=found[0].review.pk) if found else None


def judge(review, person, verdict=Verdict.IN_ORDER, *, only=None, **said):
    """Judge every event of the sample, or those of some numbers, as the person sees them now."""
    chosen = [item for item in items_of(review) if only is None or item.event_number in only]
    judgements = [Judgement(item=item.pk, verdict=verdict, seen=item.revision, **said) for item in chosen]
    done = reviews.judge_items(pk=review.pk, judgements=judgements, actor=actor_for(person), now=timezone.now())
    seal()
    return done


def shown(review):
    """Return the digest that the page shows now."""
    review = Review.objects.get(pk=review.pk)
    return reviews.content_digest(review, items_of(review))


def sign(review, person, role, digest=None):
    done = reviews.sign_review(
        pk=review.pk, role=role, digest=digest or shown(review), actor=actor_for(person), now=timezone.now()
    )
    seal()
    return done
