"""The project's tasks as doit finds them in this folder; static_bfp/tasks holds them, and says what may be given."""

from static_bfp.command import check_python

check_python()

from static_bfp.tasks import *  # noqa: E402, F403 (doit looks for its tasks among this module's names)
