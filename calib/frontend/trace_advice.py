"""What to do about a module that cannot be traced, by what torch says of it and by the layers that it has."""

from __future__ import annotations

import re

import torch
from torch import nn

FRAMES = "it takes frames: give `channels = N` and `frames = T` in [input], or images of shape (channels, frames, height, width)"
SEQUENCE = 'it takes sequences: give `channels = N` and `length = N` in [input], and no size'
RECURRENT = "recurrent layers are not taken; end the network before them"
CODES = "an embedding takes whole numbers; leave it out and begin with what it gives"
PRECISION = "all of its layers must have one type of real numbers; call .float() on the module, and convert nothing inside it"
QUANTISED = "it holds layers that are quantised already; give the module with float weights"
CONTROL = "forward must have no control flow on data: what is computed must not depend on the image's values"
SIZE = "check the input size"
BATCH = "it was exported for batches of another size; export it with one image, or with torch.export.Dim for axis 0"
RESULT = "forward must return tensors, alone or in tuples, lists, dicts and dataclasses"
TAKEN = "forward must take the picture itself, no dict or list that holds it"
LAZY = "it holds lazy layers: give them an image of this size once, where the module is made"
OTHERWISE = "forward must run in eval mode on one tensor of this shape, with torch's own operators alone"
# of layers: which of them a module has that take another input than a picture
LAYERS = (
    ((nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d), FRAMES),
    ((nn.RNNBase,), RECURRENT),
    ((nn.Embedding, nn.EmbeddingBag), CODES),
)
# of torch's words, in order; the first that occurs decides
WORDS = (
    (r"Guard failed: .*size\(\)\[0\]", BATCH),
    (r"to conv1d|to conv_transpose1d|max_pool1d|avg_pool1d", SEQUENCE),
    (r"data-dependent|control flow|\.numpy\(\)|\.tolist\(\)", CONTROL),
    (r"too many indices for tensor|only integers, slices|is not subscriptable|indices must be integers", TAKEN),
    (r"in output, which is not a known type", RESULT),
    (r"LazyModule", LAZY),
    (r"quantized", QUANTISED),
    (r"(input|bias|weight|scalar) type|dtype|Half|BFloat16|scalar types", PRECISION),
    (r"size|shape|dimension|dim\b|elements|broadcast|kernel|stack", SIZE),
)
CHANNELS = re.compile(r"to have (\d+) channels, but got (\d+) channels")


def advice(module: torch.nn.Module, reason: str, shape: tuple[int, ...]) -> str:
    """What to do about ``reason``, the words of torch for which the module cannot be traced with an image of ``shape``."""
    for kinds, words in LAYERS:
        if any(isinstance(m, kinds) for m in module.modules()):
            return words
    lacking = CHANNELS.search(reason)
    if lacking and int(lacking[2]) == shape[0]:
        frames = "; frames, as games have them, are channels" if shape[0] == 3 and int(lacking[1]) not in (1, 3) else ""
        value = '"gray"' if lacking[1] == "1" else lacking[1]
        return f"its first layer takes {lacking[1]} channels: give `channels = {value}` in [input]{frames}"
    return next((words for pattern, words in WORDS if re.search(pattern, reason, re.IGNORECASE)), OTHERWISE)
