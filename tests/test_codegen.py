"""Generated sources: readable, reproducible, accepted by strict compilers; and what is refused, with its message."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import jinja2
import numpy as np
import pytest
from support.boards import BOARD
from support.compilers import EVERY, NO_CLANG
from support.random_graphs import random_artifact
from support.random_inputs import random_input
from support.stored import check_stored
from support.one_layer import QUICKLY, SMALL

import host.check
from bfp import BfpError
from bfp.deployment import read_deployment, read_weights
from codegen import render
from codegen.simulation import csim
from codegen.simulation.csim import compile_engine, compiler_flags, run_testbench, write_golden
from codegen.generate import generate
from codegen.options import EngineOptions
from host.check import check
from host.driver import Accelerator
from host.simulated_board import SimulatedBoard


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two random networks, generated and compiled: (artifact, program, identity, folder, bench, library) each."""
    found = []
    for seed in (2, 7):
        folder = tmp_path_factory.mktemp(f"seed{seed}")
        artifact = random_artifact(seed, SMALL.lanes)
        program, identity = generate([artifact], SMALL, BOARD, folder)
        compiled = compile_engine(folder / "generated", folder, None, QUICKLY)
        found.append((artifact, program, identity, folder, *compiled))
    return found


def files(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# -- generated text ----------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_every_layer_is_named_where_its_constants_are(seed, tmp_path):
    artifact = random_artifact(seed, 16)
    generate([artifact], EngineOptions(), BOARD, tmp_path)
    schedule = (tmp_path / "generated" / "schedule.hpp").read_text()
    tables = (tmp_path / "generated" / "tables.hpp").read_text()
    tensors = (tmp_path / "generated" / "tensors.hpp").read_text()
    stored = {t for t in artifact.graph.shapes if f'"{t}"' in tensors}
    for node in artifact.graph.nodes:
        beside = re.search(rf"(?m)[;:] {re.escape(node.name)}: (max|avg)_pool \d+x\d+ ", schedule)
        if node.op == "concat" or beside:  # a pool in the layer before, or in those that read it
            continue
        # of bilinear upsampling the last layer is the one that puts the phases together
        name = re.escape(f"{node.name}.pixels" if node.op == "upsample_bilinear" else node.name)
        place = rf"; {name}: table of " if node.function else rf"^// +\d+: {name}: "
        assert re.search(rf"(?m){place}", schedule), node.name
        assert re.search(rf"(?m)^ *// {name}$", tables), node.name
        assert f'"{node.name}"' in tensors or node.output not in stored, node.name
    check_stored(artifact.graph, stored)


def test_generation_is_deterministic(tmp_path):
    for name in ("a", "b"):
        generate([random_artifact(4, 16)], EngineOptions(), BOARD, tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    written = {f"generated/{name}" for name in (*render.KERNEL_HEADERS, *render.BENCH_HEADERS)}
    assert written <= set(files(tmp_path / "a"))


def test_generating_again_leaves_unchanged_sources_alone(tmp_path):
    artifact = random_artifact(4, 16)
    generate([artifact], EngineOptions(), BOARD, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "generated").iterdir()}
    generate([artifact], EngineOptions(), BOARD, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "generated").iterdir()} == before


def test_templates_are_strict():
    environment = render.environment()
    with pytest.raises(jinja2.UndefinedError):
        environment.from_string("{{ nothing }}").render()
    names = environment.list_templates()
    headers = {f"{name}.j2" for name in (*render.KERNEL_HEADERS, *render.BENCH_HEADERS)}
    assert set(names) == headers | {"hls.cfg.j2", "records.j2"}
    for name in headers | {"hls.cfg.j2"}:
        with pytest.raises(jinja2.UndefinedError):
            environment.get_template(name).render({})
    for macro in ("enumeration(nothing)", "members(nothing)", "row(nothing, nothing)"):
        with pytest.raises(jinja2.UndefinedError):
            environment.from_string(f'{{% import "records.j2" as r %}}{{{{ r.{macro} }}}}').render()


def test_manifest_says_what_the_driver_needs(built):
    artifact, program, identity, folder, _, _ = built[0]
    deployment = read_deployment(folder / "deploy")
    assert deployment.identity == identity
    assert deployment.artifact_digest == artifact.digest
    assert (deployment.inputs, deployment.outputs) == (artifact.inputs, artifact.outputs)
    assert (deployment.board, deployment.clock_mhz) == ("Ultra96-V2", 250)
    check_stored(artifact.graph, {t.name for t in deployment.tensors})
    for tensor in deployment.tensors:
        assert tensor.format == artifact.formats[tensor.name]
        assert tensor.shape == artifact.graph.shapes[tensor.name]
    assert list(deployment.files) == ["weights.bin"]
    weights = read_weights(deployment, folder / "deploy")
    assert np.array_equal(weights.view(np.int8), program.weight_image())


# -- compilers ---------------------------------------------------------------------


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_strict_compilers_build_the_engine_and_agree(compiler, built, tmp_path):
    compiler = EVERY[compiler]
    if compiler is None:
        pytest.skip(NO_CLANG)
    assert {"-Wall", "-Wextra", "-Werror"} <= set(csim.WARNINGS) <= set(compiler_flags(tmp_path))
    artifact, program, identity, folder, _, _ = built[0]
    bench, library = compile_engine(folder / "generated", tmp_path, compiler, QUICKLY)
    assert library.is_file() and not list(tmp_path.glob("*.part"))
    write_golden(tmp_path / "golden.bin", program, identity, [random_input(artifact, 1)])
    result = run_testbench(bench, folder / "deploy" / "weights.bin", tmp_path / "golden.bin", tmp_path / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]


