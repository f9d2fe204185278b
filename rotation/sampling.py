"""Which events of many are looked at. Pure; docs/reviews.md tells how to draw the same sample by hand.

    rank(n) = SHA-256("keyvault-admin/review/sample/v1" ‖ 00 ‖ seed ‖ int64 n)

The sample are the numbers with the lowest ranks, in the order of the numbers. The seed is 32 bytes of the operating
system's generator, drawn once the period is over: until then nobody can know what will be looked at.
"""

import heapq
import secrets
from collections.abc import Iterable
from functools import partial
from hashlib import sha256

LABEL = b"keyvault-admin/review/sample/v1\0"
SEED_BYTES = 32


def new_seed() -> bytes:
    return secrets.token_bytes(SEED_BYTES)


def draw(numbers: Iterable[int], *, seed: bytes, size: int) -> list[int]:
    """Return at most `size` of the event numbers, ascending; all of them where there are no more."""
    return sorted(heapq.nsmallest(size, numbers, key=partial(_rank, seed)))


def _rank(seed: bytes, number: int) -> bytes:
    return sha256(LABEL + seed + number.to_bytes(8, "big")).digest()
