"""What sign-in keeps under the sealing key, for the day of a new one."""

from audit.resealing import SealedColumn
from keyvault_admin.access.models import PersonSession, TotpDevice
from keyvault_admin.access.models.devices import SEED_CONTEXT
from keyvault_admin.access.models.sessions import ORIGIN_CONTEXT

SEALED_SEEDS = SealedColumn(
    code="totp_seed",
    title="seeds of authenticator apps",
    model=TotpDevice,
    column="sealed_seed",
    holder="user_id",
    context=SEED_CONTEXT,
)
SEALED_ORIGINS = SealedColumn(
    code="session_origin",
    title="addresses and agents of open sessions",
    model=PersonSession,
    column="sealed_origin",
    holder="person_id",
    context=ORIGIN_CONTEXT,
)
