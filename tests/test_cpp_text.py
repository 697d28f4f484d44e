"""Names in generated C++: whatever they are, a literal has their text and a comment ends where its line does."""

from __future__ import annotations

import subprocess

import pytest
from support.compilers import EVERY, NO_CLANG

from bfp import BfpError
from codegen.cpp_text import cpp_comment, cpp_string

NAMES = (
    "features.conv1",
    "",
    '", (system("true"), ""), "',
    "back\\slash",
    "ends in a backslash\\",
    "ends in a backslash and a blank\\ ",
    "ends in a trigraph??/",
    "trigraphs ??=??'??( and ????/",
    "two\nlines",
    "carriage\rreturn\x0band\x0cfeeds",
    "*/ int broken; /*",
    "// /*/ */*",
    "\x01" + "7 digits behind an escape",
    "tab\tand bell\a",
    "%s %n {{ x }} {% y %}",
    "café 層 \U0001f600",
    "\u202ereversed\u2028",
    'R"(raw)" u8"x" \\u0041 \\N{DIGIT ONE}',
)


@pytest.mark.parametrize("standard", ["c++14", "c++17"])
@pytest.mark.parametrize("compiler", EVERY)
def test_every_name_is_harmless_and_kept(compiler, standard, tmp_path):
    """Compiled with trigraphs (C++14 has them), literals are the names' very text and no comment swallows a line."""
    if EVERY[compiler] is None:
        pytest.skip(NO_CLANG)
    lines = ["#include <cstdio>", "#include <cstring>", "static int seen = 0;", "static const char *const NAMES[] = {"]
    lines += [f"    {cpp_string(name)},  // {cpp_comment(name)}" for name in NAMES]
    lines += ["};", "int main() {"]
    for name in NAMES:
        lines += [f"    // {cpp_comment(name)}", "    seen += 1;", f"    /* {cpp_comment(name)} */ seen += 1;"]
    lines += ["    for (const char *name : NAMES) {"]
    lines += ["        std::fwrite(name, 1, std::strlen(name) + 1, stdout);", "    }"]
    lines += [f"    return seen == {2 * len(NAMES)} ? 0 : 1;", "}"]
    (tmp_path / "names.cpp").write_bytes("\n".join(lines).encode())
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror"]
    command = [EVERY[compiler], *flags, str(tmp_path / "names.cpp"), "-o", str(tmp_path / "names")]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""
    result = subprocess.run([str(tmp_path / "names")], capture_output=True)
    assert result.returncode == 0
    assert result.stdout.split(b"\0")[:-1] == [name.encode() for name in NAMES]


def test_usual_names_stay_as_they_are():
    assert cpp_string("layer1.0.conv1/x-y") == '"layer1.0.conv1/x-y"'
    assert cpp_comment("conv 3x3 stride 1x1, 16x32x32 -> 16x32x32, relu; a/b*c") == (
        "conv 3x3 stride 1x1, 16x32x32 -> 16x32x32, relu; a/b*c"
    )
    assert cpp_comment("a\\\nb") == "a<U+005C><U+000A>b"


def test_half_a_surrogate_pair_has_a_text_of_its_own():
    assert cpp_string("\ud800") == '"\\134ud800"' and cpp_comment("\ud800") == "<U+D800>"


def test_a_zero_byte_is_refused():
    with pytest.raises(BfpError, match=r"the name 'a\\x00b' holds a zero byte"):
        cpp_string("a\0b")
