"""How many published networks are taken: each from its builder to code within the array's limits, a tenth simulated.

Weights are drawn, images are noise: the question is what can be brought to the engine, not how well it classifies.
``python -m calib.evaluation.benchmark.survey [--only WORD ...] [--size PIXELS] [--out FILE]``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.utils import _pytree

from bfp import artifact_file, golden
from bfp.artifact import ARRAY, Artifact, Preprocessing
from bfp.errors import BfpError, sentence
from bfp.files import check_result, write_json
from bfp.names import printable
from calib.evaluation.benchmark.results import RESULTS
from calib.formats.plan import plan
from calib.formats.solver import quantise_network
from calib.frontend.importer import import_module
from calib.frontend.refusals import Refusals
from calib.network import float_model
from calib.network.float_network import FloatNetwork
from calib.observers.statistics import Statistics
from calib.options import BfpOptions
from codegen.generate import generate
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import Board, load_board
from codegen.simulation.csim import compile_engine, run_testbench, write_golden

STAGES = ("built", "imported", "calibrated", "generated")
SIZE = 96  # pixels a side where a network takes any
# of networks that need more
OWN_SIZE = {"pretrainedmodels": 224, "inception": 299, "xception": 299, "nasnet": 331, "polynet": 331}
IMAGES = 2
TOLERANCE = 1e-3  # of the largest output: float32 in another order of sums
SIMULATED, LEAST_SIMULATED = 10, 20  # every so many, and at least
# of torchvision: several outputs, frames of films, or quantised already
OTHERS = ("raft", "rcnn", "ssd", "retinanet", "fcos", "quantized", "r3d", "mc3", "r2plus1d", "s3d", "mvit", "swin3d")


@dataclass
class Outcome:
    """One network. reached: the last stage that it came through; reason: why no further; operators: that it lacks."""

    name: str
    reached: str = ""
    reason: str = ""
    operators: tuple[str, ...] = ()
    seconds: float = 0.0
    layers: int = 0
    simulated: str = ""

    @property
    def taken(self) -> bool:
        return self.reached == STAGES[-1]


def candidates() -> Iterator[tuple[str, Callable[[], torch.nn.Module]]]:
    """Names and builders of torchvision's, pretrainedmodels' and, where installed, timm's networks."""
    import torchvision.models

    for name in torchvision.models.list_models():
        if not any(word in name for word in OTHERS):
            yield f"torchvision/{name}", lambda name=name: torchvision.models.get_model(name, **unfetched(name))
    try:
        import pretrainedmodels
    except ImportError:
        return
    for name in sorted(pretrainedmodels.model_names):
        yield f"pretrainedmodels/{name}", lambda name=name: pretrainedmodels.__dict__[name](pretrained=None)


def unfetched(name: str) -> dict[str, None]:
    """Arguments of torchvision's builder that keep it from downloading weights."""
    import torchvision.models

    dense = "segmentation" in torchvision.models.get_model_builder(name).__module__
    return {"weights": None, **({"weights_backbone": None} if dense else {})}


def draw(module: torch.nn.Module) -> torch.nn.Module:
    """The module in eval mode, with batch norm statistics that matter."""
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
                m.running_mean.normal_(0, 0.1)
                m.running_var.uniform_(0.8, 1.2)
    return module.eval()


def quantised(network: FloatNetwork, images: torch.Tensor) -> Artifact:
    """The artifact by the plainest method."""
    channels, *size = network.graph.image_shape
    pre = Preprocessing(tuple(size), (0.0,) * channels, (1.0,) * channels, channels=ARRAY)
    options = BfpOptions(method="max", weight_group=16, activation_group=16)
    fixed = plan(network.graph, options, pre)
    statistics = Statistics(network.graph, fixed.splits, fixed.needs_histogram())
    float_model.run(network, images, keep=(), observe=statistics.observe)
    return quantise_network(network, statistics, fixed)


def same_function(module: torch.nn.Module, network: FloatNetwork, images: torch.Tensor) -> None:
    """Raise BfpError unless network and module return the same for images."""
    with torch.no_grad():
        leaves = _pytree.tree_leaves(module(images))
    wanted = [x.double().numpy().reshape(-1) for x in leaves if isinstance(x, torch.Tensor)]
    found = float_model.returned(network, images)
    found = list(found.values()) if isinstance(found, dict) else [found]
    if len(found) != len(wanted):
        raise BfpError(f"its float graph returns {len(found)} values, the module {len(wanted)}")
    for ours, theirs in zip(found, wanted):
        difference = np.abs(ours.reshape(-1) - theirs).max() / np.abs(theirs).max()
        if not difference < TOLERANCE:
            raise BfpError(f"its float graph differs by {difference:.1e} of the largest output")


