"""Random modules of what the importer lowers to other operators: every form, in any order, over odd sizes and channels."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import torch
from support import form_ends, form_maps, form_starts, form_steps
from support.forms import Forms, Named
from support.small_modules import Fn
from torch import nn

from calib.frontend.inputs import InputShapes, by_name, map_shape

MOST_CHANNELS, MOST_ROWS = 70, 24  # and columns

STARTS: Named = form_starts.STARTS
STEPS: Named = {**form_steps.STEPS, **form_maps.STEPS}
ENDS: Named = form_ends.ENDS
ALL = (*STARTS, *STEPS, *ENDS)


class Several(nn.Module):
    """A module of two inputs."""

    def __init__(self, function: Callable, *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.function(list(self.layers), left, right)


class Drawn:
    """A random module of up to so many steps; several: it returns values of its middle as well.

    module; shape: of its input, or of its inputs by name; names: the forms that it has.
    """

    def __init__(self, seed: int, steps: int = 9, several: bool = False) -> None:
        forms = Forms(seed)
        start = str(forms.rng.choice(list(STARTS), p=weights(STARTS)))
        first, self.shape = STARTS[start](forms)
        self.names, chain = [start], []
        count = int(forms.rng.integers(1, steps + 1))
        for name in forms.rng.choice(list(STEPS), count * 2):
            if len(chain) < count and (step := tried(forms, STEPS[name])):
                chain.append(step)
                self.names.append(str(name))
        end = str(forms.rng.choice(list(ENDS)))
        last = ENDS[end](forms)
        self.names.append(end)
        drawn = np.random.default_rng((seed, 1))
        kept = set(drawn.choice(len(chain), int(drawn.integers(1, 4)))) if several and chain else set()

        def forward(m, *x):
            x, found = first(m, *x), []
            for n, step in enumerate(chain):
                x = step(m, x)
                found += [x] if n in kept else []
            x = last(m, x)
            return (x, *found) if found else x

        kind = Several if len(inspect.signature(first).parameters) > 2 else Fn
        self.module = kind(forward, *forms.layers)


def weights(starts: Named) -> np.ndarray:
    """A plain picture half of the time."""
    return np.array([0.5 if name == form_starts.PICTURE else 0.5 / (len(starts) - 1) for name in starts])


def tried(forms: Forms, form) -> Callable | None:
    """A step of this form where one fits, and the sizes behind it; None where there is none."""
    before = len(forms.layers)
    step = form(forms)
    if step is not None:
        for layer in forms.layers[before:]:
            layer.eval()
        with torch.no_grad():
            sizes = tuple(step(forms.layers, torch.zeros(1, *forms.sizes)).shape[1:])
        if min(sizes) > 0 and sizes[0] <= MOST_CHANNELS and max(sizes[1:]) <= MOST_ROWS:
            forms.sizes = list(sizes)
            return step
    del forms.layers[before:]
    return None


def names_drawn(seeds: range) -> set[str]:
    """The forms that the modules of these seeds have; nothing is computed."""
    with torch.device("meta"):
        return {name for seed in seeds for name in Drawn(seed).names}


def images_of(shape: InputShapes, seed: int) -> tuple[dict[str, torch.Tensor] | torch.Tensor, torch.Tensor]:
    """One image, as a module of this shape takes it, and as its network does: a map [1, C, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    images = {name: torch.randn(1, *size, generator=generator) for name, size in by_name(shape, "net").items()}
    ordered = [x.transpose(1, 2) if x.ndim == 5 else x for x in images.values()]  # frame after frame
    maps = [x.reshape(1, *map_shape(size)) for x, size in zip(ordered, by_name(shape, "net").values())]
    return images if isinstance(shape, dict) else next(iter(images.values())), torch.cat(maps, 1)
