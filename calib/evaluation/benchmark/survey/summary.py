"""The survey's figures and its table: shares by stage, refusals by operator, and what further operators would add."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from calib.evaluation.benchmark.survey.stages import SAME, STAGES, Outcome

FUNCTIONS = (
    "sqrt rsqrt log reciprocal pow tan asin acos asinh acosh atanh erfc erfinv lgamma digamma logit"
).split()
# operators that the engine may get: what refusals they would take away, by the operator's name or words of the reason
FURTHER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "more functions of one value, by tables": (tuple(f"aten.{name}" for name in FUNCTIONS), ()),
    "more upsampling": (("aten.upsample_bicubic2d", "aten.upsample_bilinear2d"), ()),
}


def needs(operator: str, reason: str) -> str | None:
    """Which of the further operators takes an obstacle away, None where none does."""
    for name, (operators, words) in FURTHER.items():
        if operator.rstrip("_") in operators or any(word in reason for word in words):
            return name
    return None


def lacking(outcome: Outcome) -> set[str | None]:
    """The further operators that a refused network needs; None among them where one obstacle would stay."""
    return {needs(*obstacle) for obstacle in outcome.obstacles} or {None}


def further(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """For each further operator: how many refused networks need it, how many it alone would bring, and the share of
    networks that were taken if it and all before it were there."""
    refused = [lacking(o) for o in outcomes if not o.taken]
    taken, there, found = sum(o.taken for o in outcomes), set(), {}
    for name in FURTHER:
        there.add(name)
        found[name] = {
            "needed_by": sum(name in needed for needed in refused),
            "alone_brings": sum(needed == {name} for needed in refused),
            "share_with_those_before": share(taken + sum(needed <= there for needed in refused), len(outcomes)),
        }
    return found


def share(part: int, whole: int) -> float:
    return round(part / max(whole, 1), 3)


def figures(outcomes: Sequence[Outcome], versions: dict[str, str]) -> dict:
    """All figures, as JSON has them."""
    refused = Counter(operator for o in outcomes for operator in o.operators)
    return {
        "finished": False,
        "versions": versions,
        "networks": len(outcomes),
        "taken": sum(o.taken for o in outcomes),
        "share": share(sum(o.taken for o in outcomes), len(outcomes)),
        "stages": stages(outcomes),
        "sources": {source: stages(found) for source, found in by_source(outcomes).items()},
        "refused_by_operator": dict(refused.most_common()),
        "further_operators": further(outcomes),
        "simulated": sum(bool(o.simulated) for o in outcomes),
        "simulated_bit_equal": sum(o.simulated == SAME for o in outcomes),
        "each": [o.written() for o in outcomes],
    }


def by_source(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for o in outcomes:
        found.setdefault(o.source, []).append(o)
    return found


def stages(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """How many came through each stage, and the share that is taken."""
    reached = [STAGES.index(o.reached) for o in outcomes if o.reached]
    through = {stage: sum(last >= n for last in reached) for n, stage in enumerate(STAGES)}
    taken = sum(o.taken for o in outcomes)
    return {"networks": len(outcomes), **through, "taken": taken, "share": share(taken, len(outcomes))}


def table(found: dict) -> str:
    """The figures in Markdown, without the single networks."""
    titles = ("networks", *STAGES, "taken", "share")
    lines = ["Versions: " + ", ".join(f"{name} {number}" for name, number in found["versions"].items()) + ".", ""]
    lines += ["| source | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    for source, row in {**found["sources"], "all": found["stages"]}.items():
        numbers = [f"{row[t]:.0%}" if t == "share" else str(row[t]) for t in titles]
        lines.append(f"| {source} | " + " | ".join(numbers) + " |")
    lines += ["", f"C simulations: {found['simulated_bit_equal']} of {found['simulated']} bit-equal.", ""]
    lines += ["| refused for | networks |", "|---|---|"]
    lines += [f"| `{operator}` | {count} |" for operator, count in found["refused_by_operator"].items()]
    lines += ["", "| further operator | refused networks that need it | brought by it alone | share with those above |"]
    lines += ["|---|---|---|---|"]
    for name, row in found["further_operators"].items():
        lines.append(f"| {name} | {row['needed_by']} | {row['alone_brings']} | {row['share_with_those_before']:.0%} |")
    return "\n".join(lines) + "\n"
