"""``python -m calib.evaluation.benchmark exponents|golden|memory|pictures|overlap [--out build/benchmark.json]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bfp.errors import BfpError, sentence
from bfp.files import check_result
from bfp.names import printable
from calib.evaluation.benchmark.results import RESULTS, store, table
from calib.config import load_config

NETWORK = Path(__file__).with_name("resnet50.toml")


def main(argv: list[str] | None = None) -> int:
    """Measure, print the figures, put them into the results file; 2 after one line on stderr about bad input."""
    parser = argparse.ArgumentParser(prog="python -m calib.evaluation.benchmark", description=__doc__)
    parser.add_argument("benchmark", choices=("exponents", "golden", "memory", "pictures", "overlap"))
    parser.add_argument("--network", type=Path, default=NETWORK, help="a network's file (default: ResNet-50)")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="pictures: with this one's NumPy and Pillow")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    from calib import pipeline
    from calib.evaluation.benchmark import exponents, golden, memory, overlap, pictures

    try:
        check_result(arguments.out)
        if arguments.benchmark == "memory":
            entry = memory.measure(arguments.network)
        elif arguments.benchmark == "pictures":
            entry = pictures.measure(python=arguments.python)
        elif arguments.benchmark == "overlap":
            entry = overlap.measure()
        else:
            prepared = pipeline.prepare(load_config(arguments.network))
            entry = {"exponents": exponents, "golden": golden}[arguments.benchmark].measure(prepared)
        store(arguments.benchmark, entry, arguments.out)
    except (BfpError, OSError, MemoryError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2
    print(table(arguments.benchmark, entry))
    return 0


if __name__ == "__main__":
    sys.exit(main())
