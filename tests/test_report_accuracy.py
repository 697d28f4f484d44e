"""The report's comparison with the published rule and the plain maximum, and what it says of the calibration."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.report_page import MODULE, TOML, Page

from bfp import artifact_file
from bfp import golden
from bfp.artifact import Artifact
from calib.__main__ import main
from calib.config import load_config
from calib.options import BfpOptions, Override
from calib.data.images import open_images
from calib.pipeline import prepare
from calib.evaluation.report import baselines
from calib.evaluation.report.accuracy import accuracy_rows, comparison_notes
from calib.evaluation.report.calibration import calibration_facts, candidates
from calib.evaluation.report.page import RESULTS, read_results, render

OWN = """
[evaluation]
images = "images.npz"
limit = 10

[[bfp.override]]
layers = "stem"
weights = 8
method = "kl"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """TOML path and results folder of a network that is calibrated with groups, evaluated, and compared."""
    folder = tmp_path_factory.mktemp("baselines")
    (folder / "report_test_network.py").write_text(MODULE)
    path = folder / "net.toml"
    corrections = "bias_correction = true\nsort_channels = true\nequalise = 'ranges'\n"
    path.write_text(TOML.format(group=2) + corrections + OWN)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 12, 12, 3), np.uint8), rng.integers(0, 6, 12)
    np.savez(folder / "images.npz", images=images, labels=labels)
    for command in ("calibrate", "evaluate", "baselines", "report"):
        assert main([command, str(path), "--out", str(folder / "out")]) == 0
    return path, folder / "out"


@pytest.mark.parametrize("method, limit", [("fan2019", 126), ("max", 127)])
def test_baselines_follow_their_rule_at_the_files_widths(project, method, limit):
    """Read back from the artifact that was evaluated: no groups, no corrections, the override's width only."""
    artifact = artifact_file.load(project[1] / "baselines" / method / "artifact.npz")
    assert artifact.provenance["method"] == method
    on = [k for k, v in artifact.provenance["bfp"].items() if v is True]
    assert on == ([] if method == "fan2019" else ["unsigned"])
    assert artifact.provenance["bfp"]["overrides"] == [{"layers": "stem", "weights": 8}]
    bits = {n: p.weights.bits for n, p in artifact.parameters.items() if p.weights is not None}
    assert bits.pop("stem") == 8 and set(bits.values()) == {6}
    # one exponent a feature map; the branches of a concatenation have each their own
    assert {t: f.splits for t, f in artifact.formats.items()} == artifact.graph.segments()
    assert np.abs(artifact.parameters["stem"].weights.mantissas).max() <= limit


def test_baselines_figures_are_those_of_the_integer_path(project):
    path, out = project
    config = load_config(path)
    images = open_images(config.evaluation, config.input)
    batch = next(images.batches(len(images)))
    for method, found in json.loads((out / "baselines.json").read_text())["baselines"].items():
        artifact = artifact_file.load(out / "baselines" / method / "artifact.npz")
        best = golden.logits(artifact, golden.quantise_input(artifact, batch)).argmax(1)
        assert found["artifact"] == artifact.digest and found["images"] == 10
        assert found["top1_bfp"] == (best == images.labels).mean()


def test_baselines_are_evaluated_once(project, monkeypatch):
    """A second run evaluates nothing; other images or another number of them do."""
    path, out = project
    before = (out / "baselines.json").read_bytes()
    done = []
    real = baselines.evaluate.evaluate
    monkeypatch.setattr(baselines.evaluate, "evaluate", lambda *a: done.append(a) or real(*a))
    config = load_config(path)
    baselines.measure_baselines(config, out)
    assert done == [] and (out / "baselines.json").read_bytes() == before
    (out / "baselines.json").write_text("{")  # damaged: measured again
    baselines.measure_baselines(config, out)
    assert len(done) == 2
    images = open_images(config.evaluation, config.input)
    keys = {baselines.measuring_key(prepare(config).network, i, n) for i, n in ((images, None), (images, 3))}
    fewer = replace(images, items=images.items[:9])
    keys.add(baselines.measuring_key(prepare(config).network, fewer, None))
    assert len(keys) == 3


def test_a_rule_that_cannot_quantise_the_network_is_a_row_not_the_end(project, tmp_path, monkeypatch):
    path, _ = project
    real = baselines.pipeline.quantise

    def refusing(prepared, statistics):
        if prepared.config.bfp.method == "fan2019":
            raise baselines.BfpError("node stem: <too> wide; check the weights")
        return real(prepared, statistics)

    monkeypatch.setattr(baselines.pipeline, "quantise", refusing)
    content = baselines.measure_baselines(load_config(path), tmp_path)
    assert content["baselines"]["fan2019"] == {"error": "node stem: <too> wide; check the weights"}
    assert content["baselines"]["max"]["images"] == 10


