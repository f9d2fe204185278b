"""The signing key of this process, where it has one: the signer alone does."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from audit.errors import AuditError
from audit.notes import Signer


def signer_named(name: str) -> Signer:
    """Return the key of this process under the name of the log.

    Raises: AuditError in a process that holds none.
    """
    if settings.SIGNING_KEY is None:
        raise AuditError(
            "This process holds no signing key: checkpoints are made by the signer (KEYVAULT_ROLE=signer)."
        )
    return Signer(name, Ed25519PrivateKey.from_private_bytes(settings.SIGNING_KEY))
