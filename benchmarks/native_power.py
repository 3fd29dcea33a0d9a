"""The power of a phone beside runs of a native tool: its energy counters, or its battery's gauge."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from yolo_edge.benchmarks.power import Meter, PowerRepeat, RailColumn, Window
from yolo_edge.benchmarks.samples import encode_floats
from yolo_edge.benchmarks.settings import Settings
from yolo_edge.devices.adb import AdbDevice
from yolo_edge.devices.android.battery import decide
from yolo_edge.devices.android.cores import Cluster, mask_of
from yolo_edge.devices.android.facts import BATTERY, ODPM, WIRELESS, Sources, read_battery, read_sources
from yolo_edge.devices.android.odpm import total_of
from yolo_edge.devices.android.sampling import INTERVAL_S, Readings, Sampler
from yolo_edge.devices.device import Device
from yolo_edge.ondevice.errors import InputError

_CURRENT, _VOLTAGE = "current", "voltage"


@dataclass
class Reading:
    """What was read in one repeat, on the phone's clock, in seconds since it was started.

    Attributes:
        origin: When the reading began.
        time: The same on the host's clock, in seconds since 1970.
        uncertainty_s: Of `time`.
        idle: Windows in which the phone did nothing.
        load: Windows in which it worked.
        voltages_mv: That Android's battery service told, before and after.
        readings: All of them, at the end.
    """

    origin: float
    time: float
    uncertainty_s: float
    idle: list[Window] = field(default_factory=list)
    load: list[Window] = field(default_factory=list)
    voltages_mv: list[int] = field(default_factory=list)
    readings: Readings | None = None

    def relative(self, window: Window) -> Window:
        """The same since the reading began."""
        return window[0] - self.origin, window[1] - self.origin


class PhoneMeter:
    """The power meter of a phone.

    Attributes:
        kind: odpm or battery.
        others: Kinds that could be read, too.
        refusal: Why its figures count for nothing; None: they do.
        repeats: What was read so far.
    """

    def __init__(self, device: Device, kind: str, sources: Sources, clusters: Sequence[Cluster]):
        """Nothing is read yet; `sources` has the kind."""
        self._device, self.kind, self._sources = device, kind, sources
        self.others = tuple(other for other in _kinds(sources) if other != kind)
        self.refusal: str | None = None
        self.repeats: list[Reading] = []
        # not on the cores that work
        self._pin = ["taskset", mask_of(clusters[-1].cpus)] if len(clusters) > 1 else []
        self._way = kind if kind == ODPM or sources.sysfs else "service"
        self._columns = sources.odpm_rails if kind == ODPM else (_CURRENT, _VOLTAGE)

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Read it meanwhile.

        Raises:
            DeviceError: The phone is gone, or nothing was read.
        """
        before = time.time()
        origin = self._clock()
        after = time.time()
        found = Reading(origin, (before + after) / 2, (after - before) / 2)
        self._look(found)
        with Sampler(self._device, self._way, self._sources.odpm, self._pin) as sampler:
            yield found
            self._look(found)
            time.sleep(2 * INTERVAL_S)
        found.readings = sampler.readings(self._columns)
        self.repeats.append(found)

    def idle(self, reading: Reading, settings: Settings) -> None:
        """Let the phone do nothing for a while, and note when."""
        time.sleep(settings.idle_settle_s)
        begins = self._clock()
        time.sleep(settings.idle_s)
        reading.idle.append((begins, self._clock()))

    def power(self) -> list[PowerRepeat] | str:
        """What was read, in the form of a result; or why it counts for nothing."""
        if self.refusal is not None:
            return self.refusal
        if self.kind == ODPM:
            columns = tuple(RailColumn(rail=rail, unit="uJ") for rail in self._columns)
            total = total_of(self._columns)
            what = f"the phone's energy counters, {len(total)} of {len(columns)} rails"
            meter = _meter(ODPM, "soc_rails", what, total, columns)
            return [_repeat(one, meter, one.readings.values) for one in self.repeats if one.readings]
        return self._battery_power()

    def _battery_power(self) -> list[PowerRepeat] | str:
        idle = np.concatenate([_within(one, one.idle) for one in self.repeats])
        load = np.concatenate([_within(one, one.load) for one in self.repeats])
        try:
            decision = decide(idle.tolist(), load.tolist())
        except ValueError as error:
            return f"not measured: {error}"
        if self._way == "service" and not all(one.voltages_mv for one in self.repeats):
            return "not measured: Android's battery service tells no voltage"
        volts = "uV" if self._way == BATTERY else "mV"
        columns = (RailColumn(rail=BATTERY, unit=decision.unit), RailColumn(rail=BATTERY, unit=volts))
        meter = _meter(BATTERY, "battery", f"the battery's gauge; current_now was {decision.text}", (BATTERY,), columns)
        return [self._battery_repeat(one, meter, decision.sign) for one in self.repeats]

    def _battery_repeat(self, one: Reading, meter: Meter, sign: int) -> PowerRepeat:
        assert one.readings is not None  # noqa: S101 - the repeat is over
        current = one.readings.values[:, 0] * sign
        if self._way == "service":
            voltage = np.full(len(current), float(np.mean(one.voltages_mv)))
        else:
            voltage = one.readings.values[:, 1]
        return _repeat(one, meter, np.stack([current, voltage], axis=1))

    def _clock(self) -> float:
        return float(self._device.read_text("/proc/uptime").split()[0])

    def _look(self, reading: Reading) -> None:
        battery = read_battery(self._device)
        if battery.voltage_mv:
            reading.voltages_mv.append(battery.voltage_mv)
        if self.kind == BATTERY and battery.charging:
            self.refusal = f"invalid (charging): {battery.charging}; {WIRELESS}"


