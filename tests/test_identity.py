"""The kernel's identity: whatever changes a bit of the hardware changes it, and nothing else does."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.boards import BOARD
from support.random_graphs import random_artifact
from support.renamed import named, renamed

from bfp.artifact import Artifact, Preprocessing
from bfp.artifact_file import load, save
from bfp.errors import BfpError
from bfp.format import mantissa_range
from bfp.graph import Window
from codegen import identity, render
from codegen.lint.artifacts import widest_artifact
from codegen.lowering.program import build
from codegen.options import EngineOptions

SMALL = EngineOptions(lanes=4, filters=2, pixels=2)
OUTSIDE = {"trace.hpp", "map_check.hpp", "queue_check.hpp", "dependence_check.hpp", "bound_check.hpp", "hls_stream.h"}  # what a simulation or a synthesis puts there


def kernel(artifact: Artifact, options: EngineOptions = SMALL, board=BOARD, title: str = "test") -> str:
    """The identity of an artifact's kernel."""
    return render.render(build([artifact], options, board), title)[1]


@pytest.fixture(scope="module")
def before() -> str:
    return kernel(widest_artifact())


def with_parameters(artifact: Artifact, name: str, **fields) -> Artifact:
    """The artifact with other parameters of one node."""
    return replace(artifact, parameters={**artifact.parameters, name: replace(artifact.parameters[name], **fields)})


def with_node(artifact: Artifact, name: str, **fields) -> Artifact:
    """The artifact with another node of that name."""
    nodes = tuple(replace(n, **fields) if n.name == name else n for n in artifact.graph.nodes)
    return replace(artifact, graph=replace(artifact.graph, nodes=nodes))


def with_format(artifact: Artifact, tensor: str, **fields) -> Artifact:
    """The artifact with another block format of one tensor."""
    return replace(artifact, formats={**artifact.formats, tensor: replace(artifact.formats[tensor], **fields)})


def with_weights(artifact: Artifact, name: str, **fields) -> Artifact:
    """The artifact with other weights of one node."""
    return with_parameters(artifact, name, weights=replace(artifact.parameters[name].weights, **fields))


def other_values(artifact: Artifact, seed: int) -> Artifact:
    """Other weights and biases of the same widths, at the same exponents."""
    rng, changed = np.random.default_rng(seed), {}
    for name, p in artifact.parameters.items():
        if p.weights is not None:
            low, high = mantissa_range(p.weights.bits, True)
            mantissas = rng.integers(low, high + 1, p.weights.mantissas.shape).astype(np.int8)
            bias = rng.integers(-1000, 1000, p.bias.shape)
            p = replace(p, bias=bias, weights=replace(p.weights, mantissas=mantissas))
        changed[name] = p
    return replace(artifact, parameters=changed)


# -- what is not in the hardware ---------------------------------------------------


def one_output(artifact: Artifact, **fields) -> Artifact:
    return replace(artifact, outputs=(replace(artifact.result, **fields),))


def one_input(artifact: Artifact, **fields) -> Artifact:
    pre = replace(artifact.preprocessing, **fields)
    return replace(artifact, inputs=(replace(artifact.inputs[0], preprocessing=pre),))


SAME = {
    "class names": lambda a: one_output(a, classes=("cat", "dog")),
    "the output's offset": lambda a: one_output(a, offset=0.5, scale=2.0),
    "mean": lambda a: one_input(a, mean=(3.0, 4.0)),
    "std": lambda a: one_input(a, std=(3.0, 4.0)),
    "resize and interpolation": lambda a: one_input(a, resize=9, interpolation="nearest"),
    "scale of the input": lambda a: one_input(a, scale=(2.0, 0.5)),
    "digest": lambda a: replace(a, digest="6" * 64),
    "float weights' digest, provenance": lambda a: replace(a, float_digest="7" * 64, provenance={"method": "max"}),
    "every name": lambda a: renamed(a, "_of_another_day"),
    "weights and biases": lambda a: other_values(a, 0),
    "all weights zero": lambda a: with_weights(a, "second", mantissas=np.zeros((2, 2, 1, 1), np.int8)),
}


@pytest.mark.parametrize("what", SAME)
def test_what_the_hardware_does_not_hold_keeps_the_identity(what, before):
    assert kernel(SAME[what](widest_artifact())) == before


def test_the_title_keeps_the_identity(before):
    assert kernel(widest_artifact(), title="*/ another // network") == before


@pytest.mark.parametrize("seed", range(16))
def test_no_value_of_a_weight_reaches_the_hardware(seed):
    """Every operator, width and exponent: sources of other weights and biases differ in no character but the identity's."""
    artifact = random_artifact(seed, SMALL.lanes)
    texts = [render.render(build([a], SMALL, BOARD), "test") for a in (artifact, other_values(artifact, seed))]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("seed", range(8))
