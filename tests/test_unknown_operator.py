"""An operator or an activation that a package does not know is refused by name: nothing stands for "the usual one"."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bfp import BfpError, golden
from bfp.activations import ACTIVATIONS
from bfp.activations.relu import RELU
from bfp.artifact import Artifact
from bfp.graph import Node
from bfp.operators import OPERATORS, Scaling
from bfp.operators.conv import CONV
from bfp.operators.identity import IDENTITY
from calib import auto, pipeline
from calib.config import load_config
from calib.evaluation import evaluate
from calib.evaluation.baselines import online
from calib.evaluation.event_files import write_event_files
from calib.evaluation.integer_model import IntegerModel
from calib.evaluation.report.measure import measure
from calib.formats.bit_allocation import weight_noises
from calib.network import fake_quant, float_model
from calib.observers.observer import some_images
from calib.reconstruction.layerwise import reconstruct
from codegen.generate import generate
from codegen.lint.artifacts import widest_artifact
from codegen.lowering.engine_operators import ENGINE_OPERATOR, EngineOperator, engine_operator
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, load_board
from codegen.performance.estimate import estimate
from codegen.simulation.csim import compile_engine

ROOT = Path(__file__).parents[1]
MODULE = """
import torch
from torch import nn
def make():
    torch.manual_seed(0)
    return nn.Sequential({layers}, nn.Conv2d(4, 3, 1))
"""
TOML = """
model = "{module}:make"
[input]
size = 6
mean = 127
std = 128
[calibration]
images = "random"
limit = 4
[bfp]
method = "max"
equalise = "none"
sort_channels = false
"""
# the first node of the network, and what is made up of it
MYSTERIES = {
    "operator without weights": ("nn.ReLU(), nn.Conv2d(3, 4, 3)", OPERATORS, replace(IDENTITY, name="mystery"), "op"),
    "operator with weights": ("nn.Conv2d(3, 4, 3), nn.ReLU()", OPERATORS, replace(CONV, name="mystery"), "op"),
    "activation": ("nn.Conv2d(3, 4, 3), nn.ReLU()", ACTIVATIONS, replace(RELU, name="mystery"), "activation"),
}


@dataclass(frozen=True)
class Case:
    """A network whose first node is of a kind that no table has, and the artifact made before it was."""

    prepared: pipeline.Prepared
    artifact: Artifact
    images: np.ndarray
    folder: Path

    @property
    def network(self):
        return self.prepared.network

    @property
    def mantissas(self):
        return golden.quantise_input(self.artifact, self.images)


@pytest.fixture(params=MYSTERIES)
def case(request, tmp_path, monkeypatch):
    layers, known, record, field = MYSTERIES[request.param]
    module = "net_of_mysteries"
    (tmp_path / f"{module}.py").write_text(MODULE.format(layers=layers))
    (tmp_path / "toy.toml").write_text(TOML.format(module=module))
    prepared = pipeline.prepare(load_config(tmp_path / "toy.toml"))
    artifact = pipeline.make_artifact(prepared)
    graph = artifact.graph
    first = graph.nodes[0]
    assert first.main == graph.input and first.activation == "relu"
    graph = replace(graph, nodes=(replace(first, **{field: "mystery"}), *graph.nodes[1:]))
    monkeypatch.setitem(known, "mystery", record)
    graph.validate()  # it is an operator like any other, as far as its record goes
    state = replace(prepared.state, network=replace(prepared.network, graph=graph))
    prepared = replace(prepared, state=state)
    yield Case(prepared, replace(artifact, graph=graph), some_images(prepared.network, prepared.calibration, 4), tmp_path)
    sys.modules.pop(module, None)
    sys.path[:] = [p for p in sys.path if p != str(tmp_path)]


def by_method(prepared, method):
    """As a file prepares it that names this method."""
    config = prepared.config
    return replace(prepared, config=replace(config, bfp=replace(config.bfp, method=method)))


PATHS = {
    "float model": lambda c: float_model.run(c.network, torch.from_numpy(c.images)),
    "statistics": lambda c: pipeline.gather(c.prepared),
    "widths": lambda c: weight_noises(c.network, c.prepared.state.plan, torch.from_numpy(c.images)),
    "golden model": lambda c: golden.run(c.artifact, c.mantissas),
    "integer model": lambda c: IntegerModel(c.artifact, torch.device("cpu")),
    "evaluation": lambda c: evaluate.compare(c.prepared, c.artifact, c.prepared.calibration, "cpu"),
    "fake quantisation": lambda c: fake_quant.run(c.artifact, c.images),
    "fake quantisation against the golden model": lambda c: fake_quant.check(c.artifact, c.mantissas),
    "choice of the method": lambda c: auto.outputs(c.artifact, c.images, c.network),
    "layer-wise reconstruction": lambda c: reconstruct(c.network, c.artifact, c.images, "gptq", True),
    "online reference": lambda c: online.compare(by_method(c.prepared, "online"), c.prepared.calibration),
    "report": lambda c: measure(c.network, c.artifact, c.images),
    "code generation": lambda c: generate([c.artifact], EngineOptions(), load_board(DEFAULT_BOARD), c.folder / "events"),
    "cycles and resources": lambda c: estimate(build([c.artifact], EngineOptions(), load_board(DEFAULT_BOARD)), None),
    "event files": lambda c: write_event_files(c.prepared, c.artifact, c.folder / "events"),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_made_up_kind_is_refused_by_name(case, path):
    with pytest.raises(BfpError, match="has no entry for (operator|activation) 'mystery'; add one to its table"):
        PATHS[path](case)
    assert not (case.folder / "events").exists()


def test_no_result_comes_before_the_refusal(case):
    seen = []
    with pytest.raises(BfpError, match="'mystery'"):
        float_model.run(case.network, torch.from_numpy(case.images), observe=lambda tensor, x: seen.append(tensor))
    with pytest.raises(BfpError, match="'mystery'"):
        golden.run(case.artifact, case.mantissas, observe=lambda tensor, x: seen.append(tensor))
    assert seen == [case.network.graph.input] * 2


# module, which of its tables, and whose it says it is; each module is imported after those above it
TABLES = [
    ("bfp.golden.activations", "activation", "the golden model"),
    ("bfp.golden.model", "operator", "the golden model"),
    ("calib.network.float_ops", "operator", "the float model"),
    ("calib.network.float_ops", "activation", "the float model"),
    ("calib.network.fake_quant", "operator", "fake quantisation"),
    ("calib.evaluation.integer_ops", "operator", "the integer model"),
    ("calib.evaluation.integer_ops", "activation", "the integer model"),
    ("calib.reconstruction.samples", "operator with weights", "layer-wise reconstruction"),
    ("codegen.lowering.engine_operators", "operator", "the engine"),
    ("codegen.lowering.emission", "activation", "the engine"),
]
IMPORTS = """
import importlib, json, sys
from dataclasses import replace
from bfp.activations import ACTIVATIONS
from bfp.activations.relu import RELU
from bfp.errors import BfpError
from bfp.graph import Node
from bfp.operators import OPERATORS, Scaling
from bfp.operators.conv import CONV
from bfp.operators.identity import IDENTITY

