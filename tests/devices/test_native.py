"""Recorded outputs of native benchmark programs and of NVIDIA's tools, against values read by hand."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import shared_dir
from yolo_edge.devices.jetson import Power, ask_power, parse_clocks, parse_power_modes
from yolo_edge.devices.local import LocalDevice
from yolo_edge.devices.native import (
    Timing,
    parse_benchmark_model,
    parse_benchncnn,
    parse_hyperfine,
    parse_output,
    parse_perf_test,
)
from yolo_edge.ondevice.errors import InputError


def recorded(name: str) -> str:
    return (shared_dir() / "device-samples" / name).read_text()


def test_benchmark_model_in_the_log_of_a_phone() -> None:
    """Two lines begin with count=: the second is the measured one."""
    assert parse_benchmark_model(recorded("tools/tflite_benchmark_apk_yolo26n_logcat.txt")) == Timing(
        name="/data/local/tmp/yolo26n_fp16.tflite",
        n=25,
        threads=4,
        mean=257.131,
        min=220.934,
        max=326.273,
        std=27.081,
        p50=252.767,
        p95=303.407,
        first=237.814,
        warm_up=238.954,
        load=95.112,
        memory_mb=90.25,
    )


def test_an_older_benchmark_model() -> None:
    """Without percentiles; the first line has one run only, and no average."""
    assert parse_benchmark_model(recorded("tools/tflite_benchmark_model_old_qemu.txt")) == Timing(
        name="./mobilenet_v1_1.0_224.tflite",
        n=50,
        threads=4,
        mean=2950.34,
        min=2727.568,
        max=3189.954,
        std=109.798,
        first=3512.391,
        warm_up=3512.39,
        load=17.187,
        memory_mb=46.0859,
    )


def test_benchmark_model_of_which_the_end_is_kept() -> None:
    assert parse_benchmark_model(recorded("tools/tflite_benchmark_model_yolov5s_sd_android.txt")) == Timing(
        n=50,
        mean=249.684,
        min=247.067,
        max=254.474,
        std=1.442,
        first=360.262,
        warm_up=304.586,
        load=16.242,
        memory_mb=138.809,
    )


def test_onnxruntime_perf_test() -> None:
    cobalt = parse_perf_test(recorded("tools/onnxruntime_perf_test_arm_cobalt.txt"))
    assert (cobalt.n, cobalt.threads, cobalt.mean, cobalt.first) == (100, None, 1.85739, 2)
    assert cobalt.p50 == pytest.approx(1.85674)
    assert cobalt.p90 == pytest.approx(1.87215)
    assert cobalt.p99 == pytest.approx(1.90312)
    assert cobalt.load == pytest.approx(10.2016)
    assert cobalt.memory_mb == pytest.approx(36.696064)
    k1 = parse_perf_test(recorded("tools/onnxruntime_perf_test_yolov8n_k1.txt"))
    assert (k1.n, k1.threads, k1.mean, k1.first) == (10, 4, 82.3382, 248)
    assert k1.p50 == pytest.approx(82.6095)
    assert k1.p95 == pytest.approx(83.8817)
    assert (k1.min, k1.max) == (pytest.approx(80.8129), pytest.approx(83.8817))
    assert k1.load == pytest.approx(1144.76)


# file → lines, and of yolo-fastest-1.1: threads, GPU, min, max, mean in ms of each run
NCNN: dict[str, tuple[int, int, list[tuple[int, bool, float, float, float]]]] = {
    "benchncnn_orin_nano.txt": (
        140,
        8,
        [
            (6, True, 8.72, 9.18, 8.96),
            (1, True, 7.68, 11.32, 8.20),
            (6, False, 5.51, 6.03, 5.75),
            (1, False, 10.25, 10.35, 10.29),
        ],
    ),
    "benchncnn_pi3b+.txt": (64, 4, [(4, False, 79.85, 80.83, 80.28), (1, False, 100.83, 101.96, 101.49)]),
    "benchncnn_pi4.txt": (70, 10, [(4, False, 47.97, 48.20, 48.06), (1, False, 56.58, 57.44, 57.01)]),
    "benchncnn_pi5.txt": (70, 10, [(4, False, 5.53, 5.97, 5.62), (1, False, 8.10, 8.14, 8.12)]),
    "benchncnn_zero2w.txt": (62, 8, [(4, False, 98.74, 100.02, 99.17), (1, False, 155.04, 155.98, 155.53)]),
}


@pytest.mark.parametrize(("name", "lines", "loops", "runs"), [(name, *rest) for name, rest in NCNN.items()])
def test_benchncnn(name: str, lines: int, loops: int, runs: list[tuple[int, bool, float, float, float]]) -> None:
    found = parse_benchncnn(recorded(f"tools/{name}"))
    assert len(found) == lines
    own = [timing for timing in found if timing.name == "yolo-fastest-1.1"]
    assert [(one.threads, one.gpu, one.min, one.max, one.mean) for one in own] == runs
    assert {one.n for one in found} == {loops}


def test_hyperfine() -> None:
    (found,) = parse_hyperfine(recorded("tools/hyperfine_local.json").encode())
    assert (found.name, found.n) == ("true", 20)
    assert found.mean == pytest.approx(3.1355769)
    assert found.p50 == pytest.approx(2.9656095)
    assert (found.min, found.max) == (pytest.approx(0.48832), pytest.approx(8.21029))
    assert found.std == pytest.approx(2.7405089)


def test_each_program_is_known_by_its_words() -> None:
    counts = {path.name: parse_output(path.read_bytes()) for path in (shared_dir() / "device-samples/tools").iterdir()}
    assert len(counts) == 11
    several = {name: len(found) for name, found in counts.items() if len(found) != 1}
    assert several == {name: lines for name, (lines, _, _) in NCNN.items()}
    for other in (b"", b"hello", b"{}", b"\xff\x00"):
        with pytest.raises(InputError, match=r"not an output of|not a document of hyperfine"):
            parse_output(other)


@pytest.mark.parametrize(
    "parse", [parse_benchmark_model, parse_perf_test, parse_benchncnn, parse_power_modes, parse_clocks]
)
@given(text=st.text("count=avg min max 0123456789.e+-\n", max_size=100))
def test_outputs_that_are_none(parse: object, text: str) -> None:
    with pytest.raises(InputError, match="printed no"):
        parse("STARTING!\n" + text.replace("avg", "a").replace("count", "c"))  # type: ignore[operator]


@pytest.mark.parametrize("value", ["", "[]", '{"results": 3}', json.dumps({"results": [{"command": "a"}]})])
def test_documents_that_are_none(value: str) -> None:
    with pytest.raises(InputError, match="not a document of hyperfine"):
        parse_hyperfine(value.encode())


def test_power_modes_of_a_nano() -> None:
    maxn, five = parse_power_modes(recorded("jetson/nano_nvpmodel_p_verbose.txt"))
    assert (maxn.number, maxn.name, maxn.default, maxn.cpus, maxn.max_mhz) == (0, "MAXN", True, 4, {})
    assert (five.number, five.name, five.default, five.cpus) == (1, "5W", False, 2)
    assert five.max_mhz == {"CPU_A57": 918, "GPU": 640, "EMC": 1600}


def test_power_modes_of_a_xavier() -> None:
    modes = parse_power_modes(recorded("jetson/xavier_nvpmodel_p_verbose.txt"))
    assert [mode.name for mode in modes] == [
        "MAXN",
        "MODE_10W",
        "MODE_15W",
        "MODE_30W_ALL",
        "MODE_30W_6CORE",
        "MODE_30W_4CORE",
        "MODE_30W_2CORE",
    ]
    assert [mode.number for mode in modes if mode.default] == [2]
    assert [mode.cpus for mode in modes] == [8, 2, 4, 8, 6, 4, 2]
    last = modes[-1].max_mhz
    assert (last["CPU_DENVER_0"], last["GPU"], last["DLA_CORE"], last["CVNAS"]) == (2100, 900, 1050, 1011.2)


def test_a_jetson_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask_power(LocalDevice()) == Power()  # this machine has none of the tools
    for tool, words, name in (
        ("nvpmodel", "-p --verbose", "nano_nvpmodel_p_verbose.txt"),
        ("jetson_clocks", "--show", "tx2_jetson_clocks_show.txt"),
    ):
        (tmp_path / "answer").with_suffix(f".{tool}").write_text(recorded(f"jetson/{name}"))
        (tmp_path / tool).write_text(f'#!/bin/sh\n[ "$*" = "{words}" ] && cat {tmp_path}/answer.{tool}\n')
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = ask_power(LocalDevice())
    assert [mode.name for mode in found.modes] == ["MAXN", "5W"]
    assert found.clocks is not None
    assert not found.clocks.fixed


def test_clocks_of_a_tx2() -> None:
    clocks = parse_clocks(recorded("jetson/tx2_jetson_clocks_show.txt"))
    assert (clocks.soc, clocks.power_mode, clocks.fixed) == ("tegra186", "MAXP_CORE_ARM", False)
    assert [cpu.online for cpu in clocks.cpus] == [True, False, False, True, True, True]
    fourth = clocks.cpus[3]
    assert (fourth.governor, fourth.min_mhz, fourth.max_mhz, fourth.current_mhz) == ("schedutil", 345.6, 2035.2, 1881.6)
    assert clocks.gpu_mhz == (114.75, 1134.75, 114.75)
    assert clocks.memory_mhz == (40.8, 1600, 1600)
    assert parse_clocks("cpu0: Online=1 Governor=x MinFreq=9000 MaxFreq=9000 CurrentFreq=9000").fixed
