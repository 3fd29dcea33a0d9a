"""Each kind of meter on trees of files: recorded ones, and some of our own."""

import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.ondevice.power import trees
from tests.support import shared_dir
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.power import KINDS, open_meter, parse_meter, probe_all
from yolo_edge.ondevice.power.meter import Board, MeterError, Probe
from yolo_edge.ondevice.power.pmic import parse_adc
from yolo_edge.ondevice.power.tegrastats import parse_line

NVIDIA_5V = ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]


def sample(name: str) -> str:
    return (shared_dir() / "device-samples" / name).read_text()


def probe(root: Path, kind: str, board: dict[str, Any] | None = None) -> Probe:
    return next(row for row in probe_all(root, board) if row.kind == kind)


def values(root: Path, kind: str, board: dict[str, Any] | None = None, **options: str) -> dict[str, float]:
    meter = open_meter(kind, options, root, board)
    try:
        return {f"{c.rail} {c.unit}": value for c, value in zip(meter.columns, meter.read(), strict=True)}
    finally:
        meter.close()


# recorded readings


@pytest.mark.parametrize(
    ("name", "rails", "core", "watts", "input_volts"),
    [
        ("pi5_pmic_read_adc_load.txt", 12, (1.4288, 0.9065925), 2.948, 5.05716),
        ("pi5_pmic_read_adc_desktop.txt", 12, (1.11625, 0.7494498), 2.282, 5.0853),
        ("pi5_pmic_read_adc_haos_idle.txt", 12, (0.82156, 0.8120382), 1.968, 5.13756),
    ],
)
def test_recorded_readings_of_the_pmic(
    tmp_path: Path, name: str, rails: int, core: tuple[float, float], watts: float, input_volts: float
) -> None:
    text = sample(f"rpi/{name}")
    pairs, others = parse_adc(text)
    assert len(pairs) == rails
    assert pairs["VDD_CORE"] == core
    assert others == {"EXT5V": input_volts, "BATT": 0.0}
    assert sum(a * v for a, v in pairs.values()) == pytest.approx(watts, abs=0.0005)
    read = values(trees.pi5(tmp_path, text), "pmic")
    assert (read["VDD_CORE A"], read["VDD_CORE V"]) == core
    assert read["EXT5V V"] == input_volts


# file, line → milliwatts by rail, total of the board in milliwatts, two temperatures, the first CPU's load and clock
TEGRASTATS: list[tuple[str, int, dict[str, float], list[str], float, dict[str, float], tuple[float, float]]] = [
    (
        "agx-orin_jp7.2_tegrastats.txt",
        0,
        {"VDD_GPU_SOC": 5139, "VDD_CPU_CV": 3268, "VIN_SYS_5V0": 5500},
        NVIDIA_5V,
        13907,
        {"cpu": 52.968, "gpu": 47.625},
        (23, 2201),
    ),
    (
        "agx-xavier_jp4_tegrastats.txt",
        0,
        {"GPU": 18401, "CPU": 2301, "SOC": 4602, "CV": 0, "VDDRQ": 2914, "SYS5V": 4632},
        ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"],
        32850,
        {"AO": 48, "GPU": 54.5},
        (17, 1190),
    ),
    (
        "agx-xavier_jp5_tegrastats_tail.txt",
        0,
        {"GPU": 467, "CPU": 467, "SOC": 1245, "CV": 0, "VDDRQ": 311, "SYS5V": 2768},
        ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"],
        5258,
        {"AUX": 36, "Tdiode": 38.75},
        (0, 1190),
    ),
    (
        "orin-nano_jp6_tegrastats_idle.txt",
        0,
        {"VDD_IN": 4761, "VDD_CPU_GPU_CV": 515, "VDD_SOC": 1428},
        ["VDD_IN"],
        4761,
        {"cpu": 48.562, "tj": 49.062},
        (0, 729),
    ),
    (
        "orin-nano_jp6_tegrastats_load.txt",
        0,
        {"VDD_IN": 6030, "VDD_CPU_GPU_CV": 1913, "VDD_SOC": 1557},
        ["VDD_IN"],
        6030,
        {"cpu": 48.781, "tj": 50.718},
        (45, 1728),
    ),
    (
        "orin-nano_jp6_tegrastats_jetson_clocks.txt",
        2,
        {"VDD_IN": 6626, "VDD_CPU_GPU_CV": 1228, "VDD_SOC": 2380},
        ["VDD_IN"],
        6626,
        {"cpu": 49.812, "soc1": 50.468},
        (0, 1344),
    ),
    ("jetson_stats_emulator_lines.txt", 1, {}, [], 0, {"AO": 31, "thermal": 23.5}, (10, 204)),
    (
        "jetson_stats_emulator_lines.txt",
        2,
        {"VDD_IN": 1038, "VDD_CPU": 153, "VDD_GPU": 153, "VDD_SOC": 384, "VDD_WIFI": 38, "VDD_DDR": 192},
        ["VDD_IN"],
        1038,
        {"BCPU": 30, "Tdiode": 27.5},
        (10, 345),
    ),
    (
        "jetson_stats_emulator_lines.txt",
        3,
        {"GPU": 1155, "CPU": 385, "SOC": 2504, "CV": 0, "VDDRQ": 192, "SYS5V": 2692},
        ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"],
        6928,
        {"iwlwifi": 30, "thermal": 27.45},
        (10, 2265),
    ),
    ("jetson_stats_emulator_lines.txt", 4, {}, [], 0, {"CPU": 41.375, "tj": 41.468}, (10, 729)),
    (
        "jetson_stats_emulator_lines.txt",
        5,
        {"POM_5V_IN": 933, "POM_5V_GPU": 0, "POM_5V_CPU": 84},
        ["POM_5V_IN"],
        933,
        {"PLL": 20.5, "AO": 27},
        (10, 102),
    ),
    (
        "jetson_stats_emulator_lines.txt",
        6,
        {"VDD_IN": 14025, "VDD_CPU": 2209, "VDD_GPU": 6854, "VDD_SOC": 1371, "VDD_WIFI": 19, "VDD_DDR": 2702},
        ["VDD_IN"],
        14025,
        {"AO": 47.5, "BCPU": -45},
        (10, 2035),
    ),
]