def test_no_name_reaches_the_hardware_through_a_file_either(seed, tmp_path):
    """A file orders tensors by their names; places in the arena follow the network."""
    artifact, found = random_artifact(seed, SMALL.lanes), []
    for new in (str, lambda name: f"n{hashlib.sha256(name.encode()).hexdigest()[:12]}"):
        save(named(artifact, new), tmp_path / "artifact.npz")
        found.append(kernel(load(tmp_path / "artifact.npz")))
    assert found[0] == found[1] == kernel(artifact)


def test_exponents_that_all_move_together_keep_the_identity():
    """The hardware holds differences of exponents only, where no activation has a limit."""
    artifact = widest_artifact()
    for node in artifact.graph.nodes:
        artifact = with_node(artifact, node.name, activation=node.activation.replace("relu6", "relu"))
        artifact = with_parameters(artifact, node.name, clamp_high=None)
    formats = {t: replace(f, exponents=tuple(e + 3 for e in f.exponents)) for t, f in artifact.formats.items()}
    moved = {n: replace(p, acc_exponent=p.acc_exponent + 3) for n, p in artifact.parameters.items()}
    assert kernel(replace(artifact, formats=formats, parameters=moved)) == kernel(artifact)


# -- what is -----------------------------------------------------------------------

TWO = np.array([2, 2])
OTHER = {
    "a shift": lambda a: with_parameters(a, "second", requantisation_shift=TWO),
    "a shift of one channel": lambda a: with_parameters(a, "last", requantisation_shift=np.array([0, 1])),
    "a shortcut's shift": lambda a: with_parameters(a, "second", shortcut_alignment=TWO),
    "alignment where there was none": lambda a: with_parameters(a, "second", align_shift=np.array([[1], [1]])),
    "a limit": lambda a: with_parameters(a, "first", clamp_high=TWO),
    "width of weights": lambda a: with_weights(a, "second", bits=7),
    "width of a tensor": lambda a: with_format(a, "second", bits=7),
    "sign of a tensor": lambda a: with_format(a, "mean", signed=False),
    "an activation": lambda a: with_node(a, "second", activation="none"),
    "a window": lambda a: with_node(a, "pool", window=Window((2, 2), (2, 2), (1, 1, 0, 0))),
}


@pytest.mark.parametrize("what", OTHER)
def test_what_the_hardware_holds_changes_the_identity(what, before):
    assert kernel(OTHER[what](widest_artifact())) != before


@pytest.mark.parametrize("option", [{"lanes": 8}, {"filters": 4}, {"pixels": 3}, {"products": 1}, {"input_words": 16}])
def test_every_option_of_the_engine_that_shows_changes_the_identity(option, before):
    assert kernel(widest_artifact(), replace(SMALL, **option)) != before


def test_an_option_that_does_not_show_keeps_the_identity(before):
    assert kernel(widest_artifact(), replace(SMALL, weight_steps=500, tile_blocks=17)) == before


def test_the_width_of_the_chips_multipliers_changes_the_identity(before):
    assert kernel(widest_artifact(), board=replace(BOARD, multiplier_bits=BOARD.multiplier_bits - 1)) != before


def test_preprocessing_is_no_part_of_it_but_the_inputs_size_is(before):
    artifact = widest_artifact()
    shapes = {t: (c, h, w + 2 * (t in ("input", "first"))) for t, (c, h, w) in artifact.graph.shapes.items()}
    shapes |= {t: (2, 4, 5) for t in ("pool", "second")}
    nodes = tuple(replace(n, window=Window((4, 5))) if n.name == "mean" else n for n in artifact.graph.nodes)
    wider = replace(artifact, graph=replace(artifact.graph, shapes=shapes, nodes=nodes))
    assert kernel(one_input(wider, size=(8, 10))) == kernel(wider) != before
    assert isinstance(wider.preprocessing, Preprocessing)


# -- sources -----------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """A copy of templates and hand-written sources, from which identities are made."""
    shutil.copytree(render.TEMPLATES, tmp_path / "templates")
    shutil.copytree(identity.HLS, tmp_path / "hls")
    monkeypatch.setattr(render, "TEMPLATES", tmp_path / "templates")
    monkeypatch.setattr(render, "engine_sources", lambda: identity.engine_sources(tmp_path / "hls"))
    return tmp_path


