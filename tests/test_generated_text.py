"""What generated headers say: comments that are true, names that are harmless."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.boards import BOARD
from support.compilers import EVERY, NO_CLANG
from support.random_graphs import random_artifact
from support.random_inputs import random_input
from support.renamed import renamed

from bfp import BfpError
from bfp.artifact import Artifact
from codegen import render
from codegen.generate import generate
from codegen.lint.artifacts import smallest_artifact, widest_artifact
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.program import build
from codegen.lowering.schedule import EngineLayer
from codegen.options import EngineOptions
from codegen.performance.counts import COUNTED
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

SMALL = EngineOptions(lanes=4, filters=2, pixels=2)
QUICKLY = ("-O0",)
HOSTILE = '", (system("true"), ""), " */ ??/\n\\'


def simulate(artifact: Artifact, out: Path, compiler: str | None = None) -> tuple[list[EngineLayer], dict]:
    """Layers, and the test bench's result for one image."""
    program, identity = generate([artifact], SMALL, BOARD, out)
    bench, _ = compile_engine(out / "generated", out / "csim", compiler, QUICKLY)
    write_golden(out / "golden.bin", program, identity, [random_input(artifact, 0)])
    return program.layers, run_testbench(bench, out / "deploy" / "weights.bin", out / "golden.bin", out / "result.json")


# -- comments ----------------------------------------------------------------------


def users(layers: list[EngineLayer], constant: str) -> dict[str, int]:
    """How much each layer needs of an on-chip buffer, by the names of the layers that use it at all."""
    weighted = (EngineOperator.CONV, EngineOperator.DEPTHWISE, EngineOperator.INTERPOLATE)
    needs = {
        "INPUT_WORDS": lambda x: x.tiling.input_words,
        "WEIGHT_STEPS": lambda x: x.tiling.weight_steps if x.fields.op is EngineOperator.CONV else None,
        "GROUP_WORDS": lambda x: x.tiling.group_words if x.fields.op in weighted else None,
        "POOL_WORDS": lambda x: x.fields.output_map.out_words * x.pool.stored[1] if x.pool else None,
        "TILE_BLOCKS": lambda x: x.tiling.blocks if x.tiling.chunks > 1 else None,
    }
    found = {x.name: needs[constant](x) for x in layers}
    return {name: need for name, need in found.items() if need is not None}


def test_the_layer_that_a_buffer_is_as_large_as_needs_so_much_of_it():
    """Of every buffer's size: the layer beside it uses the buffer, and as much as any other."""
    unused, misleading = set(), 0
    options = EngineOptions(lanes=4, filters=4, pixels=3, input_words=4000, weight_steps=64, tile_blocks=16)
    for seed in range(24):
        program = build([random_artifact(seed, 4)], options, BOARD)
        text = render.render(program, "test")[0]["config.hpp"]
        banks = int(re.search(r"int BANKS = (\d+);", text).group(1))
        for constant in ("INPUT_WORDS", "WEIGHT_STEPS", "GROUP_WORDS", "POOL_WORDS", "TILE_BLOCKS"):
            size, layer = re.search(rf"(?m)^constexpr int {constant} = (\d+);  // (.*)$", text).groups()
            needs = users(program.layers, constant)
            if not needs:
                assert (layer, size) == ("no layer uses it", "1")
                unused.add(constant)
                continue
            unit = banks if constant == "INPUT_WORDS" else 1
            assert needs[layer] == max(needs.values()) and int(size) == -(-needs[layer] // unit) * unit
        steps = {x.tiling.weight_steps: x.fields.op for x in program.layers}
        misleading += steps[max(steps)] is EngineOperator.DEPTHWISE
    # the cases in which the comment would not be true of the largest number alone
    assert unused >= {"POOL_WORDS", "TILE_BLOCKS"} and misleading > 0


@pytest.mark.parametrize("compiler", EVERY)
@pytest.mark.parametrize("make", [smallest_artifact, widest_artifact])
def test_engines_with_and_without_optional_constants_are_bit_equal(make, compiler, tmp_path):
    """What is the same in all rows of a table is a constant of the function that takes them apart."""
    if EVERY[compiler] is None:
        pytest.skip(NO_CLANG)
    layers, result = simulate(make(), tmp_path, EVERY[compiler])
    assert result["mismatches"] == 0 and result["layers_compared"] == len(layers)
    header = (tmp_path / "generated" / "jobs.hpp").read_text()
    assert ("    job.has_shortcut = 0;\n" in header) is (make is smallest_artifact)


# -- names -------------------------------------------------------------------------


def test_a_hostile_name_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(BfpError, match="not a name of letters, digits"):
        generate([renamed(widest_artifact(), HOSTILE)], SMALL, BOARD, tmp_path)
    assert not list(tmp_path.iterdir())


def test_any_name_is_harmless_in_generated_sources(tmp_path, monkeypatch):
    """Names that would end a literal, a comment or a line are text in the sources, and the test bench reports them.

    The manifest refuses them, so that they only come this far where it is left out.
    """

    def image_alone(made, image, folder):
        folder.mkdir(parents=True)
        (folder / "weights.bin").write_bytes(image)

    monkeypatch.setattr("codegen.generate.write_deployment", image_alone)
    plain, _ = simulate(widest_artifact(), tmp_path / "plain")
    layers, result = simulate(renamed(widest_artifact(), HOSTILE), tmp_path)
    assert result["mismatches"] == 0
    assert [x["layer"] for x in result["counts"]] == [x.name for x in layers] == [x.name + HOSTILE for x in plain]
    assert all(tuple(x["counts"]) == COUNTED for x in result["counts"])
    # as many lines as with other names
    for name in (*render.KERNEL_HEADERS, *render.BENCH_HEADERS):
        texts = [(folder / "generated" / name).read_text() for folder in (tmp_path, tmp_path / "plain")]
        assert texts[0].count("\n") == texts[1].count("\n")
    image = bytearray((tmp_path / "deploy" / "weights.bin").read_bytes())
    image[:] = bytes(b ^ 0x55 for b in image)
    (tmp_path / "broken.bin").write_bytes(image)
    bench, broken = tmp_path / "csim" / "testbench", tmp_path / "broken.bin"
    result = run_testbench(bench, broken, tmp_path / "golden.bin", tmp_path / "broken.json")
    assert f"layer second{HOSTILE}, tensor second{HOSTILE}, channel" in result["first_mismatch"]


def test_a_name_that_no_c_string_holds_is_refused(tmp_path):
    with pytest.raises(BfpError, match="holds a zero byte, which no C\\+\\+ string can; give it another name"):
        generate([renamed(smallest_artifact(), "\0")], SMALL, BOARD, tmp_path)
    assert not (tmp_path / "generated").exists()
