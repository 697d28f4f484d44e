"""A hand-written engine and its deployment folder, for the tests of the driver.

The engine honours the interface of the generated one, knows two layers, and
reports what it was asked: layer 0 stores input + weights, layer 1 adds the
input once more as its shortcut. ``HANG`` makes it never finish.
"""

import ctypes
import hashlib
import json
import subprocess

import numpy as np

from support.boards import BOARD

IDENTITY = 0x0123456789ABCDEF
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
                 uint32_t layer_begin, uint32_t layer_end, uint32_t *identity_low, uint32_t *identity_high) {
    for (uint32_t layer = layer_begin; layer < layer_end; ++layer) {
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
    return dict(
        name=name, layer=f"layer {layer}", layer_index=layer,
        channels=CHANNELS, height=HEIGHT, width=WIDTH, bits=8, signed=True,
        splits=[0, 1, CHANNELS], exponents=[-4, -3], segments=[dict(start=0, stop=CHANNELS, address=address)],
    )  # fmt: skip


def write_deployment(folder, **changes):
    """A correct deployment folder; ``changes`` replace entries of the manifest."""
    folder.mkdir(exist_ok=True)
    weights = np.zeros((PIXELS, LANES), np.uint8)
    weights[:, :CHANNELS] = weight_values().reshape(CHANNELS, -1).T
    (folder / "weights.bin").write_bytes(weights.tobytes())
    manifest = {
        "schema": 4, "network": "toy", "artifact_digest": "ab" * 32, "identity": f"{IDENTITY:016x}", "lanes": LANES,
        "board": BOARD.name, "clock_mhz": BOARD.clock_mhz,
        "layers": 2, "weights": "weights.bin", "weights_sha256": hashlib.sha256(weights.tobytes()).hexdigest(),
        "weights_words": PIXELS, "fmap_words": 3 * PIXELS, "ip": "sbfp_engine_0", "bitfile": "toy.bit",
        "preprocessing": {"size": [HEIGHT, WIDTH], "mean": [128.0] * 3, "std": [64.0] * 3},
        "classes": [f"name {i}" for i in range(CHANNELS * HEIGHT * WIDTH)],
        "input": "input", "output": "last", "output_offset": 0.5, "output_scale": 0.75,
        "tensors": [tensor("input", -1, 0), tensor("first", 0, PIXELS), tensor("last", 1, 2 * PIXELS)],
    }  # fmt: skip
    manifest.update(changes)
    (folder / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))
    return folder
