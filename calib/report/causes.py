"""A sentence on why a layer loses accuracy, from its figures alone."""

from __future__ import annotations

IDLE = 0.45  # below this share of the range, the top bit is never needed
OUTLIER = 2.5  # times by which one channel exceeds the next
UNEVEN = 4.0  # times by which the widest channel exceeds the median one
PEAKED = 0.06  # root mean square below this share of the range: few large values set the exponent
NARROW = 6  # mantissa bits at or below which the width itself is the cause
INHERITED = 0.25  # own share of the accumulated error below which the inputs' is the larger matter


def cause(layer: dict, operands: list[dict]) -> str:
    """One or two sentences: the layer's own error first, then what arrives with its inputs.

    layer: figures of calib.report.figures; operands: those of the layers that
    write its inputs. Empty for a layer without any error of its own or inherited.
    """
    own = own_cause(layer)
    share = layer["own_share_of_accumulated"]
    # a layer without own error inherits all of it
    if share is None or share >= INHERITED or not operands:
        return own
    worst = min(
        (o for o in operands if o["accumulated_sqnr_db"] is not None), key=lambda o: o["accumulated_sqnr_db"], default=None
    )
    if worst is None:
        return own
    inherited = (
        f"Most of the error in its output comes with its inputs ({worst['name']} already stands at "
        f"{worst['accumulated_sqnr_db']:.1f} dB): {percent(share)} of it is the layer's own."
    )
    return f"{own} {inherited}".strip()


def own_cause(layer: dict) -> str:
    """The largest part of the layer's own error, and what makes it large."""
    parts = layer["own_parts"]
    if parts is None:
        return ""
    part = max(parts, key=parts.get)
    says = f"{percent(parts[part])} of its own error"
    if part == "saturation":
        return (
            f"Saturation: {percent(layer['saturation_rate'])} of the values lie beyond the largest mantissa "
            f"and are clipped, which makes {says}; the exponent is too small for these images."
        )
    if part == "weights":
        return f"Weights: their quantisation makes {says}; {weights_cause(layer['weights'])}"
    return f"Rounding of the output makes {says}; {rounding_cause(layer)}"


def weights_cause(weights: dict | None) -> str:
    """Why quantised weights are wrong. None: a layer without weights, whose constants are rounded instead."""
    if weights is None:
        return "the layer has none, its fixed-point constants are what differs."
    if weights["coarsened_bits"]:
        return (
            f"{weights['coarsened_blocks']} of {weights['blocks']} weight blocks were made up to "
            f"{weights['coarsened_bits']} bits coarser, because the exponents that meet in one sum lie too far apart."
        )
    if weights["bits"] <= NARROW:
        return f"at {weights['bits']} bits their mantissas are narrow ({ratio(weights)})."
    return f"each block's exponent follows its largest weight, the small ones are left with few levels ({ratio(weights)})."


def ratio(weights: dict) -> str:
    return "weights exact" if weights["sqnr_db"] is None else f"weights at {weights['sqnr_db']:.1f} dB"


def rounding_cause(layer: dict) -> str:
    used, second = layer["range_used"], layer["range_used_second_channel"]
    median, channel = layer["range_used_median_channel"], layer["widest_channel"]
    if layer["coarsened_bits"]:
        return f"its exponent was raised by up to {layer['coarsened_bits']} bits, so that the shifts of its neighbours fit."
    if used < IDLE:
        return f"the values reach only {percent(used)} of the mantissa range: the exponent was chosen for larger values."
    if second is not None and used > OUTLIER * second:
        return (
            f"channel {channel} alone sets the exponent: it reaches {percent(used)} of the mantissa range, "
            f"the next channel {percent(second)}, the median one {percent(median)}."
        )
    if used > UNEVEN * median:
        return (
            f"channels are of very different size under one exponent: the largest reaches {percent(used)} "
            f"of the mantissa range, half of them stay below {percent(median)}."
        )
    if layer["bits"] <= NARROW:
        return f"at {layer['bits']} bits the mantissas are narrow."
    if layer["rms_used"] < PEAKED:
        return (
            f"rare large values set the exponent: the root mean square is {percent(layer['rms_used'])} "
            "of the largest value that fits, so most values have few levels."
        )
    return f"the range is well used ({percent(used)}), what is left is the width of {layer['bits']} bits."


def percent(share: float) -> str:
    """A share as a person writes it: "37 %", "0.4 %", "less than 0.01 %"."""
    value = 100 * share
    if value == 0:
        return "0 %"
    if value < 0.01:
        return "less than 0.01 %"
    return f"{value:.0f} %" if value >= 10 else f"{value:.1f} %" if value >= 1 else f"{value:.2g} %"
