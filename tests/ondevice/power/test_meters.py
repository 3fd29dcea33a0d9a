"""Each kind of meter on trees of files: recorded ones, and some of our own."""

from pathlib import Path

import pytest

from tests.ondevice.power import trees
from tests.ondevice.power.support import probe, sample, values
from tests.support import shared_dir
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.power import KINDS, open_meter, parse_meter, probe_all
from yolo_edge.ondevice.power.meter import Board, MeterError
from yolo_edge.ondevice.power.pmic import parse_adc


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


def test_the_recorded_tree_of_an_orin_nx() -> None:
    root = shared_dir() / "device-samples/jetson/orin-nx_sysfs"
    row = probe(root, "ina3221-hwmon", trees.ORIN)
    assert (row.available, row.scope) == (True, "module_input")
    # channels 2 and 3 have labels and no readings; in7 is a sum of shunt voltages
    assert values(root, "ina3221-hwmon", trees.ORIN) == {"VDD_IN mV": 5072, "VDD_IN mA": 1312}


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
    assert (meter.total, meter.scope) == (("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), "module_input")
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
