"""``python -m calib.frontend.support_table``: docs/operators.md, made of the records and tables that the tools work with.

What an operator's entry says is the first paragraph of the documentation of what handles it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable

from bfp import activations, functions, limits, operators
from bfp.combinations import COMBINATIONS
from bfp.host_operators import HOST_OPERATORS
from bfp.limits import MAX_HOST_CONSTANT
from bfp.operators import Operator
from calib.frontend.aten import HANDLERS
from calib.frontend.host_calls import CALLS
from calib.frontend.onnx.operators import OPERATORS as ONNX_OPERATORS
from calib.frontend.onnx.reader import OPSETS, QUANTISED

HEAD = """# Operators

Made by `python -m calib.frontend.support_table` from the records of operators and the importer's tables; a test
compares it with them. What a network needs that is not here is refused by its name, all of it in one sentence.
"""
LIMITS = (
    ("mantissas", "2 to 8 bits; the index of a table of a function up to {MAX_INDEX_BITS}"),
    ("accumulator", "32 bits, proved for every channel when an artifact is written and when it is read"),
    ("one average", "at most {MAX_DIVISOR:,} pixels"),
    ("rows or columns of a map", "at most {MAX_SIDE:,}"),
    ("channels of a tensor", "at most {MAX_CHANNELS:,}"),
    ("operators of a network", "at most {MAX_NODES:,}"),
)


def first_paragraph(text: str | None) -> str:
    """Of a docstring, in one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return text.replace("|", "\\|")


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines) + "\n"


def names(found: Iterable[str]) -> str:
    """Names, each as code."""
    return ", ".join(f"`{name}`" for name in sorted(found))


def traits(operator: Operator) -> str:
    """What of an operator's record a user meets."""
    found = [f"operands: {', '.join(operator.roles)}{', ...' if operator.variadic else ''}"]
    found += [f"a fused {role}" for role in operator.optional]
    found += ["any window, stride and padding"] if operator.has_window and not operator.has_shares else []
    found += ["one share for each row, or for each column"] if operator.has_shares else []
    found += ["dilation"] if operator.dilates and not operator.has_shares else []
    found += ["one value a channel, a pixel, or for all as second operand"] if operator.broadcasts else []
    found += ["no arithmetic: placement"] if not operator.computes else []
    return "; ".join(found)


def on_the_engine() -> str:
    """The engine's operators, from their records."""
    rows = []
    for name, operator in operators.OPERATORS.items():
        module = importlib.import_module(f"bfp.operators.{name}")
        rows.append((f"`{name}`", first_paragraph(module.__doc__), traits(operator)))
    return table(("operator", "computes", "takes"), rows)


def one_value() -> str:
    """Functions that tables hold."""
    rows = ((f"`{f.name}`", ", ".join(f.arguments) or "-") for f in functions.FUNCTIONS.values())
    return table(("function", "constants"), rows)


def by_handler(entries: dict[str, Callable], prefix: str = "") -> list[tuple[str, str]]:
    """Names that one handler takes, and what it says of them."""
    found: dict[str, list[str]] = {}
    for name, handler in entries.items():
        found.setdefault(first_paragraph(handler.__doc__), []).append(name.removeprefix(prefix))
    return sorted((names(taken), said) for said, taken in found.items())


def on_the_host() -> str:
    """What runs behind the last stored tensor."""
    rows = ((f"`{name}`", first_paragraph(operator.compute.__doc__)) for name, operator in HOST_OPERATORS.items())
    return table(("step", "computes"), rows)


def of_several() -> str:
    """How the host makes one value of several."""
    rows = ((f"`{name}`", first_paragraph(way.compute.__doc__)) for name, way in COMBINATIONS.items())
    return table(("of several values", "computes"), rows)


def markdown() -> str:
    """The whole document."""
    known = {name: value for name, value in vars(limits).items() if name.isupper()}
    parts = [
        HEAD,
        "## In PyTorch\n\nATen operators, as `torch.export` has them; names that end with `_` are those that work in place.\n",
        table(("operator", "becomes"), by_handler(HANDLERS, "aten.")),
        f"## In ONNX\n\nOperator sets {OPSETS.start} to {OPSETS.stop - 1}; what an operator becomes is what the same one of PyTorch "
        f"does. Files that are quantised already ({names(QUANTISED)}) are refused.\n",
        names(ONNX_OPERATORS) + "\n",
        "## On the engine\n\nThe rounding of each stands in [numerics](numerics.md). Activations in the epilogue: "
        f"{names(a for a in activations.ACTIVATIONS if a != 'none')}.\n",
        on_the_engine(),
        "### Functions of one value\n\nRead from tables, see [numerics](numerics.md#functions-of-one-value).\n",
        one_value(),
        "## On the host\n\nIn float64, behind the last tensor that the engine stores; listed in the artifact.\n",
        on_the_host(),
        of_several(),
        "Where the engine cannot compute a call, it and all that depends on it is the host's, as long as all of that is among these "
        f"ATen operators: {names((*CALLS, 'getitem'))}. Each works on one image; constants of up to {MAX_HOST_CONSTANT:,} numbers lie in "
        "the artifact as float32. Products are with one constant matrix (linear layers, convolutions of single pixels and few weights).\n",
        "## Limits\n",
        table(("of", "limit"), ((what, text.format(**known)) for what, text in LIMITS)),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    print(markdown(), end="")
