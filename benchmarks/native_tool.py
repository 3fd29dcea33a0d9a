"""TFLite's native tool, `benchmark_model`, on a device: brought there, and run once a turn."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from yolo_edge.benchmarks.power import Window
from yolo_edge.benchmarks.rounds import Slot
from yolo_edge.devices.android.cores import Cluster, fastest, mask_of
from yolo_edge.devices.benchmark_model import Report, arguments, complaint, longest_s, parse_report
from yolo_edge.devices.device import Device, DeviceError
from yolo_edge.devices.facts import Facts
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import printable

_SECONDS = 120.0  # for all but the inferences
_NOT_RUN = "126"  # what a shell says of a program that is there and cannot be started
_FORBIDDEN = (
    "; the device does not let programs run from there, as some that are managed do not: a phone can be measured by "
    "Termux, or in its browser (docs/phones.md)"
)
_OFF = 0.1  # by which the stamps of a run may differ from what its statistics say, and …
_OFF_S = 0.1  # … seconds
# stamps each line of the tool with the device's clock, and notes its peak memory once it has warmed up
_MEASURE = """\
n=0
{ sh -c 'echo "yolo-edge-pid $$"; exec "$@"' sh "$@" 2>&1; echo "yolo-edge-exit $?"; } | while IFS= read -r line; do
    read t x </proc/uptime
    case $line in
        "yolo-edge-pid "*) pid=${line#yolo-edge-pid };;
        *"Running benchmark for at least"*) n=$((n+1)); [ $n = 2 ] && echo "$t $(grep VmHWM "/proc/$pid/status")";;
    esac 2>/dev/null
    echo "$t $line"
