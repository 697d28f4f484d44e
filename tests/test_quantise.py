"""From float network to artifact: formats, limits, proofs."""

import time

import numpy as np
import pytest
import torch
from support.small_modules import Fn, random_module
from torch import nn
from support.quantised import quantised, noise_db

from bfp import BfpError, golden
from bfp import artifact as artifacts
from bfp import artifact_file
from bfp.artifact import Preprocessing
from bfp.format import dequantise
from bfp.parameters import accumulator_bound
from calib.network import float_model
from calib.options import BfpOptions, Override
from calib.network.fake_quant import check
from calib.formats.activations import input_exponent
from calib.frontend.importer import import_module
from calib.formats.plan import cut

SIGNED_INPUT = ((127.0,), (128.0,))


def node_of(artifact, op):
    return next(n for n in artifact.graph.nodes if n.op == op)


def test_cut():
    assert cut((0, 10), 0) == (0, 10)
    assert cut((0, 10, 17), 4) == (0, 4, 8, 10, 14, 17)
    assert cut((0, 8), 8) == cut((0, 8), 100) == (0, 8)


def test_input_exponent_resolves_pixels():
    pre = Preprocessing((1, 1), *SIGNED_INPUT)
    assert input_exponent(pre, range(1), 8, True) == -7  # every code but 255 is exact
    assert input_exponent(Preprocessing((1, 1), (0.0,), (1.0,)), range(1), 8, False) == 0  # all are


def test_small_network_is_close_to_float():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 20, 3), nn.ReLU(), nn.Conv2d(20, 10, 3), nn.Flatten(), nn.Linear(10 * 16, 5))
    artifact, network, images = quantised(module, (3, 8, 8))
    assert noise_db(artifact, network, images) > 30
    assert all(d.ok for d in check(artifact, golden.quantise_input(artifact, images.numpy())))


def test_nothing_saturates_by_max_on_the_calibration_images():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    artifact, network, images = quantised(module, (3, 8, 8), BfpOptions(activation_group=4, weight_group=4))
    values = float_model.run(network, images)
    for node in artifact.graph.nodes:
        fmt = artifact.formats[node.output]
        magnitude = values[node.output].abs().amax(dim=(0, 2, 3)).double().numpy()
        by_block = np.maximum.reduceat(magnitude, fmt.splits[:-1])
        top = fmt.high * np.exp2(np.asarray(fmt.exponents, float))
        assert np.all(by_block < top * (1 + 0.5 / fmt.high)) and np.all(by_block > top / 2 - top / fmt.high)


def test_unsigned_only_where_proven():
    a, b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
    pool = nn.MaxPool2d(3, 1, 1)
    module = Fn(lambda m, x: torch.cat([m[2](torch.relu(m[0](x))), torch.relu(m[1](x))], 1), a, b, pool)
    for unsigned in (True, False):
        artifact, _, _ = quantised(module, (3, 6, 6), BfpOptions(unsigned=unsigned))
        concat = node_of(artifact, "concat")
        assert artifact.formats[concat.output].signed is not unsigned
        assert artifact.formats["input"].signed
    artifact, _, _ = quantised(module, (3, 6, 6), mean=0.0, std=255.0)
    assert not artifact.formats["input"].signed
    negative = Fn(lambda m, x: torch.cat([m[0](x), torch.relu(m[1](x))], 1), a, b)
    artifact, _, _ = quantised(negative, (3, 6, 6))
    assert {f.signed for t, f in artifact.formats.items()} == {True}


def test_pools_and_copies_keep_their_sources_format():
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.MaxPool2d(2), nn.ZeroPad2d(1), nn.ReLU())
    artifact, _, _ = quantised(module, (3, 9, 9), BfpOptions(activation_group=3))
    pool = node_of(artifact, "max_pool")
    assert artifact.formats[pool.main] == artifact.formats[pool.output]


