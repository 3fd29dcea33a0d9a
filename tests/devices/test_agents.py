import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from tests.cpus import Machine
from tests.ondevice.test_detector import foreign
from tests.support import runs, shared_dir, wait_for
from yolo_edge import Detector
from yolo_edge.devices.agents import AgentError, AgentProcess, local_command
from yolo_edge.devices.device import DeviceError
from yolo_edge.ondevice.agent import machine
from yolo_edge.ondevice.agent.server import PROTOCOL, Agent
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.runtimes.onnx_tools import MATMUL, matmul

LOAD = {"runtime": "auto", "threads": 1, "image": None, "pin": True, "fast": False}


@pytest.fixture(scope="module")
def agent(onnx_file: Path) -> Iterator[AgentProcess]:
    with AgentProcess(local_command(), "local") as process:
        spec = Detector(onnx_file).spec.to_json()
        process.loaded = process.ask("load", 60, model=str(onnx_file), spec=spec, **LOAD)  # type: ignore[attr-defined]
        yield process


def test_it_loads_warms_up_and_takes_turns(agent: AgentProcess) -> None:
    loaded: dict[str, Any] = agent.loaded  # type: ignore[attr-defined]
    assert loaded["runtime"] == "onnxruntime"
    assert min(loaded["start_ms"], loaded["load_ms"], loaded["first_ms"]) > 0
    warm = agent.ask("warm_up", 60, window_s=0.02, within=0.02, cap_s=0.2)
    assert warm["median_ms"] > 0
    turn = agent.ask("turn", 60, seconds=0.05, count=3, settle_s=0.001)
    stages = np.array(turn["stages_ns"])
    assert stages.shape[1] == 3
    assert len(stages) >= 3
    assert (stages > 0).all()
    assert stages.sum() < turn["wall_s"] * 1e9
    assert len(turn["cpu_ns"]) == len(stages)
    assert agent.ask("turn", 60, seconds=0.0, count=7, settle_s=0.0)["stages_ns"][6]
    memory = agent.ask("memory", 60)
    assert loaded["base_mb"] < memory["peak_mb"] < 2000


@pytest.mark.parametrize("with_spec", [True, False])
def test_what_is_measured_and_profiled_is_as_fast_as_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, onnx_file: Path, with_spec: bool
) -> None:
    sessions = Machine(monkeypatch, tmp_path).sessions()
    spec = Detector(onnx_file).spec.to_json() if with_spec else None
    for fast in (False, True):
        sessions.clear()
        here = Agent()
        threads = cv2.getNumThreads()
        loaded = here.answer({"do": "load", "model": str(onnx_file), "spec": spec, **LOAD, "pin": False, "fast": fast})
        cv2.setNumThreads(threads)
        assert loaded["precise"] is not fast
        assert here.answer({"do": "profile", "count": 2})["nodes"]
        assert sessions == [not fast] * 3  # loaded twice, profiled


def test_profile_names_the_operators(agent: AgentProcess) -> None:
    found = agent.ask("profile", 60, count=5)
    assert len(found["run_ms"]) == len(found["outside_ms"]) == 5
    assert {"Conv", "FusedConv"} & {node["operator"] for node in found["nodes"]}
    assert sum(node["ms"] for node in found["nodes"]) <= np.mean(found["run_ms"])


def test_peak(agent: AgentProcess) -> None:
    with AgentProcess(local_command(), "peak") as fresh:
        assert fresh.ask("peak", 60, threads=1, seconds=0.05, pin=True)["gflops"] > 0.1


def test_the_matmul_is_one() -> None:
    onnx.checker.check_model(onnx.load_from_string(MATMUL))
    a = np.random.default_rng(0).random((5, 5), np.float32)
    np.testing.assert_allclose(matmul(1)(a, a), a @ a, rtol=1e-5)


@pytest.mark.parametrize("request_", [None, 3, [], {}, {"do": "format the disk"}, {"do": "turn"}, {"do": "load"}])
def test_requests_that_are_none(request_: object) -> None:
    answer = Agent().answer(request_)
    assert set(answer) == {"error", "exit_code"}
    json.dumps(answer)


def test_hosts_and_protocol(agent: AgentProcess) -> None:
    assert agent.host["cpu"]["cpus"] >= 1
    assert agent.host["versions"]["numpy"] == np.__version__
    assert PROTOCOL == 4


def test_bad_models_are_bad_input(agent: AgentProcess, tmp_path: Path, onnx_file: Path) -> None:
    with AgentProcess(local_command(), "local") as process:
        with pytest.raises(YoloEdgeError, match="loaded no model"):
            process.ask("turn", 60, seconds=0.1, count=1, settle_s=0)
        with pytest.raises(InputError, match="no such file"):
            process.ask("load", 60, model=str(tmp_path / "missing.onnx"), spec=None, **LOAD)
        with pytest.raises(InputError, match="spec"):
            process.ask("load", 60, model=str(onnx_file), spec="{}", **LOAD)
        with pytest.raises(InputError, match="not a picture"):
            process.ask("load", 60, model=str(onnx_file), spec=None, **{**LOAD, "image": str(onnx_file)})


