from inventory.services.deks.ending import CLEAR, confirm_reencrypted
from inventory.services.deks.hands import Handed, confirm_hand_out, hand_out
from inventory.services.deks.making import (
    Drawn,
    check_new_dek,
    create_dek,
    dek_facts,
    draw_dek,
    draw_next,
    facts_from,
)
from inventory.services.deks.scanning import Misfit, Scanned, open_stretch

__all__ = [
    "CLEAR",
    "Drawn",
    "Handed",
    "Misfit",
    "Scanned",
    "check_new_dek",
    "confirm_hand_out",
    "confirm_reencrypted",
    "create_dek",
    "dek_facts",
    "draw_dek",
    "draw_next",
    "facts_from",
    "hand_out",
    "open_stretch",
]
