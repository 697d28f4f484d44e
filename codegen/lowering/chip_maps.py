"""Which feature maps stay in on-chip memory between layers, and at which of its words.

A tensor takes its words from the layer that makes it to the last one that reads it; two tensors whose layers overlap,
be it in one layer, have no word in common. So nothing is overwritten that is still to be read, and since a tensor lies
there or in external memory as a whole, what loads early from one may load early from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from bfp.graph import Graph
from codegen.lowering.beats import most_beats
from codegen.lowering.job import Job
from codegen.lowering.placement import Placement
from codegen.lowering.tiling import MOST_SHORTCUT


@dataclass(frozen=True)
class Home:
    """A tensor that is not a part of another one: its place in the arena. stays: it has to be there."""

    tensor: str
    place: Placement
    stays: bool

    def holds(self, place: Placement) -> bool:
        """Whether a placement is the tensor, or lies in it."""
        return self.place.address <= place.address < self.place.address + self.place.words


@dataclass(frozen=True)
class Life:
    """A tensor that may stay on chip, from layer ``first`` to ``last``. address, words: in the arena.

    beats: of external memory that this saves. start: its first word on chip, once that is chosen.
    """

    tensor: str
    address: int
    words: int
    first: int
    last: int
    beats: int
    start: int = 0

    def meets(self, other: Life) -> bool:
        """Whether both are needed in some layer."""
        return self.first <= other.last and other.first <= self.last

    def holds(self, place: Placement) -> bool:
        """Whether a placement is the tensor, or lies in it."""
        return self.address <= place.address < self.address + self.words


def homes(graph: Graph, places: dict[str, Placement], parts: Collection[str]) -> list[Home]:
    """All tensors that are stored and are not among ``parts`` of others, whose places theirs hold.

    What the host writes or reads stays in the arena, and with it what it is a part of.
    """
    ends = [places[t].address for t in (*graph.inputs, *graph.outputs) if t in places]
    found = []
    for tensor, place in places.items():
        if tensor not in parts:
            stays = any(place.address <= end < place.address + place.words for end in ends)
            found.append(Home(tensor, place, stays))
    return found


def targets(job: Job) -> list[Placement]:
    """Where a layer stores: the map, what its pool makes of it, or both."""
    found = [job.target] if not job.pool or job.pool.keeps_map else []
    return [*found, job.pooled] if job.pooled else found


def joins_ahead(job: Job, before: Job | None, home: Home) -> bool:
    """Whether a layer's shortcut may be read from on-chip memory, a step ahead of each pass: the layer ``before``, whose last
    pass is computed while the first one's is read, must have nothing to do with making it. A single pixel is not worth it.
    A layer whose results are pooled as it stores them is cut into whole rows only, of which one must be able to wait.
    """
    ready = before is None or not any(map(home.holds, targets(before)))
    waits = job.pool is None or most_beats(job.shortcut.width, job.shortcut.bits) <= MOST_SHORTCUT
    return ready and waits and job.shortcut.height * job.shortcut.width > 1


def lives(stored: Iterable[Home], jobs: list[Job], residual: Collection[str]) -> list[Life]:
    """The tensors that may stay on chip: those that layers make. residual: of those that any layer reads as its shortcut, the
    only ones that may, and only where all layers that do so may (:func:`joins_ahead`).

    A layer that stores two maps stores both of them to memory. So do layers that take several pictures, whose maps lie in an
    arena each.
    """
    found = []
    for home in stored:
        made = [n for n, job in enumerate(jobs) if any(map(home.holds, targets(job)))]
        read = [n for n, job in enumerate(jobs) if home.holds(job.source)]
        joined = [n for n, job in enumerate(jobs) if job.shortcut and home.holds(job.shortcut)]
        both = any(len(targets(jobs[n])) > 1 for n in made)
        several = any(jobs[n].pictures > 1 for n in (*made, *read, *joined))
        ahead = all(home.tensor in residual and joins_ahead(jobs[n], jobs[n - 1] if n else None, home) for n in joined)
        if home.stays or both or several or not made or not (read or joined) or not ahead:
            continue
        beats = home.place.words + sum(words_read(jobs[n]) for n in read) + sum(words_joined(jobs[n]) for n in joined)
        found.append(
            Life(home.tensor, home.place.address, home.place.words, min(made), max(*made, *read, *joined), beats)
        )
    return found


def words_read(job: Job) -> int:
    """Of a layer's input, about: a band reads its share."""
    return job.source.words * job.band.rows // job.band.of if job.band else job.source.words


def words_joined(job: Job) -> int:
    """Of a layer's shortcut, which a band reads its own rows of."""
    return job.shortcut.words * job.band.rows // job.band.of if job.band else job.shortcut.words


def placed(wanted: Iterable[Life], words: int, there: Collection[Life] = ()) -> list[Life]:
    """Those of the tensors, taken in their order, for which there is room in so many words: each at the lowest word.

    there: those that have places already, which come first.
    """
    found = list(there)
    for life in wanted:
        start = 0
        for other in sorted((x for x in found if x.meets(life)), key=lambda x: x.start):
            if other.start - start >= life.words:
                break
            start = max(start, other.start + other.words)
        if start + life.words <= words:
            found.append(replace(life, start=start))
    return found


# in which tensors may be taken: a short search, of which the best is kept
ORDERS: tuple[Callable[[Life], float], ...] = (
    lambda life: -life.beats / (life.words * (life.last - life.first + 1)),
    lambda life: -life.beats / life.words,
    lambda life: -life.beats,
    lambda life: life.words,
    lambda life: life.first,
)


def place_on_chip(found: list[Life], words: int, there: Collection[Life] = ()) -> list[Life]:
    """Those of the tensors that save most beats of memory in so many words of on-chip memory, with their places there.

    there: as for :func:`placed`.
    """
    choices = [placed(sorted(found, key=order), words, there) for order in ORDERS]
    return max(choices, key=lambda chosen: sum(life.beats for life in chosen))


def moved(place: Placement | None, chosen: list[Life]) -> Placement | None:
    """A placement, on chip where the tensor that holds it is."""
    life = next((x for x in chosen if x.holds(place)), None) if place else None
    return replace(place, on_chip=life.start - life.address) if life else place


def moved_job(job: Job, chosen: list[Life]) -> Job:
    """A layer with its operands where they are."""
    return replace(
        job,
        source=moved(job.source, chosen),
        target=moved(job.target, chosen),
        pooled=moved(job.pooled, chosen),
        shortcut=moved(job.shortcut, chosen),
        stored=[(tensor, label, moved(place, chosen)) for tensor, label, place in job.stored],
    )
