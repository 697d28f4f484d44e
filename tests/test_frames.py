"""Layers over frames: convolutions and pools of three axes, as layers over channels."""

import numpy as np
import pytest
import torch
from torch import nn
from support.imported import lively
from support.small_modules import Fn

from bfp.errors import BfpError
from calib.frontend.importer import import_module
from calib.network.float_model import run

SHAPE = (3, 6, 9, 7)  # channels, frames, height, width


def check_frames(module: nn.Module, shape=SHAPE):
    """Import, compare with the module on two films, return the graph."""
    network = import_module(lively(module), shape, "net")
    torch.manual_seed(1)
    films = torch.randn(2, *shape) * 3
    with torch.no_grad():
        expected = module(films.clone()).numpy()
    maps = films.transpose(1, 2).reshape(2, shape[0] * shape[1], *shape[2:])  # frame after frame
    found = run(network, maps)[network.graph.output].detach().numpy()
    if expected.ndim == 5:
        expected = expected.swapaxes(1, 2)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    network.graph.validate()
    return network.graph


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(3, 5, 3, padding=1),
        nn.Conv3d(3, 5, (2, 3, 1), stride=(2, 1, 3), padding=(1, 0, 2)),
        nn.Conv3d(3, 5, (1, 3, 3), bias=False),
        nn.Conv3d(3, 5, (3, 1, 1), padding="same"),
        nn.Conv3d(3, 4, (2, 3, 3), dilation=(2, 1, 2), padding=(2, 1, 2)),
        nn.Conv3d(3, 6, 3, groups=3),
        nn.MaxPool3d((1, 2, 2)),
        nn.MaxPool3d(2),
        nn.MaxPool3d(3, stride=2, padding=1, ceil_mode=True),
        nn.AvgPool3d(2),
        nn.AvgPool3d((3, 2, 2), stride=2, padding=(1, 1, 1)),
        nn.AvgPool3d((3, 2, 2), stride=2, padding=(1, 1, 1), count_include_pad=False),
        nn.AdaptiveAvgPool3d(1),
        nn.AdaptiveMaxPool3d((2, 1, 1)),
        nn.AdaptiveAvgPool3d((4, 3, 7)),
    ],
    ids=str,
)
def test_a_layer_over_frames(layer):
    check_frames(nn.Sequential(layer))


def test_a_network_over_frames_has_no_layer_between_its_convolutions():
    """Batch norm and activation go into each frame's convolution; frames are read where they lie."""
    blocks = [nn.Conv3d(3, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(), nn.Conv3d(16, 16, 3, padding=1), nn.ReLU()]
    graph = check_frames(nn.Sequential(*blocks))
    first = [n for n in graph.nodes if n.op == "conv" and n.name.startswith("0")]
    assert len(first) == 6 and all(n.activation == "relu" for n in first)
    assert {n.op for n in graph.nodes} == {"conv", "concat", "slice_pad"}


class Clip(nn.Module):
    """As film classifiers are written: layers over frames, then a vector, with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, 8, (3, 5, 5), padding=(1, 2, 2), bias=False), nn.BatchNorm3d(8), nn.ReLU())
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.space, self.time = nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1)), nn.Conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(x))
        x = torch.relu(self.time(torch.relu(self.space(x))) + x)
        return self.head(x.mean((2, 3, 4)))


def test_a_classifier_of_films():
    check_frames(Clip())


def test_flattened_frames_before_a_linear_layer():
    check_frames(nn.Sequential(nn.Conv3d(3, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(4 * 2 * 3 * 2, 5)))


def test_frames_that_see_nothing_are_refused():
    with pytest.raises(BfpError, match="sees nothing but padding"):
        import_module(nn.Sequential(nn.Conv3d(3, 4, (1, 1, 1), padding=(1, 0, 0))), SHAPE, "net")


def test_a_picture_given_to_a_network_over_frames():
    with pytest.raises(BfpError, match=r"frames"):
        import_module(nn.Sequential(nn.Conv3d(3, 4, 3)), (3, 9, 7), "net")
