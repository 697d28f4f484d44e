"""The functions of the kernel's control that are measured, and the bits that their values need in an engine.

A body calls the function as it is. Where the kernel computes something in the middle of a loop, the
body repeats these statements.
"""

from __future__ import annotations

from codegen.area.compiled import Case

# What the values have in ResNet-50's engine for the Ultra96-V2 that loops carry on. Those of jobs are in their rows, and
# have the bits that these have. Addresses are beats of its arena of 707,231; a tile has 8,160 words in five banks.
WIDTHS = {
    **dict.fromkeys(("source", "plane"), "u20"),
    **dict.fromkeys(("left",), "u13"),
    **dict.fromkeys(("x", "y", "word"), "u8"),
    **dict.fromkeys(("kx", "ky"), "u3"),
    **dict.fromkeys(("part",), "u1"),
    **dict.fromkeys(("output",), "u6"),
    **dict.fromkeys(("block",), "u12"),
    **dict.fromkeys(("step",), "u10"),
    **dict.fromkeys(("pixels_left",), "u14"),
    **dict.fromkeys(("row",), "u11"),  # of a bank
    **dict.fromkeys(("bank",), "u3"),
    **dict.fromkeys(("pooled_row", "pooled_column"), "u6"),
}

ONE_LANE = """
    const ComputeJob job = compute_job(job_row);
    const int32_t behind = job.width - job.ahead;
    const bool wraps = x >= behind;
    x = bounded<ComputeJob::MOST_WIDTH>(wraps ? x - behind : x + job.ahead);
    base = move(base, wraps ? job.wraps : job.stays);
    const Place from = move(base, offset);
    bank = has ? from.bank : BANKS;
    for (int b = 0; b < BANKS; ++b) {
        rows.row[b] = bank == b ? from.row : others.row[b];
    }
"""
COMPUTE, LOAD = "const ComputeRow &job_row", "const LoadRow &job_row"


def case(name: str, include: str, parameters: tuple[str, ...], body: str, types: str = "", **result: str) -> Case:
    """result: widths of members of the result; ``value`` where it has none."""
    own = {"result" if name == "value" else f"result.{name}": width for name, width in result.items()}
    return Case(name, include, ", ".join(parameters), body, WIDTHS | own, types)


CASES = (
    case(
        "window lane",
        "window.hpp",
        (
            *(COMPUTE, "int32_t &x", "Place &base", "int32_t &bank", "Rows &rows"),
            *("const Rows &others", "const Place &offset", "const bool &has"),
        ),
        ONE_LANE,
        "struct Rows { int32_t row[BANKS]; };",
    ),
    case("next_pixels", "window.hpp", (COMPUTE, "WindowWalk &walk"), "next_pixels(walk, compute_job(job_row));"),
    case("advance", "window.hpp", (COMPUTE, "WindowWalk &walk"), "advance<PARTS>(walk, compute_job(job_row));"),
    case(
        "start_walk",
        "window.hpp",
        ("const StepRow &where", COMPUTE, "WindowWalk &result"),
        "result = start_walk<PIXELS>(where, compute_job(job_row));",
    ),
    case(
        "fetch_tile: the next burst",
        "fetch_tile.hpp",
        (LOAD, "BurstWalk &walk"),
        """
    const LoadJob job = load_job(job_row);
    next_burst<LoadJob::MOST_FETCH_PLANE_BURSTS>(walk, job.fetch_step, job.fetch_plane_step, job.fetch_plane_bursts);
""",
    ),
    case(
        "store: the next burst",
        "store.hpp",
        (COMPUTE, "BurstWalk &walk"),
        """
    const ComputeJob job = compute_job(job_row);
    next_burst<ComputeJob::MOST_MAP_PLANE_BURSTS>(walk, job.map_step, job.map_plane_step, job.map_plane_bursts);
""",
    ),
    case(
        "completes_row",
        "store.hpp",
        (COMPUTE, "const int32_t &y", "bool &result"),
        "result = completes_row(compute_job(job_row), y);",
    ),
    case(
        "reciprocal",
        "rounding.hpp",
        ("const int32_t &pooled_row", "const int32_t &pooled_column", "int32_t &result"),
        "result = reciprocal(pooled_row, pooled_column);",
        value="u23",
    ),
)
