"""Latency and energy by TFLite's native tool, `benchmark_model`, on devices without a Python: one run of it is a turn.

The tool prints statistics, no samples. Runs of all cells take turns, in an order drawn anew for each repeat.
"""

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from yolo_edge._version import __version__
from yolo_edge.benchmarks.benchmark import EMULATED, EMULATED_TIMES, NOT_ASKED
from yolo_edge.benchmarks.figures import verdict_of
from yolo_edge.benchmarks.host import Conditions, Cpu, Host
from yolo_edge.benchmarks.native_power import PhoneMeter, open_phone_meter
from yolo_edge.benchmarks.power import CellPower, Energy, Power, PowerRepeat, Window, cell_power, summarize, trace_of
from yolo_edge.benchmarks.results import BenchmarkResult, Cell, CellRatio, Latency, NativeRun, Operator, Profile
from yolo_edge.benchmarks.rounds import Progress, Slot, Subject
from yolo_edge.benchmarks.settings import Settings
from yolo_edge.benchmarks.verdicts import cell_faults, machine_faults
from yolo_edge.devices.adb import AdbDevice
from yolo_edge.devices.android.cores import Cluster, fastest, mask_of
from yolo_edge.devices.android.facts import android_facts, read_battery, read_clusters, read_thermal
from yolo_edge.devices.benchmark_model import Report, arguments, complaint, parse_report
from yolo_edge.devices.device import Device, DeviceError
from yolo_edge.devices.facts import Facts, read_conditions, read_facts
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import printable
from yolo_edge.timing import median_interval, paired_ratio

RUNTIME = "benchmark_model"

