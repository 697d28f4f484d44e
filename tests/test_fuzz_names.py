"""Names and texts of any characters: refused in one sentence, or harmless wherever they are written."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from support import hostile
from support.fuzzing import bounded_memory, case
from support.random_graphs import random_artifact

from bfp.artifact_file import load, save
from bfp.names import MOST_TEXT, is_name, is_text, printable, shown
from codegen.cpp_text import cpp_comment, cpp_string
from codegen.generate import Generated
from codegen.options import EngineOptions
from codegen.performance.board import load_board
from host import hwh

PIECES = (
    *hostile.TEXTS, *hostile.UNPRINTABLE, '"', "'", "\\", "\\\n", "*/", "/*", "//", "??/", "??=", "\n#include <x>", "R\"(", ")\"",
    "%s", "%n", "{{ x }}", "{% if x %}", "${x}", "$(x)", "`x`", ";", "|", "&", "&lt;", "<", ">", "]]>", "\0", "\x7f", "\x85", "\u2028",
    "\u202e", "\ufeff", "\ud800", "\U0001f600", "ü", "名", " ", "..", "/", "-", "a", "conv", "node_1", "x" * 300, "0", "_",
)  # fmt: skip


def drawn(rng: np.random.Generator) -> str:
    """A text of a few pieces, each of which means something somewhere; a good name every now and then."""
    if rng.random() < 0.1:
        return f"name_{rng.integers(10**6)}"
    return "".join(PIECES[int(i)] for i in rng.integers(0, len(PIECES), int(rng.integers(1, 4))))


def cpp_value(literal: str) -> bytes:
    """What a compiler makes of a literal: octal escapes, and nothing else."""
    assert literal[0] == literal[-1] == '"' and re.fullmatch(r'(?:[^"\\?\x00-\x1f\x7f-\U0010ffff]|\\[0-7]{3})*', literal[1:-1])
    raw = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), literal[1:-1])
    return raw.encode("latin-1")


def fuzz_texts(folder, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        text = drawn(rng)
        line = printable(text)
        assert is_text(line) and len(line) <= MOST_TEXT and printable(line) == line and shown(text).isprintable()
        comment = cpp_comment(text)
        assert comment.isprintable() and not re.search(r"\*/|/\*|\\|\?\?", comment)
        with case(folder) as found:
            literal = cpp_string(text)
        if found.refusal is None:
            assert cpp_value(literal) == text.encode("utf-8", "backslashreplace")
        assert (found.refusal is not None) == ("\0" in text)
        if is_text(text):
            assert html.unescape(html.escape(text)) == text and json.loads(json.dumps(text)) == text


def test_texts(tmp_path):
    fuzz_texts(tmp_path, 2000, 0)


def fuzz_artifacts(folder, count: int, seed: int) -> None:
    """An artifact whose names somebody chose: it is not saved, or its sources and its handoff hold them as plain words."""
    rng, path, board = np.random.default_rng(seed), folder / "a.npz", load_board("ultra96v2")
    options, artifact, taken = EngineOptions(lanes=16), random_artifact(3, 16), 0
    graph, last = artifact.graph, artifact.outputs[0]
    with bounded_memory():
        for _ in range(count):
            text, kind = drawn(rng), int(rng.integers(3))
            if kind == 0:
                changed = replace(artifact, graph=replace(graph, name=text))
            elif kind == 1:
                changed = replace(artifact, graph=replace(graph, nodes=(replace(graph.nodes[0], name=text), *graph.nodes[1:])))
            else:
                values = int(np.prod(graph.shapes[graph.output]))
                changed = replace(artifact, outputs=(replace(last, classes=(text, *map(str, range(1, values)))),))
            if kind == 1 and artifact.parameters.get(graph.nodes[0].name) is not None:
                parameters = {(text if k == graph.nodes[0].name else k): v for k, v in artifact.parameters.items()}
                changed = replace(changed, parameters=parameters)
            with case(folder) as found:
                save(changed, path)
            allowed = is_text(text) if kind == 2 else is_name(text)
            assert (found.refusal is None) == allowed, (kind, text, found.refusal)
            if not allowed:
                continue
            taken += 1
            read = load(path)
            assert read.graph == changed.graph and read.outputs == changed.outputs
            if kind < 2 and taken % 5 == 1:
                made = Generated.of([read], options, board)
                assert all(all(c.isprintable() or c == "\n" for c in source) for source in made.sources.values())
                assert any(text in source for source in made.sources.values())
    assert count / 20 < taken < count


def test_artifacts(tmp_path):
    fuzz_artifacts(tmp_path, 150, 0)


def fuzz_handoffs(folder, count: int, seed: int) -> None:
    rng, path = np.random.default_rng(seed), folder / "a.hwh"
    for _ in range(count):
        text = drawn(rng)
        with case(folder) as found:
            hwh.write_hwh(path, text, 16, 250)
        if found.refusal is None:
            ElementTree.parse(path)
        assert (found.refusal is None) == is_text(text)


def test_handoffs(tmp_path):
    fuzz_handoffs(tmp_path, 200, 0)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_thousands_of_each(tmp_path, seed):
    fuzz_texts(tmp_path, 20000, seed)
    fuzz_artifacts(tmp_path, 1000, seed)
    fuzz_handoffs(tmp_path, 2000, seed)
