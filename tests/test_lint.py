"""Every rule of the lint: a small bad kernel that only this rule refuses, and a good kernel that passes.

The bad kernels are one change each to the good one. `test_bad_kernel` runs all
rules and wants findings of one only: without that rule there would be none.
"""

from __future__ import annotations

import pytest
from support.lint_bad_kernels import BAD
from support.lint_hostile_kernels import HOSTILE
from support.lint_kernels import CHECKS, GOOD

from bfp.errors import BfpError
from codegen.lint import RULES, lint
from codegen.lint.__main__ import lint_project, main

ALL = [*BAD, *HOSTILE]
# a chain of products that is not the array's is refused as products, too
ALSO = {"balanced_chains": {"run_time_product"}}


def findings(folder, text: str, rules=RULES):
    (folder / "kernel.cpp").write_text(text)
    (folder / "checks.hpp").write_text(CHECKS)
    return lint(folder / "kernel.cpp", [folder], "top", rules)


def test_good_kernel_passes(tmp_path):
    assert findings(tmp_path, GOOD) == []


@pytest.mark.parametrize("rule, old, new, words", ALL, ids=[f"{b[0]}-{b[3]}" for b in ALL])
def test_bad_kernel(rule, old, new, words, tmp_path):
    assert GOOD.count(old) >= 1
    text = GOOD.replace(old, new, 1)
    found = findings(tmp_path, text)
    assert {f.rule for f in found} - ALSO.get(rule, set()) == {rule}, [str(f) for f in found]
    assert any(words in f.sentence for f in found), [str(f) for f in found]
    # the place is where the text was changed, give or take the lines of the change
    near = GOOD[: GOOD.index(old)].count("\n") + 1
    places = [f.line for f in found if f.file == str(tmp_path / "kernel.cpp")]
    assert len(places) == len(found) and (
        rule in ("pipelines", "dataflow_channels", "interface", "unchecked_dependences") or min(places) >= near
    )


def test_members_of_a_template_are_known(tmp_path):
    """A pragma may name the member of a template's instance; its dimensions are those of the instance."""
    template = "template <int N>\nstruct Row {\n    int8_t lane[N];\n};\nusing Word = Row<LANES>;"
    text = GOOD.replace("struct Word {\n    int8_t lane[LANES];\n};", template)
    assert text != GOOD and findings(tmp_path, text) == []
    wrong = text.replace("variable=word.lane complete", "variable=word.lanes complete")
    assert [f.rule for f in findings(tmp_path, wrong)] == ["pragma_scope"]
    wrong = text.replace("variable=word.lane complete", "variable=word.lane complete dim=2")
    assert [f.rule for f in findings(tmp_path, wrong)] == ["partitions"]


# what makes a progress output of the good kernel's, handed on to the function that the top function calls
PROGRESS = (
    ("run(const Word *from, Word *to, int32_t count)", "run(const Word *from, Word *to, int32_t count, {})"),
    ("top(const Word *from, Word *to, int32_t count)", "top(const Word *from, Word *to, int32_t count, {})"),
    ("    run(from, to, count);", "    run(from, to, count, progress);\n    *progress = 0;"),
    (
        "#pragma HLS INTERFACE mode=s_axilite port=count bundle=control\n",
        "#pragma HLS INTERFACE mode=s_axilite port=count bundle=control\n"
        "#pragma HLS INTERFACE mode=s_axilite port=progress bundle=control\n",
    ),
)


def with_progress(parameter: str) -> str:
    text = GOOD
    for old, new in PROGRESS:
        assert text.count(old) == 1
        text = text.replace(old, new.format(parameter))
    return text


def test_the_progress_output_is_the_one_volatile(tmp_path):
    assert findings(tmp_path, with_progress("volatile uint32_t *progress")) == []


@pytest.mark.parametrize(
    "old, new",
    [
        ("volatile uint32_t *progress", "volatile uint64_t *progress"),
        ("volatile uint32_t *progress", "volatile uint32_t *const progress"),
        ("*progress = 0;", "*static_cast<volatile uint32_t *>(progress) = 0;"),
        ('extern "C"', 'void peek(volatile uint32_t *progress);\n\nextern "C"'),
    ],
)
def test_any_other_volatile_is_refused(old, new, tmp_path):
    text = with_progress("volatile uint32_t *progress")
    assert old in text
    text = text.replace(old, new)
    assert "volatile" in {f.rule for f in findings(tmp_path, text)}


def test_a_progress_output_must_be_volatile(tmp_path):
    """Without it synthesis keeps the last write of a call only."""
    assert {f.rule for f in findings(tmp_path, with_progress("uint32_t *progress"))} == {"interface"}


def test_another_name_is_no_progress(tmp_path):
    text = with_progress("volatile uint32_t *progress").replace("progress", "state")
    assert {f.rule for f in findings(tmp_path, text)} == {"volatile", "interface"}


def test_header_that_is_not_for_kernels(tmp_path):
    """The lint has no other headers: include guards of its own must stand in for them here."""
    (tmp_path / "vector").write_text("#pragma once\n")
    found = findings(tmp_path, "#include <vector>\n" + GOOD)
    assert [(f.rule, f.line) for f in found] == [("headers", 1)]
    (tmp_path / "vector").unlink()
    with pytest.raises(BfpError, match="kernel.cpp:1: the kernel cannot be parsed: 'vector' file not found"):
        findings(tmp_path, "#include <vector>\n" + GOOD)


def test_every_rule_has_a_bad_kernel():
    assert {b[0] for b in ALL} | {"headers"} == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_without_the_rule_its_bad_kernel_is_accepted(rule, tmp_path):
    """Each rule is needed: with it switched off, and all others on, what it refuses would pass."""
    if rule == "headers":
        (tmp_path / "vector").write_text("#pragma once\n")
        text = "#include <vector>\n" + GOOD
    else:
        _, old, new, _ = next(b for b in ALL if b[0] == rule)
        text = GOOD.replace(old, new, 1)
    others = {name: check for name, check in RULES.items() if name not in {rule, *ALSO.get(rule, ())}}
    assert len(others) == len(RULES) - 1 - len(ALSO.get(rule, ()))
    assert findings(tmp_path, text, others) == []
    assert {f.rule for f in findings(tmp_path, text, {rule: RULES[rule]})} == {rule}


def test_findings_name_file_and_line(tmp_path, capsys):
    """From the command line: one line a finding, exit status 1."""
    (tmp_path / "kernel.cpp").write_text(GOOD.replace("variable=words", "variable=wrods"))
    (tmp_path / "checks.hpp").write_text(CHECKS)
    assert main(["--source", str(tmp_path / "kernel.cpp"), "--top", "top"]) == 1
    line = GOOD.split("\n").index("#pragma HLS STREAM variable=words depth=4") + 1
    expected = f"{tmp_path}/kernel.cpp:{line}: [pragma_scope] STREAM: use of undeclared identifier 'wrods'"
    assert capsys.readouterr().out.startswith(expected)
    assert main(["--source", str(tmp_path / "kernel.cpp")]) == 2
    assert main(["--source", str(tmp_path / "none.cpp"), "--top", "top"]) == 2
    assert main([str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert "add --top NAME" in errors and "does not exist" in errors and "run `doit codegen`" in errors


def test_engine_has_no_findings():
    """The project's own engine, at the smallest and at the default size of the array."""
    assert [str(f) for f in lint_project()] == []
