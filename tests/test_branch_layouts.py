"""What reads a concatenation whose branches do not fill words of memory: every operator, bit-equal in the C simulation."""

from __future__ import annotations

from support.boards import BOARD
from support.engines import Engine, engine_options
from support.random_graphs import RandomNetwork, random_artifact
from support.random_inputs import random_input

from bfp.artifact import Artifact
from bfp.format import BlockFormat
from bfp.functions import FunctionCall
from bfp.graph import Node, Window
from codegen.generate import generate
from codegen.lowering.program import build
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

ENGINE = Engine(16, 8, 5, 40, 8, widest=8)
BRANCHES = (5, 18, 9)  # channels, of words of 16
EACH = sum(BRANCHES)


def network(branches: tuple[int, ...], equal: bool = False) -> tuple[RandomNetwork, str]:
    """An input, and a concatenation of convolutions of it, each with blocks of its own; equal: all with one exponent."""
    made = RandomNetwork(4, ENGINE.lanes)
    made.shapes, made.segments = {"input": (7, 5, 6)}, {"input": (0, 7)}
    made.formats = {"input": BlockFormat(8, True, (0, 7), (-7,))}
    for number, channels in enumerate(branches):
        exponent = -4 if equal else -3 - number

        def make(attempt: int):
            weights = made.weights(channels, 7, (1, 1), -6 - attempt, (0, 7))
            return BlockFormat(6, True, (0, channels), (exponent,)), weights, None

        name = f"branch{number}"
        assert made.finish(Node(name, "conv", ("input",), name), (channels, 5, 6), (0, channels), make)
    assert made.join("joined", [f"branch{number}" for number in range(len(branches))])
    return made, "joined"


def follow(made: RandomNetwork, node: Node, shape: tuple[int, int, int], segments=None, coarser: int = 0) -> str:
    """A node without weights behind what there is, whose blocks lie as its operand's or as ``segments`` say."""
    segments = segments or made.segments[node.main]
    exponent = max(made.formats[node.main].exponents) + coarser
    splits = tuple(exponent - number % 3 for number in range(len(segments) - 1))
    fmt = BlockFormat(7, True, segments, (max(splits),) * len(splits) if node.op == "lookup" else splits)
    assert made.finish(node, shape, segments, lambda attempt: (fmt, None, None)), node
    return node.output


def end(made: RandomNetwork, tensor: str) -> Artifact:
    """The network with a convolution of ``tensor`` at its end, whose weights have a block for each of its segments."""
    channels, height, width = made.shapes[tensor]
    segments = made.segments[tensor]

    def make(attempt: int):
        weights = made.weights(11, channels, (2, 2), -12 - attempt, segments)
        return BlockFormat(8, True, (0, 11), (-9,)), weights, None

    shape = 11, height - 1, width - 1
    assert made.finish(Node("end", "conv", (tensor,), "end", Window((2, 2))), shape, (0, 11), make)
    return made.artifact()


def larger(op: str, factors: tuple[int, int]) -> Artifact:
    made, joined = network(BRANCHES)
    _, height, width = made.shapes[joined]
    shape = EACH, height * factors[0], width * factors[1]
    return end(made, follow(made, Node("larger", op, (joined,), "larger", factors=factors), shape))


def larger_twice() -> Artifact:
    made, joined = network(BRANCHES)
    first = follow(made, Node("once", "upsample_bilinear", (joined,), "once", factors=(2, 1)), (EACH, 10, 6))
    return end(made, follow(made, Node("twice", "upsample_bilinear", (first,), "twice", factors=(1, 2)), (EACH, 10, 12)))


def pixels(branches: tuple[int, ...], segments: tuple[int, ...]) -> Artifact:
    """Two phases of a concatenation as pixels; segments: of the result."""
    made, joined = network(branches, equal=True)
    node = Node("pixels", "depth_to_space", (joined,), "pixels", factors=(1, 2))
    artifact = end(made, follow(made, node, (EACH, 5, 12), segments))
    assert artifact.graph.segments()["pixels"] == segments
    return artifact


def looked_up() -> Artifact:
    made, joined = network(BRANCHES)
    index = Node("index", "identity", (joined,), "index")
    fmt = BlockFormat(9, True, made.segments[joined], (-6,) * len(BRANCHES))
    assert made.finish(index, (EACH, 5, 6), made.segments[joined], lambda attempt: (fmt, None, None))
    made.indices.add("index")
    call = FunctionCall("silu", ())
    return end(made, follow(made, Node("table", "lookup", ("index",), "table", function=call), (EACH, 5, 6)))


