"""The sentences about likely causes are true: each is found in a layer made to have that cause, and not without it."""

import numpy as np
import pytest
import torch
from support.small_modules import Fn
from support.quantised import pixels, quantised
from torch import nn

from bfp.artifact import Preprocessing
from calib.options import BfpOptions, Override
from calib.reconstruction.layerwise import reconstruct
from calib.evaluation.report.causes import own_cause
from calib.evaluation.report.figures import layer_figures
from calib.evaluation.report.measure import measure

SHAPE = (3, 16, 16)
IMAGES = pixels(SHAPE, Preprocessing(SHAPE[1:], (127.0,) * 3, (128.0,) * 3), 6)


def layer_of(weight, bias=0.0):
    """A convolution of 1 x 1 with weights [F, C]."""
    weight = torch.as_tensor(np.asarray(weight), dtype=torch.float32)
    result = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    with torch.no_grad():
        result.weight[:] = weight[:, :, None, None]
        result.bias[:] = torch.as_tensor(bias, dtype=torch.float32)
    return result


def figures(module, options=BfpOptions(), calibration=IMAGES, images=None, improve=None):
    """Figures by layer name. calibration: what the exponents are chosen from; images: what is measured."""
    artifact, network, _ = quantised(module, SHAPE, options, images=calibration)
    if improve is not None:
        artifact = improve(network, artifact, calibration.numpy())
    found = measure(network, artifact, (calibration if images is None else images).numpy())
    return {f["name"]: f for f in layer_figures(artifact, network, found)}


EXACT = 0.9375 * np.eye(3)  # weights without error, products that need rounding