def open_phone_meter(device: Device, wanted: str | None, clusters: Sequence[Cluster]) -> PhoneMeter | str:
    """The meter to read, or why there is none and what to do.

    Args:
        device: Connected.
        wanted: As `--meter` has it: odpm or battery; None: the first that can be read.
        clusters: Of its cores.

    Raises:
        InputError: There is no such meter.
        DeviceError: The device is gone.
    """
    if wanted not in (None, ODPM, BATTERY):
        raise InputError(f"--meter {wanted}: beside --benchmark-model {ODPM} and {BATTERY} of a phone are read")
    if not isinstance(device, AdbDevice):
        return "not measured: beside --benchmark-model the power of phones is read alone, by adb://"
    sources = read_sources(device)
    kinds = _kinds(sources)
    if wanted is not None and wanted not in kinds:
        raise InputError(f"--meter {wanted}: cannot be read there: yolo-edge devices probe {device.name} says why")
    if not kinds:
        return (
            "not measured: neither energy counters nor the battery's current can be read there: "
            f"yolo-edge devices probe {device.name} says why"
        )
    return PhoneMeter(device, wanted or kinds[0], sources, clusters)


def _kinds(sources: Sources) -> list[str]:
    found = [ODPM] if total_of(sources.odpm_rails) else []
    return [*found, BATTERY] if sources.sysfs or sources.service else found


def _within(reading: Reading, windows: Sequence[Window]) -> NDArray[np.float64]:
    assert reading.readings is not None  # noqa: S101 - the repeat is over
    times, values = reading.readings.times, reading.readings.values[:, 0]
    inside = np.zeros(len(times), bool)
    for begins, ends in windows:
        inside |= (times >= begins) & (times <= ends)
    return values[inside]


def _meter(kind: str, scope: str, what: str, total: tuple[str, ...], columns: tuple[RailColumn, ...]) -> Meter:
    return Meter(
        kind=kind, scope=scope, estimated=False, what=what, total=total, columns=columns, interval_s=INTERVAL_S
    )


def _repeat(one: Reading, meter: Meter, values: NDArray[np.float64]) -> PowerRepeat:
    assert one.readings is not None  # noqa: S101 - the repeat is over
    before, after = (one.relative(window) for window in one.idle)
    return PowerRepeat(
        meter=meter,
        time=one.time,
        uncertainty_s=one.uncertainty_s,
        idle=(before, after),
        times=encode_floats(one.readings.times - one.origin),
        values=encode_floats(values),
        readings=len(one.readings.times),
        failures=one.readings.failures,
    )
