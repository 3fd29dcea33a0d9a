"""The machine that was measured: what it is, and how it fared. Parts of a result."""

import msgspec


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """How the machine fared at one moment; None or empty where it does not show it.

    Attributes:
        when: "before", "repeat N begins", "repeat N ends" or "after".
        time: Seconds since 1970.
        load: Of the last minute.
        busy_s: CPU time of all programs since boot, in seconds.
        stolen_s: CPU time that a hypervisor took.
        workers_s: CPU time of our workers so far; what is above it in `busy_s` is others'.
        clock_mhz: Of each CPU.
        governors: Of the CPUs' clocks.
        temperatures_c: By sensor.
        passive_limits_c: From where on the kernel slows down what a sensor is at.
        throttled: The Raspberry Pi's bits.
        throttle_count: Throttling events of x86 cores since boot.
        overcurrent_count: Over-current events of a Jetson's supply since boot.
        cooling: Steps by which the kernel slows something down for its heat, by cooling device.
        power_mode: A Jetson's, as nvpmodel names it.
        available_mb: Memory that is free for programs.
        thermal_status: Android's: 0 (none) to 6 (shutdown).
        charging: Whether a phone's battery was fed.
    """

    when: str
    time: float
    load: float | None = None
    busy_s: float | None = None
    stolen_s: float | None = None
    workers_s: float = 0.0
    clock_mhz: tuple[float, ...] = ()
    governors: tuple[str, ...] = ()
    temperatures_c: dict[str, float] = {}
    passive_limits_c: dict[str, float] = {}
    throttled: int | None = None
    throttle_count: int | None = None
    overcurrent_count: int | None = None
    cooling: dict[str, int] = {}
    power_mode: str | None = None
    available_mb: float | None = None
    thermal_status: int | None = None
    charging: bool | None = None


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """The processor.

    Attributes:
        name: Of its cores.
        cpus: That a program may use.
        cpus_in_all: That the machine has, where a container may use some of them only.
        features: Vector instructions that matter to networks.
        max_mhz: The highest clock.
        virtual: Whether a hypervisor is under it.
    """

    name: str | None = None
    cpus: int | None = None
    cpus_in_all: int | None = None
    features: tuple[str, ...] = ()
    max_mhz: float | None = None
    virtual: bool = False


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """The fastest float32 product of matrices: `gflops`, and the library that made it."""

    gflops: float
    by: str


class Roof(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds a network on a machine besides the fp32 peak.

    Attributes:
        copy_gb_s: 10⁹ bytes a second of a copy in memory, read and written bytes counted.
        copied_mb: The buffer that was copied.
        int8_gops: 10⁹ operations a second of the fastest product of int8 matrices; None: not measured.
        int8_by: The library that made it.
    """

    copy_gb_s: float
    copied_mb: float
    int8_gops: float | None = None
    int8_by: str | None = None


class Browser(msgspec.Struct, frozen=True, kw_only=True):
    """The browser that ran a page, as it tells.

    Attributes:
        user_agent: As it calls itself.
        cores: Processors that it says there are.
        isolated: Whether the page was cross-origin isolated; without that there is one thread.
        secure: Whether the page came over HTTPS, or from the device itself.
        clock_us: Steps of its clock in microseconds.
    """

    user_agent: str
    cores: int
    isolated: bool
    secure: bool
    clock_us: float


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that was measured.

    Attributes:
        name: Its host name.
        model: Of the board or computer.
        machine: The architecture.
        cpu: Its processor.
        memory_mb: In all.
        os: Its name and version.
        kernel: Its version.
        python: Its version.
        versions: Of the packages that matter.
        emulated: The processor is a program: times mean nothing.
        peak: Threads → the measured fp32 peak.
        roof: Threads → what else bounds it, where that was asked for.
        browser: That the models ran in; None: in none.
    """

    name: str
    model: str | None = None
    machine: str
    cpu: Cpu
    memory_mb: float | None = None
    os: str
    kernel: str
    python: str
    versions: dict[str, str] = {}
    emulated: bool = False
    peak: dict[str, Peak] = {}
    roof: dict[str, Roof] = {}
    browser: Browser | None = None

    @property
    def hardware(self) -> str:
        """What has to be the same for times to be comparable, for a person: the board, the CPU, how many of them."""
        board = f"{self.model}: " if self.model else ""
        return f"{board}{self.cpu.name or 'CPU'} ({self.machine}), {self.cpu.cpus} CPUs"
