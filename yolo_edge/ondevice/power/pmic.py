"""The Raspberry Pi 5's power management chip: volts and amperes of twelve rails, by `vcgencmd pmic_read_adc`."""

import re
import subprocess
from pathlib import Path
from typing import Dict, List, Tuple

from yolo_edge.ondevice.power.meter import Board, Column, MeterError, Options, PowerMeter, pick_total, root_of
from yolo_edge.ondevice.sysfs import board_model, find_program

KIND = "pmic"

_LINE = re.compile(r"\s*(\w+)_([AV]) (current|volt)\(\d+\)=(\d+\.?\d*)([AV])\s*")
_SECONDS = 5.0


def parse_adc(text: str) -> Tuple[Dict[str, Tuple[float, float]], Dict[str, float]]:
    """The output of `vcgencmd pmic_read_adc`.

    Lines are paired by name: the numbers in brackets differ between a rail's current and its voltage.

    Returns:
        Rail → amperes, volts; rail → volts of those without a current (EXT5V, the input, is one).

    Raises:
        MeterError: The text is something else.
    """
    amperes: Dict[str, float] = {}
    volts: Dict[str, float] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        found = _LINE.fullmatch(line)
        if found is None or (found[2], found[3]) not in (("A", "current"), ("V", "volt")) or found[2] != found[5]:
            raise MeterError(f"vcgencmd pmic_read_adc prints {line.strip()[:100]!r}")
        (amperes if found[2] == "A" else volts)[found[1]] = float(found[4])
    both = {rail: (amperes[rail], volts[rail]) for rail in amperes if rail in volts}
    if not both:
        raise MeterError("vcgencmd pmic_read_adc shows no rail with both volts and amperes")
    return both, {rail: value for rail, value in volts.items() if rail not in amperes}


class Pmic(PowerMeter):
    """What the twelve rails behind the power chip take together: the SoC, memory, Wi-Fi, HDMI.

    Not in it: what is lost in the regulators, USB devices, the fan, a HAT on the 5 V pins. EXT5V, the input, has no
    current sensor; its volts are kept with the raw values.
    """

    kind = KIND
    interval_s = 0.1  # each reading is a process

    def __init__(self, root: Path, board: Board, options: Options):
        root = root_of(options, root)
        rail = options.text("rail", "")
        program = find_program("vcgencmd", root)
        if program is None:
            model = board_model(root)
            if model is None or not model.startswith("Raspberry Pi"):
                raise MeterError("there is no vcgencmd: this is not a Raspberry Pi")
            raise MeterError("there is no vcgencmd", "install it: sudo apt install raspi-utils (or libraspberrypi-bin)")
        self._command = [program, "pmic_read_adc"]
        self._rails, others = self._ask(root)
        self._others = list(others)
        columns = [Column(name, unit) for name in self._rails for unit in ("A", "V")]
        columns += [Column(name, "V") for name in self._others]
        # all its rails: none of them feeds another
        whole = Board(board.name, tuple(self._rails), "soc_rails")
        total, scope = pick_total(KIND, list(self._rails), whole, rail)
        super().__init__(columns, total, scope)

    def read(self) -> List[float]:
        """Amperes and volts of the rails, volts of the input."""
        rails, others = parse_adc(self._run())
        try:
            return [value for name in self._rails for value in rails[name]] + [others[name] for name in self._others]
        except KeyError as error:
            raise MeterError(f"vcgencmd pmic_read_adc no longer shows {error.args[0]}") from error

    def what(self) -> str:
        """What it is, for a person."""
        return f"the sum of {len(self.total)} rails behind the power chip" if len(self.total) > 1 else self.total[0]

    def _ask(self, root: Path) -> Tuple[Dict[str, Tuple[float, float]], Dict[str, float]]:
        try:
            return parse_adc(self._run())
        except MeterError as error:
            model = board_model(root) or "this board"
            if "not registered" in error.reason:
                raise MeterError(
                    f"{model} has no power chip that measures (only the Raspberry Pi 5 family has)",
                    "wire an INA219, INA226 or INA260, or record a USB meter: --meter csv:FILE (docs/energy.md)",
                ) from error
            raise

    def _run(self) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program and argument
                self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise MeterError(f"vcgencmd gave no answer within {_SECONDS:.0f} s") from error
        except OSError as error:
            raise MeterError(f"vcgencmd does not start ({error.strerror})") from error
        text = done.stdout.decode("utf-8", "replace")
        if done.returncode:
            said = " ".join(text.split())[:200]
            remedy = "" if "not registered" in said else "it wants access to /dev/vcio: sudo usermod -aG video $USER"
            raise MeterError(f"vcgencmd pmic_read_adc fails: {said or f'exit code {done.returncode}'}", remedy)
        return text