RECORDS = {
    "operator": (OPERATORS, IDENTITY), "operator with weights": (OPERATORS, CONV), "activation": (ACTIVATIONS, RELU)
}
found = []
for module, kind, _ in json.loads(sys.argv[1]):
    known, record = RECORDS[kind]
    sys.modules.pop(module, None)
    known["mystery"] = replace(record, name="mystery")
    try:
        importlib.import_module(module)
        found.append("imported")
    except BfpError as error:
        found.append(str(error))
    del known["mystery"]
    importlib.import_module(module)  # as it is, it can be
print(json.dumps(found))
"""


def test_a_package_whose_table_lacks_an_entry_cannot_be_imported():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, json.dumps(TABLES)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    wanted = [f"{what} has no entry for {kind.split()[0]} 'mystery'; add one to its table" for _, kind, what in TABLES]
    assert json.loads(done.stdout) == wanted


@pytest.mark.parametrize(
    "changes, fault",
    [
        ({"exponents": None}, "no exponent rule or no bound"),
        ({"bound": None}, "no exponent rule or no bound"),
        ({"scaling": Scaling.ABSORBED}, "without weights"),
        ({"roles": ()}, "no operand"),
    ],
)
def test_a_record_that_contradicts_itself_cannot_be_made(changes, fault):
    with pytest.raises(BfpError, match=f"the record of operator 'identity' contradicts itself: .*{fault}"):
        replace(IDENTITY, **changes)


def test_a_shortcut_that_joins_otherwise_than_the_engine_does_it_is_refused(monkeypatch):
    node = Node("larger", "maximum", ("one", "other"), "larger")
    assert engine_operator(node) is EngineOperator.MAXIMUM
    monkeypatch.setitem(ENGINE_OPERATOR._entries, "maximum", EngineOperator.ADD)
    with pytest.raises(BfpError, match="node larger: maximum makes the larger one of both .* ADD their sum"):
        engine_operator(node)


@pytest.mark.parametrize("enumeration", ["ENGINE_OPERATOR", "ENGINE_ACTIVATION", "INPUT_POOLING", "MAP_PLACE"])
def test_a_member_without_a_branch_does_not_compile(enumeration, tmp_path):
    """What tells the members of an enumeration apart in C++ says how many it knows."""
    generate([widest_artifact()], EngineOptions(2, 2, 1), load_board(DEFAULT_BOARD), tmp_path)
    header = tmp_path / "generated" / "jobs.hpp"
    text, count = re.subn(rf"{enumeration}_MEMBERS = (\d+)", rf"{enumeration}_MEMBERS = 1\1", header.read_text())
    assert count == 1
    header.write_text(text)
    with pytest.raises(BfpError, match="static assertion failed"):
        compile_engine(tmp_path / "generated", tmp_path / "csim", optimise=["-O0"])
