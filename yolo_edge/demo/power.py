"""What the machine draws, where it has a meter."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.power import RECORDED, open_meter, parse_meter, probe_all
from yolo_edge.ondevice.power.meter import MeterError, PowerMeter
from yolo_edge.ondevice.power.trace import PowerTrace
from yolo_edge.ondevice.sysfs import board_model


class Power:
    """A meter that is read now and then; it is the mean between two readings where it counts energy."""

    def __init__(self, meter: PowerMeter):
        """`meter` belongs to this from now on."""
        self._meter = meter
        self._readings: list[tuple[float, list[float]]] = []

    def __call__(self) -> tuple[float, str] | None:
        """Watts, and what they are the power of; None where the meter cannot be read now."""
        meter = self._meter
        try:
            values = meter.read()
        except MeterError:
            return None
        self._readings = [*self._readings[-1:], (time.monotonic(), values)]
        times, rows = zip(*self._readings, strict=True)
        trace = PowerTrace(
            meter.kind,
            meter.scope,
            meter.estimated,
            meter.total,
            meter.columns,
            np.array(times),
            np.array(rows, np.float64),
        )
        _, watts = trace.watts()
        if not len(watts) or not np.isfinite(watts[-1]):
            return None
        return float(watts[-1]), f"{meter.scope}{', estimated' if meter.estimated else ''}"

    def close(self) -> None:
        """Give the meter back."""
        self._meter.close()


def find_power(wanted: str | None, root: Path = Path("/"), board: Mapping[str, Any] | None = None) -> Power | None:
    """The meter of this machine.

    Args:
        wanted: The `--meter` option; None: the first that can be read.
        root: Of the file system.
        board: What is known of its sensors, see `yolo_edge.ondevice.power.probe_all`; None: what the profiles say.

    Returns:
        None where nothing was asked for, and there is none.

    Raises:
        InputError: There is no such meter, or it is a file that another program writes.
        MeterError: It cannot be read.
    """
    if board is None:
        from yolo_edge.devices import profiles  # noqa: PLC0415 - not where a device is told

        board = profiles.match(board_model(root)).board()
    if wanted is not None:
        kind, options = parse_meter(wanted)
        if kind == RECORDED:
            raise InputError(f"--meter {wanted}: a recording says nothing of now; `benchmark --energy` takes one")
        return Power(open_meter(kind, options, root, board))
    for probe in probe_all(root, board):
        if probe.available:
            return Power(open_meter(probe.kind, None, root, board))
    return None
