"""Small modules brought to an artifact, and how far it is from float."""

from __future__ import annotations

import numpy as np
import torch

from bfp import golden
from bfp.artifact import Preprocessing
from calib.network import float_model
from calib.options import BfpOptions
from calib.frontend.importer import import_module
from calib.frontend.inputs import by_name, map_shape
from calib.formats.plan import plan
from calib.formats.solver import quantise_network


def pixels(shape, pre, count=4, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.integers(0, 256, (count, *shape)) - pre.mean[0]) / pre.std[0]
    return torch.from_numpy(x.astype(np.float32))


def quantised(module, shape, options=BfpOptions(), mean=127.0, std=128.0, images=None, seed=0):
    """Artifact, float network and the images that it was calibrated with; shape: as import_module takes it."""
    maps = [map_shape(s) for s in by_name(shape, "toy").values()]
    channels, size = sum(c for c, *_ in maps), maps[0][1:]
    pre = Preprocessing(size, (mean,) * channels, (std,) * channels)
    network = import_module(module.eval(), shape, "toy")
    images = pixels((channels, *size), pre, seed=seed) if images is None else images
    fixed = plan(network.graph, options, pre)
    statistics = fixed.new_statistics()
    float_model.run(network, images, keep=(), observe=statistics.observe)
    return quantise_network(network, statistics, fixed), network, images


def noise_db(artifact, network, images):
    reference = float_model.logits(network, images).double().numpy()
    result = golden.logits(artifact, golden.quantise_input(artifact, images.numpy()))
    return 10 * np.log10((reference**2).sum() / max(((reference - result) ** 2).sum(), 1e-300))
