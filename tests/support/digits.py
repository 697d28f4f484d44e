"""A network of scikit-learn's digits, trained in seconds, as a user's folder has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from support import digits_model

MEAN, STD = 76.0, 96.0
TEST = 597  # images held back from training
EPOCHS = 8
NETWORK = """
name = "digits"
model = "digits_beside:make"
arguments = {{ width = 12 }}
weights = "{weights}"
classes = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

[input]
size = 8
channels = "gray"
mean = 76.0
std = 96.0

[calibration]
images = "digits.npz:train_images"
limit = 200

[evaluation]
images = "digits.npz:test_images:test_labels"

[bfp]
{bfp}
[engine]
{engine}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images with labels, the network's Python file, and the weights of a network trained for seconds."""
    folder = tmp_path_factory.mktemp("digits")
    shutil.copyfile(digits_model.__file__, folder / "digits_beside.py")
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = np.clip(digits.images[order] * 16, 0, 255).astype(np.uint8)
    labels = digits.target[order].astype(np.int64)
    np.savez(
        folder / "digits.npz",
        train_images=images[TEST:],
        test_images=images[:TEST],
        test_labels=labels[:TEST],
    )
    torch.save(train(images[TEST:], labels[TEST:]), folder / "digits.pth")
    return folder


def train(images: np.ndarray, labels: np.ndarray) -> dict[str, torch.Tensor]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # faster for so small a network, and the same result on any machine
    torch.manual_seed(0)
    model = digits_model.make(12)
    x = (torch.from_numpy(images).float()[:, None] - MEAN) / STD
    y = torch.from_numpy(labels)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for _ in range(EPOCHS):
        model.train()
        for batch in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
        schedule.step()
    torch.set_num_threads(threads)
    return model.state_dict()


def write_network(folder: Path, name: str, bfp: str = "", engine: str = "lanes = 8") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(NETWORK.format(weights="digits.pth", bfp=bfp, engine=engine).replace('"digits"', f'"{name}"'))
    return path
