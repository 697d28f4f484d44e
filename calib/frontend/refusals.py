"""What cannot be imported: one obstacle, and all of a network's in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from bfp.errors import BfpError

MOST_SHOWN = 12  # obstacles of different operators that one message lists
NO_BATCH_STATISTICS = "use batch norm, which needs no statistics of the image"
ELSEWHERE = "use ReLU or ReLU6, or train it with them"
NOT_TAKEN = "attention and recurrent layers are not taken; choose a convolutional network"
# what to write instead, by the operator's name behind "aten."
HINTS = {
    **dict.fromkeys("layer_norm native_layer_norm group_norm native_group_norm instance_norm".split(), NO_BATCH_STATISTICS),
    **dict.fromkeys("gelu elu selu celu mish softplus silu hardswish tanh leaky_relu prelu rrelu".split(), ELSEWHERE),
    **dict.fromkeys("scaled_dot_product_attention bmm matmul lstm gru rnn_tanh rnn_relu einsum baddbmm".split(), NOT_TAKEN),
    **dict.fromkeys("item nonzero where masked_fill".split(), "leave out what depends on the values of the image"),
    **dict.fromkeys(
        "upsample_nearest2d upsample_bilinear2d conv_transpose2d conv_transpose1d".split(),
        "end the network before it, or at the stride that a convolution makes",
    ),
    "slice_scatter": "write the part into a new tensor, as with torch.cat",
}


class Refusal(BfpError):
    """One obstacle. operator: its ATen name; place: layer, class and node; reason: what is not supported.

    known: of an operator that there is no way for, those that there is one for; else empty.
    """

    def __init__(self, network: str, operator: str, place: str, reason: str, known: str = "") -> None:
        self.operator, self.place, self.reason = operator, place, reason
        self.known = f"; supported are {known}" if known else ""
        super().__init__(f"network {network}, {place}: {reason}{self.hint}{self.known}")

    @property
    def hint(self) -> str:
        """What to write instead, where somebody has said so."""
        found = HINTS.get(self.operator.split(".")[-1].rstrip("_"))
        return f"; {found}" if found else ""


class Refusals(BfpError):
    """All obstacles of a network. operators: their ATen names, each once."""

    def __init__(self, network: str, obstacles: Sequence[Refusal]) -> None:
        self.obstacles = tuple(obstacles)
        self.operators = tuple(dict.fromkeys(o.operator.rstrip("_") for o in obstacles))
        super().__init__(report(network, obstacles))


def report(network: str, obstacles: Sequence[Refusal]) -> str:
    """All obstacles of a network in one sentence: each operator once, where it occurs first, and how often.

    One obstacle alone is its own sentence.
    """
    if len(obstacles) == 1:
        return str(obstacles[0])
    kinds: dict[str, list[Refusal]] = {}
    for obstacle in obstacles:
        kinds.setdefault(obstacle.operator, []).append(obstacle)
    found = []
    for number, alike in enumerate(list(kinds.values())[:MOST_SHOWN], 1):
        first, count = alike[0], len(alike)
        more = f" (and {count - 1} more of {first.operator})" if count > 1 else ""
        found.append(f"({number}) {first.place}: {first.reason}{first.hint}{more}")
    left = len(kinds) - len(found)
    tail = f"; and {left} more operators" if left else ""
    known = next((o.known for o in obstacles if o.known), "")
    return f"network {network} has {len(obstacles)} obstacles: {'; '.join(found)}{tail}{known}"
