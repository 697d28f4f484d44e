"""What a picture costs before the engine: decoding, and pixels to memory by table against step by step.

On one core of this machine; the ratio of the two ways, measured in turns, is what carries over to a board's. It depends
on the versions of NumPy and Pillow, so that an interpreter with a board's can be named.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from bfp import layout
from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from bfp.format import BlockFormat, quantise
from bfp.layout import HOST, PlacedTensor, Segment
from calib.evaluation.benchmark.results import alternate
from host.image import load_picture, normalise
from host.pixels import PixelWriter

SIZE, LANES = 224, 16
PRE = Preprocessing((SIZE, SIZE), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 256)
WIDTH, HEIGHT = 2000, 1500  # of the JPEG that is decoded
SMALL, LARGE = "small.png", "large.jpg"
FORMATS = {8: -5, 5: -2}  # mantissa width and exponent
REPEATS = 51


def measure(repeats: int = REPEATS, python: str | Path = sys.executable) -> dict:
    """Milliseconds of each step, and by what factor the table is quicker, in a process of its own on one core.

    python: an interpreter with NumPy and Pillow. Raises BfpError where it cannot measure.
    """
    from calib.data.images import random_photograph  # needs torch, which a board's interpreter has not

    with tempfile.TemporaryDirectory() as folder:
        random_photograph(PRE, np.random.default_rng(1)).save(Path(folder) / SMALL)
        large = random_photograph(PRE, np.random.default_rng(0)).resize((WIDTH, HEIGHT))
        large.save(Path(folder) / LARGE, quality=90)
        command = [str(python), "-m", "calib.evaluation.benchmark.pictures", folder, str(repeats)]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
        except OSError as error:
            raise BfpError(f"{python} cannot be started ({error.strerror}); name a Python with NumPy and Pillow") from None
    if done.returncode:
        raise BfpError(f"measuring what pictures cost failed with status {done.returncode}; see above")
    return {"size": SIZE, "repeats": repeats, **json.loads(done.stdout)}


def main() -> None:
    """Packing before and after a large picture was decoded: from then on the heap keeps what arrays of floats need."""
    folder, repeats = Path(sys.argv[1]), int(sys.argv[2])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with Image.open(folder / SMALL) as picture:
        picture.load()
    rows = []
    for bits, exponent in FORMATS.items():
        rows += _packing(f"fresh process, {bits} bits", bits, exponent, picture, repeats)
    rows += _decoding((folder / LARGE).read_bytes(), repeats)
    for bits, exponent in FORMATS.items():
        rows += _packing(f"after that, {bits} bits", bits, exponent, picture, repeats)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "Pillow": PIL.__version__}
    print(json.dumps({"measured_with": versions, "table": rows}))


def _decoding(jpeg: bytes, repeats: int) -> list[list]:
    def load(draft: bool) -> Callable[[], object]:
        return lambda: load_picture(io.BytesIO(jpeg), PRE, draft)

    seconds = alternate({"full": load(False), "draft": load(True)}, max(1, repeats // 4))
    return [
        [f"decode and resize a JPEG of {WIDTH} x {HEIGHT}", _milliseconds(seconds["full"]), "ms"],
        ["the same, draft", _milliseconds(seconds["draft"]), "ms"],
    ]


def _packing(name: str, bits: int, exponent: int, picture: Image.Image, repeats: int) -> list[list]:
    """Step by step against the table, after both have been found to write the same memory."""
    pixels = np.asarray(picture)
    tensor = PlacedTensor("input", "(host)", HOST, (3, SIZE, SIZE), BlockFormat(bits, True, (0, 3), (exponent,)),
                          (Segment(0, 3, 0),))  # fmt: skip
    words = tensor.segment_words(tensor.segments[0], LANES)
    stepwise, direct = (np.zeros((words, LANES), np.uint8) for _ in range(2))
    writer = PixelWriter(tensor, PRE)
    image = normalise(pixels[None], PRE)[0]

    def quantise_and_pack() -> None:
        bit_by_bit(tensor, quantise(image, tensor.format), stepwise)

    quantise_and_pack()
    writer.write(picture, direct)
    assert np.array_equal(stepwise, direct)
    seconds = alternate(
        {
            "normalise": lambda: normalise(pixels[None], PRE),
            "pack": quantise_and_pack,
            "table": lambda: writer.write(picture, direct),
        },
        repeats,
    )
    return [
        [f"{name}: normalise", _milliseconds(seconds["normalise"]), "ms"],
        [f"{name}: quantise and pack, step by step", _milliseconds(seconds["pack"]), "ms"],
        [f"{name}: pixels to memory by table", _milliseconds(seconds["table"]), "ms (to be at most 1.5)"],
        [f"{name}: quantise and pack / table", min(seconds["pack"]) / min(seconds["table"]), "(to be at least 10)"],
    ]


def bit_by_bit(tensor: PlacedTensor, mantissas: np.ndarray, arena: np.ndarray) -> None:
    """As layout.pack, for one segment, by single bits: the reference."""
    fmt, (_, height, _), lanes = tensor.format, tensor.shape, arena.shape[1]
    if mantissas.min() < fmt.low or mantissas.max() > fmt.high:
        raise BfpError(f"tensor {tensor.name} has mantissas outside {fmt.low}..{fmt.high}")
    count = layout.plane_count(len(mantissas), lanes)
    codes = np.zeros((count * lanes, *mantissas.shape[1:]), np.uint8)
    codes[: len(mantissas)] = mantissas.astype(np.int64) & ((1 << fmt.bits) - 1)
    if fmt.bits < 8:
        stream = np.unpackbits(codes[..., None], axis=-1, count=fmt.bits, bitorder="little")
        codes = np.packbits(stream.reshape(count * lanes, height, -1), axis=-1, bitorder="little")
    target = arena.reshape(count, height, tensor.line_words, lanes)
    target[:] = codes.reshape(count, lanes, height, -1).transpose(0, 2, 3, 1)


def _milliseconds(seconds: list[float]) -> float:
    """Of the fastest round: whatever else the machine does only adds."""
    return 1e3 * min(seconds)


if __name__ == "__main__":
    main()
