"""The report: its figures against independent computation, its page against its figures."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.report_page import Page, project  # noqa: F401 (a fixture)

from bfp import artifact_file
from bfp import golden
from bfp.format import dequantise, quantise
from bfp.samples import load_samples
from calib.network import float_model
from calib.__main__ import main
from calib.config import load_config
from calib.network.fake_quant import real_network
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.pipeline import prepare
from calib.evaluation.report import charts, write_report
from calib.evaluation.report.figures import WORST, layer_figures, worst_layers
from calib.evaluation.report.measure import measure
from calib.evaluation.report.page import RESULTS, images_to_measure, render
from support import hostile
from support.random_graphs import random_artifact
from support.random_inputs import random_input


ONE_BLOCK = pytest.mark.parametrize("project", [0], indirect=True, ids=["one-block"])


@pytest.fixture
def copy(project, tmp_path):
    """The same, in a folder that a test may change."""
    shutil.copytree(project[1], tmp_path / "out")
    return project[0], tmp_path / "out"


def page(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def layer(content, name):
    return next(f for f in content["layers"] if f["name"] == name)


def sqnr(signal, noise):
    return 10 * np.log10((signal**2).sum() / (noise**2).sum())


def test_page_opens_offline(project):
    """Nothing is fetched: no scripts, no addresses, links only to the page itself."""
    text = (project[1] / "report.html").read_text(encoding="utf-8")
    parsed = Page(text)
    assert not re.search(r"http|src\s*=|@import|url\(|<script|<link", text)
    links = [v for tag, k, v in parsed.attributes if k == "href"]
    assert links and all(v.startswith("#") and v[1:] in parsed.ids for v in links)
    assert len(set(parsed.ids)) == len(parsed.ids)


@ONE_BLOCK
def test_links_lead_into_the_layers_sections(project):
    """A browser opens a section when a link leads to something inside it, not when it leads to the section itself."""
    parsed = page(project[1])
    assert not [k for tag, k, _ in parsed.attributes if tag == "details" and k == "id"]
    assert all(f["name"] in parsed.ids for f in project[2]["layers"])


@ONE_BLOCK
def test_page_of_a_large_network_stays_light(project):
    """150 layers, as in the largest networks that are shipped: below five megabytes."""
    _, out, content = project
    layers = [f for f in content["layers"] if f["weights"]]
    many = [{**layers[i % len(layers)], "name": f"block{i}.conv"} for i in range(150)]
    content = {**content, "layers": many, "worst": []}
    text = render(artifact_file.load(out / "artifact.npz"), content, dict.fromkeys(RESULTS))
    assert text.count("<details data-layer") == 150 and len(text.encode()) < 5e6


def test_page_shows_the_figures_of_layers_json(project):
    """Every figure in a layer's section, in order, is that of layers.json."""
    _, out, content = project
    shown = page(out).values

    def expected(f):
        yield from (f["own_sqnr_db"], f["accumulated_sqnr_db"], f["saturation_rate"], f["range_used"])
        if f["weights"]:
            yield f["weights"]["sqnr_db"]
            if f["weights"]["moved"]:
                yield f["weights"]["moved"]
        if f["own_parts"]:
            yield from (f["own_parts"][k] for k in ("rounding", "weights", "saturation"))
            yield f["noisiest_share"]
        yield from (f["vanished_rate"], f["range_used_median_channel"])
        for c in f["candidates"]:
            yield from (c["mse"], c["kl"], c["saturated"])

    for f in content["layers"]:
        assert [v for name, v in shown if name == f["name"]] == [str(v) for v in expected(f)], f["name"]


def test_worst_layers_are_sorted(project):
    _, out, content = project
    own = [layer(content, n)["own_sqnr_db"] for n in content["worst"]]
    lossy = sorted(f["own_sqnr_db"] for f in content["layers"] if f["own_sqnr_db"] is not None)
    assert own == lossy[:WORST]
    shown = [float(v) for name, v in page(out).values if name is None][::2]
    assert shown == own


