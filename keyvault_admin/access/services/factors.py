"""Second factors: checking what a person shows."""

import secrets
from datetime import datetime

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from audit.sealing import seal, unseal
from keyvault_admin.access import totp
from keyvault_admin.access.models import TotpDevice, User

NOBODY = -1  # a key that no row has


@sensitive_variables("code")
@transaction.atomic
def verify_code(*, person: User, code: str) -> TotpDevice | None:
    """Return the device that accepted the code, else None. Locks the person's devices; a wrong code is counted.

    With several devices the code is tried without counting first, so that the right one is not slowed by the others.
    """
    devices = list(TotpDevice.objects.select_for_update().filter(user=person, confirmed=True).order_by("pk"))
    likely = [device for device in devices if device.recognises(code)] or devices
    return next((device for device in likely if device.verify_token(code)), None)


@sensitive_variables("code")
@transaction.atomic
def verify_code_of_nobody(*, code: str, now: datetime) -> None:
    """Spend what `verify_code` spends on a wrong code of a person with one device: the same queries and cipher work.

    For a sign-in whose password was wrong or whose person does not exist, so that the time taken tells nothing.
    """
    list(TotpDevice.objects.select_for_update().filter(user=NOBODY, confirmed=True).order_by("pk"))
    seed = seal(secrets.token_bytes(totp.SEED_BYTES), context="totp:nobody")
    for _ in ("recognised", "verified"):
        totp.matching_step(unseal(seed, context="totp:nobody"), code, now)
    with transaction.atomic():
        TotpDevice.objects.select_for_update().filter(pk=NOBODY).first()
        TotpDevice.objects.filter(pk=NOBODY).update(throttling_failure_count=1, throttling_failure_timestamp=None)
