"""Figures of every output of a network: the task's of one of them, and what became of each of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bfp.graph import Graph
from calib.evaluation.tally import Portion, Tally
from calib.judge import Judge
from calib.tasks import task_of

MANY = 8  # names that a note lists
SHOWN = ("task", "metric", "figure", "agreement", "sqnr_db")  # of each output, where there are several


@dataclass(frozen=True)
class OutputTallies:
    """A judge and a tally for every output, by name. judged: the output that the task's figure is of."""

    graph: Graph
    judged: str
    judges: Mapping[str, Judge]
    each: Mapping[str, Tally]

    @staticmethod
    def of(graph: Graph, judge: Judge, each: Mapping[str, Tally] | None = None) -> OutputTallies:
        """judge: of the output that it names; the others are judged by their shapes, a detector's as values. each: what has
        been counted, or nothing."""
        stated, judged = None if judge.detection is None else "regression", graph.output_named(judge.output or None)
        judges = {t: Judge(task_of(stated, graph.image_shape, graph.shapes[t])[0], graph.shapes[t]) for t in graph.outputs}
        return OutputTallies(graph, judged, {**judges, judged: judge}, each or {t: Tally() for t in graph.outputs})

    @property
    def note(self) -> str:
        """Which output the task's figure is of, a sentence; empty where there is only one."""
        names = list(self.each)
        if len(names) == 1:
            return ""
        listed = ", ".join(names[:MANY]) + (", ..." if len(names) > MANY else "")
        return f"the network's outputs are {listed}, and the task's figure is of {self.judged}; task_output names another"

    @property
    def main(self) -> Tally:
        """That of the judged output."""
        return self.each[self.judged]

    def portions(self, reference: np.ndarray, quantised: np.ndarray, first: int) -> dict[str, Portion]:
        """What a batch adds, by output: all outputs of both networks side by side, float64 [N, values].

        first: which image the first of them is.
        """
        theirs, ours = self.graph.output_parts(reference), self.graph.output_parts(quantised)
        found = {}
        for name, judge in self.judges.items():
            whole = judge.heads is not None
            found[name] = Portion.of(judge, *((reference, quantised) if whole else (theirs[name], ours[name])), first)
        return found

    def take(self, portions: Mapping[str, Portion]) -> None:
        """Add the next batch, as ``portions`` made it."""
        for name, tally in self.each.items():
            tally.take(self.judges[name], portions[name])

    def add(self, reference: np.ndarray, quantised: np.ndarray) -> None:
        """Compare the next batch and add it; outputs as of ``portions``."""
        self.take(self.portions(reference, quantised, self.main.done))

    def figures(self) -> dict:
        """As of ``Tally.figures``, of the judged output.

        Of several outputs, besides, task_output: its name; outputs: SHOWN of each, by name.
        """
        found = self.main.figures(self.judges[self.judged])
        if len(self.each) == 1:
            return found
        every = {name: tally.figures(self.judges[name]) for name, tally in self.each.items()}
        return {
            **found,
            "task_output": self.judged,
            "outputs": {name: {key: figures[key] for key in SHOWN} for name, figures in every.items()},
        }
