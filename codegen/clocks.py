"""Clocks that a processing system can give the programmable logic: one frequency, divided twice by whole numbers."""

from __future__ import annotations

from functools import lru_cache

from bfp.errors import BfpError

LARGEST_DIVISOR = 63  # of each of the two, 6 bits (AMD UG1087 PL0_REF_CTRL, UG585 FPGA0_CLK_CTRL)
TOLERANCE = 0.01  # of the clock that is asked for


@lru_cache
def _products() -> tuple[int, ...]:
    """Every product of the two divisors, from the least on."""
    factors = range(1, LARGEST_DIVISOR + 1)
    return tuple(sorted({a * b for a in factors for b in factors}))


def divisors(product: int) -> tuple[int, int]:
    """The two divisors of a product, the larger first. Raises BfpError where two of 6 bits do not have it."""
    for second in range(1, LARGEST_DIVISOR + 1):
        first, rest = divmod(product, second)
        if rest == 0 and first <= LARGEST_DIVISOR:
            return first, second
    raise BfpError(f"no two divisors up to {LARGEST_DIVISOR} have the product {product}; choose another clock")


def clock_word(word: str) -> float:
    """A clock in MHz as a command line gives it. Raises BfpError for what is no positive number."""
    try:
        mhz = float(word)
    except ValueError:
        mhz = 0.0
    if not 0 < mhz < float("inf"):
        raise BfpError(f"clock {word!r} is no frequency in MHz; give for instance clock=250")
    return mhz


def plain(mhz: float) -> float:
    """The same frequency to the hertz, a whole number where it is one: what files and messages show."""
    mhz = round(mhz, 6)
    return int(mhz) if mhz == int(mhz) else mhz


@lru_cache
def product_for(source_mhz: float, clock_mhz: float) -> int:
    """The product of divisors whose clock is the nearest to the one asked for."""
    return min(_products(), key=lambda product: abs(source_mhz / product - clock_mhz))


def attainable(source_mhz: float, wanted_mhz: float, who: str) -> float:
    """The clock in MHz that is had for the one that is wanted: the nearest, within 1 %.

    source_mhz: what is divided. who: begins the refusal. Raises BfpError with the nearest clocks on both sides.
    """
    found = source_mhz / product_for(source_mhz, wanted_mhz) if wanted_mhz > 0 else 0
    if found and abs(found - wanted_mhz) <= TOLERANCE * wanted_mhz:
        return plain(found)
    possible = [source_mhz / product for product in _products()]
    above = [clock for clock in possible if clock > wanted_mhz][-1:]
    below = [clock for clock in possible if clock < wanted_mhz][:1]
    nearest = " and ".join(f"{clock:.6g}" for clock in above + below)
    raise BfpError(
        f"{who} has no clock within 1 % of {wanted_mhz:.6g} MHz, since it divides {source_mhz:g} MHz by whole numbers; "
        f"the nearest {'are' if above and below else 'is'} {nearest} MHz"
    )


def fastest_within(source_mhz: float, limit_mhz: float) -> float | None:
    """The fastest clock in MHz that is not above the limit; None where every one is."""
    for product in _products():
        if source_mhz / product <= limit_mhz:
            return plain(source_mhz / product)
    return None
