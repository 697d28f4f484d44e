"""What cannot be imported: one obstacle, and all of a network's in one sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch.fx import Node

from bfp.errors import BfpError
from bfp.names import cut, printable

MOST_SHOWN = 12  # kinds of obstacles that one message lists
MOST_PLACES = 4  # further places of one kind that it names
LONGEST = 300  # characters of a reason, and of a place
STATISTICS = "it needs statistics of each image; use batch norm, or leave it out and train again"
NOT_TAKEN = "attention and recurrent layers are not taken; end the network before them, or choose a convolutional one"
LAST_ONE = "leave it out here; behind the network's last layer the host computes it"
ON_DATA = "leave out what depends on the values of the image"
LARGER = "end the network before it, and let what reads the result make it larger; at the network's end the host does it"
UNPOOL = "make the map larger with nn.Upsample, or with a transposed convolution of stride 2, and train again: places of maxima are not kept"
POOLED = "let max pooling return its values alone: where the maxima were is not kept"
APART = "return the parts that are joined one by one, and join them where the result is read"
# what to write instead, by the operator's name behind "aten."
HINTS = {
    **dict.fromkeys("layer_norm native_layer_norm rms_norm".split(), STATISTICS),
    **dict.fromkeys("softmax _softmax log_softmax _log_softmax argmax topk sort cumsum min atan2".split(), LAST_ONE),
    **dict.fromkeys(
        "scaled_dot_product_attention bmm matmul lstm gru rnn_tanh rnn_relu einsum baddbmm".split(), NOT_TAKEN
    ),
    **dict.fromkeys("item nonzero where masked_fill gt lt ge le eq ne bernoulli rand randn rand_like randn_like normal sort".split(), ON_DATA),
    **dict.fromkeys("upsample_bilinear2d upsample_bicubic2d upsample_linear1d".split(), LARGER),
    "max_unpool3d": UNPOOL,
    "embedding": "leave it out and begin with what it gives",
    "slice_scatter": "write the part into a new tensor, as with torch.cat",
    "copy_": "keep no state in forward",
}
# the same by words of the reason, where the operator's name does not tell
HINTS_BY_REASON = {
    "of aten.max_pool2d_with_indices": POOLED,
    "from pixel to pixel": "a number for each channel is supported, and before a layer with weights one for each row or column or for each of few pixels; a picture's mean and std go into [input]",
    "concatenation with a constant": "give it as a channel of the input: an array, with `channels = N` in [input]",
    "batch axis must stay": "index the channels, rows or columns, and leave axis 0 as it is",
}


# the same by both
HINTS_OF_BOTH = {
    **dict.fromkeys([("cat", "rearranging"), ("cat", "must have the same rows and columns")], APART),
}


class Refusal(BfpError):
    """One obstacle. operator: its ATen name; place: layer, class and node; reason: what is not supported.

    known: of an operator that there is no way for, those that there is one for; else empty.
    """

    def __init__(self, network: str, operator: str, place: str, reason: str, known: str = "") -> None:
        self.operator, self.place, self.reason = operator, cut(printable(place), LONGEST), cut(printable(reason), LONGEST)
        self.known = f"; supported are {known}" if known else ""
        super().__init__(f"network {network}, {self.place}: {self.reason}{self.hint}{self.known}")

    @property
    def hint(self) -> str:
        """What to write instead, where somebody has said so."""
        name = self.operator.split(".")[-1]
        both = next((hint for (named, words), hint in HINTS_OF_BOTH.items() if named == name and words in self.reason), None)
        found = both or next((hint for words, hint in HINTS_BY_REASON.items() if words in self.reason), None)
        found = found or HINTS.get(name) or HINTS.get(name.rstrip("_"))
        return f"; {found}" if found else ""

    @property
    def kind(self) -> tuple[str, str]:
        """What two obstacles have in common that differ in place and numbers alone."""
        return self.operator.rstrip("_"), re.sub(r"[0-9]+", "0", self.reason)


class Refusals(BfpError):
    """All obstacles of a network. operators: their ATen names, each once; calls: those of the program, one an obstacle.

    What is no call, such as a state that is kept, is an obstacle alone.
    """

    def __init__(self, network: str, obstacles: Sequence[Refusal], calls: Sequence[Node] = ()) -> None:
        self.obstacles, self.calls = tuple(obstacles), tuple(calls)
        self.operators = tuple(dict.fromkeys(o.operator.rstrip("_") for o in obstacles))
        super().__init__(report(network, obstacles))


def report(network: str, obstacles: Sequence[Refusal]) -> str:
    """All obstacles of a network in one sentence: each kind once, where it occurs first, and where else.

    One obstacle alone is its own sentence.
    """
    if len(obstacles) == 1:
        return str(obstacles[0])
    kinds: dict[tuple[str, str], list[Refusal]] = {}
    for obstacle in obstacles:
        kinds.setdefault(obstacle.kind, []).append(obstacle)
    found = []
    for number, alike in enumerate(list(kinds.values())[:MOST_SHOWN], 1):
        first = alike[0]
        found.append(f"({number}) {first.place}: {first.reason}{first.hint}{others(alike)}")
    left = len(kinds) - len(found)
    tail = f"; and {left} more kinds" if left else ""
    known = next((o.known for o in obstacles if o.known), "")
    return f"network {network} has {len(obstacles)} obstacles: {'; '.join(found)}{tail}{known}"


def others(alike: Sequence[Refusal]) -> str:
    """Of obstacles of one kind: how many there are besides the first, and in which layers."""
    if len(alike) == 1:
        return ""
    layers = list(dict.fromkeys(o.place.split(" (")[0].removeprefix("layer ") for o in alike[1:]))
    shown = ", ".join(layers[:MOST_PLACES]) + (", ..." if len(layers) > MOST_PLACES else "")
    return f" (and {len(alike) - 1} more of {alike[0].operator.rstrip('_')}: {cut(shown, LONGEST)})"
