"""Why a layer loses accuracy, from its figures alone: its own error, and what arrives with its inputs."""

from __future__ import annotations

IDLE = 0.5  # below this share of the range, the next smaller exponent would clip nothing
OUTLIER = 2.5  # times by which one channel exceeds the next
UNEVEN = 4.0  # times by which the widest channel exceeds the median one
PEAKED = 0.06  # root mean square below this share of the range: few large values set the exponent
NARROW = 6  # mantissa bits at or below which the width itself is the cause
BETTER = 1.5  # times by which another exponent must lower the squared error to be worth a word
CANCELLED = 6.0  # dB by which the output is worse than the weights: large products cancel
CONCENTRATED = 0.5  # share of a layer's error in one channel
MOVED = 0.05  # share of mantissas that no rounding to nearest explains
INHERITED = 0.25  # own share of the accumulated error below which the inputs' is the larger matter


def inherited_cause(layer: dict, operands: list[dict]) -> str:
    """Where most of the accumulated error comes from the inputs: how much, and from which; else empty.

    layer: figures of calib.evaluation.report.figures; operands: those of the layers that write its inputs.
    """
    share = layer["own_share_of_accumulated"]
    lossy = [o for o in operands if o["accumulated_sqnr_db"] is not None]
    if share is None or share >= INHERITED or not lossy:
        return ""
    worst = min(lossy, key=lambda o: o["accumulated_sqnr_db"])
    part = f"only {percent(share)} is its own" if share > 0 else "none is its own"
    return (
        f"Of the error in its output {part}, the rest comes with its inputs "
        f"({worst['name']} is at {worst['accumulated_sqnr_db']:.1f} dB)."
    )


def own_cause(layer: dict) -> str:
    """The largest part of the layer's own error, and what makes it large; empty for an exact layer."""
    parts = layer["own_parts"]
    if parts is None:
        return ""
    part = max(parts, key=parts.get)
    says = f"{percent(parts[part])} of its own error"
    if part == "saturation":
        return (
            f"Saturation makes {says}: {percent(layer['saturation_rate'])} of the values lie beyond the "
            f"largest mantissa and are clipped.{alternative(layer)}"
        )
    if part == "weights":
        return f"Quantised weights and biases make {says}: {weights_cause(layer)}"
    return f"Rounding the output makes {says}: {rounding_cause(layer)}{alternative(layer)}"


def alternative(layer: dict) -> str:
    """Whether another exponent would have had less squared error on these images."""
    mse = {c["offset"]: c["mse"] for c in layer["candidates"]}
    offset = better_offset(layer)
    if offset:
        step = f"{'larger' if offset > 0 else 'smaller'} by {abs(offset)}"
        return f" An exponent {step} would have {mse[0] / mse[offset]:.1f} times less squared error on these images."
    if layer["own_parts"]["saturation"] > 0.5 and mse[0] == min(mse.values()):
        return " Still, no other exponent has less squared error on these images."
    return ""


def better_offset(layer: dict) -> int:
    """Offset of the exponent with the least squared error where it is clearly better than the chosen one, else 0."""
    mse = {c["offset"]: c["mse"] for c in layer["candidates"]}
    best = min(mse, key=mse.get)
    return best if 0 < BETTER * mse[best] < mse[0] else 0


