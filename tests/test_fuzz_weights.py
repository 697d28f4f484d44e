"""Files of weights damaged in thousands of ways: refused in one sentence, or the very weights that were saved."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.fuzzing import bounded_memory, case, damaged
from torch import nn

from calib.frontend.importer import import_module
from calib.state import weights_digest
from calib.zoo.weights import load_weights

DTYPES = (torch.int8, torch.int64, torch.bool, torch.complex64, torch.float64, torch.float16, torch.bfloat16, torch.uint8)


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


SAVED = {k: v.clone() for k, v in module().state_dict().items()}


def blank() -> nn.Module:
    """The module, with weights that no file holds."""
    made = module()
    with torch.no_grad():
        for tensor in made.state_dict().values():
            tensor.fill_(7)
    return made


def contents() -> dict[str, bytes]:
    """What a file of each kind holds. Only zip archives hold check sums of what is in them."""
    from safetensors.torch import save

    found = {}
    for name, new in (("zip.pth", True), ("old.pth", False)):
        stream = io.BytesIO()
        torch.save(SAVED, stream, _use_new_zipfile_serialization=new)
        found[name] = stream.getvalue()
    stream = io.BytesIO()
    np.savez(stream, **{k: v.numpy() for k, v in SAVED.items()})
    return {**found, "a.npz": stream.getvalue(), "a.safetensors": save(SAVED)}


CONTENTS = contents()


def fuzz_bytes(folder, count: int, seed: int) -> None:
    rng, refused = np.random.default_rng(seed), 0
    with bounded_memory():
        for i in range(count):
            name = list(CONTENTS)[i % len(CONTENTS)]
            path, into = folder / name, blank()
            path.write_bytes(damaged(CONTENTS[name], rng))
            with case(folder) as found:
                load_weights(into, str(path))
            refused += found.refusal is not None
            state = into.state_dict()
            assert all(state[k].shape == v.shape and state[k].dtype == v.dtype for k, v in SAVED.items())
            if found.refusal is None and name in ("zip.pth", "a.npz"):
                assert all(torch.equal(state[k], v) for k, v in SAVED.items() if "num_batches" not in k), name
    assert count / 4 < refused < count


@pytest.mark.filterwarnings("ignore")
def test_damaged_files(tmp_path):
    fuzz_bytes(tmp_path, 400, 0)


def mutated(state: dict, rng: np.random.Generator) -> tuple[object, bool]:
    """What somebody might save instead, and whether it still means the same weights."""
    key = list(state)[int(rng.integers(len(state)))]
    value = state[key]
    kind = int(rng.integers(12))
    if kind == 0:
        return {(1, None, b"w", ("a",))[int(rng.integers(4))]: value, **state}, False
    if kind == 1:
        dtype = DTYPES[int(rng.integers(len(DTYPES)))]
        return {**state, key: value.to(dtype)}, False
    if kind == 2:
        return {**state, key: value.reshape(1, *value.shape)}, False
    if kind == 3:
        return {k: v for k, v in state.items() if k != key}, False
    if kind == 4:
        return {**state, key: value.to_sparse() if value.dim() else value}, False
    if kind == 5:
        return {**state, key: torch.empty(value.shape, device="meta")}, False
    if kind == 6:
        return {**state, key: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8)}, False
    if kind == 7:
        return (list(state.values()), value, 3, None, "text", {}, {"state_dict": {}})[int(rng.integers(7))], False
    if kind == 8:
        return {**state, key: (3, "text", None, [1.0])[int(rng.integers(4))]}, False
    if kind == 9:
        return {f"module.{k}": v for k, v in state.items()}, True
    if kind == 10:
        name = ("state_dict", "model", "ema", "net")[int(rng.integers(4))]
        return {name: state, "epoch": 3, "accuracy": np.float64(0.5)}, True
    return {**state, "x" * int(rng.choice([1, 300, 5000])): value}, False


def fuzz_state_dicts(folder, count: int, seed: int) -> None:
    rng, path, taken = np.random.default_rng(seed), folder / "net.pth", 0
    with bounded_memory():
        for _ in range(count):
            saved, same = mutated(dict(SAVED), rng)
            torch.save(saved, path)
            into = blank()
            with case(folder) as found:
                load_weights(into, str(path))
            assert not (same and found.refusal), found.refusal
            taken += found.refusal is None
            if found.refusal is None:  # whatever was taken: every float parameter is what the file says
                state = into.state_dict()
                inner = saved if same is False else SAVED
                for k, v in SAVED.items():
                    if "num_batches" not in k:
                        assert torch.equal(state[k], inner[k].to(v.dtype)), k
    assert count / 12 < taken < count * 11 / 12


@pytest.mark.filterwarnings("ignore")
def test_state_dicts_of_other_contents(tmp_path):
    fuzz_state_dicts(tmp_path, 300, 0)


def fuzz_digests(count: int, seed: int) -> None:
    """Any bit of any weight makes another digest, by which an artifact is told from another network's."""
    rng = np.random.default_rng(seed)
    network = import_module(module().eval(), (3, 8, 8), "toy")
    original = weights_digest(network)
    names = sorted(network.weights)
    for _ in range(count):
        name = names[int(rng.integers(len(names)))]
        w = network.weights[name]
        field = ("weight", "bias")[int(rng.integers(2))]
        changed = getattr(w, field).copy()
        changed.view(np.uint8).reshape(-1)[int(rng.integers(changed.nbytes))] ^= 1 << int(rng.integers(8))
        other = replace(network, weights={**network.weights, name: replace(w, **{field: changed})})
        assert weights_digest(other) != original
    assert weights_digest(import_module(module().eval(), (3, 8, 8), "toy")) == original


def test_digests_of_weights():
    fuzz_digests(100, 0)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_thousands_of_each(tmp_path, seed):
    fuzz_bytes(tmp_path, 3000, seed)
    fuzz_state_dicts(tmp_path, 1500, seed)
    fuzz_digests(1000, seed)
