"""The claims of DEPENDENCE pragmas, asserted in C simulation and absent from synthesis."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.random_graphs import random_artifact
from support.random_inputs import random_input
from support.engines import ENGINES, engine_options

from bfp.errors import BfpError
from codegen.simulation.csim import compile_engine, run_testbench, write_golden
from codegen.generate import generate

HLS = Path(__file__).parent.parent / "hls"

PROGRAM = """
#include "dependence_check.hpp"
int main() {{
    sbfp::DependenceCheck<8> check("sums", {distance});
    {accesses}
    return 0;
}}
"""


def run(folder: Path, accesses: str, distance: str = "sbfp::WHOLE_LOOP", include: str = "csim"):
    source = folder / "check.cpp"
    source.write_text(PROGRAM.format(accesses=accesses, distance=distance))
    flags = ["-std=c++14", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", f"-I{HLS / include}"]
    subprocess.run(["g++", *flags, str(source), "-o", str(folder / "check")], check=True)
    return subprocess.run([str(folder / "check")], capture_output=True, text=True)


@pytest.mark.parametrize(
    "accesses, distance, sentence",
    [
        ("check.write(3, 5); check.read(9, 5);", "sbfp::WHOLE_LOOP", "iteration 9 reads element 5, which iteration 3"),
        ("check.write(3, 5); check.write(4, 5);", "4", "iteration 4 writes element 5, which iteration 3 has written"),
        ("check.read(0, 8);", "4", "iteration 0 reads element 8 of 8"),
    ],
)
def test_a_violated_claim_aborts_with_a_sentence(accesses, distance, sentence, tmp_path):
    result = run(tmp_path, accesses, distance)
    assert result.returncode < 0
    assert result.stderr.startswith("sums: ") and sentence in result.stderr


@pytest.mark.parametrize(
    "accesses, distance",
    [
        ("check.read(3, 5); check.write(3, 5); check.read(4, 6);", "sbfp::WHOLE_LOOP"),  # read, then write
        ("check.write(3, 5); check.read(3, 5);", "sbfp::WHOLE_LOOP"),  # the same iteration
        ("check.write(3, 5); check.read(7, 5);", "4"),  # far enough apart
    ],
)
def test_a_claim_that_holds_passes(accesses, distance, tmp_path):
    result = run(tmp_path, accesses, distance)
    assert (result.returncode, result.stderr) == (0, "")


def test_synthesis_is_left_nothing(tmp_path):
    """The version for synthesis accepts the same calls and has neither state nor code."""
    violation = 'check.write(3, 5); check.read(9, 5); static_assert(sizeof(check) == 1, "state");'
    assert run(tmp_path, violation, include="synth").returncode == 0


def test_every_false_dependence_is_checked():
    """Each DEPENDENCE pragma that denies a dependence has a check of its array in the same file."""
    claims = accesses = 0
    for path in [*HLS.glob("*.hpp"), *HLS.glob("*.cpp")]:
        text = path.read_text()
        for variable in re.findall(r"#pragma HLS DEPENDENCE variable=(\w+).*\bfalse\b", text):
            claims += 1
            found = re.search(rf'DependenceCheck<\w+> (\w+)\("{variable}",', text)
            assert found, f"{path.name}: {variable}"
            # every access of the array is reported to the check just before, with its own index; of an array of
            # several words an element, before the unrolled loop over them
            lines = [x for x in text.split("\n") if "#pragma HLS UNROLL" not in x and "for (int p = 0;" not in x]
            for before, line in zip(lines, lines[1:]):
                for access in re.finditer(rf"\b{variable}\[(.+?)\](?:\[p\])?( =(?!=))?", line):
                    if "#pragma" in line or re.search(rf"\w+ {variable}\[", line):
                        continue
                    what = "write" if access.group(2) else "read"
                    assert f"{found.group(1)}.{what}(n, {access.group(1)});" in before, f"{path.name}: {line}"
                    accesses += 1
    assert claims > 0 and accesses >= 2 * claims


def test_an_engine_that_breaks_its_claim_stops(tmp_path, monkeypatch):
    """A convolution whose blocks all share one partial sum: the engine's own check must see it."""
    hls = tmp_path / "hls"
    shutil.copytree(HLS, hls)
    source = (hls / "conv.hpp").read_text()
    broken = source.replace("walk.block]", "0]").replace("(n, walk.block)", "(n, 0)")
    assert broken != source
    (hls / "conv.hpp").write_text(broken)
    monkeypatch.setattr("codegen.simulation.csim.HLS", hls)
    seeds = range(4)
    artifacts = [random_artifact(seed, 4) for seed in seeds]
    program, identity = generate(artifacts, engine_options(artifacts, ENGINES[1]), ENGINES[1].board, tmp_path)
    assert any(x.fields.passes.chunks > 1 for x in program.layers)
    bench, _ = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    write_golden(tmp_path / "golden.bin", program, identity, [random_input(a, 0) for a in artifacts])
    with pytest.raises(BfpError, match="partial: iteration .* closer than the claim"):
        run_testbench(bench, tmp_path / "deploy" / "weights.bin", tmp_path / "golden.bin", tmp_path / "result.json")
