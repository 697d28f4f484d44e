"""What the accelerator gives back: the values of every output, out of the memory that the engine has written."""

from __future__ import annotations

from typing import Union

import numpy as np

from bfp.artifact import NetworkOutput, one_or_all
from bfp.deployment import Deployment
from bfp.errors import BfpError
from bfp.format import dequantise
from bfp.joined import results
from bfp.layout import HOST
from bfp.names import shown
from host.arena import Arena, Lap, no_lap
from host.memory_check import ResultCheck

Values = Union[np.ndarray, "dict[str, np.ndarray]"]  # float64, of one output; of several by their names


class Outputs:
    """All outputs of a network, in its order."""

    def __init__(self, deployment: Deployment):
        self.network = deployment.network
        self._ends = {end.tensor: end for end in deployment.outputs}
        self._joins = deployment.joins
        self._tensors = {name: deployment.tensor(name) for name in self._ends}
        self._written = [t for t in self._tensors.values() if t.layer_index != HOST]

    @property
    def computed(self) -> bool:
        """Whether the engine writes any of them; otherwise there is nothing to run."""
        return bool(self._written)

    def checks(self, arena: Arena) -> list[ResultCheck]:
        """Whether each of those that the engine writes has been written."""
        return [ResultCheck(arena.parts(tensor)) for tensor in self._written]

    def read(self, arena: Arena, lap: Lap = no_lap) -> Values:
        """The values [count] of the only output, or of each by its name."""
        found = {}
        for name, tensor in self._tensors.items():
            stored = dequantise(arena.read(tensor, lap), tensor.format)
            found[name] = self._ends[name].values(stored[None])[0]
            lap("unpack")
        return one_or_all(found)

    def returned(self, values: Values) -> Values:
        """What the network returns, from what ``read`` gave: the host computes what lies behind the stored tensors."""
        return one_or_all({name: found[0] for name, found in results(self._each(values), self._joins).items()})

    def heads(self, values: Values) -> dict[str, np.ndarray]:
        """What the host makes of each output by itself, by name: a detector's boxes, before they are joined."""
        return {name: found[0] for name, found in self._each(values).items()}

    def _each(self, values: Values) -> dict[str, np.ndarray]:
        return {name: self._ends[name].returned(found[None]) for name, found in self.by_name(values).items()}

    def by_name(self, values: Values) -> dict[str, np.ndarray]:
        """Each output's values by its name, whether there is one or several."""
        return values if isinstance(values, dict) else {next(iter(self._ends)): values}

    def named(self, name: str | None = None) -> NetworkOutput:
        """The output of this name; for None the first with names of classes, or the first. Raises BfpError for no output."""
        if name is None:
            return next((end for end in self._ends.values() if end.classes), next(iter(self._ends.values())))
        if name not in self._ends:
            raise BfpError(f"network {self.network} has no output {shown(name)}; its outputs are {', '.join(self._ends)}")
        return self._ends[name]
