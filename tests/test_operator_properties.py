"""Every operator by itself, over 1 to 70 channels, odd sizes, widths of 2 to 8 bits and data that saturate.

The golden model against plain Python integers and against torch in float (the fake-quantised view), and the C simulation
against the golden model. What is not drawn in support.operator_spans is named when that is imported.
A failure names operator and number: ``drawn(op, number, lanes, widest)`` makes the network again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
import pytest
from support import plain_integers
from support.engines import ENGINES, Engine, engine_options
from support.operator_spans import DRAWS, ENDS, TURNS, drawn
from support.plain_integers import OWN
from support.random_inputs import random_input

from bfp import golden
from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.functions import FUNCTIONS
from bfp.operators import OPERATORS
from bfp.tables import operator_table
from calib.network.fake_quant import check
from codegen.generate import generate
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

FEW, SIMULATED = 28, 7  # draws of each operator: in the default suite, and of these in its C simulation
MANY, BATCH = 140, 14  # in the heavy one, and in each of its C simulations
ROUNDED = {"right", "left", "no shift", "half", "saturates high", "saturates low"}
CUT = {"relu cuts", "six clamps"}
# what many draws must have met in an operator's own integers, so that its tests prove something
CORNERS = operator_table(
    "property tests",
    {
        **{op: ROUNDED - {"left"} | CUT for op in ("conv", "depthwise")},
        **{op: ROUNDED | CUT for op in ("add", "maximum", "minimum", "multiply", "identity", "upsample_nearest", "pad_edge")},
        "depth_to_space": ROUNDED | CUT,
        "slice_pad": ROUNDED,
        "max_pool": {"no shift", "relu cuts"},
        "avg_pool": {"right", "half", "relu cuts", "saturates high"},
        "upsample_bilinear": {"right", "half", "saturates high", "saturates low"} | CUT,
        "interpolate": {"right", "half", "saturates high", "saturates low"} | CUT,
        "lookup": {"no shift"},
    },
    lambda operator: operator.computes,
)


class Met:
    """What the draws of one operator had between them."""

    def __init__(self, op: str) -> None:
        self.op, self.corners, self.functions = op, Counter(), set()
        self.inputs, self.channels, self.rows, self.columns = set(), set(), set(), set()
        self.operand_bits, self.result_bits, self.weight_bits, self.ends = set(), set(), set(), set()

    def add(self, artifact: Artifact, mantissas: np.ndarray) -> None:
        node = artifact.graph.nodes[-1]
        channels, rows, columns = artifact.graph.shapes[node.main]
        self.channels, self.rows, self.columns = self.channels | {channels}, self.rows | {rows}, self.columns | {columns}
        source, target = artifact.formats[node.main], artifact.formats[node.output]
        self.operand_bits |= {source.bits}
        self.result_bits |= {target.bits}
        self.functions |= {node.function.name} if node.function else set()
        first = artifact.graph.inputs[0]
        entry, self.inputs = artifact.formats[first], self.inputs | {artifact.graph.shapes[first][0]}
        operand = mantissas[0, : entry.channels]
        self.ends |= {name for name, end in (("low", entry.low), ("high", entry.high)) if (operand == end).any()}
        if node.weighted:
            self.weight_bits |= {artifact.parameters[node.name].weights.bits}

    def check(self, widest: int, corners: Collection[str]) -> None:
        """Fail where the draws leave out a width, a kind of size or of data, or one of these corners that there are."""
        widths, record = set(range(2, widest + 1)), OPERATORS[self.op]
        assert set(ENDS) <= self.inputs and len(self.channels) > 10
        assert all({n % 2 for n in sizes} == {0, 1} for sizes in (self.rows, self.columns))
        assert self.ends == {"low", "high"} and self.result_bits == widths
        assert self.operand_bits == (widths if not record.has_function else {2, 4, 6, 8, 10})
        assert self.weight_bits == (widths if record.weights else set())
        assert self.functions == (set(FUNCTIONS) if record.has_function else set())
        if record.computes:
            assert {c for c in CORNERS[self.op] if c in corners and not self.corners[self.op, c]} == set()


def compared(op: str, numbers: Iterable[int], lanes: int, widest: int) -> Met:
    """Draw these networks of an operator, and compare golden model, plain integers and torch in every tensor."""
    met = Met(op)
    for number in numbers:
        artifact, scaled = drawn(op, number, lanes, widest)
        mantissas = random_input(artifact, number)
        wanted = golden.run(artifact, mantissas)
        found = plain_integers.run(artifact, mantissas[0].tolist(), scaled, met.corners)
        for tensor, values in wanted.items():
            assert np.array_equal(found[tensor], values[0]), f"{op}, number {number}: {tensor}"
        wrong = [d for d in check(artifact, mantissas) if not d.ok]
        assert not wrong, f"{op}, number {number}: {wrong}"
        met.add(artifact, mantissas)
    return met


@pytest.mark.parametrize("op", DRAWS)
def test_an_operator_s_integers_are_those_of_plain_python_and_of_torch(op):
    compared(op, range(max(FEW, TURNS.get(op, 0))), 16, 8).check(8, {"right", "half", "saturates high"})


@pytest.mark.heavy
@pytest.mark.parametrize("lanes, widest", [(16, 8), (4, 8), (2, 8), (16, 5), (4, 4)])
@pytest.mark.parametrize("op", DRAWS)
def test_an_operator_s_integers_in_many_draws(op, lanes, widest):
    compared(op, range(MANY), lanes, widest).check(widest, ROUNDED | CUT)


def simulated(engine: Engine, numbers: Iterable[int], folder, **compiled) -> None:
    """The C simulation of all operators' networks of these numbers, in one program. compiled: see ``compile_engine``."""
    drawn_ = [(drawn(op, number, engine.lanes, engine.widest)[0], number) for number in numbers for op in DRAWS]
    artifacts = [artifact for artifact, _ in drawn_]
    program, identity = generate(artifacts, engine_options(artifacts, engine), engine.board, folder)
    bench, _ = compile_engine(folder / "generated", folder / "csim", **compiled)
    write_golden(folder / "golden.bin", program, identity, [random_input(*entry) for entry in drawn_])
    result = run_testbench(bench, folder / "deploy" / "weights.bin", folder / "golden.bin", folder / "result.json")
    assert result["mismatches"] == 0, f"{engine}: {result['first_mismatch']}"
    assert result["layers_compared"] == len(program.layers) >= len(artifacts)


