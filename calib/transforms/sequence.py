"""All passes of the calibration, in their order: what docs/calibration.md tells, as a list.

A pass takes a state and the calibration images, and returns another state
(calib.state). The options say which passes there are.
"""

from __future__ import annotations

from collections.abc import Iterable

from calib.data.images import ImageSet
from calib.formats import noisy_layers
from calib.formats.bit_allocation import allocate_bits
from calib.options import AUTO, FAN2019, BfpOptions
from calib.quantisation import choose_method, gather_statistics, quantise, reconstruct, reconstruct_where_better
from calib.state import CalibrationState, Pass
from calib.transforms.canonical_scales import bring_to_canonical_scales
from calib.transforms.channel_permutation import permute_channels
from calib.transforms.cross_layer_equalisation import equalise_ranges, equalise_weights
from calib.transforms.input_scaling import scale_input
from calib.transforms.output_scaling import scale_output
from calib.transforms.range_centring import centre_ranges
from calib.transforms.range_ends import bound_others
from calib.transforms.tied_equalisation import equalise_tied_channels
from calib.transforms.training_comparison import compare_with_training


def preparation(options: BfpOptions) -> tuple[Pass, ...]:
    """The passes before anything is quantised: transforms, which keep the function of the network, and widths."""
    ranges, budget = options.equalise == "ranges", options.weight_budget or options.activation_budget
    return _asked_for(
        # channels whose scales lie far apart, which changes nothing of the function, come to one scale
        (options.method != FAN2019, bring_to_canonical_scales),
        # layers that make most of the noise get one bit more, before anything is chosen that depends on widths
        (noisy_layers.applies(options), noisy_layers.widen_noisy_layers),
        # how like training's the images are says how far their ranges can be trusted
        (ranges, compare_with_training),
        # in data-free equalisation, the weights of neighbouring layers get the same range in every channel
        (options.equalise == "weights", equalise_weights),
        # signed channels are shifted so that the centre of their range is zero
        (options.centre, centre_ranges),
        # channels between two convolutions are put into the order of their range
        (options.sort_channels, permute_channels),
        # the input's channels get the step that the pixel codes are rounded to with the least error
        (ranges, scale_input),
        # channels between two layers are scaled to end where their mantissas end
        (ranges, equalise_ranges),
        # so are the channels that sums, slices and concatenations tie together
        (ranges, equalise_tied_channels),
        # what nothing has scaled reaches as far as images need that were not seen
        (ranges, bound_others),
        # a classifier's last layer is scaled to the best step between its logits
        (True, scale_output),
        # layers get widths of their own, so that the mean stays within a budget
        (budget, allocate_bits),
    )


def quantisation(options: BfpOptions) -> tuple[Pass, ...]:
    """The passes from the prepared float network to the artifact."""
    auto = options.method == AUTO
    return _asked_for(
        # ranges and histograms of all tensors, over all calibration images
        (True, gather_statistics),
        # exponents of activations and weights, raised where the integer limits need it, and the proof of every sum
        (not auto, quantise),
        # the same by each method, of which the one stays that leaves the least noise on held-out images
        (auto, choose_method),
        # weights are rounded for the least error of each layer's output, and biases corrected for its mean
        (options.reconstructs and not auto, reconstruct),
        # the same, where it lessens the noise on held-out images
        (auto, reconstruct_where_better),
    )


def _asked_for(*listed: tuple[object, Pass]) -> tuple[Pass, ...]:
    return tuple(one for wanted, one in listed if wanted)


def run(passes: Iterable[Pass], state: CalibrationState, images: ImageSet) -> CalibrationState:
    """The state after all passes. Raises BfpError where one cannot do its work."""
    for one in passes:
        state = one(state, images)
    return state
