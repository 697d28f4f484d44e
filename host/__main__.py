"""``python -m host run|bench|verify|info``: the accelerator on a board, from pictures to figures."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bfp.errors import BfpError, sentence
from bfp.files import check_result
from bfp.names import printable
from host.ending import run_to_the_end

BENCH_SECONDS = 5.0
UNSAID = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT)  # of output that cannot be written
RESULTS = ("out", "csv", "json")  # options that name files to be written
NEEDED = ("numpy", "PIL")  # and pynq, which the driver asks for


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 1 where the self-test finds a difference, 2 for bad input, 141 where nobody
    reads the output any more, 129, 130 and 143 after SIGHUP, SIGINT and SIGTERM."""
    arguments = _parser().parse_args(argv)
    try:
        for option in RESULTS:
            check_result(getattr(arguments, option, None))
        status = run_to_the_end(lambda: arguments.work(arguments))
        sys.stdout.flush()
        return status
    except OSError as error:
        if error.filename is None and error.errno in UNSAID:
            return _unsaid(error)
        return _refused(sentence(error))
    except (BfpError, MemoryError) as error:
        return _refused(sentence(error))
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        return _refused(f"{sys.executable} has no {error.name}; use PYNQ's environment, as the launcher `board` does")


def _unsaid(error: OSError) -> int:
    """The exit status where the output cannot be written, as shells have it where nobody reads it any more."""
    with suppress(OSError):  # what is left of it would be written once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    return _refused(f"the output cannot be written ({error.strerror}); make room for it")


