"""Imported modules against the modules themselves."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from calib.network.float_model import run
from calib.frontend.importer import import_module


def lively(module, seed=0):
    """Random weights, and batch norm statistics that matter."""
    torch.manual_seed(seed)
    for m in module.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            if m.running_mean is not None:
                nn.init.normal_(m.running_mean)
                nn.init.uniform_(m.running_var, 0.5, 2.0)
            if m.affine:
                nn.init.uniform_(m.weight, -1.5, 1.5)
                nn.init.normal_(m.bias)
    return module.eval()


def check(module, shape=(3, 9, 8), operators=None, batch=2):
    """Import, compare with the module, return the graph. ``operators`` is the expected list, in order."""
    network = import_module(lively(module), shape, "net")
    torch.manual_seed(1)
    images = torch.randn(batch, *shape) * 3
    with torch.no_grad():
        expected = module(images.clone()).numpy()
    maps = images.reshape(batch, *network.graph.shapes[network.graph.input])  # a sequence is a map of one row
    found = run(network, maps)[network.graph.output].detach().numpy()
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    network.graph.validate()
    names = [n.name for n in network.graph.nodes]
    assert len(set(names)) == len(names)
    convolutions = {n.name for n in network.graph.nodes if n.op in ("conv", "depthwise")}
    assert convolutions == set(network.weights)
    if operators is not None:
        assert [n.op for n in network.graph.nodes] == operators.split()
    return network.graph
