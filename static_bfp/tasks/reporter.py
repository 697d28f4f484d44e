"""What doit says of the tasks."""

from __future__ import annotations

from doit.reporter import ConsoleReporter

# how a task ends that has said why itself: a refusal or a result that is wrong, an interruption
TOLD = ("returned 1", "returned 2", "returned 130", "returned False")


class Reporter(ConsoleReporter):
    """doit's own words, without those below a refusal: the command and its arguments help nobody there."""

    def _write_failure(self, result: dict, write_exception: bool = True) -> None:
        if not result["exception"].get_msg().strip().endswith(TOLD):
            super()._write_failure(result, write_exception)
