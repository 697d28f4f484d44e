"""What few calibration images cost, measured: intervals by hand, and rows of a trained network that are kept."""

import json

import numpy as np
import pytest
from support.digits import folder, write_network  # noqa: F401 (folder is a fixture)

from calib.evaluation.benchmark import few_images


def test_figures_by_hand():
    reference = np.eye(4)[[0, 1, 2, 3]] * 3
    outputs = reference.copy()
    outputs[3] = [4, 0, 0, 3]  # another class than the float network's, which was right
    found = few_images.figures(reference, outputs, np.array([0, 1, 3, 3]))
    assert (found["images"], found["top1_float"], found["loss"], found["agreement"]) == (4, 75.0, 25.0, 75.0)
    assert found["loss_interval"] == pytest.approx(1.96 * 50 / 2)
    assert found["sqnr_db"] == pytest.approx(10 * np.log10(36 / 16))
    low, high = found["agreement_interval"]  # Wilson's, as in any table of it: 3 of 4
    assert (low, high) == (pytest.approx(30.06, abs=0.01), pytest.approx(95.44, abs=0.01))


def test_nothing_lost_is_said(folder):  # noqa: F811
    entry = {"name": "n", "method": "auto", **few_images.figures(np.eye(2), np.eye(2), np.array([0, 1]))}
    assert few_images.markdown([entry]).splitlines()[2].endswith("100.0 % (34.2 to 100.0), none lost | - |")


def test_rows_of_a_trained_network(folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    network = write_network(folder, "digits_few")
    monkeypatch.chdir(tmp_path)
    given = [str(network), "--out", "out", "--counts", "500,1", "--classes", "3-3", "--methods", "max"]
    monkeypatch.setattr(few_images, "NOISE", 8)
    assert few_images.main(given) == 0
    table = capsys.readouterr().out
    found = {}
    for file in (tmp_path / "out").glob("*.json"):
        entry = json.loads(file.read_text())
        found[entry["name"]] = entry
    names = ["200 images", "1 image, number 0", "1 image, number 100", "1 image, number 199", "8 images of classes 3 to 3",
             "8 of uniform noise"]  # fmt: skip
    assert sorted(found) == sorted(names) and all(f"| {name} |" in table for name in names)
    assert [found[n]["calibration_images"] for n in names] == [200, 1, 1, 1, 8, 8]
    threes = found["200 images"]["images"] - found["8 images of classes 3 to 3"]["images"]
    assert found["200 images"]["images"] == 597 and 30 < threes < 90
    assert found["200 images"]["agreement"] > 97 and len({e["sqnr_db"] for e in found.values()}) == 6
    # what is done is not done again
    monkeypatch.setattr(few_images, "measure", None)
    assert few_images.main(given) == 0 and capsys.readouterr().out == table


@pytest.mark.parametrize("words, said", [
    (["--counts", "4,many"], "--counts '4,many' must be whole numbers with ',' between"),
    (["--classes", "3"], "--classes must be FIRST-LAST, such as 151-268"),
    (["--classes", "11-12"], "no image has a label from 11 to 12; give others to --classes"),
    (["--methods", "best"], "--methods best is not known; known are auto, max"),
])  # fmt: skip
def test_wrong_words_are_one_sentence(folder, tmp_path, capsys, words, said):  # noqa: F811
    network = write_network(folder, "digits_few_words")
    assert few_images.main([str(network), "--out", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err
