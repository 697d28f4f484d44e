"""Golden model against compiled C simulation on random networks, several per compilation.

A failure names the seed: `random_artifact(seed, lanes)` makes the network again.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import pytest
from support.boards import BOARD
from support.random_graphs import random_artifact
from support.random_inputs import random_input
from support.engines import Engine, ENGINES, engine_options

from bfp.artifact import Artifact
from bfp.graph import Graph
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.layer_fields import InputPooling, LayerFields
from codegen.lowering.weight_fields import COPY_BITS
from codegen.simulation.csim import compile_engine, run_testbench, write_golden
from codegen.generate import generate
from codegen.lowering.program import build
from codegen.lowering.schedule import Program
from codegen.options import EngineOptions
from codegen.performance.steps import program_counts

PER_BATCH = 12
# what the layers of the default suite have between them
CORNERS = (
    "CONV", "DEPTHWISE", "MAX_POOL", "AVG_POOL", "ADD", "MAXIMUM", "MINIMUM", "MULTIPLY", "INTERPOLATE", "NONE", "RELU", "RELU6",
    "chunks", "tiles down", "tiles across", "word tiles", "alignment", "fused shortcut", "unsigned", "1x1 map",
    "cropped", "copies", "fused pool", "fused pool over tiles", "fused pool of 3 rows", "fused pool of 2 columns",
    "fused pool, padded", "fused pool, map stored", "fused pool of a later branch", "LARGEST", "MEAN",
    "input pooled whole", "sliding mean", "input pooled over tiles", "input pooled, stride",
    "input pooled to fewer bits", "several words a pass", "first tile early", "first tile early, from a later pass",
    "first tile between the layers", "several inputs", "several outputs", "an output that others read",
    "a concatenation as an output", "a value a channel", "a value a pixel", "one value",
    "one value a pixel over tiles", "table", "left shift", "one pixel a block", "1 products", "2 products",
    "4 products", "CONV dilated", "DEPTHWISE dilated", "MAX_POOL dilated", "dilated with a stride",
    "wide weights", "wide activations", "both wide", "a wide copy", "wide, in chunks", "wide, over tiles", "wide, aligned",
    "narrow beside wide", "rows apart", "edges", "edges over tiles", "grows", "grows from phases", "grows by two factors", "grows over tiles", "grows over words", "grows in slices",
)  # fmt: skip


@lru_cache(maxsize=len(ENGINES))
def drawn(seeds: range, engine: Engine) -> tuple[list[Artifact], EngineOptions]:
    """The random graphs of these seeds, and their engine's options."""
    artifacts = [random_artifact(seed, engine.lanes, engine.widest, several=True) for seed in seeds]
    return artifacts, engine_options(artifacts, engine)


def default_batch(batch: int) -> tuple[range, Engine]:
    """Seeds and engine of one of the default suite's batches."""
    return range(PER_BATCH * batch, PER_BATCH * (batch + 1)), ENGINES[batch]


def check_batch(seeds: range, engine: Engine, out) -> None:
    artifacts, options = drawn(seeds, engine)
    inputs = [random_input(a, seed) for a, seed in zip(artifacts, seeds)]
    program, identity = generate(artifacts, options, engine.board, out)
    bench, _ = compile_engine(out / "generated", out / "csim")
    write_golden(out / "golden.bin", program, identity, inputs)
    result = run_testbench(bench, out / "deploy" / "weights.bin", out / "golden.bin", out / "result.json")
    assert result["mismatches"] == 0, f"{engine}: {result['first_mismatch']}"
    assert result["layers_compared"] == len(program.layers) >= len(artifacts)
    predicted = program_counts(program)
    assert result["counts"] == [{"layer": x.name, "counts": counts} for x, counts in zip(program.layers, predicted)]


@pytest.mark.parametrize("batch", range(len(ENGINES)))
def test_random_graphs_are_bit_equal(batch, tmp_path):
    """72 random graphs in the default suite."""
    check_batch(*default_batch(batch), tmp_path)


