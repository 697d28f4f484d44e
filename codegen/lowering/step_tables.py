"""The engine's schedule as it is generated: tables of jobs, each stored once, and the steps that name them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

from codegen.lowering.compute_jobs import compute_job, nothing_to_compute, position
from codegen.lowering.jobs import (
    ComputeJob,
    FetchJob,
    LoadJob,
    OrderFields,
    PositionFields,
    QueueFields,
    QueueJob,
    StepRow,
    WeightBurstFields,
    WeightsJob,
)
from codegen.lowering.load_jobs import coming_start, load_job, weights_job, weights_start
from codegen.lowering.schedule import Program
from codegen.lowering.walk import Step, Walk
from codegen.lowering.weight_queue import Burst, QueueStep
from codegen.records import Packing


class JobTable:
    """Jobs of one kind, each stored once. The first one does nothing."""

    def __init__(self, nothing: Hashable) -> None:
        self.rows = [nothing]
        self._numbers = {nothing: 0}
        self.users: list[str] = ["nothing to do"]

    def add(self, job: Hashable, user: str) -> int:
        """The row of a job; user: which step is the first to have it."""
        if job not in self._numbers:
            self._numbers[job] = len(self.rows)
            self.rows.append(job)
            self.users.append(user)
        return self._numbers[job]


@dataclass(frozen=True)
class Table:
    """A table of rows as it is rendered. name: of the table, and of the structs of a row and of a record in C++."""

    name: str
    row: str
    record: str
    function: str
    packing: Packing
    rows: list[object]
    users: list[str]

    @property
    def bits(self) -> int:
        """Of a row in memory."""
        return self.packing.bits


class StepTables:
    """Everything that the engine knows of its steps."""

    def __init__(self, program: Program) -> None:
        self.program, self.walk = program, Walk(program)
        self.loads, self.weights = JobTable(LoadJob()), JobTable(WeightsJob())
        self.computes = JobTable(nothing_to_compute(program.array))
        self.queues = JobTable(QueueJob())
        self.bursts: list[Burst] = []  # of weights that go into the queue, in their order
        self.first_steps: list[int] = []  # of every layer, and the number of all steps
        self.rows: list[StepRow] = []
        self.users: list[str] = []
        for number, step in enumerate(self.walk.steps):
            if step.enters:
                self.first_steps.append(len(self.rows))
            self.rows.append(self._row(step, program.queue[number] if program.queue else None))
        self.first_steps.append(len(self.rows))

    @property
    def taken_from(self) -> list[int]:
        """Of each step, the word of the weight image with which the weights that load in it begin, for simulation."""
        fields = self.walk.layers
        return [weights_start(fields[w.layer], w) if (w := step.weights) else 0 for step in self.walk.steps]

    def _queued(self, step: Step, queue: QueueStep) -> QueueJob:
        """What a step does with the queue. A step that a run begins with fetches the last bursts of those before it again."""
        if not step.enters or step.layer == 0:
            self.bursts += queue.bursts
        first = len(self.bursts) - len(queue.bursts)
        return QueueJob(
            QueueFields(
                bursts=len(queue.bursts),
                first_burst=first if queue.bursts else 0,
                inside=self.bursts[first].beats - queue.bursts[0].beats if queue.bursts else 0,
                pushes=queue.pushes,
                push_at=queue.push_at,
                push_from=queue.push_from,
                pop_at=queue.pop_at,
                pop_from=queue.pop_from,
            )
        )

    def _row(self, step: Step, queue: QueueStep | None) -> StepRow:
        fields, array = self.walk.layers, self.program.array
        work, load, weights = step.work, step.load, step.weights
        name = self.program.layers[step.layer].name
        self.users.append(f"{name}: {text(step)}")
        loads = weighs = computes = 0
        if load is not None:
            user = f"{self.program.layers[load.layer].name}, tile {load.number}"
            loads = self.loads.add(load_job(fields[load.layer], load), user)
        start = coming = queued = 0
        if queue is not None:
            queued = self.queues.add(self._queued(step, queue), f"{name}: {text(step)}")
        if weights is not None:
            user = f"{self.program.layers[weights.layer].name}, pass {weights.number}"
            weighs = self.weights.add(weights_job(fields[weights.layer], weights, array), user)
            start = 0 if queue is not None else weights_start(fields[weights.layer], weights)
            coming = coming_start(fields[weights.layer], weights)
        where = PositionFields(weights_start=start, coming_plane=coming)
        if work is not None:
            job = compute_job(fields[step.layer], work, array)
            computes = self.computes.add(job, f"{name}, tile {work.tile_number}, pass {work.number}")
            where = position(fields[step.layer], work, start, coming)
        order = OrderFields(
            layer=step.layer,
            enters=step.enters,
            waits=step.waits,
            load=loads,
            load_ahead=load is not None and load.layer != step.layer,
            weights=weighs,
            weights_ahead=weights is not None and weights.layer != step.layer,
            queue=queued,
            compute=computes,
            input_half=step.input_half,
            weight_half=step.weight_half,
        )
        return StepRow(order, where)

    @cached_property
    def tables(self) -> list[Table]:
        """All tables, as they are rendered. Raises BfpError where a value needs more bits than the engine computes with."""

        def table(name: str, kind: str, record: type, rows: list, users: list[str]) -> Table:
            packing = Packing.of(record, rows, self.program.array.banks)
            return Table(name, f"{kind}Row", kind if kind == "Step" else f"{kind}Job", _function(kind), packing, rows, users)

        names = [self.program.layers[burst.layer].name for burst in self.bursts] or ["nothing to do"]
        fetches = [FetchJob(WeightBurstFields(burst.start, burst.beats)) for burst in self.bursts] or [FetchJob()]
        return [
            table("LOADS", "Load", LoadJob, self.loads.rows, self.loads.users),
            table("WEIGHTS", "Weights", WeightsJob, self.weights.rows, self.weights.users),
            table("QUEUES", "Queue", QueueJob, self.queues.rows, self.queues.users),
            table("FETCHES", "Fetch", FetchJob, fetches, names),
            table("COMPUTES", "Compute", ComputeJob, self.computes.rows, self.computes.users),
            table("STEPS", "Step", StepRow, self.rows, self.users),
        ]

    @property
    def built(self) -> list[Table]:
        """Those that the engine has: without a queue of weights it has none of that."""
        return [t for t in self.tables if self.program.queue or t.name not in ("QUEUES", "FETCHES")]


def _function(kind: str) -> str:
    return "step_of" if kind == "Step" else f"{kind.lower()}_job"


def text(step: Step) -> str:
    """What a step does, for people."""
    found = []
    if step.work is not None:
        out = step.work.out
        found.append(f"tile {step.work.tile_number}, words {out.out_word} to {out.out_word + out.outputs - 1}")
        if not (out.first and out.last):
            found.append(f"chunk {out.chunk}")
    if step.load is not None:
        found.append(f"loads {step.load.part.lines} lines of tile {step.load.number}")
    if step.enters:
        found.append("waits" if step.waits else "if it is the first")
    return "; ".join(found)
