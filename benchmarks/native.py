"""Latency and energy by TFLite's native tool, `benchmark_model`, on devices without a Python: one run of it is a turn.

Runs of all cells take turns, in an order drawn anew for each repeat.
"""

import hashlib
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from yolo_edge._version import __version__
from yolo_edge.benchmarks.benchmark import EMULATED, NOT_ASKED
from yolo_edge.benchmarks.host import Conditions
from yolo_edge.benchmarks.native_figures import RUNTIME, WARM_UP_WINDOWS, cell_of, host_of, profile_of, ratios_of
from yolo_edge.benchmarks.native_power import PhoneMeter, open_phone_meter
from yolo_edge.benchmarks.native_tool import NativeCell, NativeTool, Turn
from yolo_edge.benchmarks.power import CellPower, Energy, Power, cell_power, summarize, trace_of
from yolo_edge.benchmarks.results import BenchmarkResult, Profile
from yolo_edge.benchmarks.rounds import Progress, Slot, Subject
from yolo_edge.benchmarks.settings import Settings, default_threads
from yolo_edge.devices.adb import AdbDevice
from yolo_edge.devices.android.cores import Cluster
from yolo_edge.devices.android.facts import android_facts, read_battery, read_clusters, read_thermal
from yolo_edge.devices.device import Device
from yolo_edge.devices.facts import Facts, read_conditions, read_facts
from yolo_edge.ondevice.errors import InputError


class NativeBenchmark:
    """Models measured side by side by `benchmark_model`."""

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
        self._device, self._name = device, name
        self._revision, self._command = revision, tuple(command)
        facts: Facts = (
            android_facts(device, emulated=emulated)
            if isinstance(device, AdbDevice)
            else read_facts(device, "", emulated=emulated)
        )
        self._tool = NativeTool(device, name, facts, tool)
        self._clusters: list[Cluster] = read_clusters(device) if settings.pin else []
        cpus = sum(len(cluster.cpus) for cluster in self._clusters) or facts.cpu.get("cpus")
        threads = settings.threads or default_threads(cpus)
        self._settings = replace(settings, threads=threads, runtime=RUNTIME)
        self._slots = [Slot(subject, number) for subject in subjects for number in threads]
        digest = hashlib.sha256(tool.read_bytes()).hexdigest()
        self._host = host_of(facts, digest)
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
            YoloEdgeError: The tool cannot run a model.
            DeviceError: The device is gone, or lets no program run there.
        """
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        began = time.monotonic()
        with self._tool.brought(self._slots, self._clusters) as running:
            before = self._conditions("before")
            moments = self._repeats(running, progress)
            after = self._conditions("after")
            profiles = [self._profile(cell, progress) for cell in running]
        power = self._power()
        cells = tuple(
            cell_of(
                cell,
                self._name,
                self._settings,
                moments,
                self._energy(cell, power),
                profile,
                emulated=self._host.emulated,
            )
            for cell, profile in zip(running, profiles, strict=True)
        )
        return BenchmarkResult(
            schema=1,
            host=self._host,
            settings=self._settings,
            cells=cells,
            ratios=tuple(ratios_of(running, self._settings)),
            power=power if isinstance(power, Power) else None,
            conditions=(before, *moments, after),
            tool=f"yolo-edge {__version__}",
            revision=self._revision,
            command=self._command,
            created=created,
            seconds=round(time.monotonic() - began, 3),
        )

    def _repeats(self, running: Sequence[NativeCell], progress: Progress) -> list[Conditions]:
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
                for cell in order:
                    name = cell.slot.subject.name.rsplit("/", 1)[-1]
                    progress(f"{name} x{cell.slot.threads} ({number} of {settings.repeats})")
                    turn = self._turn(cell)
                    cell.turns.append(turn)
                    if reading is not None and turn.window is not None:
                        reading.load.append(turn.window)
                if reading is not None and isinstance(self.meter, PhoneMeter):
                    progress(f"idle power ({number} of {settings.repeats})")
                    self.meter.idle(reading, settings)
            moments.append(self._conditions(f"repeat {number} ends"))
        return moments

    def _turn(self, cell: NativeCell, *, profile: bool = False) -> Turn:
        settings = self._settings
        return self._tool.run(
            cell,
            runs=settings.profile if profile else -(-settings.inferences // settings.repeats),
            seconds=0.001 if profile else settings.seconds / settings.repeats,
            warm_up_s=WARM_UP_WINDOWS * settings.warm_up_window_s,
            profile=profile,
        )

    def _profile(self, cell: NativeCell, progress: Progress) -> Profile | str | None:
        if not self._settings.profile:
            return None
        progress(f"{cell.slot.subject.name}: time by operator")
        return profile_of(self._turn(cell, profile=True).report)

    def _conditions(self, when: str) -> Conditions:
        # its own CPU time is not known, nor how much of the machine's is others'
        found: dict[str, Any] = {**read_conditions(self._device), "busy_s": None, "stolen_s": None}
        if isinstance(self._device, AdbDevice):
            thermal, battery = read_thermal(self._device), read_battery(self._device)
            found["thermal_status"] = thermal.status
            found["charging"] = battery.charging is not None
            found["temperatures_c"] = thermal.temperatures_c or found["temperatures_c"]
        return msgspec.convert({**found, "when": when}, Conditions)

    def _power(self) -> Power | str:
        if isinstance(self.meter, str):
            return self.meter
        repeats = self.meter.power()
        if isinstance(repeats, str):
            return repeats
        try:
            return summarize(repeats, self.meter.others)
        except ValueError as error:
            return f"not measured: {error}"

    def _energy(self, cell: NativeCell, power: Power | str) -> tuple[Energy, CellPower] | str:
        if isinstance(power, str):
            return power
        assert isinstance(self.meter, PhoneMeter)  # noqa: S101 - the power is from it
        windows = []
        for turn, reading in zip(cell.turns, self.meter.repeats, strict=True):
            if turn.window is None:
                return (
                    "not measured: when the inferences were made is not known: this benchmark_model prints its lines "
                    "late, or not all of them"
                )
            windows.append([reading.relative(turn.window)])
        counts = [[turn.report.count] for turn in cell.turns]
        try:
            traces = [trace_of(repeat, power.meter) for repeat in power.repeats]
            return cell_power(traces, power.repeats, windows, counts, self._settings.limits)
        except ValueError as error:
            return f"not measured: {error}"
