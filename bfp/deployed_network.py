"""One network of a deployment: which layers of the engine's schedule are its own, and what goes in and comes out."""

from __future__ import annotations

from dataclasses import dataclass

from bfp import chip_tensor, layout
from bfp.artifact import NetworkInput, NetworkOutput, verify_boxes, verify_input, verify_output, verify_results
from bfp.chip_tensor import ChipTensor
from bfp.detection import Detection
from bfp.errors import BfpError
from bfp.fields import NAME, checked, hexadecimal, record, tuple_of, whole
from bfp.graph import Shape
from bfp.joined import JoinedOutput
from bfp.kernel import Kernel
from bfp.layout import HOST, PlacedTensor
from bfp.limits import MAX_ENDS, MAX_NODES
from bfp.names import shown

HASH = hexadecimal(64)


@dataclass(frozen=True)
class DeployedNetwork:
    """One network of an engine's program.

    artifact_digest: the artifact it was generated from; float_digest: the float weights that that was calibrated from,
    or empty. begin, end: its layers of the schedule, ``end`` not among them; from ``shared`` on, which is ``end`` where none
    does, they take all pictures of a batch at once. inputs, outputs: in the graph's order.
    tensors: all that are stored, in the order of the layers that write them; on_chip: those that stay in the engine's own
    memory, likewise. detection, joins: of the artifact.
    """

    name: str = checked(NAME)
    artifact_digest: str = checked(HASH)
    float_digest: str = checked(hexadecimal(64, empty=True))
    begin: int = checked(whole(0, MAX_NODES))
    end: int = checked(whole(0, MAX_NODES))
    shared: int = checked(whole(0, MAX_NODES))
    inputs: tuple[NetworkInput, ...] = checked(tuple_of(record(NetworkInput), 1, MAX_ENDS))
    outputs: tuple[NetworkOutput, ...] = checked(tuple_of(record(NetworkOutput), 1, MAX_ENDS))
    tensors: tuple[PlacedTensor, ...] = checked(tuple_of(record(PlacedTensor), 1, MAX_NODES))
    detection: Detection | None = checked(record(Detection), omitted=True, default=None)
    joins: tuple[JoinedOutput, ...] = checked(tuple_of(record(JoinedOutput), 0, MAX_ENDS), omitted=True, default=())
    on_chip: tuple[ChipTensor, ...] = checked(tuple_of(record(ChipTensor), 0, MAX_NODES), omitted=True, default=())

    @property
    def input(self) -> NetworkInput:
        """The only input. Raises BfpError where there are several."""
        return self._only("input", self.inputs)

    @property
    def output(self) -> NetworkOutput:
        """The only output. Raises BfpError where there are several."""
        return self._only("output", self.outputs)

    def _only(self, what: str, ends: tuple):
        if len(ends) != 1:
            names = ", ".join(end.tensor for end in ends)
            raise BfpError(f"network {self.name} has {len(ends)} {what}s ({names}), and one is asked for; name it")
        return ends[0]

    @property
    def image_shape(self) -> Shape:
        """Shape of an image: the channels of all inputs, one after the other, their height and width."""
        shapes = [self.tensor(entry.tensor).shape for entry in self.inputs]
        return sum(shape[0] for shape in shapes), *shapes[0][1:]

    def tensor(self, name: str) -> PlacedTensor:
        """A stored tensor. Raises BfpError for a name that the network does not have."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        if name in {tensor.name for tensor in self.on_chip}:
            raise BfpError(
                f"tensor {shown(name)} of network {self.name} stays in the engine's own memory; look at it layer by layer, "
                "with trace or verify"
            )
        raise BfpError(f"network {self.name} has no tensor {shown(name)}; see the names in its manifest")

    def words(self, lanes: int) -> tuple[int, int]:
        """Where its tensors lie in the feature-map arena: the first word, and the one behind the last."""
        ends = [(s.address, s.address + t.segment_words(s, lanes)) for t in self.tensors for s in t.segments]
        return min(first for first, _ in ends), max(last for _, last in ends)


class OnlyNetwork:
    """What is asked of a deployment with one network, and is that network's."""

    only: DeployedNetwork

    @property
    def network(self) -> str:
        """Its name."""
        return self.only.name

    @property
    def artifact_digest(self) -> str:
        """Of its artifact."""
        return self.only.artifact_digest

    @property
    def inputs(self) -> tuple[NetworkInput, ...]:
        """All of them."""
        return self.only.inputs

    @property
    def outputs(self) -> tuple[NetworkOutput, ...]:
        """All of them."""
        return self.only.outputs

    @property
    def input(self) -> NetworkInput:
        """The only one. Raises BfpError where there are several."""
        return self.only.input

    @property
    def output(self) -> NetworkOutput:
        """The only one. Raises BfpError where there are several."""
        return self.only.output

    @property
    def tensors(self) -> tuple[PlacedTensor, ...]:
        """All that are stored."""
        return self.only.tensors

    @property
    def on_chip(self) -> tuple[ChipTensor, ...]:
        """All that stay in the engine's own memory."""
        return self.only.on_chip

    @property
    def detection(self) -> Detection | None:
        """Of a detector."""
        return self.only.detection

    @property
    def joins(self) -> tuple[JoinedOutput, ...]:
        """What the host makes of several outputs."""
        return self.only.joins

    @property
    def image_shape(self) -> Shape:
        """Shape of an image."""
        return self.only.image_shape

    def tensor(self, name: str) -> PlacedTensor:
        """A stored tensor. Raises BfpError for a name that the network does not have."""
        return self.only.tensor(name)