def test_plain_options_drop_every_correction():
    """All that is no width or limit of the engine is as in the plain file, and what a budget allows is given to all."""
    ours = BfpOptions(
        *(5, 6, 16, 16, "auto", "mse", True, 4, 7, "gptq", True, True, True, None, None, "ranges", "classes"),
        overrides=(Override("a", method="kl"), Override("b", activations=4, weight_method="mse")),
    )
    plain = BfpOptions(weights=5, activations=6, sensitive=7, max_spread=4, output="values")
    plain = replace(plain, overrides=(Override("b", activations=4),))
    assert baselines.plain_options(ours, "max") == plain
    budget = baselines.plain_options(replace(ours, weight_budget=4.25, activation_budget=6.0), "max")
    assert (budget.weights, budget.activations, budget.weight_budget, budget.activation_budget) == (5, 6, None, None)


def test_the_page_shows_every_row(project):
    path, out = project
    parsed = Page((out / "report.html").read_text(encoding="utf-8"))
    results = read_results(out)
    rows = accuracy_rows(artifact_file.load(out / "artifact.npz"), results)
    assert [r["title"] for r in rows] == ["Float network", "This artifact", "Published rule", "Plain maximum"]
    evaluation, measured = results["evaluation"], results["baselines"]["baselines"]
    assert [r["top1"] for r in rows] == [evaluation["top1_float"], evaluation["top1_bfp"]] + [
        measured[m]["top1_bfp"] for m in ("fan2019", "max")
    ]
    for r in rows[1:]:
        shown = f"{100 * (r['top1'] - evaluation['top1_float']):+.2f}".replace("-", "\u2212")
        assert f"{100 * r['top1']:.2f} % {shown} {100 * r['agreement']:.2f} %" in parsed.text
    assert comparison_notes(artifact_file.load(out / "artifact.npz"), results, "net") == []


def result(**changes):
    figures = {"images": 100, "top1_float": 0.5, "top1_bfp": 0.4, "agreement": 0.9, "sqnr_db": 20.0}
    figures |= {"task": "classification", "metric": "agreement", "figure": 0.9}
    return {**figures, "weight_bits": 8, "activation_bits": 8, **changes}


@pytest.mark.parametrize(
    "baseline, words",
    [
        (result(), None),
        (result(images=7), "measured on 7 images, the artifact on 100; run `doit baselines:net`"),
        (result(top1_float=0.3), "on other images or weights"),
        (result(weight_bits=6), "weights and activations of 6 and 8 bits, not 8 and 8"),
        ({"error": "no"}, None),
    ],
)
def test_figures_that_cannot_be_compared_are_pointed_out(baseline, words):
    results = {"evaluation": result(), "baselines": {"baselines": {"max": baseline}}}
    artifact = Artifact(None, {}, {}, (), (), provenance={"bfp": {"weights": 4, "weight_budget": 7.5, "activations": 8}})
    found = comparison_notes(artifact, results, "net")
    assert found == [] if words is None else len(found) == 1 and words in found[0]


def test_missing_and_impossible_rows_are_said_on_the_page(project):
    _, out = project
    artifact, content = artifact_file.load(out / "artifact.npz"), json.loads((out / "layers.json").read_text())
    results = {**dict.fromkeys(RESULTS), "evaluation": result(top1_float=None, top1_bfp=None)}
    text = Page(render(artifact, content, results)).text
    assert "are not measured yet; run `doit baselines:net`" in text and "the images have no labels" in text
    results["baselines"] = {"baselines": {"fan2019": {"error": "node <stem> is too wide"}}}
    assert "not possible: node <stem> is too wide" in Page(render(artifact, content, results)).text
    nothing = Page(render(artifact, content, dict.fromkeys(RESULTS))).text
    assert "Accuracy missing : evaluation.json does not exist" in nothing


PROVENANCE = {
    "method": "auto: mse",
    "bfp": {"weights": 4, "equalise": False, "overrides": [{"layers": "a*", "weights": 8}], "budget": None},
    "held_out": 5,
    "sqnr_db": {"max": 11.0, "mse": 14.25, "rounded": 13.0},
    "steps": {"learnt rounding": {"layers": 3, "gain": 0.5}, "bias": True},
    "widths": {f"layer{i}": {"weights": 4 + i % 3, "activations": 8} for i in range(20)},
    "adjustments": {"weights": {}, "activations": {}},
    "notes": [],
}


def test_calibration_is_shown_whatever_recorded_it(project):
    """Keys that this page does not know of appear with their values; long tables are folded."""
    assert candidates(PROVENANCE) == [("max", 11.0, False), ("mse", 14.25, True), ("rounded", 13.0, False)]
    facts = {f["key"]: f for f in calibration_facts(PROVENANCE)}
    assert facts["overrides"]["table"] == [("a*", "weights 8")] and facts["equalise"]["text"] == "off"
    assert "budget" not in facts and "adjustments" not in facts
    assert facts["steps"]["table"] == [("learnt rounding", "layers 3, gain 0.5"), ("bias", "on")]
    _, out = project
    artifact, content = artifact_file.load(out / "artifact.npz"), json.loads((out / "layers.json").read_text())
    text = Page(render(replace(artifact, provenance=PROVENANCE), content, dict.fromkeys(RESULTS))).text
    for words in ("mse (chosen) 14.2 dB", "on 5 calibration images held out", "20 entries", "layer7: weights 5"):
        assert words in text, words
    assert "weights 6, 8 bits" in text and "Mantissa widths, sign included" in text