@pytest.mark.parametrize(("name", "number", "rails", "total", "watts", "temperatures", "cpu"), TEGRASTATS)
def test_recorded_lines_of_tegrastats(
    name: str,
    number: int,
    rails: dict[str, float],
    total: list[str],
    watts: float,
    temperatures: dict[str, float],
    cpu: tuple[float, float],
) -> None:
    line = parse_line(sample(f"jetson/{name}").splitlines()[number])
    assert line.rails_mw == rails
    assert sum(line.rails_mw[rail] for rail in total) == watts
    assert temperatures.items() <= line.temperatures_c.items()
    assert "PMIC" not in line.temperatures_c
    assert min(line.temperatures_c.values()) > -100  # -256 means off
    assert (line.cpu_percent[0], line.cpu_mhz[0]) == cpu


def test_tegrastats_with_cpus_that_are_off() -> None:
    line = parse_line("RAM 1/2MB CPU [5%@1420,off,off,7%@1420] EMC_FREQ 0% GPU@20C POM_5V_IN 2000/1900")
    assert line.cpu_percent == (5, None, None, 7)
    assert line.cpu_mhz == (1420, None, None, 1420)
    assert line.rails_mw == {"POM_5V_IN": 2000}


def test_the_recorded_tree_of_an_orin_nx() -> None:
    root = shared_dir() / "device-samples/jetson/orin-nx_sysfs"
    row = probe(root, "ina3221-hwmon", trees.ORIN)
    assert (row.available, row.scope) == (True, "module_input")
    # channels 2 and 3 have labels and no readings; in7 is a sum of shunt voltages
    assert values(root, "ina3221-hwmon", trees.ORIN) == {"VDD_IN mV": 5072, "VDD_IN mA": 1312}


# each kind


def test_the_pmic(tmp_path: Path) -> None:
    root = trees.pi5(tmp_path)
    row = probe(root, "pmic")
    assert (row.available, row.scope, row.remedy) == (True, "soc_rails", None)
    assert values(root, "pmic") == {
        "3V3_SYS A": 0.5,
        "3V3_SYS V": 3.3,
        "VDD_CORE A": 2.0,
        "VDD_CORE V": 0.8,
        "EXT5V V": 5.1,
    }
    meter = open_meter("pmic", {"rail": "VDD_CORE"}, root)
    assert (meter.scope, meter.total, meter.estimated) == ("rail:VDD_CORE", ("VDD_CORE",), False)
    meter = open_meter("pmic", {}, root)
    trees.write(root, {"adc.txt": trees.ADC.replace("VDD_CORE", "VDD_OTHER")})
    with pytest.raises(MeterError, match="no longer shows VDD_CORE"):
        meter.read()