def test_tied_tensors_take_the_widest_width_and_say_so():
    a, b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
    module = Fn(lambda m, x: torch.cat([m[0](x), m[1](x)], 1), a, b)
    names = [n.name for n in import_module(module, (3, 6, 6), "toy").graph.nodes]
    options = BfpOptions(overrides=(Override(names[0], activations=5), Override(names[1], activations=6)))
    artifact, _, _ = quantised(module, (3, 6, 6), options)
    concat = node_of(artifact, "concat")
    assert artifact.formats[concat.output].bits == 6
    assert "must share one width: asked for [5, 6], used 6" in artifact.provenance["notes"][0]


def test_overrides():
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.MaxPool2d(2))
    names = [n.name for n in import_module(module, (3, 6, 6), "toy").graph.nodes]
    options = BfpOptions(overrides=(Override("*", weights=4), Override(names[1], activations=5, weight_group=2)))
    artifact, _, _ = quantised(module, (3, 6, 6), options)
    first, second = artifact.parameters[names[0]].weights, artifact.parameters[names[1]].weights
    assert first.bits == second.bits == 4 and np.abs(second.mantissas).max() == 7
    assert first.splits == (0, 3) and second.splits == (0, 2, 4, 6, 8)
    assert artifact.formats[artifact.graph.nodes[1].output].bits == 5
    for override, message in (
        (Override("nothing*", weights=4), "override of layers 'nothing\\*' matches none of its 3 layers"),
        (Override(names[2], weights=4), "sets weights, but .* \\(max_pool\\) has none"),
    ):
        with pytest.raises(BfpError, match=message):
            quantised(module, (3, 6, 6), BfpOptions(overrides=(override,)))


@pytest.mark.parametrize("spread", [0, 3, 7, 15])
def test_alignment_spread_is_limited_and_its_cost_recorded(spread):
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 6, 1)
    with torch.no_grad():
        conv.weight *= torch.exp2(-torch.arange(32.0) // 8 * 6)[None, :, None, None]  # blocks 6 bits apart
        conv.weight[1, 8:16] = 0
        conv.weight[2] = 0
    artifact, network, images = quantised(conv, (32, 4, 4), BfpOptions(weight_group=8, max_spread=spread))
    p = artifact.parameters[artifact.graph.nodes[0].name]
    assert p.align_shift.min() == 0 and p.align_shift.max() <= spread
    recorded = artifact.provenance["adjustments"]["weights"][artifact.graph.nodes[0].name]
    # the random maxima of the blocks move their natural exponents by a bit or so
    assert 17 - spread <= recorded["bits"] <= 20 - spread and recorded["blocks"] > 0
    reference, _, _ = quantised(conv, (32, 4, 4), BfpOptions(weight_group=8, max_spread=15))
    # the fine blocks weigh little
    assert noise_db(artifact, network, images) > noise_db(reference, network, images) - 1


@pytest.mark.parametrize("groups", [1, 8])
def test_dead_channels_and_empty_filters(groups):
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=groups)
    with torch.no_grad():
        first.weight[2:5] = 0
        first.bias[2:5] = -1
        second.weight[3] = 0
    module = nn.Sequential(first, nn.ReLU(), second)
    artifact, network, images = quantised(module, (3, 8, 8), BfpOptions(activation_group=1, weight_group=2))
    assert noise_db(artifact, network, images) > 30
    exponents = artifact.formats[artifact.graph.nodes[0].output].exponents
    assert max(exponents) - min(exponents) <= 7


def test_a_dead_block_does_not_coarsen_the_live_ones():
    """ReLU6 of a map of thousands whose first channel is negative throughout: the others need their six."""
    conv = nn.Conv2d(2, 2, 1)
    with torch.no_grad():
        conv.weight[:] = 1e4 * torch.eye(2)[:, :, None, None]
        conv.bias[:] = torch.tensor([-3e4, 0.0])
    module = Fn(lambda m, x: torch.cat([m[0](x), nn.functional.relu6(m[0](x))], 1), conv)
    artifact, network, images = quantised(module, (2, 6, 6), BfpOptions(activation_group=1))
    clamped = [n for n in artifact.graph.nodes if n.activation == "relu6"]
    exponents = artifact.formats[clamped[0].output].exponents
    assert max(exponents) <= -4  # 6.0 in 7 bits


