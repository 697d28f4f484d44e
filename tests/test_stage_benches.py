"""The stages' test benches: recorded data are the golden model's, every bench passes on them and fails on others."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
from support.boards import BOARD
from support.chip_shortcuts import keep_all
from support.compilers import CLANG, NO_CLANG

from bfp.artifact_file import load
from bfp.errors import BfpError
from bfp.golden import quantise_input
from bfp.samples import load_samples
from calib import pipeline
from calib.config import load_config
from codegen.simulation import stage_benches
from codegen.simulation.csim import HLS
from codegen.generate import generate
from codegen.simulation.stage_checker import Checker
from codegen.simulation.stage_recording import parse_parameter, record, stages, write_recording

BENCHES = [bench.name for bench in stage_benches.benches()]
SMALLEST = (2, 2, 1)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Artifact and one image of the benches' network at 8 bits."""
    folder = tmp_path_factory.mktemp("stage_network")
    artifact = pipeline.calibrate(load_config(stage_benches.BENCHES / "network_8bit.toml"), folder)
    return artifact, load_samples(folder / "samples.npz").images[:1]


@pytest.fixture(scope="module")
def smallest(network, tmp_path_factory):
    """Folder with the data of all benches for the smallest array, and the number of calls of each."""
    out = tmp_path_factory.mktemp("smallest")
    with pytest.MonkeyPatch.context() as patch:
        keep_all(patch, bands=False)
        found = stage_benches.prepare(*network, SMALLEST, BOARD, out)
    assert "HAS_CHIP_SHORTCUT = true" in (out / "generated" / "config.hpp").read_text()
    return out, {bench.name: calls for bench, calls in found.items()}


def test_every_stage_has_a_bench_and_data(smallest):
    assert {path.stem for path in stage_benches.BENCHES.glob("*.cpp")} == set(BENCHES)
    assert set(smallest[1]) == set(BENCHES) and all(calls > 0 for calls in smallest[1].values())
    called = re.search(r"#pragma HLS DATAFLOW(.*?)\n}", (HLS / "engine.cpp").read_text(), re.DOTALL).group(1)
    assert re.findall(r"(?m)^    (\w+)\(", called) == list(stages())
    for name in (b for b in BENCHES if b not in stage_benches.OPERATORS):
        assert re.search(rf"\b{name}\(call\.(where|job_row), ", (stage_benches.BENCHES / f"{name}.cpp").read_text())


@pytest.mark.parametrize("bench", BENCHES)
def test_bench_passes_at_the_smallest_size(bench, smallest):
    line = stage_benches.run_bench(bench, smallest[0], "g++")
    assert re.fullmatch(rf"{bench}: [1-9]\d* values, 0 mismatches", line)


@pytest.mark.parametrize("bench", ["conv", "load_tile", "epilogue", "store"])
def test_bench_fails_on_other_results(bench, smallest, tmp_path):
    """One expected value changed; the bench names the stage and the place."""
    shutil.copytree(smallest[0], tmp_path, dirs_exist_ok=True)
    header = tmp_path / "data" / f"{bench}.hpp"
    text = header.read_text()
    rows = [re.findall(r"\{(\w+), \d+\}", line) for line in text[text.index("CALLS[") :].splitlines()]
    expected = next(row[-1] for row in reversed(rows) if row and row[-1] not in row[:-1])  # what a call changes
    start = text.index(f" {expected}[")
    value = re.compile(r"\{(-?\d+)").search(text, start)
    header.write_text(text[: value.start(1)] + str(int(value.group(1)) ^ 1) + text[value.end(1) :])
    with pytest.raises(
        BfpError, match=rf"bench {bench} in .* fails with status 1: {bench}: .* expected -?\d+, got -?\d+"
    ):
        stage_benches.run_bench(bench, tmp_path, "g++")


def test_bench_fails_on_another_stage(smallest, tmp_path, monkeypatch):
    """A rounding by another constant: self-consistent, and not the golden model's."""
    hls = tmp_path / "hls"
    shutil.copytree(HLS, hls)
    source = (hls / "rounding.hpp").read_text()
    assert "(acc + half) >> r" in source
    (hls / "rounding.hpp").write_text(source.replace("(acc + half) >> r", "(acc + half / 2) >> r"))
    monkeypatch.setattr(stage_benches, "HLS", hls)
    with pytest.raises(BfpError, match="bench epilogue in .* fails with status 1: epilogue: results"):
        stage_benches.run_bench("epilogue", smallest[0], "g++")


