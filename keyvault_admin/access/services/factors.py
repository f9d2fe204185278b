"""Second factors: checking the code a person shows, adding an authenticator app, removing a factor."""

from datetime import datetime

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from keyvault_admin.access import selectors
from keyvault_admin.access.errors import FactorGoneError, LastFactorError
from keyvault_admin.access.models import Passkey, TotpDevice, User
from keyvault_admin.access.services.letters import tell_of_change
from keyvault_admin.access.services.pieces import locked, subject_of
from keyvault_admin.access.services.sessions import FACTORS_CHANGED, end_sessions

KINDS: dict[str, type[TotpDevice] | type[Passkey]] = {"totp": TotpDevice, "passkey": Passkey}


@sensitive_variables("code")
@transaction.atomic
def verify_code(*, person: User, code: str) -> TotpDevice | None:
    """Return the device that accepted the code, else None. Locks the person's devices; a wrong code is counted.

    With several devices the code is tried without counting first, so that the right one is not slowed by the others.
    Who has none, or is nobody, costs what a wrong code of one device costs.
    """
    devices = list(TotpDevice.objects.select_for_update().filter(user=person, confirmed=True).order_by("pk"))
    if not devices:
        TotpDevice.spend_on_nobody(code)
        return None
    likely = [device for device in devices if device.recognises(code)] or devices
    return next((device for device in likely if device.verify_token(code)), None)


@transaction.atomic
def begin_app(*, person: User) -> TotpDevice:
    """Draw the seed of an app that waits for its first code; the seed that waited before is gone. Locks the person.

    No event: nothing is granted yet.

    Raises: InactiveError.
    """
    person = locked(person)
    device = selectors.pending_device(person) or TotpDevice(user=person, confirmed=False)
    device.draw_seed()
    device.save()
    return device


@sensitive_variables("code")
@transaction.atomic
def confirm_app(
    *, person: User, device_id: int, name: str, code: str, keep: str = "", actor: Actor, now: datetime
) -> TotpDevice | None:
    """Put an app into use by its first code; None when the code is wrong, which is counted. Event: factor.added.

    Locks the person and the device. Ends their sessions but the one with the key `keep`.

    Raises: InactiveError, FactorGoneError.
    """
    person = locked(person)
    device = selectors.pending_device(person)
    if device is None or device.pk != device_id:
        raise FactorGoneError
    if not device.verify_token(code):
        return None
    device.name, device.confirmed = name, True
    device.save(update_fields=["name", "confirmed"])
    end_sessions(person=person, reason=FACTORS_CHANGED, actor=actor, now=now, keep=keep)
    facts = {"device": device.ref}
    record(Action.FACTOR_ADDED, actor=actor, now=now, subjects=[subject_of(person)], facts=facts)
    tell_of_change(
        person,
        subject="An authenticator app was added to your sign-in",
        what=f"The authenticator app “{name}” was added to your sign-in.",
        now=now,
    )
    return device


@transaction.atomic
def remove_factor(*, person: User, ref: str, keep: str = "", actor: Actor, now: datetime) -> None:
    """Take an app or a passkey ("totp:5", "passkey:3") out of use for good.

    Locks the person, so that two removals at once cannot take the last two. Ends their sessions but the one
    with the key `keep`. Event: factor.removed.

    Raises: InactiveError, FactorGoneError, LastFactorError.
    """
    person = locked(person)
    kind, _, number = ref.partition(":")
    if kind not in KINDS or not (number.isascii() and number.isdigit()):
        raise FactorGoneError
    mine = KINDS[kind].objects.select_for_update().filter(user=person, confirmed=True)
    factor = mine.filter(pk=int(number)).first()
    if factor is None:
        raise FactorGoneError
    if selectors.factors_of(person).is_one:
        raise LastFactorError
    factor.remove(now)
    end_sessions(person=person, reason=FACTORS_CHANGED, actor=actor, now=now, keep=keep)
    record(Action.FACTOR_REMOVED, actor=actor, now=now, subjects=[subject_of(person)], facts={"device": factor.ref})
    tell_of_change(
        person,
        subject="A second factor was removed from your sign-in",
        what=f"“{factor.name}” was removed from your sign-in.",
        now=now,
    )
