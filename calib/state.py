"""The state of a calibration: everything that its passes read and produce.

A state is never changed. A pass ``pass(state, images) -> state`` returns
another one; calib.transforms.sequence lists the passes in their order. What the
network's file says stands in ``options`` and ``preprocessing``, and stays as it
is; what was decided on the way stands beside it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from bfp.artifact import ARRAY, Artifact, Preprocessing
from bfp.artifact_file import array_digest
from bfp.errors import BfpError
from calib.data.images import ImageSet
from calib.formats.layer_options import LayerOptions, LayerWidths, resolve_options
from calib.formats.plan import FormatPlan, plan
from calib.judge import Judge
from calib.network.float_network import FloatNetwork
from calib.observers.channel_ranges import HeldOut
from calib.observers.statistics import Statistics
from calib.observers.training_likeness import UNKNOWN, Likeness
from calib.options import BfpOptions


ENOUGH = 64  # calibration images: more of them change nothing that was measured
FEW = 16  # below which the one who calibrates is told


@dataclass(frozen=True)
class Evidence:
    """What stands behind the ends of ranges.

    likeness: of calibration images to training's. photographs: how many ranges were taken from, 0 where none was;
    samples: the fewest values of one channel that they give. held_out: what became of values that had no part in the
    choice of their ends. signal: mean power of the network's output, 0 where it was not measured. output_db: signal to
    quantisation noise there, on images held out of the corrections of weights and biases, None where none was.
    """

    likeness: Likeness = UNKNOWN
    photographs: int = 0
    samples: int = 0
    held_out: HeldOut = HeldOut()
    signal: float = 0.0
    output_db: float | None = None

    @property
    def unseen_db(self) -> float | None:
        """Signal to noise of the ranges alone at the output for images not seen, dB; None where nothing was judged."""
        noise = self.held_out.noise
        return 10 * math.log10(self.signal / noise) if noise > 0 and self.signal > 0 else None

    @property
    def saturating(self) -> float | None:
        """Share of the held-out values that saturate, zeros aside; None where nothing was judged."""
        return self.held_out.saturated / self.held_out.values if self.held_out.values else None

    def record(self) -> dict:
        """For an artifact's provenance."""
        divergence = self.likeness.divergence
        judged = self.likeness.alike  # noise says nothing of photographs
        enough = judged and self.photographs >= FEW  # few images look better to ranges that saw them than others will
        found = {
            "photographs": self.photographs or None,
            "samples": self.samples or None,
            "saturating": self.saturating if judged else None,
            "unseen_db": round(self.unseen_db, 2) if enough and self.unseen_db is not None else None,
            "output_db": round(self.output_db, 2) if enough and self.output_db is not None else None,
            "divergence_from_training": None if divergence is None else round(divergence, 4),
        }
        return {key: value for key, value in found.items() if value is not None}

    def notes(self) -> list[str]:
        """What a user has to know of them, a sentence each."""
        said, values = [], f"{self.samples} value{'s' * (self.samples != 1)}"
        if self.photographs == 1:
            said.append(
                "the ranges of values were chosen from one calibration image, which gives some channels no more than "
                f"{values}; no other is there to judge by, so that other images come out worse than the figures "
                f"recorded with the artifact, which are all of this one; give more, {ENOUGH} are enough"
            )
        elif 0 < self.photographs < FEW:
            said.append(
                f"the ranges of values were chosen from {self.photographs} calibration images, which give some "
                f"channels no more than {values}; other images saturate more, and come out worse than the figures "
                f"recorded with the artifact, whose ranges saw all of these; give more, {ENOUGH} are enough"
            )
        if not self.likeness.alike:
            said.append(
                "the calibration images do not look like those that the network was trained on: what its batch "
                f"normalisations measured then lies {self.likeness.divergence:.2g} nats from these images, and less "
                f"than {self.likeness.bound:.2g} from images of training's kind; ranges were widened to what training "
                "saw, and the figures recorded with the artifact, which are of these images, say nothing of others; "
                "give images as in training, and check mean and std"
            )
        return said


