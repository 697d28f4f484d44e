"""What a program consists of: layers, tables and weights, as code generation renders them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, field

import numpy as np

from bfp.artifact import Artifact
from bfp.format import BlockFormat
from bfp.kernel import Kernel
from codegen.lowering.array import Array
from codegen.lowering.input_parts import Lowered
from codegen.lowering.fusion import InputPool, Pool
from codegen.lowering.job import Job
from codegen.lowering.layer_fields import LayerFields, MapPlace, OutputMapFields
from codegen.lowering.placement import Placement
from codegen.lowering.tiling import Tiling
from codegen.lowering.weight_queue import QueueStep
from codegen.options import EngineOptions

# the program's tables by name: type of a row in C++, and what they hold
TABLES = {
    "REQUANTISATION_SHIFT": ("TableRow", "Accumulator to output mantissa: right by so many bits, left where negative."),
    "MAIN_ALIGNMENT": ("TableRow", "Main operand of an addition, or psum of a depthwise filter: left."),
    "SHORTCUT_ALIGNMENT": ("TableRow", "Shortcut's mantissa to the accumulator: left."),
    "INPUT_POOL_SHIFT": ("TableRow", "The same for means of an input that is pooled as it loads, by its words."),
    "USED_LANES": ("TableRow", "Whether a lane holds a channel: the others stay zero, whatever joins it or is looked up."),
    "CLAMP_HIGH": ("AccWord", "ReLU6's six at the accumulator's exponent."),
}

# and those of single integers, and what they hold
ENTRIES = {
    "RECIPROCAL": "Reciprocals of average pooling's divisors, and shares of differences, as fixed-point numbers.",
    "RECIPROCAL_ROW": "Of every row of a map that is averaged, or whose pixels are interpolated, where its numbers lie.",
    "RECIPROCAL_COLUMN": "Of every column, how far behind that its own is.",
}


@dataclass
class Lookup:
    """One table of a function: its results by the index's two's complement, int16 [2**bits], and the nodes that read it."""

    values: np.ndarray
    users: list[str]


@dataclass(frozen=True)
class ChipMap:
    """A map in on-chip memory, or one that lies elsewhere, with no plane. first: its first word there; planes, plane: how
    many planes of how many words; home, home_plane: the word of the arena that the first one stands for, and words from
    a plane to the next there.
    """

    first: int = 0
    planes: int = 0
    plane: int = 1
    home: int = 0
    home_plane: int = 0

    @staticmethod
    def of(place: Placement) -> ChipMap:
        """Of what lies at a place."""
        if place.place is not MapPlace.CHIP:
            return ChipMap()
        home, plane = place.home or (place.address, place.plane)
        return ChipMap(place.start, place.planes, place.plane, home, plane)

    def homes(self, words: np.ndarray) -> np.ndarray:
        """The words of the arena that words of on-chip memory stand for in this map, int64."""
        plane, rest = np.divmod(words - self.first, self.plane)
        return self.home + plane * self.home_plane + rest


@dataclass(frozen=True)
class ChipRange:
    """What a layer has to do with on-chip memory: the map that it reads, the one that joins it, its shortcut, and the one
    that it writes there; of each plane of the latter, ``words`` from word ``begin`` on.
    """

    read: ChipMap = ChipMap()
    joined: ChipMap = ChipMap()
    written: ChipMap = ChipMap()
    begin: int = 0
    words: int = 0

    @property
    def row(self) -> tuple[int, ...]:
        """As the C simulation has it."""
        return *astuple(self.read), *astuple(self.joined), *astuple(self.written), self.begin, self.words

    @property
    def own(self) -> np.ndarray:
        """All words that the layer writes, int64."""
        planes = self.written.first + self.begin + np.arange(self.written.planes) * self.written.plane
        return (planes[:, None] + np.arange(self.words)).reshape(-1)

    @staticmethod
    def of(job: Job, out: OutputMapFields) -> ChipRange:
        """Of a layer. out: what is known of the map that it computes."""
        target = job.target if out.keeps_map else job.pooled
        line = target.line if out.keeps_map else 0
        rows = out.out_height * line if out.keeps_map else target.plane
        joined = ChipMap.of(job.shortcut) if job.shortcut else ChipMap()
        return ChipRange(ChipMap.of(job.source), joined, ChipMap.of(target), job.target_first * line, rows)


@dataclass(frozen=True)
class EngineLayer:
    """One layer. fields: its row of the schedule; pool, input_pool: that run in it, on its results and on its input;
    chip: its part of on-chip memory."""

    name: str
    describe: str
    network: int
    macs: int
    tiling: Tiling
    fields: LayerFields
    pool: Pool | None = None
    input_pool: InputPool | None = None
    chip: ChipRange = ChipRange()

    @property
    def joins_chip(self) -> bool:
        """Whether its shortcut lies in on-chip memory."""
        return self.fields.shortcut.shortcut_place is MapPlace.CHIP


@dataclass(frozen=True)
class Limit:
    """Size of an on-chip buffer, and the first layer that needs so much; None: none uses it, and it has one entry."""

    size: int
    layer: str | None

    @property
    def user(self) -> str:
        """Who needs it, for people."""
        return "no layer uses it" if self.layer is None else self.layer


# Which layers use an on-chip buffer, by the name of what they need of it in Tiling. Depthwise weights have a buffer of
# their own (codegen/features.py).
BUFFER_USERS: dict[str, Callable[[EngineLayer], bool]] = {
    "input_words": lambda layer: True,
    "weight_steps": lambda layer: layer.fields.op.traits.dense,
    "bias_words": lambda layer: layer.fields.op.weighted,
    "pool_words": lambda layer: layer.pool is not None,
    "blocks": lambda layer: layer.fields.passes.chunks > 1,
}


@dataclass(frozen=True)
class StoredRows:
    """Rows of a tensor, from row ``first`` on, that a layer stores to a map of their own."""

    layer: int
    first: int
    placement: Placement


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that the engine writes (or the host, where ``layer`` is -1).

    label: its name, or what it is a copy of, for people. part_bits, fold: of an input that lies in parts, or is folded; shape and format are
    those of what lies there then. rows: of one that is only ever there in bands, all of them; ``placement`` is that of the whole.
    """

    name: str
    label: str
    network: int
    layer: int
    shape: tuple[int, int, int]
    format: BlockFormat
    placement: Placement
    part_bits: int | None = None
    fold: tuple[int, int] = (1, 1)
    rows: tuple[StoredRows, ...] = ()


