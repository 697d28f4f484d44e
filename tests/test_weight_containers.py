"""Weights inside what training frameworks save around them: containers, prefixes, numbers of NumPy."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import nn

from bfp.errors import BfpError
from calib.zoo.weights import load_weights


def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


class Payload:
    def __reduce__(self):
        return os.system, ("exit 1",)


CONTAINERS = {
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]}},
    "model_state_dict": lambda s: {"model_state_dict": s, "loss": 0.5},
    "net": lambda s: {"net": s, "acc": np.float64(91.2), "best": np.float32(0.5), "count": np.int64(3), "good": np.bool_(True)},
    "ema": lambda s: {"ema": {"state_dict": s}, "args": {"lr": 1}},
    "DataParallel": lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
    "Lightning": lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "pytorch-lightning_version": "2.0"},
    "Lightning with a loss": lambda s: {"state_dict": {**{f"model.{k}": v for k, v in s.items()}, "loss.weight": torch.ones(4)}},
    "averaged": lambda s: {**{f"module.{k}": v for k, v in s.items()}, "n_averaged": torch.tensor(3)},
    "compiled": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    "compiled in parallel": lambda s: {"model": {f"module._orig_mod.{k}": v for k, v in s.items()}},
}


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".pth.tar", ".bin"])
@pytest.mark.parametrize("case", CONTAINERS)
def test_usual_containers_and_prefixes_are_taken_off(case, suffix, tmp_path):
    state, module, path = small().state_dict(), small(), tmp_path / f"w{suffix}"
    torch.save(CONTAINERS[case](state), path)
    notes = load_weights(module, str(path))
    assert len(notes) == 1 and str(path) in notes[0] and ("container" in notes[0] or "prefix" in notes[0])
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())


def test_a_prefix_that_the_module_has_itself_stays(tmp_path):
    inner = nn.Module()
    inner.model = small()
    torch.save(inner.state_dict(), tmp_path / "w.pth")
    other = nn.Module()
    other.model = small()
    assert load_weights(other, str(tmp_path / "w.pth")) == ()
    torch.save({"model": inner.state_dict(), "ema": small().state_dict()}, tmp_path / "both.pth")
    assert "container 'model' and prefix 'model.'" in load_weights(small(), str(tmp_path / "both.pth"))[0]
    assert load_weights(other, str(tmp_path / "both.pth")) == (f"of weights {tmp_path / 'both.pth'}, container 'model' was taken off",)


def test_containers_hide_no_code(tmp_path):
    torch.save({"model": small().state_dict(), "extra": Payload()}, tmp_path / "w.pth")
    with pytest.raises(BfpError, match="holds more than tensors"):
        load_weights(small(), str(tmp_path / "w.pth"))
    torch.save({"model": small().state_dict(), "array": np.array([Payload()], dtype=object)}, tmp_path / "w.pth")
    with pytest.raises(BfpError, match="holds more than tensors"):
        load_weights(small(), str(tmp_path / "w.pth"))


@pytest.mark.parametrize("value, name", [(np.str_("a"), "numpy.dtypes.StrDType"), (np.complex64(1), "numpy.dtypes.Complex64DType")])
def test_what_else_numpy_has_is_refused_by_name(value, name, tmp_path):
    torch.save({"model": small().state_dict(), "beside": value}, tmp_path / "w.pth")
    with pytest.raises(BfpError, match=f"holds more than tensors .{name}."):
        load_weights(small(), str(tmp_path / "w.pth"))
