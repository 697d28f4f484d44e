"""One process of a race for the same files: ``python racing.py write|read FOLDER SECONDS``.

Writers replace an artifact, samples, a deployment's manifest and a JSON file again and again by one of two versions.
Readers read them all and fail where anything is missing, damaged, or neither of the two.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from support import toy_board as toy
from support.random_graphs import random_artifact

from bfp import artifact_file, deployment, files, samples

SEEDS = (3, 8)
ROUNDS_AT_LEAST = 5


def sample(seed):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(40, 3, 8, 8)).astype(np.float32)
    return samples.Samples(images, np.arange(40), tuple(f"{seed} {i}" for i in range(40)), np.zeros((40, 2)))


def write(folder, seed, artifact):
    artifact_file.save(artifact, folder / "artifact.npz")
    samples.save_samples(sample(seed), folder / "samples.npz")
    toy.write(folder / "deploy", clock_mhz=100 + seed)
    files.write_json(folder / "figures.json", {"seed": seed, "values": [seed] * 5000})


def read(folder, digests):
    assert artifact_file.load(folder / "artifact.npz").digest in digests
    found = samples.load_samples(folder / "samples.npz")
    assert {n.split()[0] for n in found.names} in [{str(s)} for s in SEEDS]
    made = deployment.read_deployment(folder / "deploy")
    deployment.read_weights(made, folder / "deploy")
    assert made.clock_mhz - 100 in SEEDS
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["values"] == [figures["seed"]] * 5000


def main(role, folder, seconds):
    artifacts = [artifact_file.save(random_artifact(s, 16), folder / role / f"{s}.npz") for s in SEEDS]
    digests = {a.digest for a in artifacts}
    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end or rounds < ROUNDS_AT_LEAST:
        if role == "read":
            read(folder, digests)
        else:
            write(folder, SEEDS[rounds % 2], artifacts[rounds % 2])
        rounds += 1
    print(rounds)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