def examine(name: str, make: Callable[[], torch.nn.Module], size: int, board: Board) -> tuple[Outcome, Artifact | None]:
    """Bring one network as far as it comes."""
    outcome, start, artifact = Outcome(name), time.perf_counter(), None
    torch.manual_seed(0)
    size = max([size] + [own for word, own in OWN_SIZE.items() if word in name])
    images = torch.randn(IMAGES, 3, size, size)
    try:
        module = draw(make())
        outcome.reached = STAGES[0]
        network = import_module(module, (3, size, size), name.split("/")[1])
        same_function(module, network, images[:1])
        outcome.reached, outcome.layers = STAGES[1], len(network.graph.nodes)
        artifact = quantised(network, images)
        outcome.reached = STAGES[2]
        build([artifact], EngineOptions(), board, with_weights=False)
        outcome.reached = STAGES[3]
    except Refusals as error:
        outcome.reason, outcome.operators = str(error)[:300], error.operators
    except BfpError as error:
        outcome.reason = str(error)[:300]
    except Exception as error:  # builders of other packages raise what they like
        outcome.reason = f"{type(error).__name__}: {str(error)[:200]}"
    outcome.seconds = round(time.perf_counter() - start, 1)
    return outcome, artifact if outcome.taken else None


def simulate(artifact: Artifact, board: Board) -> str:
    """The C simulation's verdict on one image."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(1, *artifact.graph.image_shape)).astype(np.float32)
    with TemporaryDirectory() as folder:
        out = Path(folder)
        artifact = artifact_file.save(artifact, out / "artifact.npz")
        program, identity = generate([artifact], EngineOptions(), board, out)
        bench, _ = compile_engine(out / "generated", out / "csim")
        write_golden(out / "golden.bin", program, identity, [golden.quantise_input(artifact, images)])
        result = run_testbench(bench, out / "deploy" / "weights.bin", out / "golden.bin", out / "result.json")
    return "bit-equal" if not result["mismatches"] else f"DIFFERENT: {result['first_mismatch']}"


def summary(outcomes: list[Outcome]) -> dict:
    """The figures: of all networks, and what share the operators would add that alone keep one back."""
    lacking = Counter(operator for o in outcomes for operator in o.operators)
    alone = Counter(o.operators[0] for o in outcomes if len(o.operators) == 1)
    return {
        "networks": len(outcomes),
        "taken": sum(o.taken for o in outcomes),
        "share": round(sum(o.taken for o in outcomes) / max(len(outcomes), 1), 3),
        "stages": {stage: sum(STAGES.index(o.reached) >= n for o in outcomes if o.reached) for n, stage in enumerate(STAGES)},
        "refused_by_operator": dict(lacking.most_common()),
        "one_operator_away": dict(alone.most_common()),
        "simulated": sum(bool(o.simulated) for o in outcomes),
        "simulated_bit_equal": sum(o.simulated == "bit-equal" for o in outcomes),
        "each": [asdict(o) for o in outcomes],
    }


def main(argv: list[str] | None = None) -> int:
    """Survey, print a line a network and the figures, write them; 1 where a simulation differs, 2 for what is refused."""
    parser = argparse.ArgumentParser(prog="python -m calib.evaluation.benchmark.survey", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="words that names must have one of")
    parser.add_argument("--size", type=int, default=SIZE, help=f"pixels a side (default {SIZE})")
    parser.add_argument("--no-simulation", action="store_true", help="leave out the C simulations")
    parser.add_argument("--out", type=Path, default=RESULTS.parent / "survey.json")
    arguments = parser.parse_args(argv)
    try:
        return survey(arguments)
    except (BfpError, OSError, MemoryError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2


def survey(arguments: argparse.Namespace) -> int:
    """The exit status: 1 where a simulation differs. Raises BfpError where the result cannot be written."""
    check_result(arguments.out)
    board, outcomes = load_board("ultra96v2"), []
    for name, make in candidates():
        if arguments.only and not any(word in name for word in arguments.only):
            continue
        outcome, artifact = examine(name, make, arguments.size, board)
        number = sum(o.taken for o in outcomes)
        wanted = number % SIMULATED == 0 or number < LEAST_SIMULATED
        if artifact is not None and wanted and not arguments.no_simulation:
            outcome.simulated = simulate(artifact, board)
        outcomes.append(outcome)
        words = outcome.simulated or ", ".join(outcome.operators) or outcome.reason[:100]
        print(f"{name:44} {outcome.reached:11} {outcome.seconds:6.1f} s  {words}", flush=True)
        write_json(arguments.out, summary(outcomes))
    found = summary(outcomes)
    print(f"{found['taken']} of {found['networks']} taken; refused by {found['refused_by_operator']}")
    return int(found["simulated"] != found["simulated_bit_equal"])


if __name__ == "__main__":
    sys.exit(main())
