"""A calibrated network of a user, and its report as a browser reads it."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from calib.__main__ import main

MODULE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
        self.outlier = nn.Conv2d(8, 8, 1)
        self.dead = nn.Conv2d(8, 4, 1)
        self.constant = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(12, 6)
        with torch.no_grad():
            self.stem.bias[3] = -100.0  # a dead channel
            self.outlier.weight[2] *= 20
            self.dead.bias.fill_(-100.0)
            self.constant.weight.zero_()
            self.constant.bias.fill_(0.5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.max_pool2d(torch.relu(self.depth(x)) + x, 2)
        x = torch.cat([self.left(x), self.right(x)], 1)
        y = self.outlier(x)
        z = self.constant(torch.relu(self.dead(x)))
        y = torch.cat([y, z], 1)
        return self.head(y.mean((2, 3)))
"""


TOML = """
model = "report_test_network:Net"

[input]
size = 12
mean = [120.0, 120.0, 120.0]
std = [60.0, 60.0, 60.0]

[calibration]
images = "images.npz"

[bfp]
weights = 6
activations = 8
activation_group = {group}
method = "max"
"""


class Page(HTMLParser):
    """Collects what the tests ask about; fails where elements are not closed in order."""

    VOID = {"meta", "br", "wbr"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.attributes, self.values, self.links, self.ids = [], [], [], [], []
        self.layer, self.words, self.items = None, [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.attributes += [(tag, k, v) for k, v in attrs.items()]
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "details":
            self.layer = attrs.get("data-layer")
        if tag == "data":
            self.values.append((self.layer, attrs["value"]))
        if tag == "li":
            self.items.append(len(self.values))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, k, v) for k, v in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "details":
            self.layer = None

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module", params=[0, 2], ids=["one-block", "groups"])
def project(request, tmp_path_factory):
    """A calibrated network of a user's own: TOML path, folder, content of layers.json."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "report_test_network.py").write_text(MODULE)
    path = folder / "net.toml"
    path.write_text(TOML.format(group=request.param))
    rng = np.random.default_rng(0)
    np.savez(
        folder / "images.npz",
        images=rng.integers(0, 256, (12, 12, 12, 3), np.uint8),
        labels=rng.integers(0, 6, 12),
    )
    out = folder / "out"
    assert main(["calibrate", str(path), "--out", str(out)]) == 0
    assert main(["evaluate", str(path), "--out", str(out)]) == 0
    assert main(["report", str(path), "--out", str(out)]) == 0
    return path, out, json.loads((out / "layers.json").read_text())