def test_a_warning_in_the_generated_code_fails_with_the_compilers_sentence(built, tmp_path):
    shutil.copytree(built[0][3] / "generated", tmp_path / "generated")
    header = tmp_path / "generated" / "config.hpp"
    header.write_text(header.read_text() + "static int nobody_needs_this() { int unused; return 0; }\n")
    with pytest.raises(BfpError, match=r"g\+\+ cannot compile the generated engine in .*: .*error: .*unused"):
        compile_engine(tmp_path / "generated", tmp_path / "out", "g++", QUICKLY)
    assert not list((tmp_path / "out").glob("testbench*"))


def test_engines_share_no_state_within_a_process(built):
    """Symbols that the loader makes unique would let one network's counts overwrite another's memory."""
    for *_, library in built:
        symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True)
        kinds = {line.split()[-1]: line.split()[-2] for line in symbols.stdout.splitlines()}
        assert kinds["sbfp_engine"] == "T"
        assert [name for name, kind in kinds.items() if kind == "u"] == []


def test_missing_compiler_is_a_sentence(built, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BfpError, match="compiler no-such-compiler is not on PATH; install g\\+\\+ or set CXX"):
        compile_engine(built[0][3] / "generated", tmp_path)


# -- engine options ----------------------------------------------------------------


# -- what belongs together ---------------------------------------------------------


def test_test_bench_refuses_what_is_not_its_own(built, tmp_path):
    (artifact, program, identity, folder, bench, _), other = built
    golden, weights, result = tmp_path / "golden.bin", folder / "deploy" / "weights.bin", tmp_path / "result.json"
    write_golden(golden, other[1], other[2], [random_input(other[0], 0)])
    with pytest.raises(BfpError, match="golden.bin does not belong to this kernel; generate it again"):
        run_testbench(bench, weights, golden, result)
    flipped = f"{int(identity, 16) ^ 1 << 63:016x}"
    write_golden(golden, program, flipped, [random_input(artifact, 0)])
    with pytest.raises(BfpError, match="does not belong to this kernel"):
        run_testbench(bench, weights, golden, result)
    golden.write_bytes(b"something else entirely")
    with pytest.raises(BfpError, match="does not belong to this kernel"):
        run_testbench(bench, weights, golden, result)

    write_golden(golden, program, identity, [random_input(artifact, 0)])
    complete = golden.read_bytes()
    golden.write_bytes(complete[:-1])
    with pytest.raises(BfpError, match="golden.bin is shorter than the network needs"):
        run_testbench(bench, weights, golden, result)
    golden.write_bytes(complete)
    (tmp_path / "weights.bin").write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BfpError, match="weights.bin is shorter than the network needs"):
        run_testbench(bench, tmp_path / "weights.bin", golden, result)
    with pytest.raises(BfpError, match="cannot open"):
        run_testbench(bench, tmp_path / "none.bin", golden, result)
    assert not result.exists()
    assert run_testbench(bench, weights, golden, result)["mismatches"] == 0


def test_driver_refuses_the_kernel_of_another_network_before_it_runs_anything(built, monkeypatch):
    (artifact, _, identity, folder, _, library), (_, _, other_identity, other_folder, _, other_library) = built
    board = SimulatedBoard(other_library, folder / "deploy")
    used = []
    monkeypatch.setattr(board, "allocate", lambda *a, **k: used.append(a))
    with pytest.raises(BfpError) as error:
        Accelerator(folder / "deploy", device=board)
    assert identity in str(error.value) and other_identity in str(error.value)
    assert used == []
    with Accelerator(folder / "deploy", device=SimulatedBoard(library, folder / "deploy")) as accelerator:
        shape = artifact.graph.shapes[artifact.graph.input]
        with pytest.raises(BfpError, match="was generated from another artifact than the one given"):
            check(accelerator, replace(artifact, digest="7" * 64), np.zeros((1, *shape)))
        result = check(accelerator, artifact, np.zeros((1, *shape)))
        assert result["mismatches"] == 0 and result["values_compared"] > 0


def test_difference_on_the_board_is_reported_with_its_place(built, monkeypatch):
    artifact, _, _, folder, _, library = built[0]
    output = artifact.graph.output
    honest = host.check.golden_tensors

    def differs(*args):
        values = honest(*args)
        values[output] = values[output].copy()
        values[output][-1, 0, -1] += 1
        return values

    monkeypatch.setattr(host.check, "golden_tensors", differs)
    with Accelerator(folder / "deploy", device=SimulatedBoard(library, folder / "deploy")) as accelerator:
        result = check(accelerator, artifact, np.zeros((1, *artifact.graph.shapes[artifact.graph.input])))
    channels, _, width = artifact.graph.shapes[output]
    assert result["mismatches"] == 1
    for word in ("image 0", "layer ", f"tensor {output}", f"channel {channels - 1}", "row 0", f"column {width - 1}"):
        assert word in result["first_mismatch"]


# -- command line ------------------------------------------------------------------