def _refused(words: str) -> int:
    print(f"error: {printable(words)}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m host", description="Drive the accelerator on a (simulated) board.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, work: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text)
        found.add_argument("deploy_dir", help="folder with manifest.json, weights.bin and the bitstream")
        if name != "info":
            found.add_argument("--network", metavar="NAME", help="of several in one bitstream, which one")
        found.add_argument("--simulate", metavar="LIBENGINE_SO", help="use a simulated board with this compiled engine")
        found.set_defaults(work=work)
        return found

    for name, text in (("run", "what is in pictures: their most likely classes, or boxes"), ("classify", "as run (its older name)")):
        run = command(name, _run, text)
        words = "files and folders; a folder of folders brings labels; of several inputs NAME=FILE or NAME=FOLDER for each; arrays in .npz files"
        run.add_argument("images", nargs="+", metavar="IMAGE", help=words)
        run.add_argument("--top", type=int, default=5, help="number of classes (default 5)")
        run.add_argument("--output", metavar="NAME", help="of several outputs, the one whose values are classes")
        run.add_argument("--csv", type=Path, metavar="FILE", help="write the classes to this CSV file, too")
        run.add_argument("--json", type=Path, metavar="FILE", help="write them to this JSON file, too")
        _draft(run)
    bench = command("bench", _bench, "images a second, latency, where the time goes, power")
    bench.add_argument("images", nargs="*", metavar="IMAGE", help="files and folders (default: the deployment's samples)")
    bench.add_argument("--seconds", type=float, default=BENCH_SECONDS, help="of each part (default %(default)g)")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this JSON file, too")
    _draft(bench)
    verify = command("verify", _verify, "every stored tensor against the golden model, layer by layer")
    _references(verify, required=False)
    verify.add_argument("--until", metavar="LAYER", help="the last layer (or its tensor) to run and compare")
    check = command("check", _check, "every stored tensor after a whole run, against the golden model")
    _references(check, required=True)
    check.add_argument("--show", type=int, default=0, metavar="N", help="classify all samples, print the N best classes")
    info = command("info", _info, "the deployment, the board and the versions of what runs here")
    info.add_argument("--files", action="store_true", help="the files only: the board is not touched")
    return parser


def _draft(command: argparse.ArgumentParser) -> None:
    command.add_argument("--draft", action="store_true", help="decode large JPEGs smaller: quicker, not to the last bit")


def _references(command: argparse.ArgumentParser, required: bool) -> None:
    here = "" if required else " (default: the one in the folder)"
    for name, text in (("artifact", "artifact.npz that it was generated from"), ("samples", "samples.npz with preprocessed images")):
        text = f"{text}, of each network{here}"
        command.add_argument(f"--{name}", required=required, type=Path, nargs="+", metavar="FILE", help=text)
    command.add_argument("--limit", type=int, default=2, help="images to compare (default 2)")
    command.add_argument("--out", type=Path, help="write the result to this JSON file")


def _open(arguments: argparse.Namespace, network: str | None = None):
    """The accelerator of the deployment folder, on the simulated board if that was asked for."""
    from host.driver import Accelerator

    device = None
    if arguments.simulate:
        try:
            from host.simulated_board import SimulatedBoard
        except ImportError as error:
            raise BfpError(f"the simulated board needs PYNQ ({error}); install it with `pip install pynq`") from None
        device = SimulatedBoard(arguments.simulate, arguments.deploy_dir)
    return Accelerator(arguments.deploy_dir, device=device, network=network)


def _run(arguments: argparse.Namespace) -> int:
    from host.classify import classify_all
    from host.detect import detect_all

    files = arguments.draft, arguments.csv, arguments.json
    with _open(arguments, arguments.network) as accelerator:
        images, output = arguments.images, arguments.output
        if accelerator.deployment.detection is None:
            classify_all(accelerator, _pictures(accelerator, arguments), arguments.top, *files, output=output)
        else:
            detect_all(accelerator, images, *files)
    return 0


def _pictures(accelerator, arguments: argparse.Namespace) -> list:
    """The pictures that the command line names, of one input or of several, or the arrays."""
    from host.arrays import find_arrays, names_arrays
    from host.sources import find_parts, find_pictures

    if names_arrays(arguments.images, accelerator.deployment):
        return find_arrays(arguments.images, accelerator.deployment)
    inputs = tuple(entry.tensor for entry in accelerator.deployment.inputs)
    if len(inputs) > 1:
        return find_parts(arguments.images, inputs)
    shape = accelerator.deployment.tensor(accelerator.output(arguments.output).tensor).shape
    return find_pictures(arguments.images, classes=shape[0] * shape[1] * shape[2])


def _bench(arguments: argparse.Namespace) -> int:
    from bfp.deployment import read_deployment
    from bfp.files import write_json
    from host.bench import as_given, bench, table
    from host.check import reference
    from host.sources import find_pictures

    if arguments.images:
        images: list = [source.path for source in find_pictures(arguments.images)]
    else:
        folder = Path(arguments.deploy_dir)
        deployment = read_deployment(folder).of(arguments.network)
        images = as_given(reference(folder, deployment, None, None)[1].images, deployment)
    with _open(arguments, arguments.network) as accelerator:
        result = bench(accelerator, images, arguments.seconds, arguments.draft)
    if arguments.json:
        write_json(arguments.json, {**result, "simulated": bool(arguments.simulate)})
    print(table(result, simulated=bool(arguments.simulate)))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    return _compare(arguments, by_layer=True, until=arguments.until, show=0)


def _check(arguments: argparse.Namespace) -> int:
    return _compare(arguments, by_layer=False, until=None, show=arguments.show)


def _compare(arguments: argparse.Namespace, by_layer: bool, until: str | None, show: int) -> int:
    from bfp.deployment import read_deployment
    from bfp.files import write_json
    from host.check import check, reference, together

    folder = Path(arguments.deploy_dir)
    package = read_deployment(folder)
    chosen = [package.of(name) for name in ([arguments.network] if arguments.network else [n.name for n in package.networks])]
    if until is not None and len(chosen) > 1:
        raise BfpError(f"{package.name} has {len(chosen)} networks, and --until is a layer of one; name that with --network")
    given = zip(chosen, *(_each(getattr(arguments, option), len(chosen), option) for option in ("artifact", "samples")))
    references = [reference(folder, deployment, artifact, samples) for deployment, artifact, samples in given]
    results = []
    with _open(arguments, chosen[0].network) as first:
        for artifact, samples in references:
            accelerator = first.network(artifact.graph.name) if len(package.networks) > 1 else first
            result = check(accelerator, artifact, samples.images[: max(arguments.limit, 0)], by_layer, until)
            if show:
                _show(accelerator, artifact.graph.output_parts(samples.logits), samples, show)
            results.append({"network": artifact.graph.name, **result})
    if arguments.out:
        write_json(arguments.out, results[0] if len(results) == 1 else together(package.name, results))
    board = "simulated board" if arguments.simulate else "board"
    for result in results:
        verdict = "bit-equal" if not result["mismatches"] else f"DIFFERENT: {result['first_mismatch']}"
        print(
            f"{result['network']} on the {board}: {result['images']} images, {result['tensors_compared']} tensors, "
            f"{result['values_compared']} values, {result['mismatches']} mismatches ({verdict})"
        )
    return 1 if any(result["mismatches"] for result in results) else 0


def _each(given: list[Path] | None, count: int, option: str) -> list[Path | None]:
    """What an option gives for each network. Raises BfpError where it gives something to others than all of them."""
    if given is not None and len(given) != count:
        raise BfpError(f"--{option} names {len(given)} files for {count} networks; give one for each, in their order")
    return list(given or [None] * count)


def _show(accelerator, reference: dict, samples, top: int) -> None:
    """The board's classes, or boxes, of every sample, the float network's beside them; reference: its outputs by name."""
    logits_of_all = reference[accelerator.output().tensor]
    for number, (name, image, logits) in enumerate(zip(samples.names, samples.images, logits_of_all)):
        # a photograph goes all the way: file, preprocessing, accelerator
        is_file = Path(name).is_file()
        if accelerator.deployment.detection is not None:
            values = {output: found[number].astype(float) for output, found in reference.items()}
            _show_boxes(accelerator, name, name if is_file else image, values, top)
            continue
        board = accelerator.classify(name if is_file else image, top)
        print(f"\n{Path(name).name if is_file else name}\n  {'accelerator':40}float network")
        float_classes = accelerator.predictions({accelerator.output().tensor: logits.astype(float)}, top)
        for ours, theirs in zip(board, float_classes):
            columns = [f"{100 * p.probability:5.1f} %  {p.name[:28]}" for p in (ours, theirs)]
            print(f"  {columns[0]:40}{columns[1]}")
    print()


def _show_boxes(accelerator, name: str, image: object, values: dict, top: int) -> None:
    """A detector's objects in one sample, the float network's behind them."""
    from host.detect import lines

    for what, found in (("accelerator", accelerator.detect(image)), ("float network", accelerator.boxes(values, image))):
        print("\n".join([f"{Path(name).name if Path(name).is_file() else name}, {what}", *lines(found[:top])]))


def _info(arguments: argparse.Namespace) -> int:
    from bfp.deployment import read_deployment
    from host.info import board_rows, of_files, of_software, text

    first = read_deployment(arguments.deploy_dir).networks[0].name  # any of them: the engine is the same
    rows, usable = of_files(Path(arguments.deploy_dir)) + of_software(), True
    if not arguments.files:
        board, usable = board_rows(lambda: _open(arguments, first))
        rows += board
    print("\n".join(printable(line) for line in text(rows).splitlines()))
    return 0 if usable else 1


if __name__ == "__main__":
    sys.exit(main())
