"""How the seed of an authenticator app is shown: as a QR code, and as text to type."""

from typing import Any

import segno
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from keyvault_admin.access import totp
from keyvault_admin.access.models import TotpDevice, User


@sensitive_variables()
def seed_context(person: User, device: TotpDevice) -> dict[str, Any]:
    """Return `qr`, an image as a data address, and `seed`, the same in base32."""
    seed = device.seed()
    uri = totp.provisioning_uri(seed, account=person.username, issuer=settings.OTP_TOTP_ISSUER)
    return {
        "qr": segno.make(uri, error="m").svg_data_uri(scale=5, border=4, dark="#000", light="#fff"),
        "seed": totp.base32(seed),
    }