def test_a_model_without_a_spec_runs_alone(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(foreign().SerializeToString())
    with AgentProcess(local_command(), "local") as process:
        loaded = process.ask("load", 60, model=str(path), spec=None, **LOAD)
        assert loaded["detections"] is None
        turn = process.ask("turn", 60, seconds=0.0, count=2, settle_s=0)
        assert [len(stages) for stages in turn["stages_ns"]] == [1] * len(turn["stages_ns"])


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


HELLO = f'import os, sys, time; print(\'{{"protocol": {PROTOCOL}, "host": {{}}}}\', flush=True); input(); '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit('out of luck')", "ended with exit code 1 during 'hello': out of luck"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9, as the kernel does when memory runs out"),
        ("print('hello')", "not an answer to 'hello'"),
        ("print('[1]')", "not an answer to 'hello'"),
        ("print('{\"protocol\": 99}')", "speaks protocol 99, expected 4"),
        ("import time; time.sleep(60)", "no answer to 'hello' within 2 s"),
        ("import os; os.close(1); import time; time.sleep(60)", "closed its output during 'hello'"),
    ],
)
def test_agents_that_are_none(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_edge.devices.agents._GRACE", 0.5)
    start = time.monotonic()
    with pytest.raises(AgentError, match="the board: .*" + message):
        AgentProcess(script(text), "the board", start_seconds=2)
    assert time.monotonic() - start < 20


def test_no_such_program() -> None:
    with pytest.raises(DeviceError, match="the board: /nonexistent/python does not start"):
        AgentProcess(["/nonexistent/python"], "the board")


def test_an_answer_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_edge.devices.agents.MAX_ANSWER", 1 << 20)
    endless = HELLO + "\nwhile True: sys.stdout.write('x' * 65536)"
    with pytest.raises(AgentError, match="more than 1 MB"), AgentProcess(script(endless), "the board") as process:
        process.ask("conditions", 20)


def test_what_libraries_print_is_no_answer(tmp_path: Path, onnx_file: Path) -> None:
    noisy = "import os, yolo_edge.ondevice.agent.machine as m; real = m.memory\n"
    noisy += "def memory(): os.write(1, b'a library says hello\\n'); print('me too'); return real()\n"
    noisy += "m.memory = memory\nfrom yolo_edge.ondevice.agent.server import main\nmain()"
    with AgentProcess(script(noisy), "local") as process:
        assert process.ask("memory", 20)["peak_mb"] > 1


def test_it_ends_with_its_coordinator() -> None:
    starts = "import sys, os; from yolo_edge.devices.agents import AgentProcess, local_command; "
    starts += "p = AgentProcess(local_command(), 'x'); print(p._process.pid, flush=True); sys.stdin.read()"
    with subprocess.Popen(script(starts), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as coordinator:
        assert coordinator.stdout is not None
        pid = int(coordinator.stdout.readline())
        assert runs(pid)
        coordinator.send_signal(signal.SIGKILL)
        coordinator.wait()
    wait_for(lambda: not runs(pid))


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_machine_that_shows_nothing(tmp_path: Path) -> None:
    host, now = machine.host_facts(tmp_path), machine.conditions(tmp_path)
    assert (host["cpu"]["name"], host["model"], host["memory_mb"]) == (None, None, None)
    assert now["busy_s"] is now["load"] is now["throttled"] is now["throttle_count"] is now["available_mb"] is None
    assert now["temperatures_c"] == {}
    assert now["clock_mhz"] == now["governors"] == []


def test_a_board_that_shows_all(tmp_path: Path) -> None:
    cpus = "sys/devices/system/cpu"
    tree(
        tmp_path,
        {
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/cpuinfo": "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\nFeatures\t: fp asimd asimddp\n",
            "proc/stat": "cpu  100 0 50 1000 10 5 5 20 0 0\ncpu0 1 2\n",
            "proc/loadavg": "0.42 0.3 0.2 1/100 1\n",
            "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
            f"{cpus}/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
            f"{cpus}/cpu1/cpufreq/scaling_cur_freq": "1500000\n",
            f"{cpus}/cpu0/cpufreq/scaling_governor": "ondemand\n",
            f"{cpus}/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
            f"{cpus}/cpu0/thermal_throttle/core_throttle_count": "3\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "61250\n",
            "sys/class/thermal/thermal_zone1/temp": "-256000\n",
            "sys/class/hwmon/hwmon0/name": "rp1_adc\n",
            "sys/class/hwmon/hwmon0/temp1_input": "48000\n",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
            "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12"\n',
        },
    )
    host, now = machine.host_facts(tmp_path), machine.conditions(tmp_path)
    assert host["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert host["cpu"]["name"] == "Cortex-A76"
    assert host["cpu"]["features"] == ["asimd", "asimddp"]
    assert host["os"] == "Debian GNU/Linux 12"
    assert (now["busy_s"], now["stolen_s"], now["load"]) == (1.6, 0.2, 0.42)
    assert (now["clock_mhz"], now["governors"]) == ([2400, 1500], ["ondemand"])
    assert now["temperatures_c"] == {"cpu-thermal (thermal_zone0)": 61.25, "rp1_adc temp1 (hwmon0)": 48}
    assert (now["throttled"], now["throttle_count"]) == (0x50005, 3)


def test_the_cpu_of_the_double(tmp_path: Path) -> None:
    text = (shared_dir() / "doubles" / "cpuinfo-cortex-a76.txt").read_text()
    cpu = machine.host_facts(tree(tmp_path, {"proc/cpuinfo": text}))["cpu"]
    assert cpu["name"] == "Cortex-A76"
    assert {"asimd", "asimddp"} <= set(cpu["features"])


@pytest.mark.parametrize(
    ("capacities", "count", "expected"),
    [
        ({0: 1024, 1: 1024}, 1, None),
        ({0: 300, 1: 300, 2: 900, 3: 1024}, 1, [3]),
        ({0: 300, 1: 300, 2: 900, 3: 1024}, 2, [2, 3]),
        ({0: 300, 1: 300, 2: 900, 3: 1024}, 3, None),
        ({}, 1, None),
    ],
)
def test_the_fastest_kind_of_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capacities: dict[int, int], count: int, expected: object
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(capacities) or {0, 1})
    files = {f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity": f"{speed}\n" for cpu, speed in capacities.items()}
    assert machine.fastest_cpus(count, tree(tmp_path, files)) == expected
