"""Which networks, board and host the command line means; a wrong one ends it with one sentence, before any work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from doit import doit_cmd, get_var

from bfp.deployment import SAMPLES
from bfp.errors import BfpError
from bfp.names import COMMAND, printable
from calib.config import SHIPPED, NetworkConfig, find_network, load_config
from calib.together import TogetherConfig, is_together, load_together
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, board_at, load_board
from static_bfp.tasks.place import called_from, refuse

# what may be given as WORD=VALUE, whichever task reads it
WORDS = (
    *("net", "board", "clock", "host", "folder", "device", "limit", "workers", "scheduler", "images", "weights"),
    *("networks", "calibration", "widths", "sensitive", "tool", "tools", "timeout", "jobs", "keep_bitstream", "dry_run", "force"),
    *("strict", "minimal", "rebuild", "again"),
)


def check_words() -> None:
    """End doit with one sentence where a WORD=VALUE of the command line is none that any task reads."""
    for word in doit_cmd._CMDLINE_VARS or ():  # doit itself tells only those that are asked for
        if word not in WORDS:
            near = get_close_matches(word, WORDS, 1)
            sys.exit(f"error: no task reads {printable(word)}=" + (f"; did you mean {near[0]}=?" if near else ""))


def network_file() -> Path | None:
    """The TOML file named by ``net=``, or None. Ends doit with one sentence where there is none."""
    named = get_var("net", None)
    if named is None:
        return None
    path = called_from() / named
    try:
        return find_network(path if path.is_file() else named)
    except BfpError as error:
        sys.exit(f"error: {printable(str(error))}")


def networks() -> dict[str, Path]:
    """Shipped networks by name, and the one named by ``net=``."""
    found = {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}
    user = network_file()
    if user is not None and is_together(user):
        found |= together(user).networks
    if user is not None:
        found[configuration(user).name] = user
    return found


def together(path: Path) -> TogetherConfig:
    """The checked file of several networks. Ends doit with one sentence, before any work, where it or one of theirs is wrong."""
    try:
        return load_together(path)
    except BfpError as error:
        sys.exit(f"error: {printable(str(error))}")


def references(folder: Path, path: Path) -> list[tuple[Path, Path]]:
    """Artifact and samples of each network in a build folder, as calibration of the file puts them there."""
    prefixes = [f"{name}." for name in together(path).networks] if is_together(path) else [""]
    return [(folder / f"{prefix}{SAMPLES[0]}", folder / f"{prefix}{SAMPLES[1]}") for prefix in prefixes]


@cache  # one run of doit makes twenty tasks of each file
def configuration(path: Path) -> NetworkConfig | TogetherConfig:
    """The checked file, of one network or of several together; not to be changed.

    Ends doit with one sentence, before any work, where it, its engine or its board is wrong.
    """
    try:
        config = load_together(path) if is_together(path) else load_config(path)
    except BfpError as error:
        sys.exit(f"error: {printable(str(error))}")
    try:
        EngineOptions.from_dict(config.engine)
        load_board(config.board or DEFAULT_BOARD)
    except BfpError as error:
        sys.exit(f"error: {printable(f'{path}: {error}')}")
    return config


def named_board() -> str | None:
    """The board named by ``board=``, or None. Ends doit with one sentence where there is none of that name.

    ``doit deploy`` takes a host's name there, too, as long as no board has that name.
    """
    name = get_var("board", None)
    try:
        return name and load_board(name).word
    except BfpError as error:
        if any(word.split(":")[0] == "deploy" for word in sys.argv[1:]) and get_var("host", None) is None:
            return None
        sys.exit(f"error: {printable(str(error))}")


def named_host() -> str | None:
    """Where to deploy: ``host=``, or what ``board=`` names if that is no board."""
    return get_var("host", None) or (None if named_board() else get_var("board", None))


def per_network(
    make: Callable[[str, Path], dict],
    default: tuple[str, ...] = (),
    alone: Callable[[], dict] | None = None,
    of_several: Callable[[str, Path], dict] | None = None,
) -> Iterator[dict]:
    """One task per network, named after ``make``; the task alone runs ``net=`` or, without it, the default networks.

    alone: makes the task alone where there is neither. of_several: makes it for several networks together, None where
    it is for one alone.
    """
    task, found = make.__name__.replace("_", "-"), networks()
    for name, path in found.items():
        several = is_together(path)
        made = (of_several or of_one_alone(task))(name, path) if several else make(name, path)
        actions = [*made["actions"], (all_there, [made["targets"]])] if made.get("targets") else made["actions"]
        yield {"basename": f"{task}:{name}", **made, "actions": actions}
    user = network_file()
    chosen = (configuration(user).name,) if user is not None else tuple(n for n in default if n in found)
    doc = make.__doc__.strip().splitlines()[0]
    if chosen:
        yield {"basename": task, "actions": None, "task_dep": [f"{task}:{n}" for n in chosen], "doc": doc}
    elif alone:
        yield {"basename": task, **alone()}
    else:
        sentence = f"name a network: {COMMAND} {task}:NAME or {COMMAND} {task} net=PATH; shipped are {', '.join(found)}"
        yield {"basename": task, "actions": [(refuse, [sentence])], "doc": doc}


def all_there(targets: list[str]) -> bool:
    """The last action of a task: fails, and says why, where a program has ended well without its results."""
    missing = [t for t in targets if not Path(t).exists()]
    return refuse(f"{missing[0]} was not made, though nothing failed; something ended the program before its end") if missing else True


def of_one_alone(task: str) -> Callable[[str, Path], dict]:
    """Makes the refusal of a task for several networks together."""

    def refusal(name: str, path: Path) -> dict:
        names = ", ".join(together(path).networks)
        return {"actions": [(refuse, [f"{name} is several networks together; run {COMMAND} {task} for one of {names}"])]}

    return refusal


def engine_words(path: Path) -> list[str]:
    """The board and the engine's options, for the command line."""
    config = configuration(path)
    board, clock = named_board() or config.board or DEFAULT_BOARD, get_var("clock", None)
    try:
        board_at(board, clock)
    except BfpError as error:
        sys.exit(f"error: {printable(str(error))}")
    at = [] if clock is None else ["--clock", clock]
    return ["--board", board, *at, "--engine", *(f"{k}={v}" for k, v in config.engine.items())]
