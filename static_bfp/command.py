"""``static-bfp TASK...``: every task of the project, from any folder, with the results below build/ in that folder.

What may be given is what ``doit`` takes in the project's own folder. Written in
Python 3.10, which the board has, to say there in one sentence what is missing.
"""

from __future__ import annotations

import importlib.util
import os
import sys

NAME = "static-bfp"
LEAST = (3, 11)
TOOLS = ("doit", "torch", "torchvision", "jinja2")  # some of what the extra [tools] brings


def check_python() -> None:
    """End the program with one sentence where the tasks cannot run on this Python, or the tools are not installed."""
    found, least = (".".join(map(str, version[:2])) for version in (sys.version_info, LEAST))
    if sys.version_info < LEAST:
        sys.exit(f"error: the tasks' Python is {found}, and calibration needs Python {least} or newer")
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"error: the tasks need packages that this Python does not have ({', '.join(missing)}); install the project "
            "with its tools, pip install '.[tools]' in its folder"
        )


def main(words: list[str] | None = None) -> int:
    """Do what the words say, those of the command line where none are given; returns the exit status, doit's own."""
    check_python()
    os.environ["SBFP_COMMAND"] = NAME  # before anything reads how messages name the command
    from doit import loader
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain

    from static_bfp import tasks
    from static_bfp.tasks.place import BUILD, HERE, IN_CHECKOUT

    namespace = {name: getattr(tasks, name) for name in tasks.__all__}
    if not IN_CHECKOUT:  # what has been done is remembered beside the results; the checkout's own is doit's
        try:
            BUILD.mkdir(exist_ok=True)
        except OSError as error:
            sys.exit(f"error: results cannot be written to {BUILD} ({error.strerror}); call {NAME} in another folder")
        namespace["DOIT_CONFIG"] = {**tasks.DOIT_CONFIG, "dep_file": str(BUILD / ".doit.db")}
    loader.initial_workdir = str(HERE)
    DoitMain.BIN_NAME = NAME
    # without configuration files: the folder is the user's, and so is what its pyproject.toml says of doit
    return DoitMain(ModuleTaskLoader(namespace), config_filenames=()).run(sys.argv[1:] if words is None else words)
