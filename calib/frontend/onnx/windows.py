"""ONNX operators whose windows move over a map, in torch: convolutions and pools."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from calib.frontend.onnx.operands import Operands


def pads_of(o: Operands, size: tuple, kernel: tuple, stride: tuple, dilation: tuple) -> list[tuple[int, int]]:
    """Padding of each axis, (before, behind), as stated or as ``auto_pad`` makes it."""
    mode = o.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        pads = o.get("pads", (0,) * 2 * len(kernel)) if mode == "NOTSET" else (0,) * 2 * len(kernel)
        return list(zip(pads[: len(kernel)], pads[len(kernel) :]))
    found = []
    for n, k, s, d in zip(size, kernel, stride, dilation):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        small, large = total // 2, total - total // 2
        found.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return found


def padded(x: Tensor, pads: list, value: float = 0.0) -> Tensor:
    """Rows, columns or both padded."""
    flat = [n for before, behind in reversed(pads) for n in (before, behind)]
    return F.pad(x, flat, value=value) if any(flat) else x


def conv(o: Operands) -> Tensor:
    x, weight, bias = o[0], o[1], o[2]
    kernel = tuple(weight.shape[2:])
    stride, dilation = (tuple(o.get(k, (1,) * len(kernel))) for k in ("strides", "dilations"))
    pads = pads_of(o, tuple(x.shape[2:]), kernel, stride, dilation)
    same = all(a == b >= 0 for a, b in pads)
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}.get(len(kernel))
    if function is None:
        raise o.refuse(f"a kernel of {len(kernel)} axes is not supported")
    x, padding = (x, tuple(a for a, _ in pads)) if same else (padded(x, pads), 0)
    return function(x, weight, bias, stride, padding, dilation, o.get("group", 1))


def pool(o: Operands, largest: bool) -> Tensor:
    x, kernel = o[0], tuple(o.get("kernel_shape"))
    stride, dilation = (tuple(o.get(k, (1,) * len(kernel))) for k in ("strides", "dilations"))
    ceil = bool(o.get("ceil_mode", 0))
    pads = pads_of(o, tuple(x.shape[2:]), kernel, stride, dilation)
    counted = bool(o.get("count_include_pad", 0))
    before = tuple(a for a, _ in pads)
    if any(a != b for a, b in pads):
        if not largest and counted:
            x, before = padded(x, pads), (0,) * len(kernel)
        else:
            # as many windows may come of the same padding on both sides; those that reach beyond the map behind it are what
            # torch's ceil mode makes of them
            reach = [n - (k - 1) * d - 1 for n, k, d in zip(x.shape[2:], kernel, dilation)]
            wanted = [(n + a + b) // s + 1 for n, (a, b), s in zip(reach, pads, stride)]
            counts = {False: [(n + 2 * a) // s + 1 for n, a, s in zip(reach, before, stride)]}
            counts[True] = [-(-(n + 2 * a) // s) + 1 for n, a, s in zip(reach, before, stride)]
            fitting = [mode for mode, count in counts.items() if count == wanted]
            if fitting:
                ceil = fitting[0]
            elif largest:
                x, before = padded(x, pads, -float("inf")), (0,) * len(kernel)
            else:
                raise o.refuse(f"padding {pads} is not supported; use the same on both sides")
    if len(kernel) > 3:
        raise o.refuse(f"a window of {len(kernel)} axes is not supported")
    if largest:
        function = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(kernel)]
        return function(x, kernel, stride, before, dilation, ceil)
    if set(dilation) != {1}:
        raise o.refuse(f"average pooling with dilation {dilation} is not supported")
    function = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(kernel)]
    return function(x, kernel, stride, before, ceil, counted)


def global_pool(o: Operands, largest: bool) -> Tensor:
    axes = tuple(range(2, o[0].ndim))
    return o[0].amax(axes, keepdim=True) if largest else o[0].mean(axes, keepdim=True)