done
"""


@dataclass(frozen=True)
class Turn:
    """One run of the tool.

    Attributes:
        report: What it printed.
        window: When the inferences that count began and ended, in seconds of the device's clock; None: not known.
        peak_mb: Peak memory of its process; None: not known.
    """

    report: Report
    window: Window | None
    peak_mb: float | None


@dataclass
class NativeCell:
    """A cell while it is measured.

    Attributes:
        slot: What it is.
        path: Of the model, on the device.
        command: Starts the tool there, pinned to `cpus`.
        cpus: That it is pinned to; None: to none.
        turns: So far.
    """

    slot: Slot
    path: str
    command: list[str]
    cpus: tuple[int, ...] | None
    turns: list[Turn] = field(default_factory=list)


class NativeTool:
    """The tool for a device."""

    def __init__(self, device: Device, name: str, facts: Facts, program: Path):
        """Nothing is brought there yet.

        Args:
            device: Connected.
            name: Of the device.
            facts: Of the device.
            program: The tool, built for it.

        Raises:
            InputError: It is no program, or cannot be read.
        """
        _check_program(program)
        self._device, self._name, self._facts, self._program = device, name, facts, program

    @contextmanager
    def brought(self, slots: Sequence[Slot], clusters: Sequence[Cluster]) -> Iterator[list[NativeCell]]:
        """Bring it and the models to the device, into a folder that is removed at the end.

        Args:
            slots: What is measured.
            clusters: Of the device's cores, to pin to the fastest; none: nothing is pinned.

        Raises:
            DeviceError: The device is gone, or lets no program run there.
        """
        with _folder(self._device) as folder:
            tool = f"{folder}/benchmark_model"
            self._device.push(self._program, tool)
            made = self._device.run(["chmod", "755", tool])
            if made.returncode:
                said = printable(complaint(made.stderr.decode("utf-8", "replace")))[:200]
                raise DeviceError(f"{self._name}: {tool} cannot be made a program ({said}){_FORBIDDEN}")
            paths: dict[str, str] = {}
            for slot in slots:
                digest = slot.subject.sha256
                if digest not in paths:
                    paths[digest] = f"{folder}/{digest[:16]}.tflite"
                    self._device.push(Path(slot.subject.path), paths[digest])
            cells = []
            for slot in slots:
                cpus = fastest(clusters, slot.threads)
                pin = ["taskset", mask_of(cpus)] if cpus else []
                cells.append(NativeCell(slot, paths[slot.subject.sha256], [*pin, tool], cpus))
            yield cells

    def run(self, cell: NativeCell, *, runs: int, seconds: float, warm_up_s: float, profile: bool = False) -> Turn:
        """Run it once.

        Args:
            cell: What it runs; its turns stay as they are.
            runs: Inferences, at least.
            seconds: How long it measures, at least.
            warm_up_s: How long it warms up, at least.
            profile: Ask for the time by operator.

        Raises:
            YoloEdgeError: It cannot run the model, or prints something else.
            DeviceError: The device is gone.
        """
        flags = arguments(
            cell.path, cell.slot.threads, runs=runs, seconds=seconds, warm_up_s=warm_up_s, profile=profile
        )
        done = self._device.run(
            ["sh", "-c", _MEASURE, "sh", *cell.command, *flags], timeout=_SECONDS + longest_s(seconds)
        )
        text = done.stdout.decode("utf-8", "replace")
        lines = [line.partition(" ") for line in text.splitlines()]
        said = "\n".join(line for _, _, line in lines)
        code = re.search(r"(?m)^yolo-edge-exit (\d+)$", said)
        said = re.sub(r"(?m)^yolo-edge-.*$\n?", "", said)
        if code is None or int(code[1]):
            how = f"exit code {code[1]}" if code else "no end"
            remedy = self._remedy(said, code[1] if code else "")
            raise YoloEdgeError(
                f"{self._name}: benchmark_model fails ({how}) for {cell.slot.label}: "
                f"{printable(complaint(said))[:300]}{remedy}"
            )
        try:
            report = parse_report(said)
        except InputError as error:
            raise YoloEdgeError(f"{self._name}: {cell.slot.label}: {printable(str(error))[:300]}") from error
        peak = re.search(r"(?m)^VmHWM:\s*(\d+) kB", said)
        return Turn(report, _window(lines, report), int(peak[1]) * 1024 / 1e6 if peak else None)

    def _remedy(self, said: str, code: str) -> str:
        if "affinity" in said:
            return "; --no-pin leaves the choice of cores to it"
        if "ermission denied" in said and code == _NOT_RUN:
            return _FORBIDDEN
        if re.search(r"not executable|[Ee]xec format|inaccessible or not found|No such file", said):
            abi = (self._facts.phone or {}).get("abi") or self._facts.machine
            return f"; is it built for this device ({abi}), and static or for Android?"
        return ""


def _window(lines: Sequence[tuple[str, str, str]], report: Report) -> Window | None:
    """When the inferences that count were made, from the stamps of the lines around them.

    None where that is not as long as they took: the lines came late.
    """
    begins = [float(stamp) for stamp, _, line in lines if "Running benchmark for at least" in line]
    ends = [float(stamp) for stamp, _, line in lines if re.search(r"\bcount=\d+ ", line)]
    if not begins or not ends:
        return None
    took = report.count * report.timing.mean / 1e3
    if abs(ends[-1] - begins[-1] - took) > _OFF * took + _OFF_S:
        return None
    return begins[-1], ends[-1]


def _check_program(program: Path) -> None:
    try:
        with program.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputError(f"--benchmark-model {program}: cannot be read ({error.strerror})") from error
    if head != b"\x7fELF" and head[:2] != b"#!":
        raise InputError(
            f"--benchmark-model {program}: not a program: expected TFLite's benchmark_model, built for the device"
        )


@contextmanager
def _folder(device: Device) -> Iterator[str]:
    """A folder on the device for what is run there."""
    if device.folder is not None:
        yield device.folder
        return
    done = device.run(["mktemp", "-d"])
    path = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode or not path.startswith("/"):
        raise DeviceError(f"{device.name}: no temporary folder can be made there")
    try:
        yield path
    finally:
        device.run(["rm", "-rf", "--", path])
