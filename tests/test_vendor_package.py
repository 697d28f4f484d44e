"""The package for the board: what it has, when a bitstream is used again, and that no failure leaves half of one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from support.boards import BOARD
from support.vendor_tools import ROOT, bitstream, generated, needs_tclsh, package, Tools

from bfp import files
from bfp.deployment import check_file, check_files, read_deployment
from bfp.errors import BfpError
from bfp.package import KEEPS_BITSTREAM, NEEDS_BITSTREAM, describe
from codegen.vendor import build as vendor
from codegen.vendor import implement
from codegen.vendor import package as packing
from codegen.vendor import request
from codegen.vendor.__main__ import main
from codegen.vendor.request import FlowOptions

pytestmark = needs_tclsh


@pytest.fixture
def tools(tmp_path, monkeypatch):
    return Tools(tmp_path, monkeypatch)


@pytest.fixture
def network(tmp_path):
    return generated(tmp_path / "toy")


def test_a_minimal_package_has_neither_artifact_nor_samples(tools, network):
    tools.install("vitis_hls", "vivado")
    bitstream(network)
    assert not vendor.is_current("bitstream", network, BOARD, FlowOptions(minimal=True))
    bitstream(network, minimal=True)
    assert set(package(network)) == {"manifest.json", "weights.bin", "toy.bit", "toy.hwh"}
    assert read_deployment(network / "deploy").minimal
    assert vendor.is_current("bitstream", network, BOARD, FlowOptions(minimal=True))
    assert not vendor.is_current("bitstream", network, BOARD, FlowOptions())
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]  # packing alone was done again
    bitstream(network)
    assert len(package(network)) == 6 and len(tools.calls) == 2 and not read_deployment(network / "deploy").minimal


def without_tools(tools, network):
    """Neither a program nor anything that one left is there any more."""
    for program in tools.folder.iterdir():
        program.unlink()
    shutil.rmtree(network / "vendor")
    (network / "vendor.json").unlink()


@pytest.mark.parametrize("bare", [False, True])
def test_new_weights_of_the_same_kernel_take_the_bitstream_that_is_there(tools, network, bare, capsys):
    """Another artifact, class names, preprocessing: hours of work are kept, whether or not the tools are still there."""
    tools.install("vitis_hls", "vivado")
    tools.tell(slacks_impl_1="-9 0.01", slacks_impl_2="-0.2 0.01")  # a handoff of its own, with a lower clock
    made = bitstream(network)
    before, older = package(network), read_deployment(network / "deploy")
    if bare:
        without_tools(tools, network)
    names = tuple(f"other {i}" for i in range(18))
    generated(network, seed=1, outputs=(replace(older.output, classes=names),))
    between = package(network)
    assert set(between) == {"manifest.json", "weights.bin", "toy.bit", "toy.hwh"}  # of the older artifact, nothing stays
    assert read_deployment(network / "deploy").implementation == made
    assert not vendor.is_current("bitstream", network, BOARD, FlowOptions())
    capsys.readouterr()
    assert bitstream(network) == made
    said = capsys.readouterr().out
    assert f"toy.bit is of this kernel, {older.identity}, and is used again" in said and "nothing was synthesised" in said
    after, newer = package(network), read_deployment(network / "deploy")
    assert set(after) == set(before) and newer.output.classes == names and newer.implementation == made
    assert {name for name in after if after[name] == before[name]} == {"weights.bin", "toy.bit", "toy.hwh"}
    assert newer.artifact_digest != older.artifact_digest and after["artifact.npz"] == (network / "artifact.npz").read_bytes()
    check_files(newer, network / "deploy")
    assert vendor.is_current("bitstream", network, BOARD, FlowOptions())
    assert vendor.is_current("csynth", network, BOARD, FlowOptions()) is not bare
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"] and "warning" not in said


def test_the_command_needs_nothing_but_the_package(tools, network, capsys):
    tools.install("vitis_hls", "vivado")
    bitstream(network)
    without_tools(tools, network)
    generated(network, seed=1)
    capsys.readouterr()
    assert main(["bitstream", str(network)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and "is used again" in said[0] and said[1] == "toy: bitstream done"
    check_files(read_deployment(network / "deploy"), network / "deploy")


def test_a_bitstream_of_other_scripts_is_used_again_with_a_warning(tools, network, monkeypatch, tmp_path, capsys):
    tools.install("vitis_hls", "vivado")
    assert bitstream(network).scripts == request.scripts_digest()
    shutil.copytree(request.HLS, tmp_path / "hls")
    monkeypatch.setattr(request, "HLS", tmp_path / "hls")
    script = tmp_path / "hls" / "tcl" / "vivado.tcl"
    for text, warned in (("\n# a comment\n", False), ("\nputs more\n", True)):
        script.write_text(script.read_text() + text)
        generated(network, seed=int(warned) + 1)
        bitstream(network)
        assert ("warning: toy.bit was made by other scripts than those of now" in capsys.readouterr().out) is warned
    assert len(tools.calls) == 2


def test_another_bitstream_is_built_where_it_is_asked_for(tools, network):
    tools.install("vitis_hls", "vivado")
    bitstream(network)
    assert not vendor.is_current("bitstream", network, BOARD, FlowOptions(rebuild=True))
    bitstream(network, rebuild=True)
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado", "vivado"]
    tools.tell(slacks_impl_1="-0.2 0.01", slacks_impl_2="-0.1 0.01")
    assert bitstream(network, rebuild=True).note and len(tools.calls) == 4
    with pytest.raises(BfpError, match="strict=1 takes no lower clock"):
        bitstream(network, strict=True)  # what is there does not meet what is asked for
    assert bitstream(network).note and len(tools.calls) == 4


@pytest.mark.parametrize("kind", [".bit", ".hwh"])
@pytest.mark.parametrize("change", ["another", "none"])
def test_a_bitstream_that_is_not_the_manifests_is_not_used(tools, network, kind, change):
    tools.install("vitis_hls", "vivado")
    bitstream(network)
    path = network / "deploy" / f"toy{kind}"
    path.write_bytes(b"by hand") if change == "another" else path.unlink()
    assert not vendor.is_current("bitstream", network, BOARD, FlowOptions())
    generated(network)
    deployment = read_deployment(network / "deploy")
    assert deployment.implementation is None and not {"toy.bit", "toy.hwh"} & set(deployment.files)
    bitstream(network)
    assert [name for name, _, _ in tools.calls] == ["vitis_hls", "vivado"]  # what the tools left is still there
    check_files(read_deployment(network / "deploy"), network / "deploy")


@pytest.mark.parametrize(
    "changes", [{"code": "int b;"}, {"clock_mhz": 200.0}, {"board": "another"}, {"ip": "another_0"}, {"name": "tic"}]
)
def test_a_bitstream_of_another_kernel_board_or_clock_is_listed_no_more(tools, network, changes):
    tools.install("vitis_hls", "vivado")
    bitstream(network)
    generated(network, **changes)
    deployment = read_deployment(network / "deploy")
    assert deployment.implementation is None and set(deployment.files) == {"weights.bin", "artifact.npz", "samples.npz"}
    with pytest.raises(BfpError, match="toy.bit is none of its package: manifest.json does not list it; build"):
        check_file(deployment, network / "deploy", "toy.bit", "build another")


@pytest.mark.parametrize("step", ["add_files", "copy_file", "write_bytes"])
@pytest.mark.parametrize("built", [False, True])
def test_a_package_that_cannot_be_completed_stays_what_it_was(tools, network, monkeypatch, step, built):
    tools.install("vitis_hls", "vivado")
    if built:
        bitstream(network)
        generated(network, seed=1)
    before = package(network)

    def full(*_):
        raise BfpError("no room")

    monkeypatch.setattr(packing, step, full)
    with pytest.raises(BfpError, match="no room"):
        bitstream(network)
    assert package(network) == before and not vendor.is_current("bitstream", network, BOARD, FlowOptions())
    assert {path.name for path in network.iterdir() if path.name.startswith((".", "deploy"))} == {"deploy"}
    monkeypatch.undo()


def test_manifest_and_weights_are_written_both_or_neither(tools, network, monkeypatch):
    tools.install("vitis_hls", "vivado")
    bitstream(network)
    before, real = package(network), files.os.replace

    def refuses(source, target):
        if "weights.bin" in str(target):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(files.os, "replace", refuses)
    with pytest.raises(BfpError, match="weights.bin cannot be written .No space left on device."):
        generated(network, seed=1)
    assert package(network) == before
    check_files(read_deployment(network / "deploy"), network / "deploy")


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda n: (n / "artifact.npz").unlink(), "artifact.npz does not exist; run `doit calibrate` first"),
        (lambda n: (n / "samples.npz").unlink(), "samples.npz does not exist; run `doit calibrate` first"),
        (lambda n: (n / "artifact.npz").write_bytes(b"x"), "artifact.npz is damaged or truncated"),
        (lambda n: (n / "samples.npz").write_bytes(b"x"), "samples.npz is damaged or truncated"),
        (lambda n: shutil.copy(generated(n.parent / "other", seed=9) / "artifact.npz", n),
         "manifest of toy is of another artifact than its artifact.npz; run `doit codegen`"),
        (lambda n: (n / "deploy" / "weights.bin").write_bytes(b"x"), "weights.bin is not the one of its manifest"),
        (lambda n: files.write_text(n / "generated" / "tables.hpp", "int more;"),
         "the sources in .*generated or .*hls are not those of its manifest; run `doit codegen board=ultra96v2`"),
        (lambda n: (n / "generated" / "tables.hpp").unlink(), "tables.hpp does not exist; run `doit codegen`"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_never_packed(tools, network, spoil, sentence):
    tools.install("vitis_hls", "vivado")
    spoil(network)
    before = package(network)
    with pytest.raises(BfpError, match=sentence) as error:
        bitstream(network)
    assert "\n" not in str(error.value) and package(network) == before
    assert not vendor.is_current("bitstream", network, BOARD, FlowOptions())


@pytest.mark.parametrize(
    "meanwhile, sentence",
    [
        (lambda n: generated(n, "int another;"), "the sources of toy were changed while they were implemented; run the step"),
        (lambda n: generated(n, clock_mhz=200.0), "toy was generated again while it was implemented; run the step again"),
        (lambda n: shutil.copy(generated(n.parent / "other", seed=9) / "artifact.npz", n), "is of another artifact than"),
        (lambda n: generated(n, seed=9), None),  # generated again for the same kernel: what is of now is packed
    ],
)
def test_what_changes_during_hours_of_implementation_is_noticed(tools, network, monkeypatch, meanwhile, sentence):
    tools.install("vitis_hls", "vivado")
    real = implement.run
    monkeypatch.setattr(implement, "run", lambda command: (real(command), meanwhile(network)))
    if sentence is None:
        bitstream(network)
        check_files(read_deployment(network / "deploy"), network / "deploy")
        assert vendor.is_current("bitstream", network, BOARD, FlowOptions())
        return
    with pytest.raises(BfpError, match=sentence):
        bitstream(network)
    assert "toy.bit" not in package(network) and read_deployment(network / "deploy").implementation is None


@pytest.mark.parametrize("name", ["weights.bin", "toy.bit", "toy.hwh", "artifact.npz", "samples.npz"])
def test_every_file_of_a_package_is_bound_by_its_manifest(tools, network, name):
    tools.install("vitis_hls", "vivado")
    bitstream(network)
    deploy = network / "deploy"
    deployment = read_deployment(deploy)
    check_files(deployment, deploy)
    path, original = deploy / name, (deploy / name).read_bytes()
    path.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    with pytest.raises(BfpError, match=f"{name} is not the one of its manifest: their SHA-256 differ"):
        check_files(deployment, deploy)
    path.unlink()
    with pytest.raises(BfpError, match=f"{name} does not exist; copy or make the folder again"):
        check_files(deployment, deploy)


def test_the_description_says_what_there_is_and_what_needs_another_bitstream(tools, network):
    tools.install("vitis_hls", "vivado")
    deploy = network / "deploy"

    def said() -> str:
        return "\n".join(describe(read_deployment(deploy), deploy))

    assert "bitstream: there is no bitstream yet; build it with `doit build-bitstream`" in said()
    assert "lacks artifact.npz and samples.npz (`doit build-bitstream` puts them there)" in said()
    bitstream(network)
    assert "it runs at 249.998 MHz, and was made by vitis_hls 2022.2, vivado 2022.2" in said() and "lacks" not in said()
    assert "the same bitstream serves:\n  new weights and biases of the same shapes" in said()
    assert "a new one is needed for:\n  exponents that change a requantisation shift" in said()
    bitstream(network, minimal=True)
    assert "lacks artifact.npz and samples.npz (the package is minimal)" in said()
    generated(network, "int another;")
    assert "toy.bit in" in said() and "is not of this kernel" in said()
    assert json.loads((deploy / "manifest.json").read_text())["implementation"] is None


def test_the_documentation_says_the_same_of_what_needs_another_bitstream():
    text = (ROOT / "docs" / "vendor-flow.md").read_text()
    table = text.split("| the same bitstream serves | a new one is needed for |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert tuple(row[0] for row in rows) == KEEPS_BITSTREAM and tuple(row[1] for row in rows) == NEEDS_BITSTREAM
