"""Narrow mantissas measured by one command: rows of a trained network, of its very artifact, that are kept."""

import json

import pytest
from support.digits import folder, write_network  # noqa: F401 (folder is a fixture)

from bfp import artifact_file
from calib.config import load_config
from calib.evaluation.benchmark import narrow_widths
from calib.evaluation.sweep.modelled import modelled, target_of


def test_rows_of_a_trained_network(folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    network = write_network(folder, "digits_narrow", bfp="weight_group = 8")
    monkeypatch.chdir(tmp_path)
    given = [str(network), "--out", "out", "--widths", "4,4"]
    assert narrow_widths.main(given) == 0
    table, place = capsys.readouterr().out, tmp_path / "out" / "weights4_activations4"
    found, artifact = json.loads((place / "figures.json").read_text()), artifact_file.load(place / "artifact.npz")
    assert found["artifact"] == artifact.digest
    used = artifact.provenance["bfp"]
    assert (used["weights"], used["sensitive"], used["weight_group"]) == (4, 8, 8)  # the last as the file has it
    whole, first, second = found["parts"].values()
    assert (whole["images"], first["images"], second["images"]) == (597, 299, 298)
    # both halves are of the same outputs
    for key in ("loss", "agreement"):
        assert 597 * whole[key] == pytest.approx(299 * first[key] + 298 * second[key])
    assert whole["agreement"] > 90 and whole["agreement"] < 100
    config = load_config(network)
    frames = modelled(artifact, config.engine, target_of(config.board, None))["frames_per_second"]["likely"]
    assert table.count(f"| {frames:,.0f} |") == 3 and ", 4 and 4 | all: 597 |" in table
    # what is done is not done again
    monkeypatch.setattr(narrow_widths, "measure", None)
    assert narrow_widths.main(given) == 0 and capsys.readouterr().out == table


@pytest.mark.parametrize("word, said", [
    ("4", "--widths 4 must be of weights and of activations, such as 4,4"),
    ("4,x", "--widths '4,x' must be whole numbers with ',' between"),
])  # fmt: skip
def test_wrong_words_are_one_sentence(folder, tmp_path, capsys, word, said):  # noqa: F811
    network = write_network(folder, "digits_narrow_words")
    assert narrow_widths.main([str(network), "--out", str(tmp_path / "out"), "--widths", word]) == 2
    assert said in capsys.readouterr().err
