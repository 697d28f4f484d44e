"""The folder that is put on a board: the deployment, what drives it, and a program that knows where everything is.

    board           the launcher: sources the board's environment, as root, and starts host/
    __main__.py     what it starts
    deploy/         manifest, weights, bitstream and handoff, artifact and samples
    estimate.json   the modelled figures
    bfp/ host/      as here
    notebook.ipynb  the same from Python
"""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bfp.deployment import BUILD, MANIFEST, Deployment, add_files, check_file, read_deployment, read_weights
from bfp.errors import BfpError
from bfp.names import COMMAND

ROOT = Path(__file__).parents[2]
PACKAGES = ("bfp", "host")
ESTIMATE = "estimate.json"
LIBRARY = "libengine.so"
NOTEBOOK = "notebook.ipynb"
# of PYNQ's images; each is sourced where it exists
ENVIRONMENT = (
    "/etc/profile.d/boardname.sh",
    "/etc/profile.d/xrt_setup.sh",
    "/etc/profile.d/pynq_venv.sh",
    "/usr/local/share/pynq-venv/bin/activate",
)
START = '''"""Starts the board's program from its own folder, whatever lies where it is called from."""

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the program has begun there is nothing to close

from host.__main__ import main

sys.exit(main())
'''


@dataclass(frozen=True)
class Package:
    """What a package holds. verifiable: artifact and samples are in it; simulated: the compiled engine, no bitstream."""

    deployment: Deployment
    verifiable: bool
    simulated: bool


def stage(build: Path, folder: Path, simulated: bool, environment: tuple[str, ...] = ENVIRONMENT) -> Package:
    """Make the package of a network's build folder in a new folder.

    simulated: with the engine that g++ compiled instead of a bitstream. environment: scripts that the launcher sources.
    Raises BfpError where a file is missing or not the manifest's.
    """
    source, target = build / "deploy", folder / "deploy"
    deployment = read_deployment(source)
    read_weights(deployment, source)
    target.mkdir(parents=True)
    for name in deployment.files:
        check_file(deployment, source, name, f"make it again with `{COMMAND} codegen`, or `{COMMAND} build-bitstream`")
        shutil.copyfile(source / name, target / name)
    shutil.copyfile(source / MANIFEST, target / MANIFEST)
    if simulated:
        _simulated_parts(build, folder, deployment)
    elif deployment.implementation is None:
        raise BfpError(f"{source} has no {deployment.bitfile}; {BUILD}")
    if (build / ESTIMATE).is_file():
        shutil.copyfile(build / ESTIMATE, folder / ESTIMATE)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=lambda _, found: [n for n in found if n == "__pycache__"])
    shutil.copyfile(ROOT / "host" / NOTEBOOK, folder / NOTEBOOK)
    (folder / "__main__.py").write_text(START, encoding="utf-8")
    launcher = folder / "board"
    launcher.write_text(launcher_text(simulated, environment), encoding="utf-8")
    launcher.chmod(0o755)
    return Package(deployment, set(deployment.all_references) <= set(read_deployment(target).files), simulated)


def _simulated_parts(build: Path, folder: Path, deployment: Deployment) -> None:
    """The compiled engine, and what the build folder has to verify with, listed as in the package of a bitstream."""
    if not (build / "csim" / LIBRARY).is_file():
        raise BfpError(f"{build / 'csim' / LIBRARY} does not exist; build it with `{COMMAND} csim`")
    shutil.copyfile(build / "csim" / LIBRARY, folder / LIBRARY)
    found = [name for name in deployment.all_references if (build / name).is_file()]
    for name in found:
        shutil.copyfile(build / name, folder / "deploy" / name)
    add_files(folder / "deploy", found)


def launcher_text(simulated: bool, environment: tuple[str, ...] = ENVIRONMENT) -> str:
    """The launcher, a program for bash. environment: absolute paths of scripts. PYTHON= names another interpreter."""
    # of this machine: the one that has what a simulated board needs
    python = shlex.quote(sys.executable) if simulated else "python3"
    scripts = " ".join(map(shlex.quote, environment))
    as_root = '[ "$(id -u)" = 0 ] || exec sudo -- "$here/board" "$@"\n'
    # without the command's words, which they might take for theirs, and whatever they say is no output of it
    sources = f'words=("$@"); set --\nfor script in {scripts}; do\n    if [ -e "$script" ]; then . "$script" > /dev/null; fi\ndone\n'
    sources += 'set -- "${words[@]}"\n'
    return (
        "#!/bin/bash\n"
        "# run, bench, verify or info, with the words that `python -m host` takes behind the deployment\n"
        'here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)\n'
        'if [ $# = 0 ]; then echo "usage: $0 run IMAGE... | bench | verify | info" >&2; exit 2; fi\n'
        + ("" if simulated else as_root + sources)
        + 'command=$1; shift\n'
        # root's files in a user's folder could not be replaced by the next copy
        "export PYTHONDONTWRITEBYTECODE=1\n"
        f'exec "${{PYTHON:-{python}}}" "$here" "$command" "$here/deploy" "$@"'
        + (f' --simulate "$here/{LIBRARY}"' if simulated else "")
        + "\n"
    )
