"""The rules of the house, as docs/architecture.md states them: who imports whom, how long things are, what asks for names."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bfp", "calib", "codegen", "host", "static_bfp")
SOURCES = sorted(p for part in PACKAGES for p in (ROOT / part).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 350, 60, 8
# longer files, and why
LONG_FILES: dict[str, str] = {}
# the same of functions of the kernels
LONG_KERNEL_FUNCTIONS = {
    "conv_pass": "one pipelined loop: cut up, it would no longer show what happens in one cycle",
}
# takes each memory and stream by name; the comment above the function says why
MANY_MEMORIES = ("compute", "step", "run_step")
KERNELS = sorted((ROOT / "hls").rglob("*.?pp"))
# what each package may import of the others, and of other people's
OWN = {"bfp": {"bfp"}, "calib": {"bfp", "calib"}, "codegen": {"bfp", "codegen"}, "host": {"bfp", "host"}}
OWN["static_bfp"] = {"bfp", "calib", "codegen", "static_bfp"}
THEIRS = {
    "bfp": {"numpy"},
    "calib": {
        *("numpy", "torch", "torchvision", "pretrainedmodels", "PIL", "jinja2", "markupsafe", "safetensors", "dask"),
        *("distributed", "threadpoolctl", "efficientnet_lite_pytorch", "tensorboard", "hls4ml", "small_cnn"),
        *("onnx", "timm", "onnxruntime", "torchao", "aimet_torch", "brevitas", "brevitas_examples", "exchange"),
    },
    "codegen": {"numpy", "jinja2", "clang"},
    "host": {"numpy", "PIL", "pynq", "pynqmetadata"},
    "static_bfp": {"numpy", "torch", "doit"},
}
# rewrites and choices that are about one operator by name: what they match is what they are for
REWRITES = {
    *("calib/frontend/passes.py", "calib/frontend/folding.py", "calib/frontend/gathers.py", "calib/frontend/enlarging.py"),
    "codegen/lowering/fusion.py",
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: relative import"
            found.add(node.module)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_what_they_may(package):
    for path in (p for p in SOURCES if p.relative_to(ROOT).parts[0] == package):
        for module in imported(path):
            top = module.split(".")[0]
            if top in PACKAGES:
                allowed = top in OWN[package]
                allowed |= package == "calib" and module == "host.image"
                allowed |= name(path).startswith("calib/evaluation/benchmark/") and top in ("codegen", "host")
                allowed |= name(path) == "calib/evaluation/sweep/modelled.py" and top == "codegen"
            else:
                allowed = top in sys.stdlib_module_names or top in THEIRS[package]
            assert allowed, f"{name(path)} imports {module}"


def test_only_what_follows_the_artifact_knows_evaluation():
    """An artifact does not depend on what is below calib/evaluation: the tasks' dependencies rest on it."""
    for path in (p for p in SOURCES if name(p).startswith("calib/") and not name(p).startswith("calib/evaluation/")):
        if name(path) != "calib/__main__.py":  # the commands of both
            assert not [m for m in imported(path) if m.startswith("calib.evaluation")], name(path)


def test_no_test_imports_another():
    for path in TESTS:
        assert not [m for m in imported(path) if m.split(".")[0].startswith("test_")], name(path)


@pytest.mark.parametrize("path", [ROOT / "dodo.py", *SOURCES, *TESTS], ids=name)
def test_files_and_functions_can_be_read(path):
    text = path.read_text(encoding="utf-8")
    if name(path) not in LONG_FILES:
        assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(a.arg not in ("self", "cls") for a in arguments)
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name
            assert count <= MOST_PARAMETERS, node.name


def test_kernels_can_be_read():
    for path in KERNELS:
        assert path.read_text(encoding="utf-8").count("\n") <= LONGEST_FILE, name(path)


@pytest.mark.parametrize("path", [p for p in SOURCES if name(p) not in REWRITES], ids=name)
def test_no_code_asks_an_operator_for_its_name(path):
    """What an operator is stands in its record, and what is done with it in a table."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asked = any(isinstance(s, ast.Attribute) and s.attr in ("op", "activation") for s in sides)
            literal = [c.value for s in sides for c in ast.walk(s) if isinstance(c, ast.Constant)]
            # "none" is the absence of an activation, not one of them; torch.fx has an ``op`` of its own
            strange = [v for v in literal if isinstance(v, str) and v not in ("none", "placeholder", "output", "call_function")]
            assert not (asked and strange), f"line {node.lineno} asks for {strange}"


def definitions(path: Path) -> Iterator[tuple[str, int, int]]:
    """(name, lines, parameters) of the functions of a C++ file; pragmas are no lines of theirs."""
    text = path.read_text(encoding="utf-8")
    for found in re.finditer(r"^(?:static |inline )*[\w:<>]+ (\w+)\(([^;{}]*)\) \{\n(.*?)^\}", text, re.M | re.S):
        parameters = found[2].count(",") + 1 if found[2] else 0
        yield found[1], sum(not line.startswith("#pragma") for line in found[0].split("\n")), parameters


@pytest.mark.parametrize("path", KERNELS, ids=name)
def test_kernel_functions_can_be_read(path):
    for function, lines, parameters in definitions(path):
        if function not in LONG_KERNEL_FUNCTIONS:
            assert lines <= LONGEST_FUNCTION, function
        if function not in MANY_MEMORIES:
            assert parameters <= MOST_PARAMETERS, function


def test_kernel_exceptions_are_needed():
    found = {function: (lines, count) for path in KERNELS for function, lines, count in definitions(path)}
    assert {f for f, (lines, _) in found.items() if lines > LONGEST_FUNCTION} == set(LONG_KERNEL_FUNCTIONS)
    assert {f for f, (_, count) in found.items() if count > MOST_PARAMETERS} == set(MANY_MEMORIES)


def test_exceptions_are_needed():
    for path, reason in LONG_FILES.items():
        assert reason and (ROOT / path).read_text(encoding="utf-8").count("\n") > LONGEST_FILE, path
    for path in REWRITES:
        assert (ROOT / path).is_file()