def test_errors_equal_an_independent_computation(project):
    """Own and accumulated error of the depthwise layer, in float64, from the definition."""
    path, out, content = project
    prepared = prepare(load_config(path))
    artifact, images = artifact_file.load(out / "artifact.npz"), images_to_measure(prepared)
    node = next(n for n in artifact.graph.nodes if n.op == "depthwise")
    stored = golden.run(artifact, golden.quantise_input(artifact, images))
    operands = {t: torch.from_numpy(dequantise(stored[t], artifact.formats[t])) for t in node.inputs}
    w = prepared.network.weights[node.name]
    own = torch.nn.functional.conv2d(
        operands[node.main], torch.from_numpy(w.weight).double(), torch.from_numpy(w.bias).double(), padding=1, groups=8
    )
    if node.activation == "relu":
        own = own.relu()
    assert node.shortcut is None
    got = dequantise(stored[node.output], artifact.formats[node.output])
    figures = layer(content, node.name)
    assert figures["own_sqnr_db"] == pytest.approx(sqnr(own.numpy(), own.numpy() - got), abs=1e-3)
    floats = float_model.run(prepared.network, torch.from_numpy(images), keep=[node.output])
    exact = floats[node.output].double().numpy()
    assert figures["accumulated_sqnr_db"] == pytest.approx(sqnr(exact, exact - got), abs=1e-3)
    fmt = artifact.formats[node.output]
    assert figures["range_used"] == pytest.approx(np.abs(stored[node.output]).max() / fmt.high, abs=1e-6)
    parts = figures["own_parts"]
    assert sum(parts.values()) == pytest.approx(1, abs=1e-4)
    chosen = next(c for c in figures["candidates"] if c["offset"] == 0)
    exact_mse = ((dequantise(quantise(exact, fmt), fmt) - exact) ** 2).mean()
    assert chosen["mse"] == pytest.approx(exact_mse, rel=0.1)  # the histogram has 4096 bins


def test_layers_without_error_or_signal(project):
    """A dead layer, a constant one and a max pool: no figure is invented, nothing crashes."""
    _, _, content = project
    dead = layer(content, "dead")
    assert dead["own_sqnr_db"] is None and dead["own_remark"] == "exact" and dead["range_used"] == 0
    assert dead["dead_channels"] == 4
    assert layer(content, "stem")["dead_channels"] == 1
    pool = next(f for f in content["layers"] if f["op"] == "max_pool")
    assert pool["own_sqnr_db"] is None and pool["accumulated_sqnr_db"] is not None
    assert pool["cause"] == "" and "none is its own" in pool["inherited"]
    assert layer(content, "constant")["weights"]["zero_filters"] == 4


def test_causes_follow_the_figures(project):
    """The channel with weights 12 times larger is named where it shares its exponent with the others."""
    _, _, content = project
    outlier = layer(content, "outlier")
    assert outlier["widest_channel"] == 2 or outlier["blocks"] > 1
    if outlier["blocks"] == 1:
        assert "channel 2 alone sets the exponent" in outlier["cause"]
    else:
        assert "alone sets the exponent" not in outlier["cause"]


def test_saturation_is_measured_and_named(project, copy):
    """Images three times as bright as a pixel can be: the input saturates, and the report counts how often."""
    path, out = copy
    images = load_samples(out / "samples.npz").images * 3
    content = write_report(prepare(load_config(path)), out, images)
    fmt = artifact_file.load(out / "artifact.npz").formats[content["layers"][0]["tensor"]]
    lsb = np.exp2(fmt.channel_exponents())[:, None, None]
    clipped = np.abs(np.floor(images / lsb + 0.5)) > fmt.high
    assert content["layers"][0]["saturation_rate"] == pytest.approx(clipped.mean(), abs=1e-5)
    assert clipped.mean() > 0.1
    assert content["worst"][0] == "input" and content["layers"][0]["cause"].startswith("Saturation")


@ONE_BLOCK
def test_missing_results_are_said_to_be_missing(project, copy):
    path, out = copy
    text = page(out).text
    assert "csim.json does not exist" in text and "board.json does not exist" in text
    (out / "evaluation.json").unlink()
    assert main(["report", str(path), "--out", str(out)]) == 0
    assert "evaluation.json does not exist" in page(out).text


@ONE_BLOCK
def test_simulations_are_shown_with_their_first_mismatch(project, copy):
    path, out = copy
    good = {"images": 2, "values_compared": 12345, "mismatches": 0, "first_mismatch": None}
    bad = {**good, "mismatches": 3, "first_mismatch": "layer <stem>, channel 1"}
    (out / "csim.json").write_text(json.dumps(good))
    (out / "board.json").write_text(json.dumps(bad))
    assert main(["report", str(path), "--out", str(out)]) == 0
    text = page(out).text
    assert "12 345 values compared" in text and "0 mismatches" in text
    assert "3 mismatches" in text and "first: layer <stem>, channel 1" in text


