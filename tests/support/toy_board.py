"""A hand-written engine and its deployment folder, for the tests of the driver.

The engine honours the interface of the generated one, knows two layers, and
reports what it was asked: layer 0 stores input + weights, layer 1 adds the
input once more as its shortcut. ``HANG`` makes it never finish.
"""

import ctypes
import dataclasses
import json
import subprocess

import numpy as np

from support.boards import BOARD

from bfp.artifact import NetworkInput, NetworkOutput, Preprocessing
from bfp.deployed_network import DeployedNetwork
from bfp.deployment import MANIFEST, Deployment, add_files, content_digest, write_deployment
from bfp.files import json_text
from bfp.format import BlockFormat
from bfp.kernel import Implementation, Kernel, KernelLayer
from bfp.layout import HOST, PlacedTensor, Segment

IDENTITY = 0x0123456789ABCDEF
KERNEL = Kernel(0, tuple(KernelLayer(f"layer {i}", False, "0" * 16, "1" * 16) for i in range(2)))
MADE = Implementation(249.9975, 0.25, 0.01, "default", {"hls": "vitis_hls 2022.2", "vivado": "vivado 2022.2"})
LANES, PIXELS = 16, 6
CHANNELS, HEIGHT, WIDTH = 3, 2, 3

SOURCE = """
#include <cstdint>
#include <unistd.h>
struct Word { int8_t lane[16]; };
extern "C" {
uint32_t runs = 0;
volatile uint32_t stop = 0;
void sbfp_engine(const Word *weights, const Word *fmap_in, const Word *fmap_shortcut, Word *fmap_out,
                 uint32_t layer_begin, uint32_t layer_end, uint32_t *identity_low, uint32_t *identity_high,
                 volatile uint32_t *progress) {
    for (uint32_t layer = layer_begin; layer < layer_end; ++layer) {
        *progress = layer + 1;
        runs++;
#ifdef HANG
        while (!stop) usleep(1000);
#endif
        for (int p = 0; p < 6; ++p)
            for (int l = 0; l < 3; ++l)
                if (layer == 0)
                    fmap_out[6 + p].lane[l] = fmap_in[p].lane[l] + weights[p].lane[l];
                else
                    fmap_out[12 + p].lane[l] = fmap_in[6 + p].lane[l] + fmap_shortcut[p].lane[l];
    }
    *progress = 0;
    *identity_low = static_cast<uint32_t>(IDENTITY);
    *identity_high = static_cast<uint32_t>(IDENTITY >> 32);
}
}
"""


def compile_engine(folder, name="libengine", identity=IDENTITY, hang=False):
    """The shared library, a new file for every name: loaded libraries are shared by path."""
    library = folder / f"{name}.so"
    defines = [f"-DIDENTITY={identity:#x}ull"] + (["-DHANG"] if hang else [])
    command = ["g++", "-x", "c++", "-", "-shared", "-fPIC", *defines, "-o", str(library)]
    subprocess.run(command, input=SOURCE.encode(), check=True)
    return library


def counter(library, name="runs"):
    """A counter of the engine, as a ctypes object."""
    return ctypes.c_uint32.in_dll(ctypes.CDLL(str(library)), name)


def weight_values():
    """What layer 0 adds, int [C, H, W]."""
    return np.arange(CHANNELS * HEIGHT * WIDTH).reshape(CHANNELS, HEIGHT, WIDTH) % 5


def tensor(name, layer, address):
    fmt = BlockFormat(8, True, (0, 1, CHANNELS), (-4, -3))
    segments = (Segment(0, CHANNELS, address),)
    return PlacedTensor(name, f"layer {layer}", layer, (CHANNELS, HEIGHT, WIDTH), fmt, segments)


def deployment(**changes):
    """The manifest's content; ``changes`` replace its fields."""
    pre = Preprocessing((HEIGHT, WIDTH), (128.0,) * CHANNELS, (64.0,) * CHANNELS)
    names = tuple(f"name {i}" for i in range(CHANNELS * HEIGHT * WIDTH))
    of_network = dict(
        name="toy", artifact_digest="ab" * 32, float_digest="", begin=0, end=2, shared=2,
        inputs=(NetworkInput("input", pre),), outputs=(NetworkOutput("last", 0.5, 0.75, names),),
        tensors=(tensor("input", HOST, 0), tensor("first", 0, PIXELS), tensor("last", 1, 2 * PIXELS)),
    )  # fmt: skip
    fields = dict(
        name="toy", identity=f"{IDENTITY:016x}", board=BOARD.name, clock_mhz=BOARD.clock_mhz, lanes=LANES,
        weights_words=PIXELS, fmap_words=3 * PIXELS, batch=1, ip="sbfp_engine_0", kernel=KERNEL,
    )  # fmt: skip
    own = {name: changes.pop(name) for name in {f.name for f in dataclasses.fields(DeployedNetwork)} & set(changes) - {"name"}}
    network = DeployedNetwork(**{**of_network, **own, "name": changes.get("name", "toy")})
    return Deployment(**{**fields, "networks": (network,), **changes})


def weight_image():
    weights = np.zeros((PIXELS, LANES), np.uint8)
    weights[:, :CHANNELS] = weight_values().reshape(CHANNELS, -1).T
    return weights.tobytes()


def write(folder, implementation=None, **changes):
    """A correct deployment folder; ``changes`` replace fields of the deployment.

    implementation: with a bitstream that was made so, which no board can load.
    """
    made = write_deployment(deployment(**changes), weight_image(), folder)
    if implementation is not None:
        for name in (made.bitfile, made.handoff):
            (folder / name).write_bytes(b"of no board")
        add_files(folder, [made.bitfile, made.handoff], implementation)
    return folder


def edit(folder, change, signed=True):
    """Change the manifest's JSON by ``change(data)``, as no writer would; signed: with a digest that fits."""
    path = folder / MANIFEST
    data = json.loads(path.read_text())
    change(data)
    if signed:
        data["digest"] = content_digest(data)
    path.write_text(json_text(data))
    return folder
