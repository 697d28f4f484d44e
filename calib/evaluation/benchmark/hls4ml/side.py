"""hls4ml's side of the comparison; a script for the Python of hls4ml's own environment.

    python side.py SAMPLES.npz WORK_FOLDER

Converts small_cnn.py through hls4ml's PyTorch front end and compiles its
C simulation, then answers each line on stdin by running all sample images once.
Everything it says on stdout is one JSON object a line: first what was built,
then for each run the processor's seconds and the outputs of all images.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import hls4ml
import numpy as np

from small_cnn import make

# the stream type is hls4ml's advice for convolutions; its C simulation is also the faster of the two here
BACKEND, IO_TYPE, STRATEGY = "Vitis", "io_stream", "Resource"
PRECISION = "fixed<16,4>"  # normalised images reach 2.7; the rest goes into the fraction


def convert(shape: tuple[int, ...], folder: Path) -> object:
    model = make().eval()
    config = hls4ml.utils.config_from_pytorch_model(
        model,
        shape,
        granularity="name",
        backend=BACKEND,
        default_precision=PRECISION,
        channels_last_conversion="internal",  # the stream type takes images as [H, W, C]
    )
    config["Model"]["Strategy"] = STRATEGY
    return hls4ml.converters.convert_from_pytorch_model(
        model, hls_config=config, output_dir=str(folder), backend=BACKEND, io_type=IO_TYPE
    )


def main() -> None:
    samples, folder = Path(sys.argv[1]), Path(sys.argv[2])
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what hls4ml and its compiler print is not part of the answer
    with np.load(samples, allow_pickle=False) as archive:
        images = archive["images"]
    with contextlib.redirect_stdout(sys.stderr):
        converted = convert(images.shape[1:], folder)
        start = time.perf_counter()
        converted.compile()
        compile_seconds = time.perf_counter() - start
        x = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        built = {"version": hls4ml.__version__, "backend": BACKEND, "io_type": IO_TYPE, "strategy": STRATEGY}
        built |= {"precision": PRECISION, "compile_seconds": compile_seconds}
        print(json.dumps(built), file=say, flush=True)
        for _ in sys.stdin:
            start = time.process_time()
            outputs = converted.predict(x)
            seconds = time.process_time() - start
            answer = {"seconds": seconds, "outputs": np.asarray(outputs).reshape(len(x), -1).tolist()}
            print(json.dumps(answer), file=say, flush=True)


if __name__ == "__main__":
    main()
