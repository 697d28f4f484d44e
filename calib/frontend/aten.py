"""ATen operators, one by one, as nodes of a draft network.

Nothing is fused here: a batch normalisation is a depthwise 1x1 convolution,
an activation an ``identity`` node, a slice or a padding a ``slice_pad`` node.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import Node as FxNode

from calib.frontend import arithmetic, composed, constants, frames, layers, powers, rearranging, shares_of_two, transposed
from calib.frontend import turned, unpooling, windows
from calib.frontend.translation import Translation, bind, fixed_size, operator_name

SUPPORTED = (
    "conv2d and conv1d, transposed or not, linear, batch norm, ReLU and other functions of one value, clamping, sums, differences and maxima of two "
    "tensors, arithmetic with constants, max and average pooling, mean, sum and largest value over rows and columns, "
    "concatenation of channels, zero padding, slices, views and permutations, flatten, pixel shuffle, nearest and bilinear upsampling, "
    "dropout, identity"
)


def dropout(t: Translation, fx: FxNode, a: dict) -> None:
    """Nothing, unless it stays active."""
    if a["train"] and a["p"] > 0:
        t.refuse(fx, "dropout that stays active in eval mode is not supported; pass training=self.training")
    rearranging.unchanged(t, fx, a)


def convert(t: Translation, fx: FxNode, a: dict) -> None:
    """Another precision of real numbers: the engine has its own."""
    value, result = a["self"].meta["val"], fx.meta["val"]
    if not result.dtype.is_floating_point:
        t.refuse(fx, f"conversion from {value.dtype} to {result.dtype} is not supported")
    rearranging.unchanged(t, fx, a)


def larger(t: Translation, fx: FxNode, a: dict) -> None:
    """``torch.max`` of two maps, or along one axis."""
    if "other" in a:
        arithmetic.maximum(t, fx, a)
    else:
        windows.largest(t, fx, a)


def ignore(t: Translation, fx: FxNode, a: dict) -> None:
    """Assertions of the tracer about its own values: nothing to compute."""


Handler = Callable[[Translation, FxNode, dict], None]
# by the part of the name behind "aten."
NAMED: dict[Handler, str] = {
    layers.convolution: "conv2d",
    layers.convolution_1d: "conv1d",
    layers.convolution_of_any_rank: "convolution _convolution",
    transposed.transposed_convolution: "conv_transpose2d",
    transposed.transposed_convolution_1d: "conv_transpose1d",
    layers.linear: "linear",
    layers.matmul: "matmul mm mv bmm",
    layers.addmm: "addmm",
    layers.batch_norm: "batch_norm _native_batch_norm_legit_no_training",
    arithmetic.relu: "relu",
    shares_of_two.softmax: "softmax _softmax",
    composed.instance_norm: "instance_norm",
    composed.group_norm: "group_norm native_group_norm",
    composed.variance: "var",
    composed.deviation: "std",
    composed.variance_and_mean: "var_mean",
    composed.deviation_and_mean: "std_mean",
    arithmetic.relu6: "relu6",
    arithmetic.hardsigmoid: "hardsigmoid",
    arithmetic.plain("sigmoid"): "sigmoid",
    arithmetic.plain("tanh"): "tanh",
    arithmetic.plain("silu"): "silu",
    arithmetic.plain("hardswish"): "hardswish",
    arithmetic.plain("mish"): "mish",
    arithmetic.plain("log_sigmoid"): "log_sigmoid",
    arithmetic.plain("abs"): "abs",
    arithmetic.plain("erf"): "erf",
    arithmetic.plain("square"): "square",
    **{arithmetic.inside(name): name for name in "sin cos atan sign floor ceil round trunc sinh cosh expm1".split()},
    arithmetic.shrink("softshrink"): "softshrink",
    arithmetic.shrink("hardshrink"): "hardshrink",
    powers.power: "pow",
    powers.root: "sqrt",
    powers.inverse_root: "rsqrt",
    powers.inverse: "reciprocal",
    powers.exponential: "exp",
    powers.logarithm: "log",
    powers.logarithm_of_more: "log1p",
    composed.length: "linalg_vector_norm",
    composed.log_of_sum: "logsumexp",
    windows.smallest: "amin",
    unpooling.not_below: "ge",
    unpooling.unpool: "max_unpool2d",
    unpooling.cubic: "upsample_bicubic2d",
    arithmetic.gelu: "gelu",
    arithmetic.elu: "elu",
    arithmetic.selu: "selu",
    arithmetic.celu: "celu",
    arithmetic.softplus: "softplus",
    arithmetic.leaky_relu: "leaky_relu",
    arithmetic.prelu: "prelu",
    arithmetic.rrelu: "rrelu",
    arithmetic.clamp: "hardtanh clamp clip clamp_min clamp_max",
    arithmetic.threshold: "threshold",
    arithmetic.add: "add",
    arithmetic.subtract: "sub subtract",
    arithmetic.subtract_from: "rsub",
    arithmetic.negate: "neg negative",
    arithmetic.multiply: "mul multiply",
    powers.divide: "div divide true_divide",
    arithmetic.maximum: "maximum",
    arithmetic.minimum: "minimum",
    larger: "max",
    turned.max_pool: "max_pool1d max_pool2d max_pool2d_with_indices",
    turned.avg_pool: "avg_pool1d avg_pool2d",
    windows.adaptive_pool: (
        "adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d"
    ),
    frames.convolution: "conv3d",
    frames.max_pool: "max_pool3d max_pool3d_with_indices",
    frames.avg_pool: "avg_pool3d",
    frames.adaptive_pool: "adaptive_avg_pool3d adaptive_max_pool3d",
    frames.mean: "mean",
    windows.upsample_linear: "upsample_bilinear2d upsample_linear1d",
    windows.total: "sum",
    windows.largest: "amax",
    windows.zero_pad: "pad constant_pad_nd",
    rearranging.concat: "cat concat concatenate",
    rearranging.stack: "stack",
    rearranging.take_slice: "slice",
    rearranging.narrow: "narrow",
    rearranging.choose: "select unbind index_select",
    rearranging.reshape: "view reshape _unsafe_view flatten squeeze unsqueeze unflatten view_as reshape_as",
    rearranging.rearrange: (
        "permute transpose t swapaxes swapdims movedim moveaxis numpy_T mT chunk split split_with_sizes tensor_split "
        "unsafe_chunk unsafe_split index flip roll rot90 expand expand_as repeat tile repeat_interleave "
        "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle replication_pad1d replication_pad2d reflection_pad1d "
        "reflection_pad2d"
    ),
    rearranging.upsample_nearest: "upsample_nearest1d upsample_nearest2d _upsample_nearest_exact1d _upsample_nearest_exact2d",
    rearranging.unchanged: "clone alias detach contiguous lift_fresh_copy positive",
    convert: "_to_copy to type_as",
    dropout: "dropout feature_dropout alpha_dropout feature_alpha_dropout",
    ignore: "_assert_tensor_metadata",
}
HANDLERS: dict[str, Handler] = {f"aten.{name}": handler for handler, names in NAMED.items() for name in names.split()}
# results of these are newly computed: never a view of an operand, nor the operand itself
FRESH = frozenset(
    f"aten.{name}"
    for name in (
        "conv1d conv2d linear batch_norm relu relu6 hardtanh clamp add sub mul div neg maximum cat "
        "max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool2d mean matmul addmm "
        "silu gelu hardswish hardsigmoid sigmoid tanh leaky_relu mish elu softplus"
    ).split()
)
# results of these may be their first operand, or a view of it, and nothing else
ALIASES = frozenset(f"aten.{name}" for name in "view reshape flatten squeeze unsqueeze permute transpose dropout".split())


def translate(t: Translation, fx: FxNode) -> None:
    """Add one call to the draft. Raises BfpError naming the layer where it is not supported."""
    name = operator_name(fx).rstrip("_")  # in-place forms reach this place only where they are equivalent
    if name == "getitem":
        source, index = fx.args
        if source in t.several:
            t.views[fx] = t.several[source][index]
        elif source in t.constants:
            constants.evaluate(t, fx)
        elif index == 0 and source in t.views:
            t.views[fx] = t.views[source]
        elif t.tables and operator_name(source) in unpooling.POOLS and all("max_unpool" in operator_name(user) for user in fx.users):
            pass  # unpooling asks for the maxima themselves
        elif fx.users:
            t.refuse(fx, f"result {index} of {source.target} is not supported")
    elif constants.is_constant(t, fx):
        constants.evaluate(t, fx)
    elif not fixed_size(fx.meta.get("val")):
        t.refuse(fx, "a result whose size depends on the values of the image is not supported")
    elif name not in HANDLERS:
        t.refuse(fx, f"{name} is not supported", SUPPORTED)
    else:
        HANDLERS[name](t, fx, bind(fx))
