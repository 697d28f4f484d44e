"""Runs a whole network on mantissas."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from bfp.artifact import Artifact, operand_formats
from bfp.errors import BfpError
from bfp.format import dequantise, quantise
from bfp.golden import add, avg_pool, concat, conv, depthwise, enlarging, interpolate, lookup, max_pool, slice_pad
from bfp.golden.epilogue import epilogue
from bfp.tables import computes, operator_table

# node, parameters, main operand [N, C, H, W], its format and the output's: accumulators, int32 [N, C', OH, OW]
ACCUMULATE = operator_table(
    "the golden model",
    {
        "conv": conv.accumulate,
        "depthwise": depthwise.accumulate,
        "max_pool": max_pool.accumulate,
        "avg_pool": avg_pool.accumulate,
        "add": add.accumulate,
        "maximum": add.accumulate,
        "minimum": add.accumulate,
        "multiply": add.accumulate,
        "identity": add.accumulate,
        "slice_pad": slice_pad.accumulate,
        "lookup": lookup.accumulate,
        "upsample_nearest": enlarging.repeat,
        "upsample_bilinear": enlarging.bilinear,
        "depth_to_space": enlarging.depth_to_space,
        "pad_edge": enlarging.pad_edge,
        "interpolate": interpolate.accumulate,
    },
    computes,
)
# branches [N, Ci, H, W] each: the output [N, C', H, W]
PLACE = operator_table("the golden model", {"concat": concat.concatenate}, lambda operator: not operator.computes)


def quantise_input(artifact: Artifact, images: np.ndarray) -> np.ndarray:
    """Normalised float images [N, C, H, W] to the inputs' mantissas, int16, same shape: input after input.

    Raises BfpError where the shape is not the network's or a value is not finite.
    """
    expected = artifact.graph.image_shape
    if images.ndim != 4 or images.shape[1:] != expected:
        raise BfpError(f"network {artifact.graph.name} takes images of shape {expected}, got {images.shape[1:]}")
    if not np.isfinite(images).all():
        raise BfpError(f"an input image of network {artifact.graph.name} holds NaN or infinity")
    return np.concatenate([quantise(x, artifact.formats[t]) for t, x in artifact.scaled(images).items()], axis=1)


def run(
    artifact: Artifact,
    mantissas: np.ndarray,
    keep: Iterable[str] | None = None,
    observe: Callable[[str, np.ndarray], None] | None = None,
) -> dict[str, np.ndarray]:
    """All tensors of the network for a batch of inputs.

    mantissas: int [N, C, H, W] of the network's inputs, one after the other. Returns int16 arrays
    [N, C, H, W] by tensor name; with ``keep`` only those named (the others are
    freed when they have been used). ``observe(name, array)`` sees each tensor
    as it is computed.
    """
    graph = artifact.graph
    kept = set(graph.shapes if keep is None else keep)
    values = {t: np.ascontiguousarray(part, np.int16) for t, part in graph.input_parts(mantissas).items()}
    if observe:
        for tensor in graph.inputs:
            observe(tensor, values[tensor])
    for node, done in zip(graph.nodes, graph.last_uses()):
        if not node.operator.computes:
            out = PLACE[node.op]([values[t] for t in node.inputs])
        else:
            p = artifact.parameters[node.name]
            source, target, _ = operand_formats(node, artifact.formats)
            acc = ACCUMULATE[node.op](node, p, values[node.main], source, target)
            shortcut = values[node.shortcut] if node.shortcut else None
            out = epilogue(acc, node, p, target, shortcut)
        values[node.output] = out
        if observe:
            observe(node.output, out)
        for t in done:
            if t not in kept:
                del values[t]
    return {t: v for t, v in values.items() if t in kept}


def returned(artifact: Artifact, mantissas: np.ndarray) -> np.ndarray | dict[str, np.ndarray]:
    """What the network returns for input mantissas [N, C, H, W], float64 [N, ...]: what the host computes is done, too.

    Of several outputs a dict by their names.
    """
    return artifact.returned(logits(artifact, mantissas))


def logits(artifact: Artifact, mantissas: np.ndarray) -> np.ndarray:
    """All outputs side by side for a batch of input mantissas [N, C, H, W], as float64 [N, values]."""
    stored = run(artifact, mantissas, keep=artifact.graph.outputs)
    return artifact.logits({t: dequantise(q, artifact.formats[t]) for t, q in stored.items()})
