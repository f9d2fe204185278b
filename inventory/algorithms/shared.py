"""RSA keys that share a prime: whoever sees two of them can compute both. Pure."""

import decimal
import math
from collections.abc import Iterable
from decimal import Decimal
from itertools import islice

MOST_COMPARED = 1_000  # moduli of one file: a second or two; the time grows faster than their number


def shared_factors(moduli: Iterable[int]) -> set[int]:
    """Return those of the first MOST_COMPARED different moduli that share a factor with another one of them.

    Equal moduli are one key used twice, and no finding of this kind. For each modulus n, the sum over all m of the
    product of the others leaves modulo n what the product without n leaves, so their common divisor tells. Sums and
    remainders go up and down a tree. Source: D. J. Bernstein, "How to find smooth parts of integers", 2004.
    """
    compared = list(islice(dict.fromkeys(moduli), MOST_COMPARED))
    if len(compared) < 2:  # noqa: PLR2004 - nothing to share with
        return set()
    digits = sum(math.ceil(n.bit_length() * math.log10(2)) for n in compared)
    exact = decimal.Context(
        prec=2 * digits + 20, Emax=decimal.MAX_EMAX, traps=[decimal.Inexact, decimal.InvalidOperation]
    )
    with decimal.localcontext(exact):  # the one multiplication of the standard library that is fast for long numbers
        rest = _rests(compared)
    return {n for n, left in zip(compared, rest, strict=True) if math.gcd(n, left) > 1}


def _rests(moduli: list[int]) -> list[int]:
    """Return for each modulus what the product of all the others leaves by it."""
    level = [(Decimal(n), Decimal(1)) for n in moduli]  # a product, and the sum of it without each of its factors
    tree = [level]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [(a * b, x * b + y * a) for (a, x), (b, y) in pairs] + level[len(level) & ~1 :]
        tree.append(level)
    rests = [level[0][1]]
    for below in reversed(tree):
        rests = [rests[index // 2] % product for index, (product, _) in enumerate(below)]
    return [int(rest) for rest in rests]
