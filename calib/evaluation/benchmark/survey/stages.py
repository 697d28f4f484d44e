"""One network from its builder as far as it comes: imported, calibrated, generated, simulated."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.utils import _pytree

from bfp import artifact_file, golden
from bfp.artifact import ARRAY, Artifact, Preprocessing
from bfp.errors import BfpError
from calib.evaluation.benchmark.survey.candidates import Candidate
from calib.formats.plan import plan
from calib.formats.solver import quantise_network
from calib.frontend.importer import import_module
from calib.frontend.refusals import Refusals
from calib.network import float_model
from calib.network.float_network import FloatNetwork
from calib.options import BfpOptions
from codegen.generate import generate
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import Board
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

STAGES = ("built", "imported", "calibrated", "generated")
BOARD = "ultra96v2"
IMAGES = 1
TOLERANCE = 1e-3  # of the largest output: float32 in another order of sums
SEED = 0
SHORTEST = 300  # characters of a reason that are kept
SAME = "bit-equal"


@dataclass
class Outcome:
    """One network. reached: the last stage that it came through; reason: why no further; obstacles: what it was refused
    for, the operator's name and what is said of it; simulated: the C simulation's verdict, empty where it was not run."""

    name: str
    shape: tuple[int, ...] = ()
    reached: str = ""
    reason: str = ""
    obstacles: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    layers: int = 0
    simulated: str = ""

    @property
    def taken(self) -> bool:
        return self.reached == STAGES[-1] and self.simulated in ("", SAME)

    @property
    def source(self) -> str:
        return self.name.split("/")[0]

    @property
    def operators(self) -> tuple[str, ...]:
        """The operators that it lacks, each once."""
        return tuple(dict.fromkeys(operator.rstrip("_") for operator, _ in self.obstacles))

    def written(self) -> dict:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def read(cls, found: dict) -> Outcome:
        """An outcome that was written."""
        obstacles = tuple((operator, reason) for operator, reason in found["obstacles"])
        return cls(**{**found, "shape": tuple(found["shape"]), "obstacles": obstacles})


def draw(module: torch.nn.Module) -> torch.nn.Module:
    """The module in eval mode, with batch norm statistics that matter."""
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)) and m.running_mean is not None:
                m.running_mean.normal_(0, 0.1)
                m.running_var.uniform_(0.8, 1.2)
    return module.eval()


def quantised(network: FloatNetwork, images: torch.Tensor) -> Artifact:
    """The artifact by the plainest method."""
    channels, *size = network.graph.image_shape
    pre = Preprocessing(tuple(size), (0.0,) * channels, (1.0,) * channels, channels=ARRAY)
    options = BfpOptions(method="max", weight_group=16, activation_group=16)
    fixed = plan(network.graph, options, pre)
    statistics = fixed.new_statistics()
    float_model.run(network, images, keep=(), observe=statistics.observe)
    return quantise_network(network, statistics, fixed)


def same_function(module: torch.nn.Module, network: FloatNetwork, images: torch.Tensor) -> None:
    """Raise BfpError unless network and module return the same for images, [1, ...] as the module takes them."""
    with torch.no_grad():
        leaves = _pytree.tree_leaves(module(images))
    wanted = [x.double().numpy().reshape(-1) for x in leaves if isinstance(x, torch.Tensor)]
    returned = float_model.returned(network, as_maps(network, images))
    found = [x.reshape(-1) for x in (returned.values() if isinstance(returned, dict) else [returned])]
    if [x.shape for x in found] != [x.shape for x in wanted]:
        raise BfpError(f"its float graph returns {[len(x) for x in found]} values, not {[len(x) for x in wanted]}")
    for ours, theirs in zip(found, wanted):
        difference = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30)
        if not difference < TOLERANCE:
            raise BfpError(f"its float graph differs by {difference:.1e} of the largest output")


def as_maps(network: FloatNetwork, images: torch.Tensor) -> torch.Tensor:
    """Images as the graph has them: a sequence is a map of one row, frames of films lie one behind the other."""
    images = images.transpose(1, 2) if images.ndim == 5 else images
    return images.reshape(len(images), *network.graph.image_shape)


def examine(candidate: Candidate, board: Board) -> tuple[Outcome, Artifact | None]:
    """Bring one network as far as it comes, with the first shape that it can be traced with."""
    for shape in candidate.shapes:
        outcome, artifact = attempt(candidate, shape, board)
        if "cannot be traced" not in outcome.reason:
            break
    return outcome, artifact


def attempt(candidate: Candidate, shape: tuple[int, ...], board: Board) -> tuple[Outcome, Artifact | None]:
    """Bring one network as far as it comes with an input of this shape."""
    outcome, start, artifact = Outcome(candidate.name, shape), time.perf_counter(), None
    torch.manual_seed(SEED)
    images = torch.randn(IMAGES, *shape)
    try:
        module = draw(candidate.make())
        outcome.reached = STAGES[0]
        network = import_module(module, shape, candidate.name.split("/")[1].replace("-", "_"))
        same_function(module, network, images[:1])
        outcome.reached, outcome.layers = STAGES[1], len(network.graph.nodes)
        del module
        artifact = quantised(network, as_maps(network, images))
        outcome.reached = STAGES[2]
        build([artifact], EngineOptions(), board, with_weights=False)
        outcome.reached = STAGES[3]
    except Refusals as error:
        outcome.reason = str(error)[:SHORTEST]
        outcome.obstacles = tuple(dict.fromkeys((o.operator, o.reason[:SHORTEST]) for o in error.obstacles))
    except BfpError as error:
        outcome.reason = str(error)[:SHORTEST]
    except Exception as error:  # builders of other packages raise what they like
        outcome.reason = f"{type(error).__name__}: {str(error)[:SHORTEST]}"
    outcome.seconds = round(time.perf_counter() - start, 1)
    return outcome, artifact if outcome.reached == STAGES[-1] else None


def simulate(artifact: Artifact, board: Board) -> str:
    """The C simulation's verdict on one image: every stored tensor against the golden model."""
    rng = np.random.default_rng(SEED)
    images = rng.normal(size=(1, *artifact.graph.image_shape)).astype(np.float32)
    with TemporaryDirectory() as folder:
        out = Path(folder)
        artifact = artifact_file.save(artifact, out / "artifact.npz")
        program, identity = generate([artifact], EngineOptions(), board, out)
        bench, _ = compile_engine(out / "generated", out / "csim")
        write_golden(out / "golden.bin", program, identity, [golden.quantise_input(artifact, images)])
        result = run_testbench(bench, out / "deploy" / "weights.bin", out / "golden.bin", out / "result.json")
    return SAME if not result["mismatches"] else f"DIFFERENT: {result['first_mismatch']}"
