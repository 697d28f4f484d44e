"""Weights and modules that nobody means: refused in one sentence, or taken as what they are."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch
from support.refusals import MOST, TOML, sentence
from torch import nn

from bfp import BfpError
from calib.__main__ import main
from calib.config import load_config
from calib.user_model import build_module
from calib.zoo.weights import load_weights, read_state_dict

MODULE = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
"""


@pytest.fixture(autouse=True, scope="module")
def operators_outlive_their_names():
    """Keep every operator that torch registers while these tests run.

    torch.jit knows its built-in operators by id(). torch.compile registers some and drops them at
    once, their ids stay; whatever object takes one of these ids next, a padding for instance, is then
    "a builtin that cannot be used as a value" for torch.jit.script.
    """
    kept, register = [], torch.jit._builtins._register_builtin

    def keep(function, name):
        kept.append(function)
        return register(function, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.jit._builtins, "_register_builtin", keep)
        yield
    # On purpose for as long as the process lives: the ids stay as long.
    torch.jit._builtins.kept_for_tests = kept


@pytest.fixture
def network(tmp_path):
    (tmp_path / "hostile_network.py").write_text(MODULE)
    (tmp_path / "net.toml").write_text(TOML)
    yield tmp_path
    sys.modules.pop("hostile_network", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


# -- weights ------------------------------------------------------------------------


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))


def test_weights_whose_bits_flipped(tmp_path):
    """The archive that torch writes has check sums: whatever flips is found, or flipped nothing."""
    whole, rng = io.BytesIO(), np.random.default_rng(0)
    torch.save(module().state_dict(), whole)
    whole, path, refused = whole.getvalue(), tmp_path / "x.pth", 0
    want = module().state_dict()
    for _ in range(60):
        content = bytearray(whole)
        content[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            found, _ = read_state_dict(path)
        except BfpError as error:
            rest = str(error).replace(str(tmp_path), "")
            assert len(rest) <= MOST and rest.isprintable(), rest
            refused += 1
            continue
        assert found.keys() == want.keys() and all(torch.equal(found[k], want[k]) for k in want)
    assert refused > 40


def test_a_whole_module_is_named_as_one(tmp_path):
    torch.save(module(), tmp_path / "x.pth")
    with pytest.raises(BfpError) as error:
        read_state_dict(tmp_path / "x.pth")
    said = sentence(error, tmp_path)
    assert "such as a whole module; save module.state_dict() alone" in said and "torch.nn" in said


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t.to_sparse(), "sparse"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "quantised"),
        (lambda t: t.to("meta"), "no values"),
        (lambda t: t.to(torch.int8), "integers"),
        (lambda t: t > 0, "booleans"),
        (lambda t: t.to(torch.complex64), "complex"),
    ],
    ids=range(6),
)
@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_no_floats(tmp_path, change, words):
    state = module().state_dict()
    state["0.weight"] = change(state["0.weight"])
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(BfpError) as error:
        load_weights(module(), str(tmp_path / "x.pth"))
    assert words in sentence(error, tmp_path)


def test_state_dicts_with_numbers_for_names(tmp_path):
    torch.save(dict(enumerate(module().state_dict().values())), tmp_path / "x.pth")
    with pytest.raises(BfpError, match="does not hold a state dict"):
        read_state_dict(tmp_path / "x.pth")


# -- modules ------------------------------------------------------------------------


def calibrated(network) -> int:
    return main(["calibrate", str(network / "net.toml"), "--out", str(network / "out")])


