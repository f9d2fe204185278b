"""The people of the demo as they act: in their own name, with codes of their own second factors."""

import time

from django.utils import timezone

from audit.actor import Actor, Identity
from keyvault_admin.access import totp
from keyvault_admin.access.models import TotpDevice, User
from keyvault_admin.local import demo

_POLL_SECONDS = 0.5


def acting(username: str) -> Actor:
    """Return somebody of the demo as the services know who acts. Queries: 1."""
    person = User.objects.only("username", "email", "full_name").get(
        username=username
    )  # as much as the worker may read
    (known,) = (one for one in demo.PEOPLE if one.username == username)
    identity = Identity(name=person.full_name, mail=person.email, address="", agent="")
    return Actor(kind="person", id=person.ref, role=known.role, identity=identity)


def fresh_code(username: str) -> str:
    """Return the next code of theirs that is accepted, each of which is so once; wait where those of now are spent."""
    device = TotpDevice.objects.get(user__username=username)
    while (step := device.last_step + 1) > totp.step_at(timezone.now()) + totp.TOLERANCE_STEPS:
        time.sleep(_POLL_SECONDS)
    return totp.code_at(device.seed(), max(step, totp.step_at(timezone.now())))
