"""The picture of an exploration, as SVG: a panel for each cost. Everything in it is modelled."""

from __future__ import annotations

from html import escape

from bfp.names import cut

PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP = 480, 300, 70, 96, 76
MOST_NAME = 40  # characters of a network's name
COLOURS = ("#1b6ca8", "#c05a00", "#3a7d34", "#8a3a8f", "#6b6b6b", "#a83232")
KIB = 1024
PANELS = (  # what a point costs, the words of its axis, and in units of how much they count
    ("lut", "LUT", 1),
    ("dsp", "DSP", 1),
    ("bram36", "block RAM (36 kbit)", 1),
    ("bits", "bits of a weight and an activation together", 1),
    ("chip_bytes", "KiB of on-chip memory for maps", KIB),
    ("depthwise_pixels", "pixel lanes of depthwise convolution", 1),
    ("batch", "pictures of a batch", 1),
)


def ticks(top: float) -> list[float]:
    """Five to ten round numbers from 0 up to ``top``."""
    step = 10.0 ** (len(str(int(top))) - 1)
    step = next(s for s in (step, step / 2, step / 5, step / 10) if top / s >= 4)
    return [i * step for i in range(int(top / step) + 1)]


def ends(point: dict, name: str) -> tuple[float, float]:
    """The low and the high end of a figure; both the figure itself where it has no range."""
    found = point["ranges"].get(name)
    return (found["low"], found["high"]) if found else (point[name], point[name])


def ranged(point: dict, name: str) -> str:
    """A figure with its ends, for people."""
    low, high = ends(point, name)
    return f"{point[name]} ({low} to {high})"


def describe(point: dict) -> str:
    o = point["options"]
    batch = f", batches of {o['batch']}" if o["batch"] > 1 else ""
    folded = ", folded input" if o["fold_input"] else ""
    ahead = f", weights_ahead {o['weights_ahead']}" if o["weights_ahead"] else ""
    depthwise = f", depthwise_pixels {o['depthwise_pixels']}" if o["depthwise_pixels"] else ""
    return (
        f"{point['weights']}/{point['activations']} bits, {o['lanes']} x {o['filters']} x {o['pixels']} lanes, "
        f"input_words {o['input_words']}, weight_steps {o['weight_steps']}, tile_blocks {o['tile_blocks']}, "
        f"chip_words {o['chip_words']}{depthwise}{ahead}{folded}{batch}: "
        f"{ranged(point, 'frames_per_second')} frames/s, {ranged(point, 'dsp')} DSP, {ranged(point, 'bram36')} BRAM36, "
        f"{ranged(point, 'lut')} LUT"
    )