@dataclass
class Program:
    """Everything that code generation renders. Addresses are in words.

    lowered: the artifacts as the engine computes them. with_weights: whether dense layers' weights are laid out; without them (zeros
    in their place) a program has every size and address, and is built at once.
    built: the kernel of an existing bitstream, whose bounds hold then; None: the weights' own.
    ranges: of each network, its first layer, and the one behind its last; shared: the first layer that takes several
    pictures at once, as all behind it do, or that one behind its last. chip_words: of on-chip memory that holds maps
    between layers. queue: of each step of the walk (codegen/lowering/walk.py), what the queue of weights does; none where
    the engine has no such queue.
    """

    options: EngineOptions
    array: Array
    artifacts: list[Artifact]
    lowered: list[Lowered]
    with_weights: bool = True
    built: Kernel | None = None
    layers: list[EngineLayer] = field(default_factory=list)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)
    tensors: list[StoredTensor] = field(default_factory=list)
    tables: dict[str, list[tuple[str, np.ndarray]]] = field(default_factory=lambda: {name: [] for name in TABLES})
    entries: dict[str, list[tuple[str, np.ndarray]]] = field(default_factory=lambda: {name: [] for name in ENTRIES})
    lookups: list[Lookup] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    weight_words: int = 0
    fmap_words: int = 0
    chip_words: int = 0
    largest_align: int = 0
    queue: tuple[QueueStep, ...] = ()

    @property
    def title(self) -> str:
        """The networks' names, or how many there are, for people."""
        names = [artifact.graph.name for artifact in self.artifacts]
        return ", ".join(names) if len(names) < 4 else f"{len(names)} networks"

    @property
    def calls(self) -> list[tuple[int, int, int]]:
        """The runs of the engine that a full batch of pictures takes: their first layer, the one behind the last, how often.

        One run of all layers where they are for one picture.
        """
        if self.options.batch == 1:
            return [(0, len(self.layers), 1)]
        found = []
        for (begin, end), shared in zip(self.ranges, self.shared):
            found += [(begin, shared, self.options.batch), (shared, end, 1)]
        return [call for call in found if call[0] < call[1]]

    @property
    def map_words(self) -> int:
        """Words of feature maps, of all pictures of a batch."""
        return self.fmap_words * self.options.batch

    @property
    def align_bits(self) -> int:
        """Bits of the largest alignment shift that the array takes."""
        return self.built.align_bits if self.built else int(self.largest_align).bit_length()

    def rows(self, table: str) -> int:
        return sum(len(values) for _, values in self.tables[table])

    def add_rows(self, table: str, layer: str, values: np.ndarray) -> int:
        """Append rows [n, lanes] to a table; returns the first one's index."""
        at = self.rows(table)
        self.tables[table].append((layer, values))
        return at

    @property
    def lookup_bits(self) -> int:
        """Bits of the index that all tables of functions have; none where there is no table."""
        return max((len(t.values) for t in self.lookups), default=1).bit_length() - 1

    def add_lookup(self, node: str, values: np.ndarray) -> int:
        """The number of a function's table, int16 [2**bits]; nodes whose tables are the same share one."""
        for number, known in enumerate(self.lookups):
            if np.array_equal(known.values, values):
                known.users.append(node)
                return number
        self.lookups.append(Lookup(values, [node]))
        return len(self.lookups) - 1

    def count(self, table: str) -> int:
        """Integers in one of the tables in ENTRIES."""
        return sum(len(values) for _, values in self.entries[table])

    def add_entries(self, table: str, layer: str, values: np.ndarray) -> int:
        """Append integers [n] to one of the tables in ENTRIES; returns the index of the first one."""
        at = self.count(table)
        self.entries[table].append((layer, values))
        return at

    def add_weights(self, image: np.ndarray) -> int:
        """Append words [n, lanes] (int8) to the weight image; returns their address."""
        at = self.weight_words
        self.weights.append(image)
        self.weight_words += len(image)
        return at

    def weight_image(self) -> np.ndarray:
        """int8 [words, lanes]; at least one word, so that there is something to point at."""
        if not self.weights:
            return np.zeros((1, self.options.lanes), np.int8)
        return np.concatenate(self.weights)

    def limit(self, what: str) -> Limit:
        """The largest need of a buffer over the layers that use it; ``what``: a name in BUFFER_USERS."""
        needs = [(getattr(x.tiling, what), x.name) for x in self.layers if BUFFER_USERS[what](x)]
        return Limit(*max(needs, key=lambda need: need[0])) if needs else Limit(1, None)
