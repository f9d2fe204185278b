"""What one person did alone, and people who look at it, for tests."""

from dataclasses import replace

from django.utils import timezone

from inventory.states import State
from rotation import at_once, duties
from rotation.models import Duty, Verdict
from tests.inventory.world import make_key, seal
from tests.people import give_device
from tests.rotation.review_world import actor_for


def acting(person):
    """Return the actor of a door at which this person has shown a factor of theirs; one is made where there is none."""
    device = person.totp_devices.filter(confirmed=True).first() or give_device(person)
    return replace(actor_for(person), verified_by=device.ref)


def suspended(person, *, now=None, **facts):
    """Return the duty that is left when somebody suspends a new key."""
    now = now or timezone.now()
    key = make_key(state=State.ACTIVE, **facts)
    at_once.suspend(pk=key.pk, actor=acting(person), reason="seen in a build log", now=now)
    seal()
    return Duty.objects.get(key=key)


def sign(duty, person, role, verdict=Verdict.IN_ORDER, words="looked at it: it was right", *, now=None):
    done = duties.sign_duty(
        pk=duty.pk, role=role, verdict=verdict, words=words, actor=acting(person), now=now or timezone.now()
    )
    seal()
    return done
