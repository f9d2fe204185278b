"""Everything that is kept under the sealing key: what `rotate_sealing_key` goes through.

Whoever seals something new that stays declares its column beside it and adds it here; a test looks for it.
"""

from audit.resealing import IDENTITY_KEYS, SealedColumn
from inventory.services import SEALED_FILES
from keyvault_admin.access.services.sealed import SEALED_ORIGINS, SEALED_SEEDS

SEALED: tuple[SealedColumn, ...] = (SEALED_SEEDS, IDENTITY_KEYS, SEALED_ORIGINS, SEALED_FILES)
