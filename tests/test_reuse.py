"""An existing bitstream: what is generated for it again, what is refused for it, and which layer the refusal names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import toy_board as toy
from support.boards import BOARD
from support.one_layer import QUICKLY

from support.random_inputs import random_input

from bfp.artifact import Artifact, Preprocessing
from bfp.artifact_file import save
from bfp.deployment import Deployment, add_files, read_deployment
from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.graph import Graph, Node
from bfp.kernel import Kernel
from bfp.package import bitstream_state
from bfp.parameters import Weights, derive
from codegen.__main__ import main
from codegen.generate import generate
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.reuse import kernel_of
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

SMALL = EngineOptions(lanes=4, filters=2, pixels=2)
CHANNELS = 8
FORMAT = BlockFormat(8, True, (0, 4, 8), (0, 0))
NAMES = ("first", "second", "third")
WANTED = {"first": 2, "second": 3, "third": 0}  # alignment shifts of the second half of the channels


def artifact(alignment: dict[str, int], seed: int = 0, target: int = 10, bits: int = 5) -> Artifact:
    """Three 1x1 convolutions. alignment: by layer, how far apart the exponents of the two blocks of its weights are.

    target: exponent of the last tensor. bits: of the last layer's weights.
    """
    rng, formats, parameters = np.random.default_rng(seed), {"input": FORMAT}, {}
    nodes = tuple(Node(n, "conv", (s,), n, activation="relu") for n, s in zip(NAMES, ("input", *NAMES)))
    for node in nodes:
        width = bits if node.name == "third" else 5
        most = 2 ** (width - 1) - 1
        mantissas = rng.integers(-most, most + 1, (CHANNELS, CHANNELS, 1, 1)).astype(np.int8)
        exponents = np.zeros((CHANNELS, 2), np.int64)
        exponents[:, 1] = alignment[node.name]
        source = formats[node.inputs[0]]
        own = source.exponents[0]
        shift = target if node.name == "third" else 10
        formats[node.output] = replace(FORMAT, exponents=(own + shift, own + shift))
        weights = Weights(width, mantissas, (0, 4, 8), exponents)
        bias = rng.integers(-900, 900, CHANNELS) * 2.0**own
        parameters[node.name] = derive(node, source, formats[node.output], None, weights, bias)
    shapes = {name: (CHANNELS, 5, 7) for name in formats}
    graph = Graph("three", ("input",), (NAMES[-1],), nodes, shapes)
    return Artifact.of_one(graph, formats, parameters, Preprocessing((5, 7), (0.0,) * 8, (1.0,) * 8), digest=f"{seed:064x}")


def with_bitstream(folder: Path, network: Artifact, options: EngineOptions = SMALL) -> Deployment:
    """Generate, and put a bitstream beside it."""
    generate([network], options, BOARD, folder)
    for kind in ("bit", "hwh"):
        (folder / "deploy" / f"three.{kind}").write_bytes(kind.encode())
    return add_files(folder / "deploy", ["three.bit", "three.hwh"], toy.MADE)


@pytest.fixture
def built(tmp_path) -> Deployment:
    return with_bitstream(tmp_path, artifact(WANTED))


def again(folder: Path, network: Artifact, options: EngineOptions = SMALL, keep: bool = True, board=BOARD) -> Deployment:
    generate([network], options, board, folder, keep)
    return read_deployment(folder / "deploy")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_kernel_says_what_its_layers_hold():
    kernel = kernel_of(build([artifact(WANTED)], SMALL, BOARD))
    assert kernel.align_bits == 2 and [x.name for x in kernel.layers] == list(NAMES)
    assert [x.aligned for x in kernel.layers] == [True, True, False]
    assert kernel == kernel_of(build([artifact(WANTED, seed=1)], SMALL, BOARD))  # whatever its weights are
    assert len({x.constants for x in kernel.layers}) == 3


@pytest.mark.parametrize(
    "alignment",
    [
        WANTED,
        {**WANTED, "first": 3},  # more in a layer, and no more than another one has
        {**WANTED, "first": 0},  # none where there was some
        {"first": 1, "second": 0, "third": 0},  # one bit where the array takes two
        {"first": 0, "second": 0, "third": 0},
    ],
)
def test_weights_within_the_bounds_take_the_bitstream_and_are_computed_right(alignment, built, tmp_path):
    network = artifact(alignment, seed=1)
    now = again(tmp_path, network)
    assert (now.identity, now.kernel, now.implementation) == (built.identity, built.kernel, toy.MADE)
    assert now.files["three.bit"] == built.files["three.bit"] and now.files["weights.bin"] != built.files["weights.bin"]
    assert "three.bit is of this kernel" in bitstream_state(now, tmp_path / "deploy")
    # the sources are the older kernel's, and with the new weights they compute the new network
    program, identity = generate([network], SMALL, BOARD, tmp_path)
    assert identity == built.identity
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", None, QUICKLY)
    write_golden(tmp_path / "golden.bin", program, identity, [random_input(network, 0)])
    result = run_testbench(bench, tmp_path / "deploy" / "weights.bin", tmp_path / "golden.bin", tmp_path / "result.json")
    assert result["mismatches"] == 0 and result["layers_compared"] == 3


EXCEEDING = [
    (artifact({**WANTED, "first": 4}), "layer first: its weights need alignment shifts up to 4, and were built for up to 3"),
    (artifact({**WANTED, "third": 1}), "layer third: its weights need alignment shifts up to 1, and were built for up to 0"),
    (artifact({**WANTED, "second": -1}), "layer second has other shifts or limits"),
    (artifact(WANTED, target=11), "layer third has other shifts or limits"),
    (artifact(WANTED, bits=6), "layer third has other shapes, widths, tiles or addresses"),
]


@pytest.mark.parametrize("network, reason", EXCEEDING)
def test_what_exceeds_the_bounds_is_refused_by_the_layers_name(network, reason, built, tmp_path):
    before = contents(tmp_path)
    with pytest.raises(BfpError) as error:
        again(tmp_path, network)
    assert str(error.value) == (
        f"the bitstream in {tmp_path / 'deploy'} was not built for this: {reason}; keep exponents and engine as they "
        "were, or generate without keep_bitstream=1 and build another"
    )
    assert contents(tmp_path) == before
    now = again(tmp_path, network, keep=False)
    assert now.identity != built.identity and now.implementation is None and list(now.files) == ["weights.bin"]
    assert "three.bit in" in bitstream_state(now, tmp_path / "deploy")
    assert (tmp_path / "deploy" / "three.bit").read_bytes() == b"bit"  # hours of work are not thrown away


@pytest.mark.parametrize(
    "options, reason",
    [
        (replace(SMALL, pixels=3), "layer first has other shapes, widths, tiles or addresses"),
        (replace(SMALL, products=1), "the engine itself is another: its options, its sources, or what its array takes"),
    ],
)
def test_another_engine_is_refused(options, reason, built, tmp_path):
    with pytest.raises(BfpError, match=reason):
        again(tmp_path, artifact(WANTED), options)


def test_a_network_of_other_layers_is_refused(built, tmp_path):
    network = artifact(WANTED)
    nodes, shapes = network.graph.nodes[:2], {t: s for t, s in network.graph.shapes.items() if t != "third"}
    graph = replace(network.graph, nodes=nodes, shapes=shapes, outputs=("second",))
    formats = {t: f for t, f in network.formats.items() if t != "third"}
    shorter = replace(network, graph=graph, formats=formats, outputs=(replace(network.result, tensor="second"),))
    with pytest.raises(BfpError, match="was not built for this: "):
        again(tmp_path, shorter)
    kernel = built.kernel
    assert kernel.difference(Kernel(2, kernel.layers[:2])) == "it has 2 layers, not 3"


def test_without_a_bitstream_there_is_none_to_keep(tmp_path):
    with pytest.raises(BfpError, match="deploy has no bitstream for Ultra96-V2 at 250 MHz to keep; build one first"):
        again(tmp_path, artifact(WANTED))
    assert contents(tmp_path) == {}
    built = with_bitstream(tmp_path, artifact(WANTED))
    with pytest.raises(BfpError, match="no bitstream for Ultra96-V2 at 214.286 MHz to keep"):
        again(tmp_path, artifact(WANTED), board=replace(BOARD, clock_mhz=1500 / 7))
    (tmp_path / "deploy" / "three.hwh").write_bytes(b"another")
    with pytest.raises(BfpError, match="no bitstream for Ultra96-V2 at 250 MHz to keep"):
        again(tmp_path, artifact(WANTED))
    assert built.implementation == toy.MADE


def test_the_command_line_says_what_becomes_of_the_bitstream(tmp_path, capsys):
    words = ["generate", str(tmp_path), "--engine", "lanes=4", "filters=2", "pixels=2"]
    save(artifact(WANTED), tmp_path / "artifact.npz")
    with_bitstream(tmp_path, artifact(WANTED))
    assert main(words) == 0
    assert "three.bit is of this kernel, " in capsys.readouterr().out
    save(artifact(WANTED, target=11), tmp_path / "artifact.npz")
    assert main([*words, "--keep-bitstream"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: the bitstream in ") and captured.err.count("\n") == 1
    assert main(words) == 0
    assert "is not of this kernel" in capsys.readouterr().out
