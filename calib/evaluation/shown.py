"""How results show the figures of an evaluation (``Tally.figures``), whatever its task."""

from __future__ import annotations

from calib.measures import DECIBELS, MEASURES, NUMBER, SHARE

# figures against the ground truth, by the beginning of their keys: what people call them
TRUTHS = {"top1": "top-1", "map50": "mAP50", "miou": "mIoU"}
TARGETS = "target_psnr"  # the beginning of the keys of the only one that is no share, in dB
TITLES = {
    "agreement": "agreement", "mean_iou": "mean IoU", "psnr_db": "PSNR", "cosine": "cosine", "matched_boxes": "matched boxes",
}  # fmt: skip
# keys of a figure against the ground truth end so
SIDES = ("_float", "_bfp")
# that every evaluation has
FIGURES = ("images", "task", "metric", "figure", "agreement", "sqnr_db", "agreement_interval", "loss_interval")


def texts(value: float, digits: int) -> dict[str, str]:
    """A value as each unit writes it."""
    return {SHARE: f"{100 * value:.{digits}f} %", DECIBELS: f"{value:.1f} dB", NUMBER: f"{value:.4g}"}


def figure_text(value: float | None, unit: str, digits: int = 2) -> str:
    """A figure as people read it: a share in percent, a ratio in dB, or a number. Raises KeyError for another unit."""
    return "unknown" if value is None else texts(value, digits)[unit]


def interval_text(ends: list[float] | None, digits: int = 2) -> str:
    """An interval of a share as what stands behind it, in percent; empty where there is none."""
    return "" if ends is None else f" ({' to '.join(f'{100 * end:.{digits}f}' for end in ends)})"


def own_text(e: dict, digits: int = 2) -> str:
    """The figure of an evaluation as people read it."""
    return figure_text(e["figure"], unit_of(e["metric"]), digits)


def unit_of(metric: str) -> str:
    """What a figure counts in; the user's is a number."""
    return MEASURES[metric].unit if metric in MEASURES else NUMBER


def title_of(metric: str) -> str:
    """What a figure is called: the user's by its own name."""
    return TITLES[metric] if metric in TITLES else metric.split(":")[-1]


def words_of(metric: str) -> str:
    """What a figure is, as the end of a sentence."""
    return MEASURES[metric].words if metric in MEASURES else "the file's own figure, the mean over the images"


def targets_note(e: dict) -> str:
    """How near both networks come to the pictures that the images should become, a sentence; empty where there are none."""
    found = [e.get(TARGETS + side) for side in SIDES]
    if None in found:
        return ""
    return f"against the targets, PSNR is {found[0]:.2f} dB for the float network and {found[1]:.2f} dB for the quantised one"


def truth_of(e: dict) -> tuple[str, float, float] | None:
    """Name, the float network's and the quantised one's figure against the ground truth, 0..1; None where nothing is known."""
    for key, name in TRUTHS.items():
        found = [e.get(key + side) for side in SIDES]
        if None not in found:
            return name, *found
    return None