def test_recorded_values_are_compared_with_the_golden_model(network, monkeypatch, tmp_path):
    """Every stage's calls are checked, and one changed byte of any stage's results is refused by name."""
    artifact, image = network
    keep_all(monkeypatch, bands=False)
    options = stage_benches.small_engine(artifact, (4, 2, 3), BOARD)
    program, identity = generate([artifact], options, BOARD, tmp_path)
    mantissas = quantise_input(artifact, image)
    checker = Checker(program, mantissas, stages())
    seen = set()
    for call in record(program, identity, tmp_path, [mantissas]):
        if not call.does_something or checker.subject(call) is None:
            continue
        checker.check(call)
        changed = {name: raw for name, raw in call.after.items() if raw != call.before[name] and raw}
        name = "pooled" if "pooled" in changed else next(iter(changed), None)
        if name is None or call.stage in seen or name == "best":
            continue
        at = next(
            i for i, (a, b) in enumerate(zip(changed[name], call.before[name].ljust(len(changed[name])))) if a != b
        )
        wrong = bytearray(changed[name])
        wrong[at] ^= 1
        with pytest.raises(BfpError, match=rf"{call.stage} in step {call.step}: .*the golden model says"):
            checker.check(replace(call, after={**call.after, name: bytes(wrong)}))
        seen.add(call.stage)
    assert seen == set(stages())


def test_four_products_share_a_dsp_in_the_bench_at_5_bits(tmp_path):
    pipeline.calibrate(load_config(stage_benches.BENCHES / "network_5bit.toml"), tmp_path / "5")
    artifact, samples = load(tmp_path / "5" / "artifact.npz"), load_samples(tmp_path / "5" / "samples.npz")
    stage_benches.prepare(artifact, samples.images[:1], (16, 8, 5), BOARD, tmp_path)
    assert "PRODUCTS = 4" in (tmp_path / "generated" / "config.hpp").read_text()
    assert "HAS_INPUT_MEAN = true" in (tmp_path / "generated" / "config.hpp").read_text()
    for bench in ("conv", "load_weights", "pack", "input_pool"):
        assert stage_benches.run_bench(bench, tmp_path, "g++").endswith(" 0 mismatches")


def test_digits_meet_in_the_bench_at_8_bits(network, tmp_path):
    artifact, image = network
    stage_benches.prepare(artifact, image, (4, 2, 1, 4), BOARD, tmp_path)
    for has in ("PRODUCTS = 4", "HAS_WIDE_WEIGHTS = true", "HAS_WIDE_OPERANDS = true"):
        assert has in (tmp_path / "generated" / "config.hpp").read_text()
    assert stage_benches.run_bench("conv", tmp_path, "g++").endswith(" 0 mismatches")


@pytest.mark.skipif(CLANG is None, reason=NO_CLANG)
@pytest.mark.parametrize("bench", ["conv", "depthwise", "fused_pool"])
def test_bench_passes_under_clang(bench, smallest):
    assert stage_benches.run_bench(bench, smallest[0], CLANG).endswith(" 0 mismatches")


@pytest.mark.heavy
@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize("size", [*stage_benches.SIZES, (4, 4, 1), (32, 8, 3)], ids=str)
def test_all_benches_at_more_sizes(size, bits, tmp_path):
    pipeline.calibrate(load_config(stage_benches.BENCHES / f"network_{bits}bit.toml"), tmp_path / "n")
    artifact, samples = load(tmp_path / "n" / "artifact.npz"), load_samples(tmp_path / "n" / "samples.npz")
    for bench in stage_benches.prepare(artifact, samples.images[:1], size, BOARD, tmp_path):
        assert stage_benches.run_bench(bench.name, tmp_path, "g++").endswith(" 0 mismatches")


def test_arguments_of_a_stage_are_streams_arrays_pointers_or_structs():
    assert all(p.kind in ("stream", "array", "memory", "value") for ps in stages().values() for p in ps)
    assert parse_parameter("const Word  input[BANKS][BANK_ROWS]").sizes == ("BANKS", "BANK_ROWS")
    for text in ("std::vector<int> v", "int32_t &x", "Word **p", "hls::stream<Word> s", "const Layer layer"):
        with pytest.raises(BfpError, match="is no argument of a stage"):
            parse_parameter(text)


def test_recorder_refuses_a_stage_that_is_called_twice(tmp_path):
    hls = tmp_path / "hls"
    shutil.copytree(HLS, hls)
    source = (hls / "engine.cpp").read_text()
    line = re.search(r"(?m)^    store\(.*;\n", source).group()
    (hls / "engine.cpp").write_text(source + "static void again() {\n" + line + "}\n")
    with pytest.raises(BfpError, match="stage store is called 2 times"):
        write_recording(hls, tmp_path / "out")


def test_command_line_refuses_in_one_sentence(tmp_path, capsys):
    assert stage_benches.main([str(tmp_path), "--sizes", "2x2"]) == 2
    assert stage_benches.main([str(tmp_path / "none"), "--sizes", "2x2x1"]) == 1
    assert capsys.readouterr().err.count("error: ") == 2