def ends_of(graph: Graph) -> Counter:
    """Of the corners, those that inputs and outputs make."""
    made = {t: graph.producer(t) for t in graph.outputs}
    return Counter({
        "several inputs": len(graph.inputs) > 1,
        "several outputs": len(graph.outputs) > 1,
        "an output that others read": any(map(graph.consumers, made)),
        "a concatenation as an output": any(not node.operator.computes for node in made.values()),
    })  # fmt: skip


def addresses_of(f: LayerFields) -> Counter:
    """Of the corners, those that a layer's addresses make."""
    return Counter({
        f"{f.op.name} dilated": max(f.buffer.kernel_down, f.buffer.kernel_across // f.buffer.taps) > 1,
        "rows apart": f.tiles.rows_apart > 1 and not f.spread.grows,
        "grows": f.spread.grows,
        "edges": f.spread.edges,
        "edges over tiles": f.spread.edges and f.tiles.tiles_down > 3,
        "grows from phases": f.spread.phase_words > 0,
        "grows by two factors": f.spread.grows and f.spread.down != f.spread.across,
        "grows over tiles": f.spread.grows and f.tiles.tiles_down > 1,
        "grows over words": f.spread.grows and f.tiles.word_tiles > 1,
        "grows in slices": f.spread.grows and 0 < f.loads.early_lines < f.tiles.tile_words * f.spread.across,
        "dilated with a stride": f.buffer.row_step > 1 < f.window.kernel_height,
    })  # fmt: skip


def digits_of(program: Program) -> Counter:
    """Of the corners, those of mantissas that go as digits."""
    dense = [layer.fields for layer in program.layers if layer.fields.op is EngineOperator.CONV]
    wide = [f for f in dense if f.digits.pairs > 1]
    return Counter({
        "wide weights": sum(f.digits.wide_weights and not f.digits.wide_operands for f in wide),
        "wide activations": sum(f.digits.wide_operands and not f.digits.wide_weights for f in wide),
        "both wide": sum(f.digits.pairs == 4 for f in wide),
        "a wide copy": sum(f.weights.weight_bits == COPY_BITS for f in wide),
        "wide, in chunks": sum(f.passes.chunks > 1 for f in wide),
        "wide, over tiles": sum(f.tiles.tiles_down > 1 for f in wide),
        "wide, aligned": sum(f.weights.has_align for f in wide),
        "narrow beside wide": 0 < len(wide) < len(dense),
    })  # fmt: skip


def test_random_graphs_reach_every_corner():
    """The default seeds hold what the engine treats differently; otherwise the tests above prove little."""
    seen, bits, weight_bits = Counter(), set(), set()
    for batch, engine in enumerate(ENGINES):
        artifacts, options = drawn(*default_batch(batch))
        program = build(artifacts, options, engine.board, with_weights=False)
        seen[f"{program.array.products} products"] += 1
        seen += digits_of(program)
        for layer in program.layers:
            f = layer.fields
            seen[f.op.name] += 1
            seen += addresses_of(f)
            seen["chunks"] += f.passes.chunks > 1
            seen["tiles down"] += f.tiles.tiles_down > 1
            seen["tiles across"] += f.tiles.tiles_across > 1
            seen["word tiles"] += f.tiles.word_tiles > 1
            seen["fused pool"] += f.fused_pool.pool
            seen["fused pool over tiles"] += f.fused_pool.pool and f.tiles.tiles_down > 1
            seen["fused pool of 3 rows"] += f.fused_pool.pool_height == 3
            seen["fused pool of 2 columns"] += f.fused_pool.pool_width == 2
            seen["fused pool, padded"] += f.fused_pool.pool_top
            seen["fused pool, map stored"] += f.fused_pool.pool and f.output_map.keeps_map
            seen["fused pool of a later branch"] += bool(layer.pool and layer.pool.first_channel)
            seen[f.input_pool.in_pool.name] += 1
            seen["input pooled whole"] += f.input_pool.in_pool_whole
            seen["sliding mean"] += f.input_pool.in_pool is InputPooling.MEAN and not f.input_pool.in_pool_whole
            seen["input pooled over tiles"] += layer.input_pool is not None and f.tiles.tiles_down > 1
            if f.input_pool.in_pool is InputPooling.LARGEST:
                largest = 2 ** (f.input_map.in_bits - 1 + f.input_map.in_unsigned) - 1
                seen["input pooled to fewer bits"] += f.input_pool.in_pool_high < largest
            seen["input pooled, stride"] += layer.input_pool is not None and f.window.stride_height > 1
            seen["several words a pass"] += 1 < f.passes.group_words and f.passes.tile_passes > f.passes.chunks
            seen["first tile early"] += f.loads.early_lines > 0
            seen["first tile early, from a later pass"] += f.loads.early_pass > 0
            seen["first tile between the layers"] += not f.loads.early_lines
            seen["alignment"] += f.weights.has_align
            seen["fused shortcut"] += f.shortcut.has_shortcut and f.op in (EngineOperator.CONV, EngineOperator.DEPTHWISE)
            held, spread = f.shortcut.shortcut_held, f.shortcut.shortcut_spread
            seen["a value a channel"] += held and not spread
            seen["a value a pixel"] += spread and not held
            seen["one value"] += held and spread
            seen["one value a pixel over tiles"] += spread and f.tiles.tiles_down > 1
            seen[f.epilogue.activation.name] += 1
            seen["table"] += f.epilogue.table >= 0
            seen["fused pool of a table"] += f.epilogue.table >= 0 and f.fused_pool.pool
            seen["unsigned"] += f.input_map.in_unsigned
            seen["1x1 map"] += f.input_map.in_height == f.input_map.in_width == 1
            seen["one pixel a block"] += f.buffer.block_pixels == 1 and program.array.pixels > 1
            seen["cropped"] += f.window.pad_top < 0
        seen["copies"] += sum(t.label != t.name for t in program.tensors)
        for artifact in artifacts:
            seen += ends_of(artifact.graph)
            bits |= {fmt.bits for fmt in artifact.formats.values()}
            for p in artifact.parameters.values():
                seen["left shift"] += bool((p.requantisation_shift < 0).any())
                weight_bits |= {p.weights.bits} if p.weights else set()
    assert [c for c in CORNERS if not seen[c]] == []
    assert bits == {*range(2, 9), 10} and weight_bits == set(range(2, 9))


@pytest.mark.heavy
@pytest.mark.parametrize("batch", range(40))
def test_a_thousand_random_graphs(batch, tmp_path):
    check_batch(range(1000 + 25 * batch, 1025 + 25 * batch), ENGINES[batch % len(ENGINES)], tmp_path)


def test_a_first_tile_that_loads_too_early_shows(tmp_path, monkeypatch):
    """The C simulation runs the loads of a step before its stores: what is not stored yet is read as it was."""
    monkeypatch.setattr("codegen.lowering.program.early_pass", lambda *layers: 0)
    artifacts = [random_artifact(seed, 16) for seed in range(4)]
    program, identity = generate(artifacts, engine_options(artifacts, ENGINES[0]), BOARD, tmp_path)
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    inputs = [random_input(a, seed) for seed, a in enumerate(artifacts)]
    write_golden(tmp_path / "golden.bin", program, identity, inputs)
    result = run_testbench(bench, tmp_path / "deploy" / "weights.bin", tmp_path / "golden.bin", tmp_path / "result.json")
    assert result["mismatches"] > 0


def test_the_comparison_can_fail(tmp_path):
    """One flipped weight bit shows as a named mismatch."""
    artifacts = [random_artifact(5, 16)]
    program, identity = generate(artifacts, engine_options(artifacts, ENGINES[0]), BOARD, tmp_path)
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    write_golden(tmp_path / "golden.bin", program, identity, [random_input(a, 0) for a in artifacts])
    image = bytearray((tmp_path / "deploy" / "weights.bin").read_bytes())
    for i in range(0, len(image), 7):
        image[i] ^= 0x55
    (tmp_path / "broken.bin").write_bytes(image)
    result = run_testbench(bench, tmp_path / "broken.bin", tmp_path / "golden.bin", tmp_path / "result.json")
    assert result["mismatches"] > 0
    for word in ("layer", "channel", "row", "column", "golden model", "C simulation"):
        assert word in result["first_mismatch"]
