"""What every damaged case must come to: a refusal in one sentence or a result, soon, and without a flood of memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfp.errors import BfpError
from bfp.names import printable

MOST = 300  # characters of a refusal, paths left out
SLOW = 10  # seconds after which a case counts as a hang
MOST_GROWTH = 2**30  # bytes of memory, over all cases of a test


@dataclass
class Case:
    """refusal: what was said, as the command line prints it; None where nothing was refused."""

    refusal: str | None = None


@contextmanager
def case(folder: Path) -> Iterator[Case]:
    """Around the work on one case: a BfpError ends it, and must be short; anything else is a fault."""
    found, start = Case(), time.monotonic()
    try:
        yield found
    except BfpError as error:
        found.refusal = printable(str(error))
        rest = found.refusal.replace(str(folder), "")
        assert len(rest) <= MOST and rest.isprintable(), rest
    assert time.monotonic() - start < SLOW


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Assert that the process has not grown by more than MOST_GROWTH when the block ends."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_GROWTH


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with some of them changed, left out, doubled or put elsewhere; or cut off."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at, kind = int(rng.integers(len(data) or 1)), int(rng.integers(7))
        length = int(rng.choice([1, 4, 64, 1000]))
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length]
        elif kind == 3:
            data[at : at + length] = bytes(len(data[at : at + length]))
        elif kind == 4:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"PK\x03\x04"])
        elif data:
            data[at % len(data)] ^= 1 << int(rng.integers(8))
    return bytes(data)
