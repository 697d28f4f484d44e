"""The calibration images are compared with what the network was trained on, where its batch normalisations say that."""

from __future__ import annotations

from dataclasses import replace

from calib.data.images import ImageSet
from calib.observers.observer import few
from calib.observers.training_likeness import training_likeness
from calib.state import CalibrationState, Evidence


def compare_with_training(state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The pass: how like training's a few of the images are."""
    chosen = few(state.network, replace(images, augment=1))
    return replace(state, evidence=Evidence(training_likeness(state.network, chosen)))
