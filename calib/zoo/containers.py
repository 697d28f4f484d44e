"""A network's tensors inside what training frameworks save around them: containers, and prefixes of names."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch

CONTAINERS = (
    "state_dict", "model", "model_state_dict", "model_state", "net", "network", "module", "weights", "params", "ema",
    "ema_state_dict", "state_dict_ema", "model_ema", "params_ema",
)  # fmt: skip
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "network.", "ema.", "ema_model.", "encoder.", "backbone.")
DEEPEST = 3  # containers, and prefixes, inside one another
COUNTER = "num_batches_tracked"


def unwrapped(found: object, wanted: Collection[str]) -> tuple[dict[str, torch.Tensor] | None, str]:
    """The tensors whose names fit a module's best, and what was taken off around them, for a note; "" for nothing.

    found: what a file holds. wanted: the module's names. None where there is no dictionary of tensors.
    """
    best, took, most = None, "", -1
    for state, inside in _containers(found, ()):
        for plain, prefixes in _prefixes(state, (), _names(wanted)):
            score = len(_names(plain) & _names(wanted)) - len(_names(plain) ^ _names(wanted)) / (1 + 2 * len(plain))
            if score > most:
                words = [f"container {name!r}" for name in inside] + [f"prefix {name!r}" for name in prefixes]
                best, took, most = plain, " and ".join(words), score
    return best, took


def _names(names: Collection[str]) -> set[str]:
    """The names without counters of batches, which inference does not need."""
    return {name for name in names if not name.endswith(COUNTER)}


def _containers(found: object, inside: tuple[str, ...]) -> Iterator[tuple[dict[str, torch.Tensor], tuple[str, ...]]]:
    """Dictionaries of tensors, the outer ones first, and the containers that they lie in."""
    if not isinstance(found, dict) or len(inside) > DEEPEST:
        return
    if found and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found.items()):
        yield dict(found), inside
    for name in CONTAINERS:
        yield from _containers(found.get(name), (*inside, name))


def _prefixes(state: dict[str, torch.Tensor], taken: tuple[str, ...], wanted: set[str]) -> Iterator[tuple[dict, tuple[str, ...]]]:
    """The dictionary, and those whose names have lost a prefix that all of them had.

    Or that just those had which a module wants: of a loss, of a metric or of an average there may be tensors beside them.
    """
    yield state, taken
    for prefix in PREFIXES if len(taken) < DEEPEST else ():
        plain = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        if len(plain) == len(state) or plain and _names(plain) == wanted:
            yield from _prefixes(plain, (*taken, prefix), wanted)