def weights_cause(layer: dict) -> str:
    """Why quantised weights are wrong, or matter so much."""
    weights, own = layer["weights"], layer["own_sqnr_db"]
    if weights is None:
        return "the layer has none, but its fixed-point constants are rounded."
    if weights["coarsened_blocks"] and weights["coarsened_share"] >= CONCENTRATED:
        return (
            f"{weights['coarsened_blocks']} of {weights['blocks']} weight blocks are up to {weights['coarsened_bits']} "
            "bits coarser than they need be, because the exponents that meet in one sum lie too far apart; "
            f"their filters hold {percent(weights['coarsened_share'])} of the error."
        )
    if layer["offset_share"] >= CONCENTRATED:
        corrected = weights["biases_moved"] > 0
        why = "moved on purpose to make up for the inputs' errors" if corrected else "which a bias correction would remove"
        return f"{percent(layer['offset_share'])} of the layer's error is a constant offset of each channel, {why}."
    if weights["bits"] <= NARROW:
        few = f"their mantissas have only {weights['bits']} bits{ratio(weights)}."
        return few + moved(weights) + concentration(layer)
    if weights["moved"] >= MOVED:
        return moved(weights).strip()
    one_channel = layer["noisiest_share"] >= CONCENTRATED
    seen, plain = weights["noisiest_sqnr_db" if one_channel else "weighted_sqnr_db"], weights["sqnr_db"]
    whose = f"weights of channel {layer['noisiest_channel']}" if one_channel else "weights"
    if seen is not None and own is not None and own < seen - CANCELLED:
        return (
            f"large products and bias cancel, so that small errors show ({whose} at {seen:.1f} dB, "
            f"output at {own:.1f} dB).{concentration(layer)}"
        )
    if seen is not None and plain is not None and seen < plain - CANCELLED:
        return (
            f"small weights, which have few levels beside the largest of their block, count most (all weights at "
            f"{plain:.1f} dB, {whose} counted by their inputs' power at {seen:.1f} dB).{concentration(layer)}"
        )
    return (
        f"a block's exponent follows its largest weight, small ones get few levels{ratio(weights)}."
        f"{concentration(layer)}"
    )


def moved(weights: dict) -> str:
    """Weights that a rounding rule chose otherwise than each for itself."""
    if weights["moved"] < MOVED:
        return ""
    share = percent(weights["moved"])
    return f" {share} of them are not the nearest, but make up for each other's and the inputs' errors."


def concentration(layer: dict) -> str:
    if layer["noisiest_share"] < CONCENTRATED or layer["channels"] < 4:
        return ""
    return f" Channel {layer['noisiest_channel']} alone holds {percent(layer['noisiest_share'])} of the error."


def ratio(weights: dict) -> str:
    return "" if weights["sqnr_db"] is None else f" (weights at {weights['sqnr_db']:.1f} dB)"


def rounding_cause(layer: dict) -> str:
    """Why the mantissa grid is too coarse for the values."""
    used, second = layer["range_used"], layer["range_used_second_channel"]
    median, channel = layer["range_used_median_channel"], layer["widest_channel"]
    if layer["coarsened_share"] >= CONCENTRATED:
        bits = layer["coarsened_bits"]
        return f"its exponent was raised by up to {bits} bits, so that the shifts of its neighbours fit."
    if used < IDLE:
        return f"the values reach only {percent(used)} of the mantissa range, the exponent was chosen for larger ones."
    if second is not None and used > OUTLIER * second:
        return (
            f"channel {channel} alone sets the exponent: it reaches {percent(used)} of the mantissa range, "
            f"the next channel {percent(second)}, the median one {percent(median)}."
        )
    if used > UNEVEN * median:
        return (
            f"channels of very different size share one exponent: the largest reaches {percent(used)} "
            f"of the mantissa range, half of them stay below {percent(median)}."
        )
    if layer["bits"] <= NARROW:
        return f"its mantissas have only {layer['bits']} bits."
    if layer["rms_used"] < PEAKED:
        return (
            f"rare large values set the exponent; the root mean square is {percent(layer['rms_used'])} "
            "of the largest value that fits, so most values have few levels."
        )
    if better_offset(layer) < 0:
        return f"rare values, up to {percent(used)} of the mantissa range, hold the exponent up."
    return (
        f"no single cause; the values reach {percent(used)} of the mantissa range, "
        f"the rest is the width of {layer['bits']} bits."
    )


def percent(share: float) -> str:
    """A share as a person writes it: "37 %", "0.4 %", "< 0.01 %"."""
    value = 100 * share
    if value == 0:
        return "0 %"
    if value < 0.01:
        return "< 0.01 %"
    return f"{value:.0f} %" if value >= 10 else f"{value:.1f} %" if value >= 1 else f"{value:.2g} %"
