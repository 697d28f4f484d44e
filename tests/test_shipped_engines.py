"""Every shipped network's engine, the default one or its file's, fits the Ultra96-V2 by the model of area.

At 8 bits even where every part takes the most that it may well take, but for those named below; at 5 bits by what is
likely.
"""

from __future__ import annotations

from functools import cache

import pytest
from support.boards import BOARD
from support.shaped import shaped_artifact

from bfp.artifact import Artifact
from calib.config import SHIPPED, load_config
from calib.together import load_together, shipped_networks
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD
from codegen.performance.design_space import narrow, widths_of
from codegen.performance.ranges import Range, Resource
from codegen.performance.resources import area, refuse_what_does_not_fit, warnings

LIKELY = ("c3d",)  # whose files say that the most would be too much
# those that take longest to trace, and have the default engine as most others
LONG = ("regnet_y_400mf", "resnext50", "densenet121", "inceptionv4", "vgg16", "inception_v3")
NETWORKS = [path.stem for path in shipped_networks()]


@cache
def shipped(name: str) -> Artifact:
    return shaped_artifact(load_config(SHIPPED / f"{name}.toml"))


def totals(artifact: Artifact, options: EngineOptions) -> dict[Resource, Range]:
    built = area(build([artifact], options, BOARD, with_weights=False), BOARD)
    return {resource: built.total(resource) for resource in Resource}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.heavy] * (n in LONG)) for n in NETWORKS])
def test_the_engine_of_a_shipped_network_fits(name):
    config = load_config(SHIPPED / f"{name}.toml")
    assert config.engine.get("board", DEFAULT_BOARD) == BOARD.word
    options = EngineOptions.from_dict({key: value for key, value in config.engine.items() if key != "board"})
    artifact = shipped(name)
    assert widths_of(artifact) == (8, 8)
    program = build([artifact], options, BOARD, with_weights=False)
    taken = area(program, BOARD)
    assert bool(warnings(taken, name, BOARD)) == (name in LIKELY)  # the high ends
    refuse_what_does_not_fit(program, BOARD, taken)
    narrowed = build([narrow(artifact, 5, 5)], options, BOARD, with_weights=False)
    refuse_what_does_not_fit(narrowed, BOARD)  # the likely figures
    assert taken.total(Resource.DSP).likely > 300  # an engine that uses the chip


@pytest.mark.parametrize("name", [n for n in NETWORKS if "weight_steps" in load_config(SHIPPED / f"{n}.toml").engine])
def test_a_file_that_takes_another_engine_needs_it(name):
    """The default engine may need more block RAM than the chip has."""
    assert totals(shipped(name), EngineOptions())[Resource.BRAM36].high > BOARD.bram36


def test_the_engine_of_a_cascade_fits():
    """Three networks with one engine: as each of them alone, by all that they may take at 8 bits, and likely at 5."""
    config = load_together(SHIPPED / "mtcnn.toml")
    options = EngineOptions.from_dict(config.engine)
    artifacts = [shipped(path.stem) for path in config.networks.values()]
    program = build(artifacts, options, BOARD, with_weights=False)
    assert config.board == BOARD.word and not warnings(area(program, BOARD), config.name, BOARD)
    refuse_what_does_not_fit(build([narrow(a, 5, 5) for a in artifacts], options, BOARD, with_weights=False), BOARD)


def test_shapes_alone_are_what_the_model_needs():
    """Where the exponents come from hardly matters: another seed's area is within a fiftieth."""
    config = load_config(SHIPPED / "resnet20.toml")
    one, other = (totals(shaped_artifact(config, seed), EngineOptions()) for seed in (0, 1))
    assert one[Resource.LUT].likely == pytest.approx(other[Resource.LUT].likely, rel=0.02)
    assert one[Resource.DSP] == other[Resource.DSP]