def edited(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize("name", [*render.KERNEL_HEADERS, *render.BENCH_HEADERS])
def test_the_identity_covers_the_code_of_every_header_of_the_kernel(name, copied, before):
    template = copied / "templates" / f"{name}.j2"
    edited(template, "// a comment\n")
    assert kernel(widest_artifact()) == before
    edited(template, "constexpr int ADDED = 1;\n")
    outside = name in render.BENCH_HEADERS or name == identity.OWN_HEADER
    assert (kernel(widest_artifact()) == before) is outside


@pytest.mark.parametrize("name", [path.relative_to(identity.HLS).as_posix() for path in identity.engine_sources()])
def test_the_identity_covers_the_code_of_every_source(name, copied, before):
    path = copied / "hls" / name
    for comment in ("\n// a comment\n", "/* two\n lines */\n\n"):
        edited(path, comment)
        assert kernel(widest_artifact()) == before
    edited(path, "constexpr int ADDED = 1;\n")
    after = kernel(widest_artifact())
    assert after != before
    edited(path, "#pragma once\n")  # a directive is no comment
    assert kernel(widest_artifact()) not in (before, after)


def test_the_simulations_own_sources_are_not_covered(copied, before):
    for folder in ("csim", "testbench"):
        for path in (copied / "hls" / folder).glob("*.*"):
            edited(path, "constexpr int ADDED = 1;\n")
    assert kernel(widest_artifact()) == before


def test_every_header_that_the_kernel_includes_is_written_by_hand_or_covered():
    """No include of the kernel escapes the identity, but for what only a simulation or a synthesis sees."""
    written = {path.name for path in identity.HLS.glob("*.hpp")}
    folders = (identity.HLS, identity.HLS / "synth", identity.HLS / "csim", render.TEMPLATES)
    sources = [path for folder in folders for path in folder.iterdir() if re.search(r"\.[ch]pp", path.name)]
    included = {name for path in sources for name in re.findall(r'#include "([^"]+)"', path.read_text())}
    assert included - written - OUTSIDE <= set(render.KERNEL_HEADERS)
    assert not written & set(render.KERNEL_HEADERS)


def test_the_header_outside_the_identity_holds_nothing_that_the_hardware_computes_with():
    """Its extents are named by options of pragmas alone, and by what only a simulation has."""
    text = (render.TEMPLATES / f"{identity.OWN_HEADER}.j2").read_text()
    names = set(re.findall(r"constexpr \w+ (\w+) =", text))
    assert names == {"IDENTITY_HIGH", "IDENTITY_LOW", "SIM_WEIGHT_WORDS", "SIM_FMAP_WORDS"}
    for path in identity.engine_sources():
        for line in identity.code_of(path.name, path.read_text()).splitlines():
            if "SIM_" in line:
                assert line.startswith("#pragma HLS INTERFACE mode=m_axi ") and re.search(r"depth=\w*:*SIM_", line), line
            assert "IDENTITY_" not in line or re.fullmatch(r"\*identity_\w+ = sbfp::IDENTITY_\w+;", line), line


# -- comments ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, code",
    [
        ("int a; // one\n", "int a;\n"),
        ("int /* two */ a;\n\n\n  int b;\n", "int a;\nint b;\n"),
        ('char *s = "// none"; // one\n', 'char *s = "// none";\n'),
        ('char *s = "\\"/*"; int b; /* */\n', 'char *s = "\\"/*"; int b;\n'),
        ("char c = '\"'; // one\n", "char c = '\"';\n"),
        ("int a = 1'000; // it's\nint b;\n", "int a = 1'000;\nint b;\n"),
        ("// goes on \\\nint a;\nint b;\n", "int b;\n"),
        ("a = b /* / */ / c;\n", "a = b / c;\n"),
        ("#pragma HLS PIPELINE II=1\n", "#pragma HLS PIPELINE II=1\n"),
        ("/*in_bits*/ 8, /*out*/ 5,", "8, 5,\n"),
    ],
)
def test_code_is_what_is_left_without_comments(text, code):
    assert identity.code_of("a.hpp", text) == code


def test_tokens_do_not_grow_together_where_a_comment_stood():
    assert identity.code_of("a.hpp", "int/**/a;") != identity.code_of("a.hpp", "inta;")


def test_a_raw_string_is_refused():
    with pytest.raises(BfpError, match="source a.hpp holds a raw string"):
        identity.code_of("a.hpp", 'auto s = R"(// text)";')


def test_files_cannot_trade_places():
    headers = {"a.hpp": "int a;\n", "b.hpp": "int b;\n"}
    assert identity.kernel_digest(headers, []) != identity.kernel_digest({"a.hpp": "int b;\n", "b.hpp": "int a;\n"}, [])
    assert re.fullmatch("[0-9a-f]{16}", identity.kernel_identity(headers, []))
