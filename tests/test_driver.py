"""The driver on the simulated board, with the real pynq and a hand-written engine."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import toy_board as toy
from support.boards import BOARD
from support.random_graphs import random_artifact
from support.random_inputs import random_input
from support.driven import board, deploy, library, random_mantissas

from bfp.artifact import NetworkOutput
from bfp.errors import BfpError
from bfp.format import dequantise, quantise
from bfp.golden import run
from codegen.simulation.csim import compile_engine
from codegen.generate import generate
from codegen.options import EngineOptions
from host import hwh
from host.__main__ import main
from host.driver import Accelerator
from host.image import fit_image, normalise
from host.simulated_board import DDR_HIGH, SimulatedBoard

ROOT = Path(__file__).resolve().parent.parent


def real_values(mantissas):
    return mantissas * np.array([2.0**-4, 2.0**-3, 2.0**-3]).reshape(3, 1, 1)


def test_run_returns_dequantised_outputs(board, deploy):
    with Accelerator(deploy, device=board) as accelerator:
        for seed in range(3):
            x = random_mantissas(seed)
            expected = (real_values(2 * x + toy.weight_values()).reshape(-1) + 0.5) * 0.75
            np.testing.assert_array_equal(accelerator.run_mantissas(x), expected)
            np.testing.assert_array_equal(accelerator.run(real_values(x).astype(np.float32)), expected)


def test_images_of_every_kind_are_the_same_image(board, deploy, tmp_path):
    """A path, a picture, pixels, and the normalised floats of it; of any size but the last."""
    pixels = np.random.default_rng(1).integers(0, 256, (toy.HEIGHT, toy.WIDTH, 3), dtype=np.uint8)
    large = np.random.default_rng(2).integers(0, 256, (29, 31, 3), dtype=np.uint8)
    with Accelerator(deploy, device=board) as accelerator:
        pre = accelerator.deployment.input.preprocessing
        for picture in (pixels, large):
            Image.fromarray(picture).save(tmp_path / "a.png")
            fitted = fit_image(Image.fromarray(picture), pre)
            want = accelerator.run(normalise(fitted[None], pre)[0])
            mantissas = quantise(normalise(fitted[None], pre)[0], accelerator.deployment.tensor("input").format)
            np.testing.assert_array_equal(accelerator.run_mantissas(mantissas), want)
            for image in (str(tmp_path / "a.png"), tmp_path / "a.png", Image.open(tmp_path / "a.png"), picture, fitted):
                np.testing.assert_array_equal(accelerator.run(image), want)


def test_what_the_host_computes_comes_behind_the_run(board, tmp_path):
    """Softmax over the channels of each pixel, for one; ``run`` gives what it is computed from."""
    size = toy.CHANNELS, toy.HEIGHT, toy.WIDTH
    output = NetworkOutput("last", 0.5, 0.75, host=(f"reshape.{'.'.join(map(str, size))}", "softmax.1", "permute.0.2.3.1"))
    pixels = np.random.default_rng(5).integers(0, 256, (toy.HEIGHT, toy.WIDTH, 3), dtype=np.uint8)
    with Accelerator(toy.write(tmp_path, outputs=(output,)), device=board) as accelerator:
        logits, found = accelerator.run(pixels), accelerator.returned(pixels)
    e = np.exp(logits.reshape(size))
    np.testing.assert_allclose(found, (e / e.sum(0)).transpose(1, 2, 0), rtol=1e-12)


def test_trace_and_tensor_see_every_stored_tensor(board, deploy, library):
    x, w = random_mantissas(), toy.weight_values()
    runs = toy.counter(library)
    with Accelerator(deploy, device=board) as accelerator:
        before = runs.value
        seen = dict(accelerator.trace_mantissas(x))
        assert list(seen) == ["input", "first", "last"] and runs.value == before + 2
        for name, expected in (("input", x), ("first", x + w), ("last", 2 * x + w)):
            np.testing.assert_array_equal(seen[name], expected)
            np.testing.assert_array_equal(accelerator.tensor(name), expected)
        with pytest.raises(BfpError, match="no tensor 'middle'"):
            accelerator.tensor("middle")


# A flush or invalidation that the driver forgets must show on the simulated board.

TENSOR_BYTES = toy.PIXELS * toy.LANES  # of every tensor, and of the weights


def forget(monkeypatch, board, name, size=TENSOR_BYTES):
    """Let the board ignore one of the two for buffers of this size."""
    real = getattr(board, name)
    monkeypatch.setattr(board, name, lambda bo, offset, ptr, n: None if n == size else real(bo, offset, ptr, n))


def test_missing_flush_of_the_input_shows(board, deploy, monkeypatch):
    with Accelerator(deploy, device=board) as accelerator:
        first = accelerator.run_mantissas(random_mantissas(1))
        forget(monkeypatch, board, "flush")
        np.testing.assert_array_equal(accelerator.run_mantissas(random_mantissas(2)), first)


def test_missing_invalidate_of_the_output_shows(board, deploy, monkeypatch):
    with Accelerator(deploy, device=board) as accelerator:
        accelerator.run_mantissas(random_mantissas(1))
        forget(monkeypatch, board, "invalidate")
        with pytest.raises(BfpError, match="did not write its result, or it cannot be seen"):
            accelerator.run_mantissas(random_mantissas(2))


def test_missing_flush_of_the_weights_shows(board, deploy, monkeypatch):
    with monkeypatch.context() as patched:
        forget(patched, board, "flush")
        accelerator = Accelerator(deploy, device=board)
    with accelerator:
        x = random_mantissas()
        assert (accelerator.run_mantissas(x) != real_values(2 * x + toy.weight_values()).reshape(-1)).any()


def test_flush_and_invalidate_copy_only_their_own_slice(board):
    buffer = board.allocate((4, 16), np.uint8)
    memory = board._memories[buffer.device_address].data
    buffer[:] = 7
    buffer[1:2].flush()
    assert (memory[16:32] == 7).all() and (memory[:16] != 7).all() and (memory[32:] != 7).all()
    memory[:] = 9
    buffer[3:].invalidate()
    assert (buffer[3] == 9).all() and (buffer[:3] == 7).all()
    buffer.freebuffer()
    assert not board._memories


# Identity


def test_wrong_identity_is_refused_before_anything_runs_or_is_allocated(tmp_path, deploy, monkeypatch):
    other = toy.compile_engine(tmp_path, "other", identity=0xFEED)
    board = SimulatedBoard(other, deploy)
    allocated = []
    monkeypatch.setattr(board, "allocate", lambda *a, **k: allocated.append(a))
    with pytest.raises(BfpError) as error:
        Accelerator(deploy, device=board)
    assert "000000000000feed" in str(error.value) and "0123456789abcdef" in str(error.value)
    assert not allocated and toy.counter(other).value == 0


@pytest.mark.parametrize("bit", [0, 31, 32, 63])
def test_identity_is_compared_in_all_64_bits(board, tmp_path, library, bit):
    deploy = toy.write(tmp_path / "flipped", identity=f"{toy.IDENTITY ^ 1 << bit:016x}")
    with pytest.raises(BfpError, match="was generated for"):
        Accelerator(deploy, device=SimulatedBoard(library, deploy))


# Registers and addresses


def test_addresses_above_4_gib_go_into_both_halves(board, deploy):
    with Accelerator(deploy, device=board) as accelerator:
        addresses = {name: board._registers[f"{name}_2"] << 32 | board._registers[f"{name}_1"] for name in hwh.POINTERS}
        assert addresses["weights"] == accelerator._opened.weights.device_address >= DDR_HIGH > 2**32
        assert {addresses[n] for n in hwh.POINTERS[1:]} == {accelerator._arena.device_address}


def test_an_address_outside_every_buffer_is_an_error(board, deploy):
    with Accelerator(deploy, device=board) as accelerator:
        for offset, message in ((-4096, "hang the bus"), (16, "hang the bus"), (1 << 32, "hang the bus")):
            address = accelerator._arena.device_address + offset
            right = dict.fromkeys(hwh.POINTERS, accelerator._arena.device_address)
            accelerator._board.point({**right, "fmap_in": address})
            with pytest.raises(BfpError, match=f"fmap_in at {address:#x}.*{message}"):
                accelerator.run_mantissas(random_mantissas())


def test_a_weight_buffer_that_is_too_small_is_an_error(board, deploy):
    with Accelerator(deploy, device=board) as accelerator:
        small = board.allocate((toy.PIXELS - 1, toy.LANES), np.uint8)
        addresses = dict.fromkeys(hwh.POINTERS, accelerator._arena.device_address)
        accelerator._board.point({**addresses, "weights": small.device_address})
        with pytest.raises(BfpError, match="weights at .* not inside one allocated buffer"):
            accelerator.run_mantissas(random_mantissas())


def test_register_access_outside_the_address_map_is_an_error(board):
    with pytest.raises(BfpError, match="0x1000 would hang the bus"):
        board.read_registers(0x1000, 4)


def test_registers_lie_where_vitis_hls_puts_them():
    offsets = {name: offset for name, offset, _, _ in hwh.registers()}
    assert offsets["CTRL"] == 0x00 and offsets["IP_ISR"] == 0x0C
    assert (offsets["weights_1"], offsets["weights_2"], offsets["fmap_in_1"]) == (0x10, 0x14, 0x1C)
    assert (offsets["fmap_out_2"], offsets["layer_begin"], offsets["layer_end"]) == (0x38, 0x40, 0x48)
    assert (offsets["identity_low"], offsets["identity_low_ctrl"], offsets["identity_high"]) == (0x50, 0x54, 0x60)
    assert (offsets["progress"], offsets["progress_ctrl"]) == (0x70, 0x74)


def test_pynq_reads_the_handoff(board, deploy):
    with Accelerator(deploy, device=board) as accelerator:
        overlay = accelerator._board._overlay
        ip = overlay.ip_dict["sbfp_engine_0"]
        assert ip["type"] == hwh.VLNV and ip["phys_addr"] == hwh.BASE_ADDRESS and ip["addr_range"] == hwh.ADDRESS_RANGE
        assert ip["registers"]["CTRL"]["fields"]["AP_DONE"]["bit_offset"] == 1
        clocks = overlay.clock_dict
        assert clocks[0]["frequency"] == BOARD.clock_mhz and [c["enable"] for c in clocks.values()] == [1, 0, 0, 0]


def test_the_simulated_board_runs_at_the_clock_of_the_deployment(library, tmp_path):
    deploy = toy.write(tmp_path / "faster", clock_mhz=300)
    with Accelerator(deploy, device=SimulatedBoard(library, deploy)) as accelerator:
        assert accelerator._board._overlay.clock_dict[0]["frequency"] == 300.0


# The engine that code generation writes


@pytest.mark.parametrize("seed", [0, 1, 4])  # the output of the last is a concatenation
def test_generated_engine_equals_the_golden_model_in_every_tensor(tmp_path, seed):
    artifact = random_artifact(seed, lanes=16)
    generate([artifact], EngineOptions(), BOARD, tmp_path)
    _, library = compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=("-O1",))
    x = random_input(artifact, seed)
    golden = run(artifact, x)
    with Accelerator(tmp_path / "deploy", device=SimulatedBoard(library, tmp_path / "deploy")) as accelerator:
        seen = dict(accelerator.trace_mantissas(x[0]))
        stored = {t.name for t in accelerator.deployment.tensors}
        assert set(seen) == stored >= {artifact.graph.input, artifact.graph.output}
        for name, mantissas in seen.items():
            np.testing.assert_array_equal(mantissas, golden[name][0], err_msg=name)
        logits = accelerator.run_mantissas(x[0])
        output = artifact.graph.output
        np.testing.assert_array_equal(logits, dequantise(golden[output][0], artifact.formats[output]).reshape(-1))


# Command line


def test_command_line_prints_the_top_classes(library, deploy, tmp_path, capsys):
    pixels = np.random.default_rng(3).integers(0, 256, (toy.HEIGHT, toy.WIDTH, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photograph.png")
    arguments = ["classify", str(deploy), str(tmp_path / "photograph.png"), "--simulate", str(library), "--top", "4"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    x = (pixels.astype(np.float64).transpose(2, 0, 1) - 128) / 64
    exponents = np.array([-4, -3, -3]).reshape(3, 1, 1)
    mantissas = np.clip(np.floor(x * 2.0**-exponents + 0.5), -127, 127)
    logits = real_values(2 * mantissas + toy.weight_values()).reshape(-1) * 0.75  # the toy's output scale
    best = np.argsort(-logits, kind="stable")[:4]
    probability = np.exp(logits) / np.exp(logits).sum()
    assert lines == [str(tmp_path / "photograph.png")] + [f"  {100 * probability[i]:6.2f} %  name {i}" for i in best]


def test_command_line_reports_bad_input_in_one_line(library, deploy, tmp_path, capsys):
    for image in ("missing.png", "text.png"):
        (tmp_path / "text.png").write_text("no image")
        assert main(["classify", str(deploy), str(tmp_path / image), "--simulate", str(library)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and image in error


# The board's Python is 3.10, with NumPy, Pillow and PYNQ


@pytest.mark.parametrize("path", sorted([*ROOT.glob("host/**/*.py"), *ROOT.glob("bfp/**/*.py")]), ids=str)
def test_board_code_is_python_3_10_and_imports_only_what_the_board_has(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
    newer = {"tomllib"}
    allowed = (sys.stdlib_module_names - newer) | {"numpy", "PIL", "pynq", "pynqmetadata", "host", "bfp"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names = [node.module]
        else:
            continue
        for name in names:
            assert name.split(".")[0] in allowed, f"{path}:{node.lineno} imports {name}"


def test_the_marker_says_what_it_is(board):
    assert b"NOT A BITSTREAM" in board.bitfile.read_bytes()
    assert board.bitfile.name == board._deployment.bitfile == "toy.bit"
