"""The project's tasks, for doit in a checkout (dodo.py) and for the console command in any folder.

``list`` shows them; ``TASK:NETWORK`` or ``TASK net=PATH`` runs one network. Shipped networks are calib/networks/*.toml;
any other TOML file is named with ``net=``, relative to the folder where the command was called. Results are below
build/NAME/, in the checkout or in that folder. ``device=cpu`` or ``device=cuda`` says where torch evaluates,
``board=NAME`` for which board code is generated (before the file's ``[engine] board``), ``clock=MHZ`` for which clock
of its engine.
"""

from __future__ import annotations

import os

from static_bfp.tasks.of_project import (
    task_benchmark,
    task_full_size,
    task_lint,
    task_main,
    task_networks,
    task_reproduce_table,
    task_stage_benches,
    task_survey,
    task_tests,
)
from static_bfp.tasks.reporter import Reporter

__all__ = [
    "DOIT_CONFIG",
    "task_benchmark",
    "task_full_size",
    "task_lint",
    "task_main",
    "task_networks",
    "task_reproduce_table",
    "task_stage_benches",
    "task_survey",
    "task_tests",
]

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
DOIT_CONFIG = {"default_tasks": ["csim"], "verbosity": 2, "action_string_formatting": "new", "reporter": Reporter}
