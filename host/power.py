"""What a board draws while it works, where PYNQ can read its rails."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

EVERY_S = 0.05


class PowerMeter:
    """Samples the power of every rail that can be read, between start and stop. A context manager.

    watts: mean of each rail, by name, once it has ended; empty where no rail can be read. note: why, then.
    """

    def __init__(self) -> None:
        self.watts: dict[str, float] = {}
        self.note = ""
        self._sensors: dict[str, Callable[[], float]] = {}
        self._samples: list[dict[str, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PowerMeter:
        self._sensors = self._find()
        if self._sensors:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._sensors:
            self._thread.join()
        for name in self._sensors:
            values = [sample[name] for sample in self._samples if name in sample]
            if values:
                self.watts[name] = sum(values) / len(values)
        if self._sensors and not self.watts:
            self.note = "no rail could be read"

    def _find(self) -> dict[str, Callable[[], float]]:
        """What reads the watts of each rail. PYNQ raises anything where its library or the sensors are missing."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from pynq.pmbus import get_rails

                rails = get_rails()
        except Exception as error:
            self.note = f"rails cannot be read ({error})"
            return {}
        sensors = {name: _sensor(rail) for name, rail in rails.items()}
        found = {name: sensor for name, sensor in sensors.items() if sensor is not None}
        if not found:
            self.note = "the board has no rails that PYNQ can read"
        return found

    def _sample(self) -> None:
        while not self._stop.is_set():
            sample = {}
            for name, sensor in self._sensors.items():
                try:
                    sample[name] = sensor()
                except Exception:  # a sensor that is busy has no value now
                    continue
            self._samples.append(sample)
            self._stop.wait(EVERY_S)


def _sensor(rail: Any) -> Callable[[], float] | None:
    """What reads the watts of one of PYNQ's rails, from volts and amperes where it has no sensor of power; None for neither."""
    power, volts, amperes = (getattr(rail, kind, None) for kind in ("power", "voltage", "current"))
    if power is not None:
        return lambda: float(power.value)
    if volts is not None and amperes is not None:
        return lambda: float(volts.value) * float(amperes.value)
    return None