@pytest.mark.parametrize("gain", [100.0, 1000.0, 4000.0])
def test_six_is_exact_even_on_a_coarse_accumulator(gain):
    """At the operands' own exponents six would round to 0, 8 or 16."""
    conv = nn.Conv2d(2, 2, 1)
    with torch.no_grad():
        conv.weight[:] = gain * torch.eye(2)[:, :, None, None]
        conv.bias[:] = 0
    artifact, network, images = quantised(nn.Sequential(conv, nn.ReLU6()), (2, 6, 6), std=1.0)
    assert noise_db(artifact, network, images) > 25
    assert all(d.worst == 0 for d in check(artifact, golden.quantise_input(artifact, images.numpy())))


def test_blocks_held_together_by_the_spread_are_recorded():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        conv.weight *= torch.tensor([1.0, 1.0, 2.0**-12, 1.0])[:, None, None, None]
        conv.bias *= torch.tensor([1.0, 1.0, 2.0**-12, 1.0])
    artifact, _, _ = quantised(conv, (3, 6, 6), BfpOptions(activation_group=1, max_spread=4))
    recorded = artifact.provenance["adjustments"]["activations"][artifact.graph.output]
    assert recorded["blocks"] == 1 and 6 <= recorded["bits"] <= 9


def test_a_network_that_is_zero_everywhere():
    conv = nn.Conv2d(3, 4, 3)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    artifact, _, images = quantised(nn.Sequential(conv, nn.ReLU(), nn.AvgPool2d(2)), (3, 8, 8))
    assert not golden.logits(artifact, golden.quantise_input(artifact, images.numpy())).any()


def test_accumulators_that_would_overflow_are_made_coarser_until_proved():
    """A bias that needs more than 32 bits at the weights' natural exponent, and 120,000 equal products."""
    conv = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        conv.weight[:] = torch.tensor([1e-6, 1.0]).reshape(2, 1, 1, 1)
        conv.bias[:] = torch.tensor([100.0, 0.0])
    artifact, network, images = quantised(conv, (1, 6, 6), BfpOptions(unsigned=False))
    name = artifact.graph.nodes[0].name
    assert artifact.provenance["adjustments"]["weights"][name]["filters_for_accumulator"] == 1
    assert noise_db(artifact, network, images) > 30
    wide = nn.Conv2d(120_000, 1, 1)
    nn.init.constant_(wide.weight, 127.0)
    x = torch.full((2, 120_000, 1, 1), 1.0)
    artifact, _, _ = quantised(wide, (120_000, 1, 1), BfpOptions(weight_group=0), mean=0.0, std=255.0, images=x)
    node = artifact.graph.nodes[0]
    p, fmt = artifact.parameters[node.name], artifact.formats
    assert 2**30 <= accumulator_bound(node, p, fmt[node.main], None, artifact.graph.shapes[node.main][1:]).max() < 2**31
    assert p.weights.mantissas.max() == 64  # one bit less than its width