def met(op: str, plain: bool) -> Artifact:
    """Two maps of one shape, the one a concatenation, the other one (the first if plain) made by one convolution."""
    made, joined = network(BRANCHES)

    def make(attempt: int):
        weights = made.weights(EACH, 7, (1, 1), -6 - attempt, (0, 7))
        return BlockFormat(6, True, (0, EACH), (-4,)), weights, None

    assert made.finish(Node("plain", "conv", ("input",), "plain"), (EACH, 5, 6), (0, EACH), make)
    operands = ("plain", joined) if plain else (joined, "plain")
    coarser = -1 if op == "multiply" else 1
    return end(made, follow(made, Node("met", op, operands, "met"), (EACH, 5, 6), coarser=coarser))


def met_few(op: str) -> Artifact:
    """A concatenation and a value a channel, made by one convolution."""
    made, joined = network(BRANCHES)

    def make(attempt: int):
        weights = made.weights(EACH, 7, (5, 6), -9 - attempt, (0, 7))
        return BlockFormat(6, True, (0, EACH), (-4,)), weights, None

    assert made.finish(Node("few", "conv", ("input",), "few", Window((5, 6))), (EACH, 1, 1), (0, EACH), make)
    coarser = -1 if op == "multiply" else 1
    return end(made, follow(made, Node("met", op, (joined, "few"), "met"), (EACH, 5, 6), coarser=coarser))


def windowed(op: str, window: Window) -> Artifact:
    made, joined = network(BRANCHES)
    shape = EACH, *window.output_size(5, 6)
    if op == "max_pool":
        fmt, segments = made.formats[joined], made.segments[joined]
        assert made.finish(Node("seen", op, (joined,), "seen", window), shape, segments, lambda attempt: (fmt, None, None))
        return end(made, "seen")
    return end(made, follow(made, Node("seen", op, (joined,), "seen", window), shape))


def channelwise() -> Artifact:
    made, joined = network(BRANCHES)

    def make(attempt: int):
        weights = made.weights(EACH, 1, (3, 3), -7 - attempt, (0, 1))
        return BlockFormat(7, True, made.segments[joined], (-5, -4, -3)), weights, None

    node = Node("filtered", "depthwise", (joined,), "filtered", Window((3, 3), (1, 1), (1, 1, 1, 1)))
    assert made.finish(node, (EACH, 5, 6), made.segments[joined], make)
    return end(made, "filtered")


def edges() -> Artifact:
    made, joined = network(BRANCHES)
    return end(made, follow(made, Node("edges", "pad_edge", (joined,), "edges"), (EACH, 7, 8)))


CASES = {
    **{f"nearest by {f}": lambda f=f: larger("upsample_nearest", f) for f in ((2, 2), (1, 3))},
    **{f"bilinear by {f}": lambda f=f: larger("upsample_bilinear", f) for f in ((2, 2), (4, 4), (1, 2), (4, 1))},
    "bilinear twice": larger_twice,
    "edges": edges,
    "pixels of equal phases": lambda: pixels((*BRANCHES, *BRANCHES), (0, 5, 23, 32)),
    "pixels of unequal phases": lambda: pixels((5, 18, 9, 5, 27), (0, 5, 32)),
    "pixels of phases within branches": lambda: pixels((20, 30, 14), (0, 32)),
    "table": looked_up,
    **{f"{op}, {p}": lambda op=op, p=p: met(op, p) for op in ("add", "maximum", "minimum", "multiply") for p in (True, False)},
    **{f"{op} of few values": lambda op=op: met_few(op) for op in ("add", "maximum", "multiply")},
    "max pool": lambda: windowed("max_pool", Window((2, 2))),
    "average pool": lambda: windowed("avg_pool", Window((3, 3))),
    "one filter a channel": channelwise,
    "a drawn network": lambda: random_artifact(1202, ENGINE.lanes, 5, several=True),
}


def test_whatever_reads_branches_that_do_not_fill_words(tmp_path):
    artifacts = [make() for make in CASES.values()]
    inputs = [random_input(artifact, seed) for seed, artifact in enumerate(artifacts)]
    program, identity = generate(artifacts, engine_options(artifacts, ENGINE), BOARD, tmp_path)
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    write_golden(tmp_path / "golden.bin", program, identity, inputs)
    result = run_testbench(bench, tmp_path / "deploy" / "weights.bin", tmp_path / "golden.bin", tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["layers_compared"] == len(program.layers)


def test_phases_that_lie_alike_are_not_copied():
    """Only where their boundaries differ, or lie in words with others."""
    copied = {}
    for name in (name for name in CASES if name.startswith(("pixels", "bilinear"))):
        artifact = CASES[name]()
        program = build([artifact], engine_options([artifact], ENGINE), BOARD)
        copied[name] = sum(".copy" in layer.name for layer in program.layers)
    assert copied == {name: int("unequal" in name or "within" in name) for name in copied}