def plain(filters=8, seed=0):
    """Weights of like size in every filter, [filters, 3]; no layer of them has a cause of its own."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 1, (filters, 3)) * rng.choice([-1, 1], (filters, 3))
    return weight / np.abs(weight).sum(axis=1, keepdims=True)


def test_values_beyond_the_calibrated_ones_saturate():
    bright = figures(layer_of(plain()), calibration=IMAGES / 8, images=IMAGES)["conv2d"]
    assert bright["cause"].startswith("Saturation makes") and "are clipped. An exponent larger by" in bright["cause"]
    assert "Saturation" not in figures(layer_of(plain()))["conv2d"]["cause"]


def test_saturation_that_pays_is_said_to_pay():
    """Two values of 4,608 lie beyond the range; a step twice as large would cost the others more than they do."""
    usual = torch.from_numpy(np.random.default_rng(0).uniform(-0.48, 0.48, (6, *SHAPE))).float()
    values = usual.clone()
    values.view(-1)[[5, 700]] = 0.6
    f = figures(layer_of(EXACT), calibration=usual, images=values)["conv2d"]
    assert f["cause"].startswith("Saturation makes")
    assert "Still, no other exponent has less squared error" in f["cause"]


def test_dimmer_images_leave_the_range_unused():
    f = figures(layer_of(plain()), images=IMAGES / 5)["conv2d"]
    assert "the values reach only" in f["cause"] and f["range_used"] < 0.25
    assert "An exponent smaller by" in f["cause"]
    assert "reach only" not in figures(layer_of(plain()))["conv2d"]["cause"]


def test_few_bits_are_blamed_where_they_are_few():
    few = figures(layer_of(plain()), BfpOptions(activations=5))["conv2d"]
    assert few["cause"].startswith("Rounding the output") and "its mantissas have only 5 bits" in few["cause"]
    few = figures(layer_of(plain()), BfpOptions(weights=3))["conv2d"]
    assert few["cause"].startswith("Quantised weights") and "their mantissas have only 3 bits" in few["cause"]
    for f in figures(layer_of(plain())).values():
        assert "have only" not in f["cause"]


def test_a_channel_far_larger_than_the_others():
    weight = plain(16)
    weight[5] *= 20
    f = figures(layer_of(weight))["conv2d"]
    assert "channel 5 alone sets the exponent" in f["cause"]
    grouped = figures(layer_of(weight), BfpOptions(activation_group=1))["conv2d"]
    assert "alone sets" not in grouped["cause"]


def test_channels_of_different_size():
    weight = plain(16)
    weight[[2, 9, 11]] *= 20
    f = figures(layer_of(weight))["conv2d"]
    assert "channels of very different size share one exponent" in f["cause"]
    grouped = figures(layer_of(weight), BfpOptions(activation_group=1))["conv2d"]
    assert "very different size" not in grouped["cause"]


def test_rare_large_values():
    rng = np.random.default_rng(0)
    values = rng.uniform(-0.02, 0.02, (6, *SHAPE))
    rare = rng.random(values.shape) < 2e-3
    values[rare] = rng.choice([-0.99, 0.99], rare.sum())
    f = figures(layer_of(EXACT), calibration=torch.from_numpy(values).float())["conv2d"]
    assert "rare large values set the exponent" in f["cause"]
    assert f["rms_used"] == pytest.approx(0.9375 * np.sqrt((values**2).mean()) * 128 / 127, rel=0.02)
    assert "rare" not in figures(layer_of(EXACT))["conv2d"]["cause"]


def test_root_mean_square_is_relative_to_each_blocks_own_step():
    """Channels of sizes far apart, each in a block of its own: none of them is peaked."""
    scales = 2.0 ** -np.arange(8)
    f = figures(layer_of(plain() * scales[:, None]), BfpOptions(activation_group=1))["conv2d"]
    assert f["rms_used"] > 0.15 and "rare" not in f["cause"]


def test_rare_values_that_hold_the_exponent_up():
    rng = np.random.default_rng(0)
    values = rng.uniform(-0.45, 0.45, (6, *SHAPE))
    values.reshape(-1)[7] = 0.55
    f = figures(layer_of(EXACT), calibration=torch.from_numpy(values).float())["conv2d"]
    assert "rare values, up to 5" in f["cause"] and "hold the exponent up. An exponent smaller by 1" in f["cause"]


def test_nothing_special_is_called_nothing_special():
    values = torch.from_numpy(np.random.default_rng(0).uniform(-0.9, 0.9, (6, *SHAPE))).float()
    f = figures(layer_of(EXACT), calibration=values)["conv2d"]
    assert "no single cause" in f["cause"] and "width of 8 bits" in f["cause"]


def test_an_exponent_raised_for_its_neighbours():
    """A shortcut a million times smaller than the sum it goes into: its own step would overflow the accumulator."""
    tiny, large, tail = layer_of(plain() * 2.0**-24), layer_of(plain(seed=1) * 64), layer_of(np.eye(8) * 1e-3)
    f = figures(Fn(lambda m, x: m[2](m[0](x).relu() + m[1](x)), tiny, large, tail))
    raised = next(x for x in f.values() if x["coarsened_bits"])
    assert "its exponent was raised by up to" in raised["cause"] and raised["coarsened_share"] > 0.5
    assert all("was raised" not in x["cause"] for x in figures(tiny).values())


def test_weight_blocks_that_are_coarser_than_need_be():
    """Two groups of input channels whose weights are far apart, and no shift between them allowed."""
    rng = np.random.default_rng(0)
    weight = np.concatenate([rng.uniform(0.5, 1, (8, 4)), rng.uniform(0.5, 1, (8, 4)) / 64], axis=1)
    first = layer_of(np.concatenate([plain(4) / 64, plain(4, 1)]))
    module = nn.Sequential(first, layer_of(weight))
    options = BfpOptions(weights=5, weight_group=4, activation_group=0)
    f = figures(module, BfpOptions(**{**vars(options), "max_spread": 0}))["1"]
    assert "weight blocks are up to" in f["cause"] and "bits coarser than they need be" in f["cause"]
    assert "coarser" not in figures(module, BfpOptions(**{**vars(options), "max_spread": 7}))["1"]["cause"]


def test_products_that_cancel():
    gray = IMAGES[:, :1].repeat(1, 3, 1, 1)
    weight = [[0.7301, -0.4187, -0.3000], [0.611, -0.307, -0.3000], [0.503, -0.7, 0.19], [0.83, -0.62, -0.2]]
    f = figures(layer_of(weight), calibration=gray)["conv2d"]
    assert f["cause"].startswith("Quantised weights") and "large products and bias cancel" in f["cause"]
    assert "cancel" not in figures(layer_of(weight))["conv2d"]["cause"]  # independent channels: nothing cancels


def test_small_weights_that_count_most():
    """The largest weight of every filter meets an input that is almost nothing."""
    weight = np.concatenate([np.ones((8, 1)), plain()[:, 1:] * 0.03], axis=1)
    silent = IMAGES.clone()
    silent[:, 0] *= 1e-3
    f = figures(layer_of(weight), calibration=silent)["conv2d"]
    assert f["cause"].startswith("Quantised weights") and "small weights" in f["cause"]
    assert "cancel" not in f["cause"]
    assert "small weights" not in figures(layer_of(weight))["conv2d"]["cause"]


def test_one_channel_that_holds_the_error_is_named():
    weight = plain(8)
    weight[3] = [1.0, 0.004, 0.0]
    silent = IMAGES.clone()
    silent[:, 0] *= 1e-3
    weight[[0, 1, 2, 4, 5, 6, 7]] *= 1e-3
    options = BfpOptions(activation_group=1)
    f = figures(layer_of(weight), options, calibration=silent)["conv2d"]
    assert f["noisiest_channel"] == 3 and "Channel 3 alone holds" in f["cause"]


def test_weights_and_biases_that_were_moved_on_purpose():
    narrow = BfpOptions(weights=4)
    module = nn.Sequential(layer_of(plain(16)), layer_of(np.random.default_rng(0).normal(size=(16, 16))))
    nearest = figures(module, narrow)["1"]
    assert nearest["weights"]["moved"] == nearest["weights"]["biases_moved"] == 0
    assert nearest["cause"].split(": ")[1].startswith("their mantissas have only 4 bits (weights at")
    rounded = figures(module, narrow, improve=lambda *a: reconstruct(*a, "gptq", False))["1"]
    assert rounded["weights"]["moved"] > 0.05 and "only 4 bits" in rounded["cause"]
    assert "of them are not the nearest, but make up for each other's" in rounded["cause"]

    def shifted(network, artifact, images):
        """As a correction of the means would, and only that."""
        p = artifact.parameters["1"]
        artifact.parameters["1"] = type(p)(**{**vars(p), "bias": p.bias + 2000})
        return artifact

    offset = figures(module, narrow, improve=shifted)["1"]
    assert "is a constant offset of each channel, moved on purpose" in offset["cause"]
    assert offset["offset_share"] > 0.9 > 0.5 > nearest["offset_share"]


def test_a_constant_offset_that_nobody_corrected():
    """Inputs that hardly vary: what the weights' rounding costs is the same at every pixel."""
    values = 0.7 + 0.02 * torch.rand(6, *SHAPE)
    f = figures(layer_of(plain()), BfpOptions(weights=4), calibration=values)["conv2d"]
    assert "is a constant offset of each channel, which a bias correction would remove" in f["cause"]
    assert "constant offset" not in figures(layer_of(plain()), BfpOptions(weights=4))["conv2d"]["cause"]


def test_errors_that_come_with_the_inputs_are_not_the_layers_own():
    module = nn.Sequential(layer_of(plain(16)), nn.ReLU(), layer_of(np.eye(16)))
    f = figures(module, BfpOptions(overrides=(Override("0", weights=2, activations=3),)))
    assert f["2"]["own_share_of_accumulated"] < 0.25
    assert "the rest comes with its inputs (0 is at" in f["2"]["inherited"]
    assert f["0"]["inherited"] == "" and f["0"]["own_share_of_accumulated"] > 0.9


def test_an_exact_layer_has_no_cause():
    f = figures(nn.Sequential(layer_of(plain()), nn.MaxPool2d(2)))
    assert f["max_pool2d" if "max_pool2d" in f else "1"]["cause"] == ""


def test_layers_without_weights_are_not_blamed_on_weights():
    layer = {"own_parts": {"weights": 1.0, "rounding": 0.0, "saturation": 0.0}, "weights": None, "own_sqnr_db": 30.0}
    assert "the layer has none, but its fixed-point constants are rounded" in own_cause(layer)
