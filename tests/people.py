"""People with second factors, for tests of pages."""

from datetime import timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import services, totp
from keyvault_admin.access.models import TotpDevice, User
from keyvault_admin.access.views import VERIFIED_KEY
from tests import canaries
from tests.conftest import PASSWORD


def give_device(person: User) -> TotpDevice:
    """Give the person a confirmed authenticator app, as web may."""
    device = TotpDevice(user=person, confirmed=True)
    device.draw_seed()
    device.save()
    return device


def next_code(device: TotpDevice) -> str:
    """Return a code that is accepted now: that of the present step, or of the next one when it is used already.

    A test may sign somebody in more often than once in half a minute, so a third code forgets the ones before.
    """
    device.refresh_from_db()
    current = totp.step_at(timezone.now())
    if device.last_step > current:
        device.last_step = -1
        device.save(update_fields=["last_step"])
    return totp.code_at(device.seed(), max(current, device.last_step + 1))


def sign_in(client: Client, person: User) -> TotpDevice:
    """Sign the person in by name, password and code, at the page everybody uses."""
    device = person.totp_devices.filter(confirmed=True).first() or give_device(person)
    answer = client.post(
        reverse("admin:login"), {"username": person.username, "password": PASSWORD, "code": next_code(device)}
    )
    assert answer.status_code == 302, answer.context["form"].errors
    canaries.know("session key", client.cookies[settings.SESSION_COOKIE_NAME].value)
    canaries.know("CSRF secret", client.cookies[settings.CSRF_COOKIE_NAME].value)
    return device


def sign_in_with_password_only(client: Client, person: User) -> None:
    """Make the session of a stolen password: signed in and known to the server, but no second factor."""
    client.force_login(get_user_model().objects.get(pk=person.pk))
    services.open_session(
        person=person,
        session_key=client.session.session_key,
        verified_by="",
        actor=Actor.system("test"),
        now=timezone.now(),
    )


def verified_before(client: Client, age: timedelta) -> None:
    """Let the check of the second factor of this session be that old, as if time had passed since."""
    session = client.session
    session[VERIFIED_KEY] = (timezone.now() - age).isoformat()
    session.save()
