"""People with second factors, for tests of pages."""

from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from keyvault_admin.access import totp
from keyvault_admin.access.models import TotpDevice, User
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
    return device


def sign_in_with_password_only(client: Client, person: User) -> None:
    """Make the session of a stolen password: signed in as far as Django is concerned, no second factor."""
    client.force_login(get_user_model().objects.get(pk=person.pk))
