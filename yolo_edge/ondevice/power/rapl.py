"""RAPL: the energy counters of x86 processors, in Linux' power capping folders."""

import re
from pathlib import Path
from typing import List, Tuple

from yolo_edge.ondevice.power.meter import Board, Column, MeterError, Options, PowerMeter, pick_total, root_of
from yolo_edge.ondevice.power.rails import read_file
from yolo_edge.ondevice.sysfs import matches, read_number, read_text

KIND = "rapl"

_FOLDER = "sys/class/powercap"
_ZONE = re.compile(r"intel-rapl:\d+(?::\d+)?")  # AMD's too; intel-rapl-mmio repeats them
# Sandy Bridge and Ivy Bridge, whose counters follow a model of the chip; from Haswell on they are measured
# (Hähnel et al. 2012; Hackenberg et al. 2015)
_MODELLED_INTEL = {0x2A, 0x2D, 0x3A, 0x3E}


class Rapl(PowerMeter):
    """The processors' packages: cores, caches, memory controller and built-in graphics; not memory, disk, supply."""

    kind = KIND

    def __init__(self, root: Path, board: Board, options: Options):
        root = root_of(options, root)
        rail = options.text("rail", "")
        zones = _zones(root)
        if not zones:
            raise MeterError(
                "there is no /sys/class/powercap/intel-rapl:*: no x86 processor that counts energy, a virtual machine, "
                "or the driver is not loaded",
                "on a PC: sudo modprobe intel_rapl_msr; else record a wall or USB meter: --meter csv:FILE",
            )
        columns = [Column(name, "uJ", read_number(zone / "max_energy_range_uj")) for name, zone in zones]
        self._files = [_counter(zone) for _, zone in zones]
        names = [name for name, _ in zones]
        packages = tuple(name for name in names if name.startswith("package") and "/" not in name)
        whole = Board(board.name, packages, "rail:package")
        total, scope = pick_total(KIND, names, whole, rail)
        super().__init__(columns, total, scope)
        self.estimated = _is_modelled(root)

    def read(self) -> List[float]:
        """Microjoules of each zone."""
        return [read_file(path) for path in self._files]


def _zones(root: Path) -> List[Tuple[str, Path]]:
    """Zones with their names; a part of a package is called "package-0/core"."""
    found = [path for path in matches(root / _FOLDER, "intel-rapl:*") if _ZONE.fullmatch(path.name)]
    own = {path.name: read_text(path / "name") or path.name for path in found}
    named = []
    for path in found:
        above = path.name.rpartition(":")[0]
        named.append((f"{own[above]}/{own[path.name]}" if above in own else own[path.name], path))
    return named


def _counter(zone: Path) -> Path:
    path = zone / "energy_uj"
    try:
        read_file(path)
    except MeterError as error:
        if isinstance(error.__cause__, PermissionError):
            raise MeterError(
                f"{path} may be read by root only, since Linux 5.10",
                "until the next start: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj "
                "/sys/class/powercap/intel-rapl:*:*/energy_uj",
            ) from error
        raise
    return path


def _is_modelled(root: Path) -> bool:
    text = read_text(root / "proc/cpuinfo")
    fields = dict(re.findall(r"(?m)^(vendor_id|cpu family|model)\s*:\s*(\S+)", text))
    if fields.get("vendor_id") == "AuthenticAMD":
        return True
    return (
        fields.get("cpu family") == "6"
        and fields.get("model", "").isdigit()
        and int(fields["model"]) in _MODELLED_INTEL
    )
