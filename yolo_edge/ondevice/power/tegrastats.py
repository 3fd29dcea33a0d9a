"""NVIDIA's `tegrastats`: what is left where the files of the INA3221 cannot be read."""

import ctypes
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from yolo_edge.ondevice.power.meter import Board, Column, MeterError, Options, PowerMeter, pick_total, root_of
from yolo_edge.ondevice.sysfs import find_program

KIND = "tegrastats"

# now/mean, and since JetPack 7.2 a third value; JetPack 4 has no units. RAM and SWAP have theirs after the slash alone.
_RAIL = re.compile(r"(?<!\S)([A-Z0-9][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?:/\d+(?:mW)?)?(?!\S)")
_TEMPERATURE = re.compile(r"(?<!\S)(\w+)@(-?\d+(?:\.\d+)?)C(?:/-?\d+(?:\.\d+)?C)?(?!\S)")
_CPU = re.compile(r"(?<!\S)(?:CPU )?\[((?:\d+%@\d+|off)(?:,(?:\d+%@\d+|off))*)\]")
_OFF = -256.0  # of a sensor without power
_CONSTANT = "PMIC"  # its figure is none: 50 or 100 °C, always

_LONGEST = 1 << 16  # bytes of a line
_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Line:
    """One line of tegrastats.

    Attributes:
        rails_mw: Rail → milliwatts now.
        temperatures_c: By sensor; sensors that are off, and PMIC, which is a constant, are left out.
        cpu_percent: Load of each CPU; None of those that are off.
        cpu_mhz: Clock of each CPU; None of those that are off.
    """

    rails_mw: Dict[str, float]
    temperatures_c: Dict[str, float]
    cpu_percent: Tuple[Optional[float], ...]
    cpu_mhz: Tuple[Optional[float], ...]


def parse_line(text: str) -> Line:
    """What one line of tegrastats says; what it does not show is empty."""
    temperatures = {name: float(value) for name, value in _TEMPERATURE.findall(text) if name != _CONSTANT}
    cpus = _CPU.search(text)
    loads: List[Optional[float]] = []
    clocks: List[Optional[float]] = []
    for cpu in cpus[1].split(",") if cpus else ():
        load, _, clock = cpu.partition("%@")
        loads.append(None if cpu == "off" else float(load))
        clocks.append(None if cpu == "off" else float(clock))
    return Line(
        {name: float(now) for name, now, _ in _RAIL.findall(text)},
        {name: value for name, value in temperatures.items() if value != _OFF},
        tuple(loads),
        tuple(clocks),
    )


class Tegrastats(PowerMeter):
    """Rails of a Jetson; which of them add up to the whole is the board's to say."""

    kind = KIND
    interval_s = 0.1
    paced = True

    def __init__(self, root: Path, board: Board, options: Options):
        root = root_of(options, root)
        rail = options.text("rail", "")
        program = find_program("tegrastats", root)
        if program is None:
            raise MeterError("there is no tegrastats: this is no Jetson")
        command = [program, "--interval", str(round(self.interval_s * 1000))]
        self._rest = b""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a fixed program
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - a single call of the kernel
            )
        except OSError as error:
            raise MeterError(f"tegrastats does not start ({error.strerror})") from error
        try:
            names = list(parse_line(self._line()).rails_mw)
            if not names:
                raise MeterError("tegrastats prints no power here: this board has no sensor for it")
            total, scope = pick_total(KIND, names, board, rail)
        except BaseException:
            self.close()
            raise
        super().__init__([Column(name, "mW") for name in names], total, scope)

    def read(self) -> List[float]:
        """Milliwatts of each rail, of the next line."""
        line = parse_line(self._line())
        try:
            return [line.rails_mw[column.rail] for column in self.columns]
        except KeyError as error:
            raise MeterError(f"tegrastats no longer prints {error.args[0]}") from error

    def close(self) -> None:
        """End the program."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _line(self) -> str:
        """The next line; what came before it, but for the last whole line, is skipped: it is old."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        file, end = self._process.stdout.fileno(), time.monotonic() + _SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(file, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(end - time.monotonic(), 0)):
                    raise MeterError(f"tegrastats printed nothing within {_SECONDS:.0f} s")
                part = os.read(file, _LONGEST)
                if not part:
                    raise MeterError("tegrastats ended", "try it by hand: some versions want sudo")
                self._rest = self._rest[-_LONGEST:] + part
        *lines, self._rest = self._rest.split(b"\n")
        return lines[-1].decode("utf-8", "replace")


_prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)  # loaded before there is a child


def _end_with_parent() -> None:
    """Let the kernel end this child with the thread that started it, however that ends."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