@pytest.mark.parametrize(
    "code, words",
    [
        ("import sys\ndef make():\n    sys.exit()\n", "ends the program (exit status None)"),
        ("raise SystemExit(0)\n", "ends the program (exit status 0)"),
        ("import argparse\nargparse.ArgumentParser().parse_args()\ndef make(): pass\n", "ends the program (exit status 2)"),
        ("def make():\n    raise RuntimeError('a\\x1b[31m' + 'b' * 9000 + '\\nc')\n", "cannot be built (RuntimeError: a"),
        ("from torch import nn\ndef make():\n    return nn.Conv2d(3, 4, 3, device='meta')\n", "tensors without values"),
        ("def make():\n    return 3\n", "returns int"),
        (
            MODULE + "\n\nclass Leaving(nn.Module):\n    def forward(self, x):\n        raise SystemExit(0)\n\n\nmake = Leaving\n",
            "ends the program (exit status 0)",
        ),
    ],
    ids=range(7),
)
def test_modules(network, capsys, monkeypatch, code, words):
    # what a module that parses the command line sees
    monkeypatch.setattr(sys, "argv", ["calib", "calibrate", "net.toml"])
    (network / "hostile_network.py").write_text(code)
    assert calibrated(network) == 2 and not (network / "out").exists()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and words in last and len(last.replace(str(network), "")) <= MOST, last


def test_a_module_that_is_named_like_one_of_pythons(network, capsys):
    (network / "types.py").write_text(MODULE)
    (network / "net.toml").write_text(TOML.replace("hostile_network", "types"))
    assert calibrated(network) == 2
    assert "types is the name of another module, too, which Python takes first" in capsys.readouterr().err


def test_modules_of_one_name_beside_two_files(network, tmp_path):
    """Each file has its own, whichever was read before; what lies beside them counts as well."""
    for folder, channels in ((tmp_path / "one", 4), (tmp_path / "other", 6)):
        folder.mkdir()
        (folder / "beside.py").write_text(f"CHANNELS = {channels}\n")
        (folder / "same_name.py").write_text(
            "from beside import CHANNELS\nfrom torch import nn\n\n\ndef make():\n    return nn.Conv2d(1, CHANNELS, 3)\n"
        )
        (folder / "net.toml").write_text(TOML.replace("hostile_network", "same_name"))
    for name, channels in (("one", 4), ("other", 6), ("one", 4)):
        assert build_module(load_config(tmp_path / name / "net.toml")).out_channels == channels


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrapper", ["nn.DataParallel", "torch.compile", "torch.jit.script"])
@pytest.mark.parametrize("inside", [True, False])
def test_wrapped_modules_take_either_sides_weights(network, wrapper, inside):
    code = MODULE.replace("return nn", f"return {wrapper}(nn").rstrip() + ")\n"
    (network / "hostile_network.py").write_text(code)
    state = module().state_dict()
    want = {k: v + 1 for k, v in state.items()}
    torch.save(want if inside else {f"module.{k}": v for k, v in want.items()}, network / "x.pth")
    (network / "net.toml").write_text('weights = "x.pth"\n' + TOML)
    config = load_config(network / "net.toml")
    made = build_module(config)
    load_weights(made, config.weights)
    assert all(torch.equal(made.state_dict()[k], want[k]) for k in want)
    assert calibrated(network) == 0


@pytest.mark.parametrize("kind", ["float64", "bfloat16", "float16"])
def test_random_weights_of_any_precision(network, kind):
    code = MODULE.replace("nn.ReLU()", "nn.BatchNorm2d(8), nn.ReLU()").replace("Linear(288, 3))", f"Linear(288, 3)).to(torch.{kind})")
    (network / "hostile_network.py").write_text(code)
    (network / "net.toml").write_text('weights = "random"\n' + TOML)
    assert calibrated(network) == 0


@pytest.mark.parametrize("factor", [1e-36, 1e-42, 0.0])
@pytest.mark.parametrize("method", ["auto", "max"])
def test_channels_that_weight_decay_has_left_for_dead(network, factor, method):
    code = MODULE.replace("    return nn", "    m = nn").rstrip() + f"\n    m[0].weight.data[:4] *= {factor}\n    m[0].bias.data[:4] = 0\n    return m\n"
    (network / "hostile_network.py").write_text(code)
    (network / "net.toml").write_text(TOML.replace('"max"', f'"{method}"'))
    assert calibrated(network) == 0
    with np.load(network / "out" / "artifact.npz") as arrays:
        assert len(arrays.files) > 2
