"""The package for the board: OUT/deploy, which changes as a whole or not at all.

    .bit, .hwh               bitstream and handoff
    manifest.json            what belongs together, with the hash of every other file
    weights.bin              what code generation laid out
    artifact.npz samples.npz what the board verifies with, unless the package is to be minimal
"""

from __future__ import annotations

from pathlib import Path

from bfp.artifact_file import load
from bfp.deployment import MANIFEST, WEIGHTS, Deployment, add_files, check_file, read_deployment, same_kernel
from bfp.errors import BfpError
from bfp.files import copy_file, file_digest, replacing, write_bytes
from bfp.kernel import Implementation
from bfp.names import COMMAND
from bfp.samples import load_samples
from codegen.vendor.request import Request, scripts_digest


def packaged(request: Request) -> list[str]:
    """Names of the files of a complete package beside its manifest."""
    deployment = request.deployment
    return [WEIGHTS, deployment.bitfile, deployment.handoff, *(() if request.options.minimal else deployment.all_references)]


def check_samples(folder: Path, deployment: Deployment) -> None:
    """Raise BfpError unless the artifacts in a folder are the manifest's, and the samples are images of their inputs."""
    for network in deployment.networks:
        artifact, samples = deployment.references(network)
        if load(folder / artifact).digest != network.artifact_digest:
            other = f"is of another artifact than its {artifact}"
            raise BfpError(f"the manifest of {network.name} {other}; run `{COMMAND} codegen`")
        shape, wanted = load_samples(folder / samples).images.shape[1:], network.image_shape
        if shape != wanted:
            sizes = f"images of {shape}, not of {wanted}"
            raise BfpError(f"{samples} of {network.name} has {sizes}; run `{COMMAND} calibrate`")


def has_bitstream(request: Request) -> bool:
    """Whether the package has a bitstream of this kernel, board and clock, and it may be used again.

    What the manifest lists is of its identity (bfp/deployment.py), and the request is for its board and clock.
    """
    deployment, options = request.deployment, request.options
    made = deployment.implementation
    if made is None or options.rebuild or (options.strict and made.note):  # a note says that the clock is a lower one
        return False
    try:
        for name in (deployment.bitfile, deployment.handoff):
            check_file(deployment, request.deploy, name, "build it again")
    except BfpError:
        return False
    return True


def package_is_current(request: Request) -> bool:
    """Whether the package is complete, and what the board verifies with is what lies beside it."""
    deployment = request.deployment
    if not has_bitstream(request) or set(deployment.files) != set(packaged(request)):
        return False
    if deployment.minimal != request.options.minimal:
        return False
    try:
        return all(
            digest == file_digest(folder / name, "file", "build it again")
            for name, digest in deployment.files.items()
            for folder in ((request.deploy, request.folder) if name in deployment.all_references else (request.deploy,))
        )
    except BfpError:
        return False


def use_again(request: Request) -> Implementation:
    """Complete the package around the bitstream that it has; says so."""
    deployment, deploy = request.deployment, request.deploy
    if not package_is_current(request):
        handoff = (deploy / deployment.handoff).read_bytes()
        complete_package(request, deploy / deployment.bitfile, handoff, deployment.implementation)
    print(
        f"{deployment.bitfile} is of this kernel, {deployment.identity}, and is used again: the package has the weights, "
        "classes and preprocessing of now, and nothing was synthesised; rebuild=1 builds another"
    )
    if deployment.implementation.scripts != scripts_digest():
        others = "other scripts than those of now (hls/tcl)"
        print(f"warning: {deployment.bitfile} was made by {others}; rebuild=1 takes them")
    return deployment.implementation


def complete_package(request: Request, bitfile: Path, handoff: bytes, made: Implementation) -> None:
    """Replace the deployment folder by one with this bitstream and the content of its handoff: whole, or not at all.

    Everything is checked as it was copied: during hours of implementation, somebody may have calibrated or generated
    again. Raises BfpError where it no longer belongs together.
    """
    deployment, names = request.deployment, packaged(request)
    with replacing(request.deploy) as folder:
        folder.mkdir(parents=True)
        for name in (MANIFEST, WEIGHTS):
            copy_file(request.deploy / name, folder / name)
        for name in set(names) & set(deployment.all_references):
            copy_file(request.folder / name, folder / name)
        copy_file(bitfile, folder / deployment.bitfile)
        write_bytes(folder / deployment.handoff, handoff)
        found = read_deployment(folder)
        if not same_kernel(found, deployment):
            raise BfpError(f"{request.name} was generated again while it was implemented; run the step again")
        check_file(found, folder, WEIGHTS, f"run `{COMMAND} codegen` again")
        if not request.options.minimal:
            check_samples(folder, found)
        add_files(folder, names, made, request.options.minimal)
