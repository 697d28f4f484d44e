"""A small network's file for hostile inputs, and what a refusal looks like: one printable line that is not long."""

from __future__ import annotations

MOST = 300  # characters of a refusal, paths left out
TOML = """
model = "hostile_network:make"
[input]
size = 8
mean = 127
std = 64
[calibration]
images = "random"
limit = 4
[bfp]
method = "max"
"""


def sentence(error, folder) -> str:
    """The refusal's words, which fit a line without the folder's name."""
    text = str(error.value)
    rest = text.replace(str(folder), "")
    assert len(rest) <= MOST and rest.isprintable(), text
    return text
