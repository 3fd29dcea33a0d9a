"""Everything that decides how a benchmark is taken, in one object that goes whole into each result."""

import msgspec

ALL = "all"  # the runtimes that are there and run a model, instead of the name of one
_MOST_THREADS = 4  # by default: of a machine with many cores nobody waits for a sweep over all


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When a figure is not to be trusted: facts/devices.md's rules for throttling, and ours for company.

    Attributes:
        slowdown: The last third of a cell may be slower than the first by this fraction.
        clock_drop: The CPU clock may fall by this fraction from the first third to the last.
        busy: Other programs may use this fraction of the CPU time of the machine.
        stolen: The hypervisor may take this fraction.
        power_gap_s: A power meter that counts no energy may be without a reading for so long.
        power_readings: Of the meter while a cell is measured, at least.
        agreement: See `Cell.agreement`: at least.
        snr_db: See `Cell.snr_db`: at least.
    """

    slowdown: float = 0.05
    clock_drop: float = 0.05
    busy: float = 0.10
    stolen: float = 0.02
    power_gap_s: float = 0.5
    power_readings: int = 20
    agreement: float = 0.9
    snr_db: float = 20.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a benchmark is taken. The defaults are those of MLPerf Mobile's single stream: 60 s and 1024 inferences.

    Attributes:
        quick: A short one, for a first look; its results are labelled.
        threads: Of each cell.
        runtime: "auto", the name of one, or `ALL`.
        repeats: New processes so many times; each measures its share of the seconds.
        seconds: Measured a cell, at least, in all repeats together.
        inferences: Of a cell, at least, in all repeats together.
        turn_s: How long a cell is measured before the next has its turn, at least.
        min_rounds: Rounds of a repeat, at least.
        settle_s: Uncounted inferences before each turn: the caches held the others' data.
        warm_up_window_s: Warm-up ends when the medians of two successive windows of this length …
        warm_up_within: … agree within this fraction, …
        warm_up_cap_s: … or after so many seconds.
        cooldown_s: Rest between repeats.
        image: The picture that preprocessing starts from; None: a synthetic one of 640x480.
        image_sha256: Of that file: another picture under the same name is another run.
        fast: The runtime's fastest kernels, also where they are not exact; see `Detector`.
        pin: Keep the workers to the fastest kind of CPUs, where they differ in speed.
        peak_s: Spent on finding the machine's fp32 peak, for each number of threads and library; 0: not at all.
        roof_s: Spent on finding how fast memory is copied and int8 matrices are multiplied, each, for each number of
            threads; 0: not at all.
        profile: Inferences profiled for the time by operator; 0: none.
        energy: Whether a power meter is read.
        meter: Which, with its options, as `--meter` has it; None: the first that can be read.
        idle_s: The idle machine's power is read for so long, before and after each repeat, …
        idle_settle_s: … once clocks had so long to come to rest.
        limits: When a figure is invalid.
    """

    quick: bool = False
    threads: tuple[int, ...] = (1,)
    runtime: str = "auto"
    repeats: int = 10
    seconds: float = 60.0
    inferences: int = 1024
    turn_s: float = 0.1
    min_rounds: int = 5
    settle_s: float = 0.005
    warm_up_window_s: float = 0.5
    warm_up_within: float = 0.02
    warm_up_cap_s: float = 20.0
    cooldown_s: float = 2.0
    image: str | None = None
    image_sha256: str | None = None
    fast: bool = False
    pin: bool = True
    peak_s: float = 1.0
    roof_s: float = 0.0
    profile: int = 0
    energy: bool = False
    meter: str | None = None
    idle_s: float = 5.0
    idle_settle_s: float = 1.0
    limits: Limits = Limits()


def quick_settings() -> Settings:
    """A few seconds a cell."""
    return Settings(
        quick=True,
        repeats=12,
        seconds=3.0,
        inferences=1,
        turn_s=0.03,
        warm_up_window_s=0.1,
        warm_up_cap_s=1.0,
        cooldown_s=0.0,
        peak_s=0.3,
    )


def default_threads(cpus: int | None) -> tuple[int, ...]:
    """The numbers of threads to measure where none are named: 1, and as many as there are CPUs, up to 4."""
    return tuple(dict.fromkeys((1, min(cpus or 1, _MOST_THREADS))))


def with_energy(settings: Settings, meter: str | None) -> Settings:
    """The same with a power meter: longer turns, since meters are read some ten times a second.

    Args:
        settings: Without one.
        meter: Which; None: the first that can be read.
    """
    if settings.quick:
        return msgspec.structs.replace(
            settings,
            energy=True,
            meter=meter,
            turn_s=1.0,
            min_rounds=2,
            repeats=3,
            seconds=9.0,
            idle_s=1.5,
            idle_settle_s=0.5,
        )
    return msgspec.structs.replace(settings, energy=True, meter=meter, turn_s=2.0, min_rounds=3)
