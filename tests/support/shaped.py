"""Networks as the model of the machine sees them: shapes, widths and blocks, without weights or images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from bfp.artifact import Artifact, NetworkInput, NetworkOutput, Preprocessing, concat_format, operand_formats
from bfp.format import BlockFormat
from bfp.parameters import Weights, derive
from calib.config import NetworkConfig
from calib.formats.plan import plan, weight_splits
from calib.frontend.importer import import_module
from calib.network.float_network import FloatNetwork
from calib.pipeline import build_module

ACTIVATION_EXPONENT = -4  # of every tensor, so that what must keep its input's exponents does
# of a filter, and what its blocks have more: random, so that shifts of rounding and alignment range as in real networks
FILTER_EXPONENTS, BLOCK_EXPONENTS = (-13, -5), (0, 6)
# of what indexes the table of a function, and of its results: several tables of each function, no shift to the left
INDEX_EXPONENTS, RESULT_EXPONENTS = (-4, -2), (-6, -3)
PRETRAINED = "pretrained"  # the argument of the zoo's callables
COMPUTED = ("calib.zoo.torchvision_models:regnet_y_400mf",)  # from numbers in tensors, as their widths are


def empty_module(config: NetworkConfig) -> torch.nn.Module:
    """The file's module with zeros for weights: nothing is downloaded, and nothing drawn at random."""
    model = config.model.split(":")[0]
    arguments = config.arguments
    if PRETRAINED in arguments or model == "calib.zoo.efficientnet":
        arguments = {**arguments, PRETRAINED: False}
    with torch.device("cpu" if config.model in COMPUTED else "meta"):
        module = build_module(replace(config, arguments=arguments))
    module.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.zero_()
    return module


def shaped_artifact(config: NetworkConfig, seed: int = 0) -> Artifact:
    """An artifact of a network's file whose mantissas are zero and whose exponents are random: for the model alone."""
    shape = config.input_shape
    preprocessing = Preprocessing(shape[1:], (127.0,) * shape[0], (128.0,) * shape[0])
    network: FloatNetwork = import_module(empty_module(config), shape, config.name)
    graph, fixed, rng = network.graph, plan(network.graph, config.bfp, preprocessing), np.random.default_rng(seed)
    formats = {
        tensor: BlockFormat(
            fixed.bits[tensor], fixed.signed[tensor], splits, (ACTIVATION_EXPONENT,) * (len(splits) - 1)
        )
        for tensor, splits in fixed.splits.items()
    }
    for tensor, node in fixed.indexed.items():
        for t, exponents in ((tensor, INDEX_EXPONENTS), (node.output, RESULT_EXPONENTS)):
            exponent = int(rng.integers(*exponents))
            formats[t] = replace(formats[t], exponents=(exponent,) * len(formats[t].exponents))
    for node in graph.nodes:
        if node.output in fixed.source_of:
            exponent = formats[fixed.source_of[node.output]].exponents[0]
            formats[node.output] = replace(formats[node.output], exponents=(exponent,) * len(formats[node.output].exponents))
        elif not node.operator.computes:
            formats[node.output] = concat_format([formats[t] for t in node.inputs])
    segments, parameters = graph.segments(), {}
    for node in graph.computed():
        weights = None
        if node.weighted:
            chosen, size = fixed.layers[node.name], network.weights[node.name].weight.shape
            splits = weight_splits(node, segments, chosen.weight_group)
            exponents = rng.integers(*FILTER_EXPONENTS, (size[0], 1))
            exponents = exponents + rng.integers(*BLOCK_EXPONENTS, (size[0], len(splits) - 1))
            weights = Weights(chosen.weights, np.broadcast_to(np.int8(0), size), splits, exponents)
        parameters[node.name] = derive(node, *operand_formats(node, formats), weights)
    inputs = tuple(NetworkInput(tensor, preprocessing) for tensor in graph.inputs)
    return Artifact(graph, formats, parameters, inputs, tuple(NetworkOutput(tensor) for tensor in graph.outputs))