_SECONDS = 120.0
_MOST_THREADS = 4
_WARM_UP_WINDOWS = 2
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
        seconds: That the whole run took.
    """

    report: Report
    window: Window | None
    peak_mb: float | None
    seconds: float


@dataclass
class _Running:
    slot: Slot
    path: str
    pin: list[str]
    cpus: tuple[int, ...] | None
    turns: list[Turn] = field(default_factory=list)


class NativeBenchmark:
    """Models measured side by side by `benchmark_model`. A context manager: it holds what was brought to the device."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        settings: Settings,
        device: Device,
        tool: Path,
        *,
        name: str,
        emulated: bool = False,
        revision: str | None = None,
        command: Sequence[str] = (),
    ):
        """Look at the device; nothing is measured yet.

        Args:
            subjects: .tflite files; the first is what the others are compared with.
            settings: How. No numbers of threads stand for 1, and as many as the device has CPUs, up to 4.
            device: Connected.
            tool: `benchmark_model`, built for the device.
            name: Of the device.
            emulated: Its processor is a program; it may find out by itself.
            revision: For the result.
            command: For the result.

        Raises:
            InputError: A model is no .tflite, or the tool is no program.
            DeviceError: The device is gone.
        """
        for subject in subjects:
            if not subject.path.lower().endswith(".tflite"):
                raise InputError(f"{subject.name}: benchmark_model runs .tflite files: export --format tflite")
        _check_tool(tool)
        self._device, self._tool, self._name = device, tool, name
        self._revision, self._command = revision, tuple(command)
        self._facts: Facts = (
            android_facts(device, emulated=emulated)
            if isinstance(device, AdbDevice)
            else read_facts(device, "", emulated=emulated)
        )
        self._clusters: list[Cluster] = read_clusters(device) if settings.pin else []
        cpus = sum(len(cluster.cpus) for cluster in self._clusters) or self._facts.cpu.get("cpus") or 1
        threads = settings.threads or tuple(dict.fromkeys([1, min(cpus, _MOST_THREADS)]))
        self._settings = replace(settings, threads=threads, runtime=RUNTIME)
        self._slots = [Slot(subject, number) for subject in subjects for number in threads]
        digest = hashlib.sha256(tool.read_bytes()).hexdigest()
        self._host = _host(self._facts, digest)
        self.meter: PhoneMeter | str = NOT_ASKED
        if self._host.emulated:
            self.meter = EMULATED
        elif settings.energy:
            self.meter = open_phone_meter(device, settings.meter, self._clusters)

    @property
    def key(self) -> str:
        """Of the run."""
        models = [(slot.subject.name, slot.subject.sha256, slot.threads) for slot in self._slots]
        return hashlib.sha256(msgspec.json.encode([__version__, self._settings, models, self._host])).hexdigest()

    @property
    def steps(self) -> int:
        """How often `run` reports progress."""
        energy = 2 * self._settings.repeats if isinstance(self.meter, PhoneMeter) else 0
        profiles = len(self._slots) if self._settings.profile else 0
        return len(self._slots) * self._settings.repeats + energy + profiles

    def run(self, progress: Progress = lambda _: None) -> BenchmarkResult:
        """Measure, and put it all together.

        Args:
            progress: Called before each step with what it does.

        Raises:
            InputError: The tool cannot run a model.
            DeviceError: The device is gone.
        """
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        began = time.monotonic()
        with ExitStack() as stack:
            folder = stack.enter_context(_folder(self._device))
            running, tool = self._bring(folder)
            before = self._conditions("before")
            moments = self._repeats(running, tool, progress)
            after = self._conditions("after")
            profiles = [self._profile(worker, tool, progress) for worker in running] if self._settings.profile else []
        power, repeats = self._power()
        cells = tuple(
            self._cell(worker, moments, power, repeats, profiles[i] if profiles else None)
            for i, worker in enumerate(running)
        )
        return BenchmarkResult(
            schema=1,
            host=self._host,
            settings=self._settings,
            cells=cells,
            ratios=tuple(self._ratios(running)),
            power=power if isinstance(power, Power) else None,
            conditions=(before, *moments, after),
            tool=f"yolo-edge {__version__}",
            revision=self._revision,
            command=self._command,
            created=created,
            seconds=round(time.monotonic() - began, 3),
        )

    def _bring(self, folder: str) -> tuple[list[_Running], str]:
        tool = f"{folder}/benchmark_model"
        self._device.push(self._tool, tool)
        made = self._device.run(["chmod", "755", tool])
        if made.returncode:
            said = printable(complaint(made.stderr.decode("utf-8", "replace")))[:200]
            raise DeviceError(f"{self._name}: {tool} cannot be made a program ({said}){_FORBIDDEN}")
        paths: dict[str, str] = {}
        for slot in self._slots:
            digest = slot.subject.sha256
            if digest not in paths:
                paths[digest] = f"{folder}/{digest[:16]}.tflite"
                self._device.push(Path(slot.subject.path), paths[digest])
        running = []
        for slot in self._slots:
            cpus = fastest(self._clusters, slot.threads)
            pin = ["taskset", mask_of(cpus)] if cpus else []
            running.append(_Running(slot, paths[slot.subject.sha256], pin, cpus))
        return running, tool

    def _repeats(self, running: Sequence[_Running], tool: str, progress: Progress) -> list[Conditions]:
        settings, moments = self._settings, []
        for number in range(1, settings.repeats + 1):
            if number > 1:
                time.sleep(settings.cooldown_s)
            order = [running[i] for i in np.random.default_rng(number).permutation(len(running))]
            moments.append(self._conditions(f"repeat {number} begins"))
            with ExitStack() as stack:
                reading = None
                if isinstance(self.meter, PhoneMeter) and self.meter.refusal is None:
                    reading = stack.enter_context(self.meter.reading())
                    progress(f"idle power ({number} of {settings.repeats})")
                    self.meter.idle(reading, settings)
                for worker in order:
                    name = worker.slot.subject.name.rsplit("/", 1)[-1]
                    progress(f"{name} x{worker.slot.threads} ({number} of {settings.repeats})")
                    turn = self._turn(worker, tool)
                    worker.turns.append(turn)
                    if reading is not None and turn.window is not None:
                        reading.load.append(turn.window)
                if reading is not None and isinstance(self.meter, PhoneMeter):
                    progress(f"idle power ({number} of {settings.repeats})")
                    self.meter.idle(reading, settings)
            moments.append(self._conditions(f"repeat {number} ends"))
        return moments

    def _turn(self, worker: _Running, tool: str, *, profile: bool = False) -> Turn:
        settings = self._settings
        seconds = settings.seconds / settings.repeats
        flags = arguments(
            worker.path,
            worker.slot.threads,
            runs=settings.profile if profile else -(-settings.inferences // settings.repeats),
            seconds=0.001 if profile else seconds,
            warm_up_s=_WARM_UP_WINDOWS * settings.warm_up_window_s,
            profile=profile,
        )
        began = time.monotonic()
        done = self._device.run(
            ["sh", "-c", _MEASURE, "sh", *worker.pin, tool, *flags], timeout=_SECONDS + max(600.0, 20 * seconds)
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
                f"{self._name}: benchmark_model fails ({how}) for {worker.slot.label}: "
                f"{printable(complaint(said))[:300]}{remedy}"
            )
        try:
            report = parse_report(said)
        except InputError as error:
            raise YoloEdgeError(f"{self._name}: {worker.slot.label}: {printable(str(error))[:300]}") from error
        peak = re.search(r"(?m)^VmHWM:\s*(\d+) kB", said)
        return Turn(
            report, _window(lines, report), int(peak[1]) * 1024 / 1e6 if peak else None, time.monotonic() - began
        )

    def _remedy(self, said: str, code: str) -> str:
        if "affinity" in said:
            return "; --no-pin leaves the choice of cores to it"
        if "ermission denied" in said and code == _NOT_RUN:
            return _FORBIDDEN
        if re.search(r"not executable|[Ee]xec format|inaccessible or not found|No such file", said):
            abi = (self._facts.phone or {}).get("abi") or self._facts.machine
            return f"; is it built for this device ({abi}), and static or for Android?"
        return ""

    def _profile(self, worker: _Running, tool: str, progress: Progress) -> Profile | str:
        progress(f"{worker.slot.subject.name}: time by operator")
        report = self._turn(worker, tool, profile=True).report
        if not report.operators:
            return "no time by operator: this benchmark_model prints none"
        return Profile(
            inferences=report.count,
            run_ms=round(sum(operator.ms for operator in report.operators), 6),
            outside_ms=report.middle_ms,
            operators=tuple(
                Operator(name=printable(one.name), operator=printable(one.kind), ms=one.ms) for one in report.operators
            ),
        )

    def _conditions(self, when: str) -> Conditions:
        # its own CPU time is not known, nor how much of the machine's is others'
        found: dict[str, Any] = {**read_conditions(self._device), "busy_s": None, "stolen_s": None}
        if isinstance(self._device, AdbDevice):
            thermal, battery = read_thermal(self._device), read_battery(self._device)
            found["thermal_status"] = thermal.status
            found["charging"] = battery.charging is not None
            found["temperatures_c"] = thermal.temperatures_c or found["temperatures_c"]
        return msgspec.convert({**found, "when": when}, Conditions)

    def _power(self) -> tuple[Power | str, list[PowerRepeat]]:
        if isinstance(self.meter, str):
            return self.meter, []
        found = self.meter.power()
        if isinstance(found, str):
            return found, []
        repeats, _ = found
        return summarize(repeats, self.meter.others), repeats

    def _energy(
        self, worker: _Running, power: Power | str, repeats: Sequence[PowerRepeat]
    ) -> tuple[Energy, CellPower] | str:
        if isinstance(power, str) or isinstance(self.meter, str):
            return power if isinstance(power, str) else ""
        windows = []
        for turn, reading in zip(worker.turns, self.meter.repeats, strict=True):
            if turn.window is None:
                return (
                    "not measured: when the inferences were made is not known: this benchmark_model prints its lines "
                    "late, or not all of them"
                )
            windows.append([reading.relative(turn.window)])
        counts = [[turn.report.count] for turn in worker.turns]
        try:
            traces = [trace_of(repeat, power.meter) for repeat in repeats]
            return cell_power(traces, repeats, windows, counts, self._settings.limits)
        except ValueError as error:
            return f"not measured: {error}"

    def _cell(
        self,
        worker: _Running,
        moments: Sequence[Conditions],
        power: Power | str,
        repeats: Sequence[PowerRepeat],
        profile: Profile | str | None,
    ) -> Cell:
        turns, subject, slot = worker.turns, worker.slot.subject, worker.slot
        middles = np.array([turn.report.middle_ms for turn in turns])
        counts = np.array([turn.report.count for turn in turns])
        means = np.array([turn.report.timing.mean for turn in turns])
        low, high = median_interval([np.array([value]) for value in middles], len(turns))
        faults = [EMULATED_TIMES] if self._host.emulated else machine_faults(moments, None, self._settings.limits)
        if not self._host.emulated:
            faults += cell_faults(middles, [], self._settings.limits)
        found = self._energy(worker, power, repeats)
        energy, how = (None, None) if isinstance(found, str) else found
        peaks = [turn.peak_mb for turn in turns if turn.peak_mb is not None]
        inits = [turn.report.timing.load for turn in turns if turn.report.timing.load is not None]
        firsts = [turn.report.timing.first for turn in turns if turn.report.timing.first is not None]
        return Cell(
            model=subject.name,
            device=self._name,
            runtime=RUNTIME,
            threads=slot.threads,
            latency_ms=Latency(
                p50=round(float(np.median(middles)), 6),
                p90=None,
                p99=None,
                mean=round(float(np.average(means, weights=counts)), 6),
                n=int(counts.sum()),
                ci95=(round(low, 6), round(high, 6)),
            ),
            memory_mb=round(max(peaks), 1) if peaks else None,
            energy_mj=energy,
            energy_reason=found if isinstance(found, str) else None,
            valid=not faults,
            invalid_reason="; ".join(faults) or None,
            emulated=self._host.emulated,
            sha256=subject.sha256,
            bytes=subject.bytes,
            precision=subject.precision,
            input=subject.input,
            start_ms=None,
            load_ms=float(np.median(inits)) if inits else None,
            first_ms=float(np.median(firsts)) if firsts else None,
            repeats_ms=tuple(round(float(value), 6) for value in middles),
            warm_up_s=_WARM_UP_WINDOWS * self._settings.warm_up_window_s,
            macs=subject.macs,
            cpus=worker.cpus,
            notes=(*subject.notes, *_notes(turns), *([profile] if isinstance(profile, str) else [])),
            profile=profile if isinstance(profile, Profile) else None,
            power=how,
            runs=tuple(_run(turn) for turn in turns),
        )

    def _ratios(self, running: Sequence[_Running]) -> list[CellRatio]:
        first, found = self._slots[0].subject, []
        for a in running:
            for b in running:
                same_threads = (
                    a.slot.threads == b.slot.threads and b.slot.subject is first and a.slot.subject is not first
                )
                fewest = b.slot.threads == self._settings.threads[0]
                if same_threads or (a.slot.subject is b.slot.subject and fewest and a is not b):
                    ratio = paired_ratio(*(np.array([[turn.report.middle_ms] for turn in one.turns]) for one in (a, b)))
                    found.append(
                        CellRatio(
                            a=a.slot.subject.name,
                            b=b.slot.subject.name,
                            ratio=round(ratio.value, 5),
                            ci95=(round(ratio.low, 5), round(ratio.high, 5)),
                            verdict=verdict_of(ratio, self._settings.repeats),
                            rounds=len(a.turns),
                            of_rounds=len(a.turns),
                            threads_a=a.slot.threads,
                            threads_b=b.slot.threads,
                        )
                    )
        return found


def _notes(turns: Sequence[Turn]) -> list[str]:
    report = turns[0].report
    found = ["benchmark_model prints statistics: p50 is the median of the medians of its runs; no p90, no p99"]
    if report.timing.p50 is None:
        found = ["this benchmark_model prints no medians: p50 is the median of the means of its runs; no p90, no p99"]
    if report.delegated is not None:
        found.append(f"{report.delegate} runs {report.delegated[0]} of {report.delegated[1]} nodes")
    return found


def _run(turn: Turn) -> NativeRun:
    timing = turn.report.timing
    return NativeRun(
        n=turn.report.count,
        mean_ms=timing.mean,
        std_ms=timing.std,
        min_ms=timing.min,
        median_ms=timing.p50,
        p95_ms=timing.p95,
        max_ms=timing.max,
        window_s=turn.window,
        footprint_mb=timing.memory_mb,
    )


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


def _host(facts: Facts, digest: str) -> Host:
    cpu = facts.cpu
    return Host(
        name=facts.name,
        model=facts.model,
        machine=facts.machine or "unknown",
        cpu=Cpu(
            name=cpu.get("name"),
            cpus=cpu.get("cpus"),
            cpus_in_all=cpu.get("cpus"),
            features=tuple(cpu.get("features") or ()),
            max_mhz=cpu.get("max_mhz"),
        ),
        memory_mb=facts.memory_mb,
        os=facts.os or "unknown",
        kernel=facts.kernel or "unknown",
        python="none",
        versions={RUNTIME: f"sha256 {digest[:16]}"},
        emulated=facts.emulated,
    )


def _check_tool(tool: Path) -> None:
    try:
        with tool.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputError(f"--benchmark-model {tool}: cannot be read ({error.strerror})") from error
    if head != b"\x7fELF" and head[:2] != b"#!":
        raise InputError(
            f"--benchmark-model {tool}: not a program: expected TFLite's benchmark_model, built for the device"
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