@pytest.mark.parametrize(
    ("script", "reason", "remedy"),
    [
        ("echo 'error=1 error_msg=\"Command not registered\"'; exit 255", "Raspberry Pi 4 .*has no power chip", "csv:"),
        ("echo 'VCHI initialization failed'; exit 255", "VCHI initialization failed", "usermod -aG video"),
        ("exit 3", "exit code 3", "video"),
        ("echo hello", "prints 'hello'", None),
        ("echo 'VDD_A volt(1)=3.0V'", "prints", None),
        ("echo 'VDD_A current(1)=nanA'", "prints", None),
        ("echo 'EXT5V_V volt(24)=5.1V'", "no rail with both", None),
        ("true", "no rail with both", None),
        ("exec sleep 30", "no answer within", None),
    ],
)
def test_vcgencmd_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str, remedy: str | None
) -> None:
    monkeypatch.setattr("yolo_edge.ondevice.power.pmic._SECONDS", 0.5 if "sleep" in script else 10)
    trees.write(tmp_path, {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"})
    trees.program(tmp_path, "vcgencmd", script)
    row = probe(tmp_path, "pmic")
    assert row.available is False
    assert row.scope is None
    with pytest.raises(MeterError, match=reason):
        open_meter("pmic", {}, tmp_path)
    assert (row.remedy is None) is (remedy is None)
    assert remedy is None or remedy in str(row.remedy)


def test_no_vcgencmd(tmp_path: Path) -> None:
    assert "not a Raspberry Pi" in str(probe(tmp_path, "pmic").reason)
    trees.write(tmp_path, {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    assert "apt install" in str(probe(tmp_path, "pmic").remedy)


def test_hwmon_of_an_agx_orin(tmp_path: Path) -> None:
    """Two chips; the memory is fed by VIN_SYS_5V0 and counts once."""
    trees.hwmon(
        tmp_path, "1-0040", [("VDD_GPU_SOC", 19000, 300), ("VDD_CPU_CV", 19000, 100), ("VIN_SYS_5V0", 5000, 900)]
    )
    trees.hwmon(tmp_path, "1-0041", [("NC", 1, 1), ("VDDQ_VDD2_1V8AO", 5000, 400), ("NC", 1, 1)], 4)
    meter = open_meter("ina3221-hwmon", {}, tmp_path, trees.AGX_ORIN)
    assert (meter.total, meter.scope) == (tuple(NVIDIA_5V), "module_input")
    read = values(tmp_path, "ina3221-hwmon", trees.AGX_ORIN)
    assert read["VDDQ_VDD2_1V8AO mA"] == 400
    assert not any("NC" in name for name in read)
    (tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/curr2_input").unlink()
    with pytest.raises(MeterError, match="curr2_input cannot be read"):
        meter.read()
    row = probe(tmp_path, "ina3221-hwmon", trees.AGX_ORIN)
    assert (row.available, row.scope) == (False, None)
    assert "no VDD_CPU_CV, which the total of AGX Orin consists of" in str(row.reason)
    assert "rail=VDD_GPU_SOC" in str(row.remedy)


def test_a_board_of_which_nothing_is_known_shows_one_rail(tmp_path: Path) -> None:
    trees.hwmon(tmp_path, "1-0040", [("VDD_IN", 5000, 1000), ("VDD_SOC", 5000, 200)])
    assert probe(tmp_path, "ina3221-hwmon").scope == "rail:VDD_IN"
    meter = open_meter("ina3221-hwmon", {"rail": "VDD_SOC"}, tmp_path, trees.ORIN)
    assert (meter.total, meter.scope) == (("VDD_SOC",), "rail:VDD_SOC")
    with pytest.raises(InputError, match="there is no rail 'VDD_GPU'; there are: VDD_IN, VDD_SOC"):
        open_meter("ina3221-hwmon", {"rail": "VDD_GPU"}, tmp_path, trees.ORIN)


def test_two_chips_with_the_same_labels(tmp_path: Path) -> None:
    trees.hwmon(tmp_path, "1-0040", [("A", 1000, 1)])
    trees.hwmon(tmp_path, "1-0041", [("A", 2000, 1)], 4)
    assert set(values(tmp_path, "ina3221-hwmon")) == {"A@hwmon3 mV", "A@hwmon3 mA", "A@hwmon4 mV", "A@hwmon4 mA"}


def test_hwmon_with_damaged_files(tmp_path: Path) -> None:
    trees.hwmon(tmp_path, "1-0040", [("VDD_IN", 5000, 1000), ("VDD_SOC", 5000, 200)])
    folder = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    meter = open_meter("ina3221-hwmon", {}, tmp_path, trees.ORIN)
    (folder / "in1_input").write_text("five volts")
    with pytest.raises(MeterError, match="in1_input: holds no number"):
        meter.read()
    assert "no VDD_IN" in str(probe(tmp_path, "ina3221-hwmon", trees.ORIN).reason)
    for path in folder.glob("*_input"):
        path.unlink()
    assert "no channel that can be read" in str(probe(tmp_path, "ina3221-hwmon", trees.ORIN).reason)


def test_iio_of_a_tx2(tmp_path: Path) -> None:
    board = {"name": "Jetson TX2", "total": ["VDD_IN"], "scope": "module_input"}
    trees.iio(tmp_path, "0-0040", [("SYS_GPU", 150), ("SYS_SOC", 380), ("4V0_WIFI", 38)])
    trees.iio(tmp_path, "0-0041", [("VDD_IN", 1038), ("SYS_CPU", 153), ("NC", 5)])
    meter = open_meter("ina3221-iio", {}, tmp_path, board)
    assert (meter.total, meter.scope) == (("VDD_IN",), "module_input")
    read = values(tmp_path, "ina3221-iio", board)
    assert read == {"SYS_GPU mW": 150, "SYS_SOC mW": 380, "4V0_WIFI mW": 38, "VDD_IN mW": 1038, "SYS_CPU mW": 153}
    assert probe(tmp_path, "ina3221-hwmon", board).available is False


LOAD = "VDD_IN 6030mW/6030mW VDD_CPU_GPU_CV 1913mW/1913mW VDD_SOC 1557mW/1557mW"


def test_tegrastats(tmp_path: Path) -> None:
    trees.program(tmp_path, "tegrastats", f"while true; do echo 'RAM 1/2MB {LOAD}'; sleep 0.05; done")
    row = probe(tmp_path, "tegrastats", trees.ORIN)
    assert (row.available, row.scope) == (True, "module_input")
    meter = open_meter("tegrastats", {}, tmp_path, trees.ORIN)
    process = meter._process  # type: ignore[attr-defined]
    assert meter.read() == [6030, 1913, 1557]
    assert process.poll() is None
    meter.close()
    assert process.poll() is not None


def test_tegrastats_ends_with_its_reader(tmp_path: Path) -> None:
    """It ignores SIGPIPE and would print forever."""
    trees.program(
        tmp_path,
        "tegrastats",
        f"trap '' PIPE HUP TERM; echo $$ >{tmp_path}/pid; while :; do echo '{LOAD}'; sleep 0.05; done",
    )
    text = f"from yolo_edge.ondevice.power import open_meter; m = open_meter('tegrastats', {{}}, {str(tmp_path)!r});"
    text += "print(m.read(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline()
        pid = int((tmp_path / "pid").read_text())
        assert Path(f"/proc/{pid}").exists()
        reader.kill()
    end = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 1", "tegrastats ended"),
        ("exec sleep 30", "printed nothing within"),
        ("while :; do echo 'RAM 1/2MB CPU [1%@204] CPU@25C'; sleep 0.1; done", "prints no power here"),
        ("head -c 300000 /dev/zero; exec sleep 30", "printed nothing within"),
    ],
)
def test_tegrastats_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    monkeypatch.setattr("yolo_edge.ondevice.power.tegrastats._SECONDS", 1)
    trees.program(tmp_path, "tegrastats", script)
    assert reason in str(probe(tmp_path, "tegrastats", trees.ORIN).reason)


def test_rapl(tmp_path: Path) -> None:
    root = trees.rapl(tmp_path)
    row = probe(root, "rapl")
    assert (row.available, row.scope) == (True, "rail:package")
    meter = open_meter("rapl", {}, root)
    assert meter.total == ("package-0", "package-1")
    assert {column.wrap for column in meter.columns} == {262_143_328_850}
    assert values(root, "rapl") == {
        "package-0 uJ": 1_000_000,
        "package-0/core uJ": 600_000,
        "package-0/dram uJ": 100_000,
        "package-1 uJ": 500_000,
        "psys uJ": 3_000_000,
    }
    assert open_meter("rapl", {"rail": "psys"}, root).scope == "rail:psys"


@pytest.mark.parametrize(
    ("cpuinfo", "estimated"),
    [
        ("vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 158\nmodel name\t: x", False),
        ("vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 42\nmodel name\t: x", True),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 23\nmodel\t\t: 1\n", True),
        ("", False),
    ],
)
def test_counters_that_follow_a_model_are_estimates(tmp_path: Path, cpuinfo: str, estimated: bool) -> None:
    root = trees.write(trees.rapl(tmp_path), {"proc/cpuinfo": cpuinfo})
    assert open_meter("rapl", {}, root).estimated is estimated


def test_rapl_for_root_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        with path.open("rb") as file:
            return file.read()

    monkeypatch.setattr(Path, "read_bytes", refuse)
    row = probe(trees.rapl(tmp_path), "rapl")
    assert "by root only" in str(row.reason)
    assert "chmod a+r" in str(row.remedy)


class Bus:
    """An I2C bus as smbus2 has it: addresses → registers; the low byte of a word comes first."""

    registers: ClassVar[dict[int, dict[int, int]]] = {}
    opened: ClassVar[list[str]] = []
    read: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, bus: str):
        self.opened.append(bus)

    def read_word_data(self, address: int, register: int) -> int:
        self.read.append((address, register))
        try:
            word = self.registers[address][register]
        except KeyError as error:
            raise OSError(121, "Remote I/O error") from error
        return (word & 0xFF) << 8 | word >> 8

    def close(self) -> None:
        self.opened.pop()


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a machine with an I2C bus 1."""
    module = types.ModuleType("smbus2")
    module.SMBus = Bus  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "smbus2", module)
    monkeypatch.setattr(Bus, "registers", {})
    monkeypatch.setattr(Bus, "opened", [])
    monkeypatch.setattr(Bus, "read", [])
    return trees.write(tmp_path, {"dev/i2c-1": "", "dev/i2c-7": ""})


# the examples of the data sheets where they have one: registers, options → volts, amperes
CHIPS = [
    # 12 V: 0x5D98 >> 3 = 2995 steps of 4 mV; 20 mV over 0.1 ohm
    ("ina219", {0: 0x399F, 1: 2000, 2: 0x5D98}, {}, 11.98, 0.2),
    # the other direction: -100 mV over 0.01 ohm
    ("ina219", {0: 0x399F, 1: 0x10000 - 10000, 2: 0x1F40 << 1}, {"shunt": "0.01"}, 8.0, -10.0),
    # SBOS547, 6.5.1: 11.98 V is 0x2570, 20 mV is 0x1F40; shunt 2 milliohm, 10 A
    ("ina226", {0: 0x4127, 1: 0x1F40, 2: 0x2570, 0xFE: 0x5449, 0xFF: 0x2260}, {"shunt": "0.002"}, 11.98, 10.0),
    # steps of 1.25 mA and 1.25 mV
    ("ina260", {0: 0x6127, 1: 0x2710, 2: 0x2570, 0xFE: 0x5449, 0xFF: 0x2270}, {}, 11.98, 12.5),
    ("ina260", {0: 0x6127, 1: 0xFFFF, 2: 0x0FA0, 0xFE: 0x5449, 0xFF: 0x2270}, {}, 5.0, -0.00125),
]


@pytest.mark.parametrize(("kind", "registers", "options", "volts", "amperes"), CHIPS)
def test_chips_on_i2c(
    bus: Path, kind: str, registers: dict[int, int], options: dict[str, str], volts: float, amperes: float
) -> None:
    Bus.registers[0x45] = registers
    row = probe(bus, kind)
    assert (row.available, row.scope) == (True, "board_input")
    assert "0x45" in str(row.reason)
    for other in ("ina219", "ina226", "ina260"):
        assert probe(bus, other).available is (other == kind)
    read = values(bus, kind, **options)
    assert read["supply V"] == pytest.approx(volts)
    assert read["supply A"] == pytest.approx(amperes)
    assert Bus.opened == []
    with pytest.raises(InputError, match="scope=plug"):
        open_meter(kind, {"scope": "plug"}, bus)
    assert open_meter(kind, {"scope": "battery", "address": "0x45"}, bus).scope == "battery"


def test_looking_for_chips_sends_nothing_to_others(bus: Path) -> None:
    """A humidity sensor at 0x40 would take register 0xFE for a reset."""
    Bus.registers[0x40] = {2: 1}
    Bus.registers[0x41] = {0: 0x1234, 0xFE: 0}
    for kind in ("ina219", "ina226", "ina260"):
        assert probe(bus, kind).available is False
    assert {register for _, register in Bus.read} == {0}


def test_chips_that_cannot_be_used(bus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "wire one" in str(probe(bus, "ina226").remedy)
    chip = {0: 0x4127, 1: 1, 2: 2, 0xFE: 0x5449, 0xFF: 0x2260}
    Bus.registers.update({0x40: chip, 0x44: dict(chip)})
    row = probe(bus, "ina226")
    assert "0x40, 0x44" in str(row.reason)
    assert "address=0x40" in str(row.remedy)
    assert values(bus, "ina226", address="0x44", bus="7")["supply V"] == 2 * 1.25e-3
    chip[1] = 0x7FFF
    with pytest.raises(MeterError, match="beyond its range"):
        open_meter("ina226", {"address": "0x40"}, bus)
    for options, message in (
        ({"address": "0x80"}, "address=0x80: expected"),
        ({"address": "x"}, "address=x: expected a whole number from 0x0 to 0x7f"),
        ({"shunt": "0"}, "shunt=0: expected a number"),
        ({"shunt": "nan"}, "shunt=nan: expected a number"),
        ({"shunt": "x"}, "shunt=x: expected a number"),
        ({"address": "0x44", "shunts": "1"}, "there is no option 'shunts'"),
        ({"address": "0x44", "interval": "0"}, "interval=0: expected"),
    ):
        with pytest.raises(InputError, match=message):
            open_meter("ina226", options, bus)
    Bus.registers[0x46] = {0: 0x6127, 1: 1, 2: 2}
    with pytest.raises(InputError, match="there is no option 'shunt'"):
        open_meter("ina260", {"address": "0x46", "shunt": "0.1"}, bus)
    with pytest.raises(MeterError, match="does not answer"):
        open_meter("ina226", {"address": "0x4a"}, bus)
    with pytest.raises(MeterError, match="no I2C bus 3"):
        open_meter("ina226", {"bus": "3"}, bus)
    assert Bus.opened == []

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sys.modules["smbus2"], "SMBus", refuse)
    assert "usermod -aG i2c" in str(probe(bus, "ina219").remedy)
    monkeypatch.setitem(sys.modules, "smbus2", None)
    assert probe(bus, "ina219").remedy == "pip install smbus2"


# all of them


def test_a_machine_without_meters(tmp_path: Path) -> None:
    rows = probe_all(tmp_path)
    assert [row.kind for row in rows] == list(KINDS)
    for row in rows:
        assert (row.available, row.scope) == (False, None)
        assert row.reason


def test_options_that_are_none(tmp_path: Path) -> None:
    root = trees.rapl(tmp_path)
    with pytest.raises(InputError, match="there is no option 'colour'"):
        open_meter("rapl", {"colour": "red"}, root)
    with pytest.raises(InputError, match="there is no such meter; there are: ina"):
        open_meter("nuclear", {}, root)
    assert open_meter("rapl", {"root": str(root), "interval": "0.2"}, "/nonexistent").interval_s == 0.2
    for board in ({"total": 3}, {"name": 3}, {"scope": []}):
        with pytest.raises(InputError, match="not a description of a board"):
            Board.from_plain(board)


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("rapl", "rapl", {}),
        ("pmic:rail=VDD_CORE", "pmic", {"rail": "VDD_CORE"}),
        ("ina226:bus=1,address=0x41,shunt=0.01", "ina226", {"bus": "1", "address": "0x41", "shunt": "0.01"}),
        ("csv:power.csv", "csv", {"file": "power.csv"}),
        ("csv:a, b=c.csv,scope=wall,offset=-1.5", "csv", {"file": "a, b=c.csv", "scope": "wall", "offset": "-1.5"}),
        ("csv:C:\\x.csv", "csv", {"file": "C:\\x.csv"}),
    ],
)
def test_meters_as_the_command_line_names_them(text: str, kind: str, options: dict[str, str]) -> None:
    assert parse_meter(text) == (kind, options)


@pytest.mark.parametrize("text", ["", "x", "csv", "csv:", "rapl:", "rapl:rail", "rapl:rail=a,rail=b", "rapl:=a", ":"])
def test_meters_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--meter"):
        parse_meter(text)