class Panel:
    """One diagram: frames per second over one cost; (x, y) is its upper left corner."""

    def __init__(self, result: dict, cost: str, x: float, y: float) -> None:
        self.result, self.cost, self.x, self.y = result, cost, x, y
        self.points = [p for p in result["points"] if cost == "batch" or p["batch"] == 1]
        drawn = {i for f in result["fronts"] if f["cost"] == cost for i in f["points"]}  # with their ranges
        costs = [p[cost] for p in self.points] + [ends(result["points"][i], cost)[1] for i in drawn]
        frames = [p["frames_per_second"] for p in self.points]
        frames += [ends(result["points"][i], "frames_per_second")[1] for i in drawn]
        self.right = 1.05 * max(result["limits"].get(cost, 0), max(costs))
        self.top = 1.08 * max(frames)
        self.colour = {tuple(w): COLOURS[i % len(COLOURS)] for i, w in enumerate(result["widths"])}

    def at(self, point: dict) -> tuple[float, float]:
        return self.place(point[self.cost], point["frames_per_second"])

    def place(self, cost: float, frames: float) -> tuple[float, float]:
        return (
            self.x + cost / self.right * PANEL_WIDTH,
            self.y + PANEL_HEIGHT - frames / self.top * PANEL_HEIGHT,
        )

    def dot(self, point: dict, chosen: bool) -> str:
        """A point of a front, which says what it is; or any other."""
        x, y = self.at(point)
        place = f'<circle cx="{x:.1f}" cy="{y:.1f}" fill="{self.colour[point["weights"], point["activations"]]}"'
        if not chosen:
            return f'{place} r="1.5" fill-opacity="0.25"/>'
        return f'{self.bars(point)}{place} r="4" fill-opacity="0.9"><title>{escape(describe(point))}</title></circle>'

    def bars(self, point: dict) -> str:
        """From the low to the high end of what a point costs, and of its frames per second."""
        (left, low), (right, high) = (
            self.place(ends(point, self.cost)[end], ends(point, "frames_per_second")[end]) for end in (0, 1)
        )
        x, y = self.at(point)
        colour = self.colour[point["weights"], point["activations"]]
        path = f"M{left:.1f} {y:.1f}H{right:.1f}M{x:.1f} {low:.1f}V{high:.1f}"
        return f'<path class="range" d="{path}" fill="none" stroke="{colour}" stroke-opacity="0.35"/>'

    def axes(self, title: str, unit: int) -> list[str]:
        bottom = self.y + PANEL_HEIGHT
        parts = [
            f'<path d="M{self.x:.1f} {self.y:.1f}V{bottom:.1f}H{self.x + PANEL_WIDTH:.1f}" fill="none" stroke="#222"/>',
            f'<text x="{self.x + PANEL_WIDTH / 2:.1f}" y="{bottom + 36:.1f}" text-anchor="middle">{title}</text>',
            f'<text x="{self.x:.1f}" y="{self.y - 14:.1f}" text-anchor="middle">frames/s (modelled)</text>',
        ]
        for value in ticks(self.right / unit):
            x, _ = self.place(value * unit, 0)
            parts.append(f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{value:g}</text>')
        for value in ticks(self.top):
            _, y = self.place(0, value)
            parts.append(f'<path d="M{self.x:.1f} {y:.1f}h{PANEL_WIDTH}" stroke="#e4e4e4"/>')
            parts.append(f'<text x="{self.x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        limit = self.result["limits"].get(self.cost)
        if limit:
            x, _ = self.place(limit, 0)
            parts.append(f'<path d="M{x:.1f} {self.y:.1f}V{bottom:.1f}" stroke="#999" stroke-dasharray="4 3"/>')
        return parts

    def draw(self, title: str, unit: int) -> list[str]:
        points = self.result["points"]
        parts = self.axes(title, unit) + [self.dot(p, False) for p in self.points]
        for line in (f for f in self.result["fronts"] if f["cost"] == self.cost and f["points"]):
            chosen = [points[i] for i in line["points"]]
            (x, y), *rest = [self.at(p) for p in chosen]
            # between two engines of a front the cheaper one is what there is
            path = f"M{x:.1f} {y:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in rest)
            colour = self.colour[chosen[-1]["weights"], chosen[-1]["activations"]] if "weights" in line else "#222"
            parts.append(f'<path class="front" d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            parts += [self.dot(p, True) for p in chosen]
        current = self.result["current"]
        if current is not None and points[current] in self.points:
            x, y = self.at(points[current])
            parts.append(f'<path d="M{x - 6:.1f} {y:.1f}h12M{x:.1f} {y - 6:.1f}v12" stroke="#000" stroke-width="2"/>')
        return parts


def chart(result: dict) -> str:
    """All points of codegen.performance.explore's ``result``, the Pareto fronts, the board's limits and the present engine."""
    drawn = {front["cost"] for front in result["fronts"]}
    panels = [panel for panel in PANELS if panel[0] in drawn]
    width, height = 2 * (PANEL_WIDTH + LEFT) + 30, TOP + -(-len(panels) // 2) * (PANEL_HEIGHT + GAP)
    fitting, refused = len(result["points"]), sum(result["refused"].values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{escape(cut(result["network"], MOST_NAME))} on '
        f"{escape(result['board'])}, modelled: {fitting} engines that fit, {refused} refused</text>",
        f'<text x="{LEFT}" y="42">lines: Pareto fronts; thin: their points\' ranges; dashed: the board\'s limit; '
        "cross: the present engine</text>",
    ]
    for i, (w, a) in enumerate(result["widths"]):
        x = LEFT + 95 * i
        parts.append(f'<circle cx="{x + 5}" cy="58" r="5" fill="{COLOURS[i % len(COLOURS)]}"/>')
        parts.append(f'<text x="{x + 15}" y="62">{w}/{a} bits</text>')
    for i, (cost, title, unit) in enumerate(panels):
        x = LEFT + (i % 2) * (PANEL_WIDTH + LEFT)
        parts += Panel(result, cost, x, TOP + 10 + (i // 2) * (PANEL_HEIGHT + GAP)).draw(title, unit)
    return "\n".join([*parts, "</svg>"]) + "\n"
