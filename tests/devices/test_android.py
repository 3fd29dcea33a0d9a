"""What a phone says, against recorded outputs; the numbers were read off the files by hand."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.devices.phone import CORES
from yolo_edge.devices.android.battery import Battery, decide, parse_battery
from yolo_edge.devices.android.cores import Cluster, clusters_of, fastest, mask_of
from yolo_edge.devices.android.odpm import parse_energy, total_of
from yolo_edge.devices.android.thermal import Thermal, parse_thermal
from yolo_edge.devices.benchmark_model import Operator, complaint, parse_report
from yolo_edge.ondevice.errors import InputError

# as tensorflow/lite/g3doc/performance/measurement.md shows it, shortened
PROFILE = """\
Operator-wise Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t         AllocateTensors\t    9.000\t    9.000\t100.000%\t100.000%\t     0.000\t        1\t[AllocateTensors/0]
Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t  [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                 CONV_2D\t    0.000\t    4.269\t    4.250\t  0.107%\t  0.107%\t     0.000\t        1\t[a/Relu6]:0
\t       DEPTHWISE_CONV_2D\t    4.270\t    2.150\t    2.125\t  0.054%\t  0.161%\t     0.000\t        1\t[b/Relu6]:1
\t TfLiteXNNPackDelegate\t    6.270\t    8.150\t    8.125\t  0.054%\t  0.161%\t     0.000\t        1\t[c]:2

============================== Top by Computation Time ==============================
\t             [node type]\t  [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                 CONV_2D\t    0.000\t    4.269\t    4.250\t  0.107%\t  0.107%\t     0.000\t        1\t[a/Relu6]:0
"""


@pytest.fixture(scope="module")
def samples(shared: Path) -> Path:
    return shared / "device-samples"


def test_what_runs_the_nodes(samples: Path) -> None:
    report = parse_report((samples / "tools/tflite_benchmark_apk_yolo26n_logcat.txt").read_text())
    assert (report.delegate, report.delegated) == ("TfLiteXNNPackDelegate", (642, 685))
    assert (report.count, report.middle_ms) == (25, 252.767)
    report = parse_report((samples / "tools/tflite_benchmark_model_old_qemu.txt").read_text())
    assert (report.delegate, report.delegated) == (None, None)
    assert report.middle_ms == 2950.34  # the mean: there is no median


def test_time_by_operator_is_that_of_the_inferences() -> None:
    report = parse_report(f"count=5 first=9 curr=9 avg=8\n{PROFILE}")
    assert report.operators == (
        Operator("c", "TfLiteXNNPackDelegate", 8.125),
        Operator("a/Relu6", "CONV_2D", 4.25),
        Operator("b/Relu6", "DEPTHWISE_CONV_2D", 2.125),
    )


@given(st.text(alphabet="count=1avg.e+-0 \n[]:%CONV_2D\t", max_size=300))
def test_what_is_no_report_says_so(text: str) -> None:
    found = None
    with contextlib.suppress(InputError):
        found = parse_report(text)
    assert found is None or (found.count > 0 and found.middle_ms > 0)


def test_why_a_tool_failed() -> None:
    text = "STARTING!\nERROR: Could not open '/x.tflite'.\nBenchmarking was not run.\n"
    assert complaint(text) == "ERROR: Could not open '/x.tflite'."
    assert complaint("") == "it says nothing"


def test_thermal_status_with_the_temperatures_of_now(samples: Path) -> None:
    poco = parse_thermal((samples / "android/poco_2412DPC0AG_thermalservice_trimmed.txt").read_text())
    now = {"CPU": 44.181, "GPU": 44.9, "BATTERY": 35.4, "SKIN": 35.1, "POWER_AMPLIFIER": 41.389, "SOC": 46.2}
    assert poco == Thermal(0, now)
    xiaomi = parse_thermal((samples / "android/xiaomi13tpro_thermalservice.txt").read_text())
    assert xiaomi == Thermal(0, {"CPU": 57.9, "SKIN": 34.351})  # cached: 84.208


@given(st.text())
def test_other_text_has_no_thermal_status(text: str) -> None:
    assert parse_thermal(text).temperatures_c == {} or "Current temperatures from HAL" in text


def test_battery(samples: Path) -> None:
    found = parse_battery((samples / "android/dumpsys_battery_skia_pixel.txt").read_text())
    assert found == Battery(("AC",), 2, 94, 4248, 28.0)
    assert found.charging == "AC powered"
    assert parse_battery("").charging is None
    assert Battery(status=2).charging == "charging"
    assert Battery(status=3, level=50).charging is None


def test_energy_counters(samples: Path) -> None:
    first = parse_energy((samples / "android/pixel6_odpm_device0_energy_value.txt").read_text())
    assert list(first) == [
        "S10M_VDD_TPU",
        "VSYS_PWR_MODEM",
        "VSYS_PWR_RFFE",
        "S2M_VDD_CPUCL2",
        "S3M_VDD_CPUCL1",
        "S4M_VDD_CPUCL0",
        "S5M_VDD_INT",
        "S1M_VDD_MIF",
    ]
    assert (first["S4M_VDD_CPUCL0"], first["S1M_VDD_MIF"]) == (46356942, 21091363)
    second = parse_energy((samples / "android/pixel6_odpm_device1_energy_value.txt").read_text())
    assert second["VSYS_PWR_DISPLAY"] == 81221665
    assert total_of(list(second)) == (
        "S9S_VDD_AOC",
        "S5S_VDDQ_MEM",
        "S10S_VDD2L",
        "S4S_VDD2H_MEM",
        "S2S_VDD_G3D",
    )
    both = parse_energy((samples / "android/pixel6_odpm_both_angle.txt").read_text())
    assert len(both) == 16
    assert both["VSYS_PWR_WLAN_BT"] == 192612469095  # more than 32 bits


def test_every_case_of_sign_and_unit(samples: Path) -> None:
    """Those of the table that say all; idle, such a phone takes a tenth."""
    decided = {}
    for line in (samples / "android/battery_uevent_cases.tsv").read_text().splitlines()[1:]:
        device, _, current, unit, sign = line.split("\t")[:5]
        magnitude = abs(int(current)) if current.lstrip("-").isdigit() else {"uA": 500_000, "mA": 500}[unit[:2]]
        way = -1 if sign == "negative" else 1
        found = decide([way * magnitude / 10], [way * magnitude])
        decided[device] = (found.unit, found.sign)
        if magnitude != 976:  # of an idle Pixel 3a: under load it is more
            assert found.unit == unit[:2], line
        assert found.sign == way
    assert decided["Xiaomi Mi 8 (MIUI 10, Android 9)"] == ("uA", 1)
    assert decided["Huawei P8 Lite 2017"] == ("mA", -1)


@pytest.mark.parametrize(
    ("idle", "load", "problem"),
    [
        ([], [500], "not read"),
        ([500], [400], "too slow"),
        ([-500], [-500], "too slow"),
        ([900_000], [-200_000], "charges at times"),
        ([1], [0], "charges at times"),
    ],
)
def test_a_battery_that_does_not_tell(idle: list[float], load: list[float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decide(idle, load)


def tree(root: Path, cores: list[tuple[str, int, int]]) -> Path:
    for i, (part, clock, capacity) in enumerate(cores):
        cpu = root / f"sys/devices/system/cpu/cpu{i}"
        (cpu / "cpufreq").mkdir(parents=True)
        (cpu / "cpufreq/cpuinfo_max_freq").write_text(str(clock))
        (cpu / "cpu_capacity").write_text(str(capacity))
        (root / "proc").mkdir(exist_ok=True)
        with (root / "proc/cpuinfo").open("a") as file:
            file.write(f"processor\t: {i}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n")
    return root


def test_cores_big_middle_little(tmp_path: Path) -> None:
    clusters = clusters_of(tree(tmp_path, CORES))
    assert clusters == [
        Cluster("big", "Cortex-X1", (6, 7), 2802.0),
        Cluster("middle", "Cortex-A78", (4, 5), 2253.0),
        Cluster("little", "Cortex-A55", (0, 1, 2, 3), 1803.0),
    ]
    assert [fastest(clusters, threads) for threads in (1, 2, 3, 4, 5)] == [
        (6, 7),
        (6, 7),
        (4, 5, 6, 7),
        (4, 5, 6, 7),
        None,
    ]
    assert mask_of((6, 7)) == "c0"


def test_cores_that_are_alike_are_not_chosen_among(tmp_path: Path) -> None:
    clusters = clusters_of(tree(tmp_path, [("0xd08", 1500000, 1024)] * 4))
    assert clusters == [Cluster("", "Cortex-A72", (0, 1, 2, 3), 1500.0)]
    assert fastest(clusters, 1) is None
    assert clusters_of(tmp_path / "nothing") == []
    assert fastest([], 2) is None