@ONE_BLOCK
@pytest.mark.parametrize(
    "content, sentence", [("{", "csim.json is damaged"), ('{"images": 2}', "does not say values_compared, mismatches")]
)
def test_damaged_result_files_are_refused(project, copy, capsys, content, sentence):
    path, out = copy
    before = (out / "report.html").read_bytes()
    (out / "csim.json").write_text(content)
    assert main(["report", str(path), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and "run `doit csim` again" in error
    assert (out / "report.html").read_bytes() == before


@ONE_BLOCK
def test_evaluation_of_another_artifact_is_pointed_out(project, copy):
    path, out = copy
    result = json.loads((out / "evaluation.json").read_text())
    (out / "evaluation.json").write_text(json.dumps({**result, "artifact": "0" * 64}))
    assert main(["report", str(path), "--out", str(out)]) == 0
    assert "evaluation.json was measured on another artifact" in page(out).text


@ONE_BLOCK
def test_random_weights_and_replacements_are_said(project):
    _, out, content = project
    artifact = artifact_file.load(out / "artifact.npz")
    results = dict.fromkeys(RESULTS)
    assert "not trained" not in Page(render(artifact, content, results)).text
    changed = {**artifact.provenance, "weights": "random", "replaced": ["weights a.pth do not exist"]}
    text = Page(render(replace(artifact, provenance=changed), content, results)).text
    assert "random (not trained" in text and "Note: weights a.pth do not exist." in text


@ONE_BLOCK
def test_report_needs_an_artifact(project, tmp_path, capsys):
    assert main(["report", str(project[0]), "--out", str(tmp_path / "none")]) == 2
    assert "artifact.npz does not exist; run `doit calibrate`" in capsys.readouterr().err


def test_ticks_are_round_and_inside():
    for low, high in ((0, 1), (0, 51), (-3.2, 61.7), (0, 3e-4), (0, 2.0**40)):
        ticks = charts.nice_ticks(low, high)
        assert 2 <= len(ticks) <= 6 and low <= ticks[0] and ticks[-1] <= high * (1 + 1e-9)
    assert charts.nice_ticks(0, 51, 6) == [0, 10, 20, 30, 40, 50]
    assert charts.nice_ticks(2, 2) == [2]


@pytest.mark.parametrize("seed", range(8))
def test_exact_weights_leave_rounding_and_saturation_only(seed):
    """Random networks whose float weights are the artifact's own: no error may be blamed on weights."""
    artifact = random_artifact(seed, 8)
    weights = {
        name: FloatWeights(*(None if a is None else a.astype(np.float32) for a in (w.weight, w.bias, w.limit)))
        for name, w in real_network(artifact).weights.items()
    }
    network = FloatNetwork(artifact.graph, weights)
    images = dequantise(random_input(artifact, seed), artifact.formats[artifact.graph.input]).astype(np.float32)
    layers = layer_figures(artifact, network, measure(network, artifact, images))
    for f in layers:
        if f["own_parts"] and f["op"] in ("conv", "depthwise", "add", "max_pool"):
            assert f["own_parts"]["weights"] < 1e-3, f["name"]
        assert f["weights"] is None or f["weights"]["remark"] == "exact"
    content = {"network": artifact.graph.name, "images": 1, "worst": worst_layers(layers), "layers": layers}
    json.dumps(content, allow_nan=False)
    text = Page(render(artifact, content, dict.fromkeys(RESULTS))).text
    assert f"The {len(content['worst'])} worst layers" in text


def with_texts(value, text, keep=()):
    """A copy in which ``text`` follows every string, but those under the keys of ``keep``."""
    if isinstance(value, dict):
        return {k: v if k in keep else with_texts(v, text, keep) for k, v in value.items()}
    if isinstance(value, list):
        return [with_texts(v, text, keep) for v in value]
    return f"{value}{text}" if isinstance(value, str) else value


@ONE_BLOCK
def test_names_cannot_become_markup(project):
    """Whatever names, notes and results say: the page has the elements and attributes that it always has."""
    _, out, content = project
    artifact = artifact_file.load(out / "artifact.npz")
    evaluation = {"images": 3, "top1_float": 0.5, "top1_bfp": 0.5, "agreement": 1.0, "sqnr_db": 30.0, "notes": ["note"]}
    evaluation |= {"task": "classification", "metric": "agreement", "figure": 1.0}
    failed = {"images": 1, "values_compared": 9, "mismatches": 1, "first_mismatch": "layer"}
    baselines = {"baselines": {"max": {"error": "sentence"}}}
    results = {"evaluation": evaluation, "csim": failed, "board": failed, "baselines": baselines}
    plain = Page(render(artifact, content, results))
    recorded = {**artifact.provenance, "replaced": ["note"], "model": "m:f", "weights": "w"}
    keep = ("activation", "digest", "artifact")
    changed = render(
        replace(artifact, provenance=with_texts({**recorded, "sqnr_db": {"a": 1.0}}, hostile.ALL)),
        with_texts(content, hostile.ALL, keep),
        with_texts(results, hostile.ALL, keep),
    )
    parsed = Page(changed)
    assert {(tag, k) for tag, k, _ in parsed.attributes} == {(tag, k) for tag, k, _ in plain.attributes}
    tags = [set(re.findall(r"<(/?[a-zA-Z!]+)", page)) for page in (changed, render(artifact, content, results))]
    assert tags[0] == tags[1]
    text = parsed.text
    for words in hostile.TEXTS:
        assert words in text
    assert [i for i in parsed.ids if hostile.ALL in i]
