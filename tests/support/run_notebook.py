"""Executes a notebook in this Python, cell after cell in IPython's shell, without a kernel or Jupyter.

``python run_notebook.py NOTEBOOK OUT`` writes the notebook with its outputs.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output


class Quiet(DisplayHook):
    """Keeps a cell's last value, and prints nothing of it: it is shown as an output."""

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: dict, md_dict: dict | None = None) -> None:
        pass

    def finish_displayhook(self) -> None:
        self._is_active = False


def as_text(data: dict) -> dict:
    """A cell's representations by type, bytes as base64."""
    return {kind: base64.b64encode(d).decode() if isinstance(d, bytes) else d for kind, d in data.items()}


def outputs(captured: object, result: object, shell: InteractiveShell) -> list[dict]:
    """What a cell has shown, as a notebook file holds it."""
    found = []
    for name in ("stdout", "stderr"):
        if text := getattr(captured, name):
            found.append({"output_type": "stream", "name": name, "text": text})
    for shown in captured.outputs:
        found.append({"output_type": "display_data", "data": as_text(shown.data), "metadata": {}})
    if result.result is not None:
        data, metadata = shell.display_formatter.format(result.result)
        found.append({"output_type": "execute_result", "data": as_text(data), "metadata": metadata, "execution_count": None})
    return found


def main(notebook: Path, out: Path) -> int:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    shell = InteractiveShell.instance(displayhook_class=Quiet)
    for cell in content["cells"]:
        if cell["cell_type"] != "code":
            continue
        with capture_output() as captured:
            result = shell.run_cell("".join(cell["source"]))
        cell["outputs"] = outputs(captured, result, shell)
        if not result.success:
            print(f"{cell['id']}: {result.error_before_exec or result.error_in_exec!r}", file=sys.stderr)
            break
    out.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
