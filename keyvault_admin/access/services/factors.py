"""Second factors: checking what a person shows."""

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from keyvault_admin.access.models import TotpDevice, User


@sensitive_variables("code")
@transaction.atomic
def verify_code(*, person: User, code: str) -> TotpDevice | None:
    """Return the device that accepted the code, else None. Locks the person's devices; a wrong code is counted.

    With several devices the code is tried without counting first, so that the right one is not slowed by the others.
    """
    devices = list(TotpDevice.objects.select_for_update().filter(user=person, confirmed=True).order_by("pk"))
    likely = [device for device in devices if device.recognises(code)] or devices
    return next((device for device in likely if device.verify_token(code)), None)