@dataclass(frozen=True)
class CalibrationState:
    """Where a calibration stands.

    network: the float network, as the transforms so far have left it; the scale of its input stands here and nowhere
    else (``FloatNetwork.input_scale``). options, preprocessing: the file's. judged: the output that the task's figure
    is of; classes: names of its values, or none.
    seed: of everything that is drawn. float_digest: ``weights_digest`` of the network as imported.
    output: what that output's values are, one of calib.options.OUTPUTS, None where nobody said. method: of the activations'
    exponents, ``auto`` until one is chosen. widths: what single layers were given, by node name.
    layers: the options of every node, by name, and plan: its formats as far as they are fixed; both follow from the
    fields before them and are made anew where these change.
    statistics: of all calibration images, of this network. artifact: the network in integers, as far as it is made.
    evidence: what stands behind the ends of ranges.
    judge: of outputs, None where nobody said what they are for. sqnr_db: signal to quantisation noise at the output on
    ``held_out`` calibration images, dB, by candidate; figures: the judge's, by candidate.
    """

    network: FloatNetwork
    options: BfpOptions
    preprocessing: Preprocessing
    judged: str
    classes: tuple[str, ...]
    seed: int
    float_digest: str
    output: str | None
    method: str
    widths: Mapping[str, LayerWidths]
    layers: Mapping[str, LayerOptions]
    plan: FormatPlan
    statistics: Statistics | None = None
    artifact: Artifact | None = None
    evidence: Evidence = Evidence()
    held_out: int = 0
    sqnr_db: Mapping[str, float] = field(default_factory=dict)
    judge: Judge | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The network's name."""
        return self.network.graph.name

    def with_network(self, network: FloatNetwork) -> CalibrationState:
        """The state with a network of the same graph; what was measured of the one before is dropped."""
        return replace(self, network=network, statistics=None, artifact=None)

    def with_widths(self, widths: Mapping[str, LayerWidths]) -> CalibrationState:
        """The state with widths of single layers, by node name; the file's overrides win over them."""
        return self._planned(self.method, widths)

    def with_method(self, method: str) -> CalibrationState:
        """The state with a method in place of ``auto``; the statistics stay, of whatever they were asked for."""
        return self._planned(method, self.widths)

    def with_options(self, options: BfpOptions) -> CalibrationState:
        """Another calibration of the same network, as it is now, with the same widths of single layers."""
        fresh = begin(self.network, options, self.preprocessing, options.output, self.classes, self.seed, self.judged)
        fresh = replace(fresh, float_digest=self.float_digest, evidence=self.evidence, judge=self.judge)
        return fresh.with_widths(self.widths)

    def _planned(self, method: str, widths: Mapping[str, LayerWidths]) -> CalibrationState:
        graph = self.network.graph
        layers = resolve_options(graph, self.options, method, widths)
        planned = plan(graph, self.options, self.preprocessing, layers, self.plan.classes, self.judged)
        return replace(self, method=method, widths=widths, layers=layers, plan=planned, artifact=None)


Pass = Callable[[CalibrationState, ImageSet], CalibrationState]


def begin(
    network: FloatNetwork,
    options: BfpOptions,
    preprocessing: Preprocessing,
    output: str | None = None,
    classes: tuple[str, ...] = (),
    seed: int = 0,
    judged: str | None = None,
) -> CalibrationState:
    """The first state, of a network as imported; arguments as of CalibrationState. judged: None for the first output.

    Raises BfpError for an override that matches no layer, and for pictures where a network has several inputs.
    """
    inputs = network.graph.inputs
    if len(inputs) > 1 and preprocessing.channels != ARRAY:
        raise BfpError(
            f"network {network.graph.name} has {len(inputs)} inputs ({', '.join(inputs)}), and no picture is several; "
            "say how many channels each has"
        )
    judged = judged or network.graph.outputs[0]
    layers = resolve_options(network.graph, options)
    planned = plan(network.graph, options, preprocessing, layers, output == "classes", judged)
    digest = weights_digest(network)
    return CalibrationState(
        *(network, options, preprocessing, judged, classes, seed, digest, output, options.method, {}, layers, planned)
    )


def weights_digest(network: FloatNetwork) -> str:
    """SHA-256 over the names, types, shapes and values of all float weights, hex."""
    digest = hashlib.sha256()
    for name in sorted(network.weights):
        w = network.weights[name]
        digest.update(f"{name} {array_digest(w.weight)} {array_digest(w.bias)}\n".encode())
    return digest.hexdigest()
