"""One run from the models to the result."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from yolo_edge._version import __version__
from yolo_edge.benchmarks.agents import Connect
from yolo_edge.benchmarks.figures import (
    compare_medians,
    idle_drift,
    latency_of,
    least_of,
    median_ms,
    merge_samples,
    milliseconds,
    peak_share,
    verdict_of,
)
from yolo_edge.benchmarks.host import Conditions, Peak
from yolo_edge.benchmarks.journal import Journal, Repeat
from yolo_edge.benchmarks.metering import Choice, choose_meter, with_recording
from yolo_edge.benchmarks.power import CellPower, Energy, Power, cell_power, summarize, trace_of
from yolo_edge.benchmarks.result_file import to_json
from yolo_edge.benchmarks.results import (
    STAGES,
    BenchmarkResult,
    Cell,
    CellRatio,
    Profile,
)
from yolo_edge.benchmarks.rounds import (
    Progress,
    Slot,
    Subject,
    ask_conditions,
    find_host,
    find_peaks,
    find_roofs,
    measure_profile,
    measure_repeat,
    steps_of,
)
from yolo_edge.benchmarks.runtimes import find_slots
from yolo_edge.benchmarks.settings import Settings, default_threads
from yolo_edge.benchmarks.verdicts import cell_faults, machine_faults, output_faults
from yolo_edge.devices.profiles import match
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import write_atomically

NOT_ASKED = "not measured: --energy reads a power meter"
EMULATED = "an emulator's energy means nothing"

EMULATED_TIMES = "emulated: an emulator's times mean nothing"


def check_names(subjects: Sequence[Subject]) -> None:
    """Check that no model is there twice.

    Raises:
        InputError: One is.
    """
    names = [subject.name for subject in subjects]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name}: named twice; its copy under another name can be compared with it")


class Benchmark:
    """Models measured side by side on one machine."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        settings: Settings,
        connect: Connect,
        *,
        device: str = "local",
        emulated: bool = False,
        revision: str | None = None,
        command: Sequence[str] = (),
        progress: Progress = lambda _: None,
    ):
        """Look at the machine; nothing is measured yet.

        Args:
            subjects: What to measure; the first is what the others are compared with.
            settings: How. No numbers of threads stand for 1, and as many as the machine has CPUs, up to 4.
            connect: Starts an agent on the machine; its argument says what for.
            device: The machine's name.
            emulated: Its processor is a program; it may find out by itself.
            revision: For the result.
            command: For the result.
            progress: Called before a runtime is tried, with what it does.

        Attributes:
            settings: How it is measured.
            meter: The power meter that will be read, or why there is none.
            left_out: Runtimes that were asked for and cannot be measured.

        Raises:
            InputError: The same model twice, or no model; one that no runtime runs; a power meter that there is none
                of.
            YoloEdgeError: The machine does not answer, or the power meter cannot be read.
        """
        if not subjects:
            raise InputError("a benchmark wants a model")
        check_names(subjects)
        self._connect, self._device = connect, device
        self._revision, self._command = revision, tuple(command)
        host = find_host(connect)
        self._host = msgspec.structs.replace(host, emulated=emulated or host.emulated)
        threads = settings.threads or default_threads(host.cpu.cpus)
        self.settings = msgspec.structs.replace(settings, threads=threads)
        self._slots, self.left_out = find_slots(connect, subjects, self.settings, progress)
        self.meter: Choice | str = NOT_ASKED
        if self._host.emulated:
            self.meter = EMULATED
        elif settings.energy:
            self.meter = choose_meter(connect, settings.meter, match(self._host.model))

    @property
    def key(self) -> str:
        """The same for the same models, settings and machine: what a killed run is found by."""
        models = [
            (slot.subject.name, slot.subject.sha256, slot.threads, slot.runtime, slot.subject.spec)
            for slot in self._slots
        ]
        return hashlib.sha256(
            msgspec.json.encode([__version__, self.settings, models, self._device, self._host, str(self.meter)])
        ).hexdigest()

    def steps(self, done: int) -> int:
        """How often `run` reports progress when `done` repeats are there."""
        profiles = len(self._slots) if self.settings.profile else 0
        energy = isinstance(self.meter, Choice)
        return steps_of(self._slots, self.settings.repeats - done, energy=energy) + profiles + 1

    def run(self, journal: Journal | None = None, progress: Progress = lambda _: None) -> BenchmarkResult:
        """Measure what the journal lacks, and put it all together.

        Args:
            journal: Keeps each repeat as it is measured; what it has is not measured again. None: nothing is kept.
            progress: Called before each step with what it does.

        Raises:
            InputError: A model cannot be used.
            YoloEdgeError: A worker failed, or the disk is full.
        """
        created = journal.created if journal else datetime.now(timezone.utc).isoformat(timespec="seconds")
        origin = datetime.fromisoformat(created).timestamp()
        repeats = list(journal.repeats) if journal else []
        before = None if repeats else ask_conditions(self._connect, "before")
        progress("finding the fp32 peak")
        threads = self.settings.threads
        peaks = {} if self._host.emulated else find_peaks(self._connect, threads, self.settings)
        roofs = {} if self._host.emulated else find_roofs(self._connect, threads, self.settings)
        for number in range(len(repeats) + 1, self.settings.repeats + 1):
            if repeats:
                time.sleep(self.settings.cooldown_s)
            repeat = measure_repeat(
                self._connect,
                self._slots,
                self.settings,
                number,
                rounds=len(repeats[0].cells[0].turns) if repeats else None,
                origin=origin,
                before=before if number == 1 else None,
                meter=self.meter if isinstance(self.meter, Choice) else None,
                progress=progress,
            )
            if journal:
                journal.add(repeat)
            repeats.append(repeat)
        after = ask_conditions(self._connect, "after")
        profiles: list[Profile | str | None] = [None] * len(self._slots)
        if self.settings.profile:
            for i, slot in enumerate(self._slots):
                progress(f"{slot.what}: time by operator")
                profiles[i] = self._profile(slot)
        host = replace(self._host, peak=peaks, roof=roofs)
        repeats, power = self._read_power(repeats, kept=journal is not None)
        return BenchmarkResult(
            schema=1,
            host=host,
            settings=self.settings,
            cells=tuple(self._cell(slot, i, repeats, profiles[i], peaks, power) for i, slot in enumerate(self._slots)),
            ratios=tuple(self._ratios(repeats)),
            left_out=tuple(self.left_out),
            power=power if isinstance(power, Power) else None,
            conditions=(*(one.before for one in repeats if one.before), *_moments(repeats), after),
            tool=f"yolo-edge {__version__}",
            revision=self._revision,
            command=self._command,
            created=created,
            seconds=round(sum(repeat.seconds for repeat in repeats), 3),
        )

    def _read_power(self, repeats: list[Repeat], *, kept: bool) -> tuple[list[Repeat], Power | str]:
        """The repeats with what the meter read, and the meter; or why there is no power.

        Raises:
            InputError: A recorded file cannot be used, and the repeats are kept: it can be mended.
        """
        if isinstance(self.meter, str):
            return repeats, self.meter
        readings = [repeat.power for repeat in repeats if repeat.power is not None]
        if self.meter.recording is not None:
            try:
                readings = with_recording(readings, self.meter.recording)
            except InputError as error:
                if not kept:
                    return repeats, str(error)
                raise InputError(f"{error}; all repeats are kept, the same command reads the file again") from error
        merged = [replace(repeat, power=one) for repeat, one in zip(repeats, readings, strict=True)]
        return merged, summarize(readings, self.meter.others)

    def _energy(self, index: int, repeats: Sequence[Repeat], power: Power | str) -> tuple[Energy, CellPower] | str:
        if isinstance(power, str):
            return power
        parts = [repeat.cells[index] for repeat in repeats]
        return cell_power(
            [trace_of(one, power.meter) for one in power.repeats],
            power.repeats,
            [part.windows for part in parts],
            [part.turns for part in parts],
            self.settings.limits,
        )

    def _profile(self, slot: Slot) -> Profile | str:
        """Time by operator, or why there is none: all the rest is measured already."""
        try:
            return measure_profile(self._connect, slot, self.settings)
        except InputError as error:
            return str(error)

    def _cell(
        self,
        slot: Slot,
        index: int,
        repeats: Sequence[Repeat],
        profile: Profile | str | None,
        peaks: Mapping[str, Peak],
        power: Power | str,
    ) -> Cell:
        parts = [repeat.cells[index] for repeat in repeats]
        samples = merge_samples(parts)
        subject = slot.subject
        times = {stage: samples.stage(stage) for stage in samples.stages}
        latency = {stage: latency_of(turns, samples.repeats) for stage, turns in times.items()}
        whole = [sum(stages) for stages in zip(*times.values(), strict=True)]
        medians = samples.turn_medians()
        faults = machine_faults(_moments(repeats), self._host.cpu.cpus_in_all, self.settings.limits)
        clocks = [clock for part in parts for clock in part.clock_mhz]
        faults += cell_faults(medians.reshape(-1), clocks, self.settings.limits)
        agreement, snr = (least_of(getattr(part, name) for part in parts) for name in ("agreement", "snr_db"))
        if self._host.emulated:
            faults = [EMULATED_TIMES]
        faults += output_faults(agreement, snr, self.settings.limits)
        inference = latency["inference"]
        notes = [*subject.notes, *dict.fromkeys(note for part in parts for note in part.notes)]
        if isinstance(profile, str):
            notes.append(profile)
        if not all(part.settled for part in parts):
            notes.append(f"warm-up did not settle within {self.settings.warm_up_cap_s:g} s")
        if subject.precision == "int8" and parts[0].precise:
            notes.append("int8 without VNNI: the exact, slower kernels; --fast takes those whose sums may saturate")
        if self.settings.fast and parts[0].runtime == "openvino":
            notes.append("fast: OpenVINO rounds floats to 16 bits where the CPU has them")
        found = self._energy(index, repeats, power)
        energy, how = (None, None) if isinstance(found, str) else found
        notes += idle_drift(how, power)
        peaks_mb = [part.peak_mb for part in parts if part.peak_mb is not None]
        share, note = peak_share(subject.macs, inference.p50, slot.threads, peaks)
        notes += [note] if note else []
        return Cell(
            model=subject.name,
            device=self._device,
            runtime=parts[0].runtime,
            runtime_version=parts[0].runtime_version,
            threads=slot.threads,
            latency_ms=inference,
            memory_mb=None if not peaks_mb else round(max(peaks_mb), 1),
            energy_mj=energy,
            energy_reason=found if isinstance(found, str) else None,
            valid=not faults,
            invalid_reason="; ".join(faults) or None,
            emulated=self._host.emulated,
            sha256=subject.sha256,
            bytes=subject.bytes,
            precision=subject.precision,
            input=subject.input,
            precise=parts[0].precise,
            preprocess_ms=latency.get("preprocess"),
            postprocess_ms=latency.get("postprocess"),
            total_ms=latency_of(whole, samples.repeats) if len(times) == len(STAGES) else None,
            start_ms=median_ms(part.start_ms for part in parts),
            load_ms=median_ms(part.load_ms for part in parts),
            first_ms=median_ms(part.first_ms for part in parts),
            base_memory_mb=max((part.base_mb for part in parts if part.base_mb is not None), default=None),
            repeats_ms=tuple(milliseconds(np.median(row)) for row in medians),
            warm_up_s=round(max(part.warm_up_s for part in parts), 3),
            macs=subject.macs,
            traffic_bytes=subject.traffic_bytes,
            source=subject.source,
            peak_share=share,
            cpus=parts[0].cpus,
            detections=parts[0].detections,
            agreement=agreement,
            snr_db=snr,
            notes=tuple(notes),
            profile=profile if isinstance(profile, Profile) else None,
            power=how,
            samples=samples,
        )

    def _ratios(self, repeats: Sequence[Repeat]) -> list[CellRatio]:
        samples = [merge_samples([repeat.cells[i] for repeat in repeats]) for i in range(len(self._slots))]
        medians = [(cell.undisturbed_medians(), cell.turn_medians()) for cell in samples]
        runtimes = [cell.runtime for cell in repeats[0].cells]
        pairs = [
            (i, j, *compare_medians(medians[i], medians[j]))
            for i in range(len(self._slots))
            for j in range(len(self._slots))
            if self._compared(i, j)
        ]
        return [
            CellRatio(
                a=self._slots[i].subject.name,
                b=self._slots[j].subject.name,
                ratio=round(ratio.value, 5),
                ci95=(round(ratio.low, 5), round(ratio.high, 5)),
                verdict=verdict_of(ratio, len(repeats)),
                rounds=rounds,
                of_rounds=medians[0][1].size,
                threads_a=self._slots[i].threads,
                threads_b=self._slots[j].threads,
                undisturbed=undisturbed if samples[0].cpu is not None else None,
                runtime_a=runtimes[i],
                runtime_b=runtimes[j],
            )
            for i, j, ratio, rounds, undisturbed in pairs
        ]

    def _compared(self, i: int, j: int) -> bool:
        """Whether slot i is compared with slot j; see `BenchmarkResult.ratios`."""
        a, b = self._slots[i], self._slots[j]
        if i == j:
            return False
        if a.threads != b.threads:
            return a.subject is b.subject and a.runtime == b.runtime and b.threads == self.settings.threads[0]
        first = next(slot.runtime for slot in self._slots if slot.subject is b.subject)
        return b.runtime == first and (b.subject is self._slots[0].subject or a.subject is b.subject)


def save(result: BenchmarkResult, journal: Journal) -> Path:
    """Write the result, and forget the journal.

    Raises:
        InputError: It cannot be written there.
        YoloEdgeError: The disk is full; the journal is kept.
    """
    write_atomically(journal.path, to_json(result))
    journal.remove()
    return journal.path


def _moments(repeats: Sequence[Repeat]) -> list[Conditions]:
    """At the begin and the end of each repeat, in turn."""
    return [moment for repeat in repeats for moment in (repeat.begins, repeat.ends)]
