"""``python -m codegen.deploy BUILD_DIR --host HOST``: a network's package on its board, or in a folder; its self-test."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from bfp.errors import BfpError, sentence
from bfp.files import check_folder, replacing
from bfp.names import printable
from codegen.deploy.package import ENVIRONMENT, Package, stage
from codegen.deploy.remote import VERDICTS, connect, copy, self_test

LOCAL = "local"


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 1 where the self-test finds a difference, 2 for what is refused."""
    parser = argparse.ArgumentParser(prog="python -m codegen.deploy", description=__doc__)
    parser.add_argument("build", type=Path, help="build folder that holds deploy/")
    parser.add_argument("--host", required=True, help=f"USER@HOST:PORT or less, as ssh takes it; {LOCAL}: into a folder, simulated")
    parser.add_argument("--folder", help=f"on the board (default: static-bfp/NETWORK at home); of {LOCAL}: BUILD_DIR/board")
    parser.add_argument("--environment", nargs="*", default=ENVIRONMENT, metavar="SCRIPT", help="what the launcher sources there")
    arguments = parser.parse_args(argv)
    try:
        if arguments.host == LOCAL:
            folder = Path(arguments.folder or arguments.build / "board")
            check_folder(folder.absolute().parent)
            return deploy_locally(arguments.build, folder)
        return deploy(arguments.build, arguments.host, arguments.folder, tuple(arguments.environment))
    except (BfpError, OSError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2


def deploy_locally(build: Path, folder: Path) -> int:
    """The package in a folder of this machine, with the compiled engine; its self-test by this Python."""
    with replacing(folder) as made:
        package = stage(build, made, simulated=True)
    print(f"{package.deployment.name} is in {folder}; it is simulated", flush=True)
    done = subprocess.run([folder / "board", test_of(package)])
    return _tell(done.returncode, package, str(folder / "board"))


def deploy(build: Path, host: str, folder: str | None, environment: tuple[str, ...]) -> int:
    """The package on the board of a host; its self-test there."""
    with tempfile.TemporaryDirectory() as place:
        # what is missing here is said before anything is asked of ssh or of the board
        package = stage(build, Path(place) / "package", simulated=False, environment=environment)
        folder = folder or f"static-bfp/{package.deployment.name}"
        with connect(host) as remote:
            copy(remote, Path(place) / "package", folder)
            print(f"{package.deployment.name} is on {remote.host} in {folder}", flush=True)
            return _tell(self_test(remote, folder, test_of(package)), package, f"{folder}/board")


def test_of(package: Package) -> str:
    """The command that tests a package: every tensor, or where nothing is there to compare with, the engine's identity."""
    return "verify" if package.verifiable else "info"


def _tell(status: int, package: Package, launcher: str) -> int:
    verdict = VERDICTS.get(status, f"FAILED with status {status}")
    if status == 0 and not package.verifiable:
        verdict = "the engine answers; no tensor was compared, since the package is minimal"
    print(f"self-test: {verdict}", flush=True)
    if status == 0:
        print(f"there: {shlex.quote(launcher)} run IMAGE... | bench | verify | info")
    return status


if __name__ == "__main__":
    sys.exit(main())
