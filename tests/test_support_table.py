"""The list of operators that users read is what the tools take."""

from pathlib import Path

from bfp.operators import OPERATORS
from calib.frontend.aten import HANDLERS
from calib.frontend.support_table import by_handler, markdown

DOCUMENT = Path(__file__).parents[1] / "docs" / "operators.md"


def test_the_document_is_made_of_the_records():
    assert DOCUMENT.read_text(encoding="utf-8") == markdown(), "make it again: python -m calib.frontend.support_table"


def test_every_entry_is_there_and_says_something():
    text = markdown()
    assert all(f"`{name.removeprefix('aten.')}`" in text for name in HANDLERS)
    assert all(f"| `{name}` |" in text for name in OPERATORS)
    assert all(said for _, said in by_handler(HANDLERS, "aten."))
    assert "|  |" not in text