def verify_network(network: DeployedNetwork, kernel: Kernel, fmap_words: int, chip_words: int, lanes: int) -> None:
    """Raise BfpError unless tensors lie inside the arena or on-chip memory, and inputs, outputs and layers are there."""
    by_name = {t.name: t for t in network.tensors}
    if len({*by_name, *(t.name for t in network.on_chip)}) != len(network.tensors) + len(network.on_chip):
        raise BfpError("two tensors have the same name")
    inputs = {e.tensor for e in network.inputs}
    for what, ends in (("input", network.inputs), ("output", network.outputs)):
        for end in ends:
            if end.tensor not in by_name:
                raise BfpError(f"the {what} tensor {end.tensor!r} is not among its tensors")
        if len({e.tensor for e in ends}) != len(ends):
            raise BfpError(f"a tensor is two of its {what}s")
    for tensor in network.tensors:
        layout.check(tensor, fmap_words, lanes)
        if (tensor.layer_index == HOST) != (tensor.name in inputs):
            raise BfpError(
                f"tensor {tensor.name!r} comes from layer {tensor.layer_index}, of layers {network.begin} to {network.end}"
            )
    for tensor in network.on_chip:
        chip_tensor.verify(tensor, chip_words, lanes)
    for made in (*network.tensors, *(part for tensor in network.on_chip for part in tensor.placed)):
        at = made.layer_index
        if at != HOST and not network.begin <= at < network.end:
            raise BfpError(f"tensor {made.name!r} comes from layer {at}, of layers {network.begin} to {network.end}")
        if at != HOST and made.layer != kernel.layers[at].name:
            raise BfpError(f"tensor {made.name!r} comes from {made.layer!r}, and layer {at} is another")
    sizes = {by_name[e.tensor].shape[1:] for e in network.inputs}
    if len(sizes) > 1:
        raise BfpError(f"its inputs are of {len(sizes)} sizes; all have the same")
    where = f"network {network.name}"
    for entry in network.inputs:
        verify_input(entry, by_name[entry.tensor].shape, where)
    for end in network.outputs:
        verify_output(end, by_name[end.tensor].shape, where)
    shapes = {name: tensor.shape for name, tensor in by_name.items()}
    verify_results(network.outputs, network.joins, shapes, where)
    verify_boxes(network.detection, network.outputs, network.joins, shapes, where)
