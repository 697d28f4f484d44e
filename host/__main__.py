"""``python -m host classify|check``: photographs through the accelerator, and its self-test."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bfp.errors import BfpError
from bfp.names import printable
from host.ending import run_to_the_end


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 1 where the self-test finds a difference, 2 for bad input, 130 and 143 after
    SIGINT and SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m host", description="Drive the accelerator on a (simulated) board.")
    commands = parser.add_subparsers(dest="command", required=True)
    classify = commands.add_parser("classify", help="print the most likely classes of photographs")
    classify.add_argument("deploy_dir", help="folder with manifest.json, weights.bin and the bitstream")
    classify.add_argument("images", nargs="+", metavar="IMAGE")
    classify.add_argument("--top", type=int, default=5, help="number of classes (default 5)")
    check = commands.add_parser("check", help="compare every stored tensor with the golden model")
    check.add_argument("deploy_dir", help="folder with manifest.json, weights.bin and the bitstream")
    check.add_argument("--artifact", required=True, type=Path, help="artifact.npz that it was generated from")
    check.add_argument("--samples", required=True, type=Path, help="samples.npz with preprocessed images")
    check.add_argument("--limit", type=int, default=2, help="images to compare (default 2)")
    check.add_argument("--show", type=int, default=0, metavar="N", help="classify all samples, print the N best classes")
    check.add_argument("--out", type=Path, help="write the result to this JSON file")
    for command in (classify, check):
        command.add_argument(
            "--simulate", metavar="LIBENGINE_SO", help="use a simulated board with this compiled engine"
        )
    arguments = parser.parse_args(argv)
    work = {"classify": _classify, "check": _check}[arguments.command]
    try:
        return run_to_the_end(lambda: work(arguments))
    except BfpError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2


def _open(arguments: argparse.Namespace):
    """The accelerator of the deployment folder, on the simulated board if that was asked for."""
    from host.driver import Accelerator

    device = None
    if arguments.simulate:
        try:
            from host.simulated_board import SimulatedBoard
        except ImportError as error:
            raise BfpError(f"the simulated board needs PYNQ ({error}); install it with `pip install pynq`") from None
        device = SimulatedBoard(arguments.simulate, arguments.deploy_dir)
    return Accelerator(arguments.deploy_dir, device=device)


def _classify(arguments: argparse.Namespace) -> int:
    with _open(arguments) as accelerator:
        for path in arguments.images:
            started = time.perf_counter()
            predictions = accelerator.classify(path, arguments.top)
            seconds = time.perf_counter() - started
            print(f"{printable(path)}: {seconds:.2f} s{' (simulated)' if arguments.simulate else ''}", file=sys.stderr)
            print(printable(path))
            for prediction in predictions:
                print(f"  {100 * prediction.probability:6.2f} %  {prediction.name}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from bfp.artifact_file import load
    from bfp.files import write_json
    from bfp.samples import load_samples
    from host.check import check

    artifact = load(arguments.artifact)
    samples = load_samples(arguments.samples)
    with _open(arguments) as accelerator:
        result = check(accelerator, artifact, samples.images[: arguments.limit])
        if arguments.show:
            _show(accelerator, samples, arguments.show)
    if arguments.out:
        write_json(arguments.out, {"network": artifact.graph.name, **result})
    verdict = "bit-equal" if not result["mismatches"] else f"DIFFERENT: {result['first_mismatch']}"
    board = "simulated board" if arguments.simulate else "board"
    print(
        f"{artifact.graph.name} on the {board}: {result['images']} images, {result['tensors_compared']} tensors, "
        f"{result['values_compared']} values, {result['mismatches']} mismatches ({verdict})"
    )
    return 1 if result["mismatches"] else 0


def _show(accelerator, samples, top: int) -> None:
    """The board's classes of every sample, the float network's beside them."""
    for name, image, logits in zip(samples.names, samples.images, samples.logits):
        # a photograph goes all the way: file, preprocessing, accelerator
        is_file = Path(name).is_file()
        board = accelerator.classify(name, top) if is_file else accelerator.predictions(accelerator.run(image), top)
        print(f"\n{Path(name).name if is_file else name}\n  {'accelerator':40}float network")
        for ours, theirs in zip(board, accelerator.predictions(logits.astype(float), top)):
            columns = [f"{100 * p.probability:5.1f} %  {p.name[:28]}" for p in (ours, theirs)]
            print(f"  {columns[0]:40}{columns[1]}")
    print()


if __name__ == "__main__":
    sys.exit(main())
