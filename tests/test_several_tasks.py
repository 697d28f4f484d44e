"""A file of several networks: what it may say, the tasks of all together, and what is for one alone."""

from __future__ import annotations

import json
import re

import pytest
from support.project import NAME, Project, refusal

from bfp.deployment import read_deployment
from bfp.errors import BfpError
from calib.together import is_together, load_together
from static_bfp.tasks import of_network, of_project
from static_bfp.tasks.choice import of_one_alone, references

FILE = """
networks = ["toy.toml", "second.toml"]

[engine]
lanes = 4
filters = 2
pixels = 2
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    found = Project(tmp_path_factory.mktemp("several"), "project")
    found.network("second")
    (found.user / "both.toml").write_text(FILE)
    return found


def test_the_file_names_networks_and_their_engine(project):
    found = load_together(project.user / "both.toml")
    assert is_together(found.path) and not is_together(project.user / "toy.toml") and not is_together(project.user / "no.toml")
    assert found.name == "both" and list(found.networks) == [NAME, f"{NAME}_second"]
    assert found.engine == {"lanes": 4, "filters": 2, "pixels": 2} and found.board is None
    (project.user / "shipped.toml").write_text('networks = ["resnet20", "toy.toml"]\nname = "x"\n[engine]\nboard = "ultra96v2"\n')
    found = load_together(project.user / "shipped.toml")
    assert (found.name, found.board, list(found.networks)) == ("x", "ultra96v2", ["resnet20", NAME])


@pytest.mark.parametrize(
    "text, sentence",
    [
        ('networks = ["toy.toml"]', "networks is ['toy.toml']; it must be an array of at least two files"),
        ('networks = "toy.toml"', "it must be an array of at least two files"),
        ('networks = ["toy.toml", 3]', "it must be an array of at least two files"),
        ('networks = ["toy.toml", "toy.toml"]', f"two of its networks are named {NAME}; name one otherwise"),
        (f'networks = ["toy.toml", "second.toml"]\nname = "{NAME}"', "it is named .* as one of its networks is; name it otherwise"),
        ('networks = ["toy.toml", "nothing.toml"]', "nothing.toml"),
        ('networks = ["toy.toml", "second.toml"]\nmodel = "x:y"', "model is not a known key; did you mean"),
        ('networks = ["toy.toml", "second.toml"]\nname = "a b"', "name is 'a b'; it must be letters"),
        ('networks = ["toy.toml", "second.toml"]\n[engine]\nlanes = "x"', r"\[engine\] lanes is 'x'; it must be a whole number"),
        ("networks = [", "is not valid TOML"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_sentence(project, text, sentence):
    path = project.user / "wrong.toml"
    path.write_text(text)
    with pytest.raises(BfpError, match=sentence if "\\" in sentence or ".*" in sentence else re.escape(sentence)) as error:
        load_together(path)
    assert "\n" not in str(error.value)


def test_tasks_of_all_together_depend_on_each(project, tmp_path):
    path = project.user / "both.toml"
    collect = of_network.collect("both", path)
    assert {f"{name}/{file}" for name in (NAME, f"{NAME}_second") for file in ("artifact.npz", "samples.npz")} <= {
        "/".join(dep.split("/")[-2:]) for dep in collect["file_dep"]
    }
    made = {str(file) for files in references(of_network.BUILD / "both", path) for file in files}
    assert made < set(collect["targets"])
    for make in (of_network.csim, of_network.codegen, of_network.estimate):
        assert {file for file in made if "artifact" in file} <= set(make("both", path)["file_dep"])
    alone = {of_network.evaluate, of_network.explore, of_network.report, of_network.sweep, of_network.baselines}
    assert not alone & set(of_project.OF_SEVERAL)


def test_a_task_of_one_network_is_refused_with_their_names(project, capsys):
    ((action, (sentence,)),) = of_one_alone("evaluate")("both", project.user / "both.toml")["actions"]
    assert action(sentence) is False
    assert capsys.readouterr().err == f"error: both is several networks together; run doit evaluate for one of {NAME}, {NAME}_second\n"


@pytest.mark.heavy
def test_two_networks_from_their_files_to_a_board(project):
    done = project.doit("simulate-board", "net=both.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    build = project.root / "build" / "both"
    found = json.loads((build / "board.json").read_text())
    assert found["network"] == "both" and found["mismatches"] == 0
    assert [one["network"] for one in found["networks"]] == [n.name for n in read_deployment(build / "deploy").networks]
    again = project.doit("simulate-board", "net=both.toml")
    assert re.findall(r"(?m)^-- (\S+:both)$", again.stdout) == [f"{t}:both" for t in ("calibrate", "codegen", "csim", "simulate-board")]
    done = project.doit("deploy", "net=both.toml", "host=local")
    assert done.returncode == 0 and "self-test: passed" in done.stdout, done.stdout + done.stderr
    assert "several networks together; run doit evaluate for one of" in refusal(project.doit("evaluate", "net=both.toml"))
    (project.user / "wrong.toml").write_text('networks = ["toy.toml"]')
    assert "it must be an array of at least two files" in refusal(project.doit("csim", "net=wrong.toml"))