def test_every_operator_is_bit_equal_in_the_c_simulation(tmp_path):
    simulated(ENGINES[0], range(SIMULATED), tmp_path, optimise=("-O1",))


@pytest.mark.heavy
@pytest.mark.parametrize("number", range(2 * len(ENGINES)))
def test_many_draws_are_bit_equal_in_the_c_simulation(number, tmp_path):
    batch = number // len(ENGINES)
    simulated(ENGINES[number % len(ENGINES)], range(BATCH * batch, BATCH * (batch + 1)), tmp_path)


def test_an_operator_without_a_draw_is_named():
    missing = dict(DRAWS)
    missing.pop("interpolate")
    with pytest.raises(BfpError, match="property tests has no entry for operator 'interpolate'; add one"):
        operator_table("property tests", missing)
    assert set(DRAWS) == set(OPERATORS) and set(OWN) == {name for name, o in OPERATORS.items() if o.computes}


@pytest.mark.parametrize("op", [op for op, o in OPERATORS.items() if o.computes])
def test_a_wrong_integer_shows(op, monkeypatch):
    """Plain integers whose own result is one too large somewhere contradict the golden model."""
    original = OWN[op]

    def wrong(layer, f, y, x):
        acc, exponent = original(layer, f, y, x)
        return acc + (1 << max(layer.ends[f] - exponent, 0)), exponent

    monkeypatch.setitem(plain_integers.OWN._entries, op, wrong)
    with pytest.raises(AssertionError):
        compared(op, range(4), 16, 8)