def test_accumulators_that_no_exponent_mends_are_refused_with_the_layer():
    class Cancelling(nn.Module):
        """Huge weights that cancel on every calibration image, so the output is tiny beside the sum."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 1, 1)
            with torch.no_grad():
                self.conv.weight[:] = torch.tensor([2.0**40, -(2.0**40)]).reshape(1, 2, 1, 1)
                self.conv.bias[:] = 2.0**-20

        def forward(self, x):
            return self.conv(x) + x[:, :1]

    x = torch.rand(4, 1, 5, 5).repeat(1, 2, 1, 1)
    with pytest.raises(BfpError, match="node conv: no exponents bring all its shifts into range"):
        quantised(Cancelling(), (2, 5, 5), images=x)


def test_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        torch.manual_seed(3)
        artifact, _, _ = quantised(random_module(5), (4, 9, 8), BfpOptions(method="kl", activation_group=2))
        artifact_file.save(artifact, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = artifact_file.load(tmp_path / "a")
    assert loaded.formats == artifact.formats and loaded.provenance == artifact.provenance


def wild(module, rng):
    """Scale layers and filters by up to 2**30, empty some, blow up biases."""
    with torch.no_grad():
        for m in module.modules():
            if not isinstance(m, (nn.Conv2d, nn.BatchNorm2d)):
                continue
            shape = (len(m.weight),) + (1,) * (m.weight.ndim - 1)
            if rng.random() < 0.3:
                m.weight *= float(np.exp2(rng.integers(-30, 30)))
            if rng.random() < 0.3:
                m.weight *= torch.from_numpy(np.exp2(rng.integers(-20, 20, shape)).astype(np.float32))
            if rng.random() < 0.2:
                m.weight[0] = 0
            if rng.random() < 0.2 and m.bias is not None:
                m.bias *= 1e5


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed):
    """Any options, and scales up to absurd ones: proved, equal to the fake-quantised view, or refused by name."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    module = random_module(seed)
    if seed % 2:
        wild(module, rng)
    options = BfpOptions(
        weights=int(rng.integers(2, 9)),
        activations=int(rng.integers(2, 9)),
        weight_group=int(rng.choice([0, 1, 2, 3, 64])),
        activation_group=int(rng.choice([0, 1, 2, 3])),
        method=str(rng.choice(["max", "kl"])),
        unsigned=bool(rng.random() < 0.7),
        max_spread=int(rng.integers(0, 16)),
    )
    try:
        artifact, _, images = quantised(module, (4, 9, 8), options, mean=float(rng.choice([0.0, 127.0])), seed=seed)
    except BfpError as error:
        assert seed % 2 and "node " in str(error)  # only absurd ones are ever refused
        return
    artifacts.verify(artifact)
    for node in artifact.graph.nodes:
        if node.op == "conv":
            assert artifact.parameters[node.name].align_shift.max(initial=0) <= 15
    wrong = [d for d in check(artifact, golden.quantise_input(artifact, images.numpy())) if not d.ok]
    assert not wrong


def test_large_layers_take_seconds():
    torch.manual_seed(0)
    start = time.perf_counter()
    module = nn.Sequential(nn.Conv2d(256, 512, 3, bias=False), nn.ReLU(), nn.Conv2d(512, 512, 3))
    artifact, network, images = quantised(module, (256, 7, 7))
    assert noise_db(artifact, network, images) > 30
    assert time.perf_counter() - start < 20


def test_weights_are_the_nearest_mantissas():
    torch.manual_seed(0)
    conv = nn.Conv2d(20, 7, 3)
    artifact, network, _ = quantised(conv, (20, 5, 5), BfpOptions(weights=5, weight_group=8, max_spread=15))
    w = artifact.parameters[artifact.graph.nodes[0].name].weights
    lsb = np.exp2(np.repeat(w.exponents, np.diff(w.splits), axis=1).astype(float))[:, :, None, None]
    error = np.abs(w.mantissas * lsb - network.weights[artifact.graph.nodes[0].name].weight)
    assert np.all(error <= lsb / 2) and 7 < np.abs(w.mantissas).max() <= 15


def test_output_is_dequantised_like_the_formats_say():
    torch.manual_seed(0)
    artifact, _, images = quantised(nn.Conv2d(3, 4, 8), (3, 8, 8), BfpOptions(activation_group=2))
    q = golden.quantise_input(artifact, images.numpy())
    out = golden.run(artifact, q)[artifact.graph.output]
    expected = dequantise(out, artifact.formats[artifact.graph.output]).reshape(4, 4)
    assert np.array_equal(golden.logits(artifact, q), expected)
