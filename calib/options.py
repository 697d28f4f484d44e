"""What may be chosen about calibration: the options of a network's file, with their defaults, as plain records.

``calib.config`` reads them from TOML. Calibration reads them and writes to none of them: what it decides on its way
stands in calib.state.
"""

from __future__ import annotations

from dataclasses import dataclass

FAN2019 = "fan2019"  # the published rule: Fan et al., FPT 2019, see calib.formats.fan2019
METHODS = ("max", "percentile", "mse", "kl", FAN2019)  # of one layer
AUTO = "auto"  # of a network: the method of its layers is chosen on held-out calibration images
# to compare with; no artifact can have them
ONLINE = "online"  # calib.evaluation.baselines.online
DSCONV = "dsconv"  # calib.evaluation.baselines.variable_kernels
REFERENCES = (ONLINE, DSCONV)
DSCONV_BLOCK = 32  # channels, the smallest block of Gennari do Nascimento, Fawcett and Prisacariu, ICCV 2019
WEIGHT_METHODS = ("max", "mse", FAN2019)
OLD_NAMES = {"seed": FAN2019}  # what files of earlier versions call a method
NEAREST, GPTQ, DESCENT = "nearest", "gptq", "descent"  # what each does, calib.reconstruction.layerwise says
ROUNDINGS = (NEAREST, GPTQ, DESCENT)
EQUALISATIONS = ("none", "weights", "ranges")
OUTPUTS = ("values", "classes")


def method_name(word: object) -> object:
    """The name of today for a method; any other value as it is."""
    return OLD_NAMES.get(word, word) if isinstance(word, str) else word


@dataclass(frozen=True)
class ImageOptions:
    """Where images come from, see calib.data.images. ``limit`` None: all of them.

    inputs: name and channels of each of several inputs, whose arrays make one image together; empty for one input.
    targets: a folder with a picture for each image, its mask or what it should become, None for none; ignore, colours: of
    masks, see calib.data.targets.
    """

    images: tuple[str, ...]
    fallback: str | None = None
    skip: int = 0
    stride: int = 1
    limit: int | None = None
    augment: int = 1
    inputs: tuple[tuple[str, int], ...] = ()
    targets: str | None = None
    ignore: int = 255
    colours: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Override:
    """Options of the layers whose name matches the fnmatch pattern ``layers``; None: not overridden."""

    layers: str
    weights: int | None = None
    activations: int | None = None
    weight_group: int | None = None
    method: str | None = None
    weight_method: str | None = None


@dataclass(frozen=True)
class BfpOptions:
    """Block floating point options; docs/network-files.md says what each one is for.

    weights, activations: mantissa widths. weight_group: input channels per weight block, activation_group: channels
    per activation block, 0 for all.
    method: of the activations' exponents, one of METHODS, AUTO or one of REFERENCES; weight_method: of the weights', one of
    WEIGHT_METHODS.
    unsigned: non-negative tensors use unsigned mantissas. max_spread: largest alignment shift between the blocks of a
    filter. sensitive: least width of the residual stream's tensors, and of the depthwise, first and last layers'
    weights; at narrow activations of what the first layer gives and the last one takes, too, and the noisiest of the
    other maps and weights get one bit more (calib.formats.noisy_layers).
    rounding: of the weights, one of ROUNDINGS; bias_correction: see calib.reconstruction.layerwise.
    centre: see calib.transforms.range_centring; sort_channels: see calib.transforms.channel_permutation; equalise: one
    of EQUALISATIONS, see calib.transforms.cross_layer_equalisation.
    weight_budget, activation_budget: mean widths over all stored weights and activations, from which
    calib.formats.bit_allocation makes widths of single layers.
    output: one of OUTPUTS, see calib.transforms.output_scaling; None: classes where the file names them or images have
    labels.
    input_bits, output_bits: mantissa widths of the input tensors, and of the output tensors that no layer reads; 0: as the
    other activations. input_bits None: see calib.formats.plan.input_width.
    """

    weights: int = 8
    activations: int = 8
    weight_group: int = 64
    activation_group: int = 0
    method: str = "max"
    weight_method: str = "max"
    unsigned: bool = True
    max_spread: int = 7
    sensitive: int = 0
    rounding: str = "nearest"
    bias_correction: bool = False
    centre: bool = False
    sort_channels: bool = False
    weight_budget: float | None = None
    activation_budget: float | None = None
    equalise: str = "none"
    output: str | None = None
    input_bits: int | None = 0
    output_bits: int = 0
    overrides: tuple[Override, ...] = ()

    @property
    def reconstructs(self) -> bool:
        """Whether weights are rounded, or biases corrected, towards the float network's layers."""
        return self.rounding != NEAREST or self.bias_correction
