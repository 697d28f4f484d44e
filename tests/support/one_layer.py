"""A network of one convolution, generated."""

from __future__ import annotations

from codegen.options import EngineOptions

SMALL = EngineOptions(lanes=4, filters=2, pixels=2)
QUICKLY = ("-O0",)
