"""How many published networks are taken: each from its builder to code within the array's limits, a tenth simulated.

Weights are drawn, images are noise: the question is what can be brought to the engine, not how well it classifies.
``python -m calib.evaluation.benchmark.survey [--only WORD ...] [--small FOLDER] [--again] [--out FILE]``. What the file
of an interrupted survey has already is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from bfp.errors import BfpError, sentence
from bfp.files import check_result, write_json, write_text
from bfp.names import printable
from calib.evaluation.benchmark.results import RESULTS
from calib.evaluation.benchmark.survey.candidates import Candidate, candidates, versions
from calib.evaluation.benchmark.survey.side_by_side import examined
from calib.evaluation.benchmark.survey.stages import BOARD, SEED, Outcome, examine, simulate
from calib.evaluation.benchmark.survey.summary import figures, table
from codegen.performance.board import Board, load_board

PART, LEAST = 10, 20  # one of so many is simulated, and at least so many


def main(argv: list[str] | None = None) -> int:
    """Survey, print a line a network and the figures, write them; 1 where a simulation differs, 2 for what is refused."""
    parser = argparse.ArgumentParser(prog="python -m calib.evaluation.benchmark.survey", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="words that names must have one of")
    parser.add_argument("--small", type=Path, help="a folder of Python files, each with a table NETWORKS")
    parser.add_argument("--again", action="store_true", help="try again what was refused; without it, what is new")
    parser.add_argument("--jobs", type=int, default=2, help="networks that are examined at the same time (default 2)")
    parser.add_argument("--no-simulation", action="store_true", help="leave out the C simulations")
    parser.add_argument("--out", type=Path, default=RESULTS.parent / "survey.json")
    arguments = parser.parse_args(argv)
    try:
        return survey(arguments)
    except (BfpError, OSError, MemoryError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2


def survey(arguments: argparse.Namespace) -> int:
    """The exit status: 1 where a simulation differs. Raises BfpError where the result cannot be written."""
    check_result(arguments.out)
    board = load_board(BOARD)
    chosen = [c for c in candidates(arguments.small) if not arguments.only or any(w in c.name for w in arguments.only)]
    known = earlier(arguments.out, arguments.again)
    outcomes = {name: outcome for name, outcome in known.items() if name in {c.name for c in chosen}}
    wanted = [c.name for c in chosen if c.name not in known]
    for outcome in examined(wanted, arguments.small, arguments.jobs):
        outcomes[outcome.name] = outcome
        words = ", ".join(outcome.operators) or outcome.reason[:100]
        count = f"{len(outcomes):3}/{len(chosen)}"
        print(f"{count} {outcome.name:40} {outcome.reached:10} {outcome.seconds:6.1f} s  {words}", flush=True)
        write_json(arguments.out, figures(list(outcomes.values()), versions()))
    in_order = [outcomes[c.name] for c in chosen]
    if not arguments.no_simulation:
        simulate_some(chosen, in_order, board, arguments.out)
    found = {**figures(in_order, versions()), "finished": True}
    write_json(arguments.out, found)
    write_text(arguments.out.with_suffix(".md"), table(found))
    print(f"{found['taken']} of {found['networks']} taken; see {arguments.out.with_suffix('.md')}")
    return int(found["simulated"] != found["simulated_bit_equal"])


def earlier(path: Path, again: bool) -> dict[str, Outcome]:
    """Outcomes of a survey that was interrupted, by name; with ``again`` those of any that are taken."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("finished", True) and not again:
        return {}
    return {o.name: o for o in map(Outcome.read, found["each"]) if o.taken or not again}


def simulate_some(chosen: list[Candidate], outcomes: list[Outcome], board: Board, out: Path) -> None:
    """The C simulation of a part of what is taken: the first in an order of all names that a fixed seed draws."""
    by_name, candidate_of = {o.name: o for o in outcomes}, {c.name: c for c in chosen}
    names = sorted(by_name)
    random.Random(SEED).shuffle(names)
    taken = [by_name[name] for name in names if by_name[name].taken]
    drawn = taken[: max(LEAST, -(-len(taken) // PART))]
    for number, outcome in enumerate(drawn, 1):
        if outcome.simulated:
            continue
        artifact = examine(candidate_of[outcome.name], board)[1]
        outcome.simulated = "not built again" if artifact is None else simulate(artifact, board)
        print(f"C simulation {number}/{len(drawn)} {outcome.name:40} {outcome.simulated}", flush=True)
        write_json(out, figures(outcomes, versions()))


if __name__ == "__main__":
    sys.exit(main())
