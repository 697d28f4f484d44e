"""``python -m host classify DEPLOY_DIR IMAGE...``: photographs through the accelerator."""

from __future__ import annotations

import argparse
import sys
import time

from bfp.errors import BfpError


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m host", description="Drive the accelerator on a (simulated) board.")
    commands = parser.add_subparsers(dest="command", required=True)
    classify = commands.add_parser("classify", help="print the most likely classes of photographs")
    classify.add_argument("deploy_dir", help="folder with manifest.json, weights.bin and the bitstream")
    classify.add_argument("images", nargs="+", metavar="IMAGE")
    classify.add_argument("--top", type=int, default=5, help="number of classes (default 5)")
    classify.add_argument("--simulate", metavar="LIBENGINE_SO", help="use a simulated board with this compiled engine")
    arguments = parser.parse_args(argv)
    try:
        _classify(arguments)
    except BfpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _classify(arguments: argparse.Namespace) -> None:
    from host.driver import Accelerator

    device = None
    if arguments.simulate:
        try:
            from host.simulated_board import SimulatedBoard
        except ImportError as error:
            raise BfpError(f"the simulated board needs PYNQ ({error}); install it with `pip install pynq`") from None
        device = SimulatedBoard(arguments.simulate, arguments.deploy_dir)
    with Accelerator(arguments.deploy_dir, device=device) as accelerator:
        for path in arguments.images:
            started = time.perf_counter()
            predictions = accelerator.classify(path, arguments.top)
            seconds = time.perf_counter() - started
            print(f"{path}: {seconds:.2f} s{' (simulated)' if arguments.simulate else ''}", file=sys.stderr)
            print(path)
            for prediction in predictions:
                print(f"  {100 * prediction.probability:6.2f} %  {prediction.name}")


if __name__ == "__main__":
    sys.exit(main())
