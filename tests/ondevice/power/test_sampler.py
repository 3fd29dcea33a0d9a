"""Sampling at a steady pace, in this process and in an agent."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ondevice.power import trees
from tests.support import runs, wait_for
from yolo_edge.devices.agents import AgentError, AgentProcess, local_command
from yolo_edge.ondevice.agent import server
from yolo_edge.ondevice.agent.server import Agent
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.power import open_meter
from yolo_edge.ondevice.power.meter import Column, MeterError, PowerMeter
from yolo_edge.ondevice.power.sampler import NICENESS, Sampler


class Counting(PowerMeter):
    """Reads 1, 2, 3 …; some readings fail."""

    kind = "counting"
    interval_s = 0.01

    def __init__(self, fails: tuple[int, ...] = (), paced: bool = False):
        super().__init__([Column("a", "W")], ["a"], "wall")
        self.number, self.fails, self.closed, self.paced = 0, fails, 0, paced

    def read(self) -> list[float]:
        self.number += 1
        if self.paced:
            time.sleep(0.01)
        if self.number in self.fails:
            raise MeterError(f"reading {self.number} failed")
        return [float(self.number)]

    def close(self) -> None:
        self.closed += 1


def never() -> None:
    raise AssertionError("the deadline came")


def take(sampler: Sampler, count: int) -> list[dict[str, object]]:
    taken: list[dict[str, object]] = []
    end = time.monotonic() + 20
    while sum(len(part["values"]) for part in taken) < count and time.monotonic() < end:  # type: ignore[arg-type]
        time.sleep(0.02)
        taken.append(sampler.take())
    return taken


@pytest.mark.parametrize("paced", [False, True])
def test_every_reading_is_given_once_and_in_order(paced: bool) -> None:
    meter = Counting(paced=paced)
    before = time.monotonic_ns()
    sampler = Sampler(meter, 100, never)
    taken = take(sampler, 20)
    sampler.close()
    times = [stamp for part in taken for stamp in part["times_ns"]]  # type: ignore[attr-defined]
    values = [row for part in taken for row in part["values"]]  # type: ignore[attr-defined]
    assert values == [[float(i)] for i in range(1, len(values) + 1)]
    assert times == sorted(set(times))
    assert before <= times[0]
    assert times[-1] <= time.monotonic_ns()
    assert meter.closed == 1
    last = taken[-1]
    assert 0 <= last["cpu_s"] < last["wall_s"]  # type: ignore[operator]
    assert (last["failures"], last["problem"]) == (0, "")
    number = meter.number
    time.sleep(0.05)
    assert meter.number == number


def test_a_reading_that_fails_is_a_gap() -> None:
    sampler = Sampler(Counting(fails=(2, 3, 5)), 100, never)
    taken = take(sampler, 5)
    sampler.close()
    values = [row[0] for part in taken for row in part["values"]]  # type: ignore[attr-defined]
    assert values[:4] == [1, 4, 6, 7]
    assert (taken[-1]["failures"], taken[-1]["problem"]) == (3, "reading 5 failed")


def test_a_reading_after_now() -> None:
    sampler = Sampler(Counting(), 100, never)
    now = time.monotonic_ns()
    sampler.wait()
    assert sampler.take()["times_ns"][-1] > now
    sampler.close()
    broken = Sampler(Counting(fails=tuple(range(1, 10_000))), 100, never)
    start = time.monotonic()
    broken.wait(0.1)
    assert time.monotonic() - start >= 0.1
    broken.close()


def test_a_coordinator_that_is_gone() -> None:
    meter, came = Counting(), []
    sampler = Sampler(meter, 0.1, lambda: came.append(time.monotonic()))
    wait_for(lambda: came)
    assert len(came) == 1
    assert meter.closed == 1
    sampler.close()


SAMPLE = {"kind": "rapl", "board": None, "deadline_s": 60}


def test_an_agent_reads_a_meter_at_low_priority(tmp_path: Path) -> None:
    options = {"root": str(trees.rapl(tmp_path)), "interval": "0.01"}
    with AgentProcess(local_command(), "a meter") as agent:
        with pytest.raises(YoloEdgeError, match="reads no power meter"):
            agent.ask("samples", 20)
        found = agent.ask("sample", 20, options=options, **SAMPLE)
        assert found["scope"] == "rail:package"
        assert found["total"] == ["package-0", "package-1"]
        assert found["columns"][0] == {"rail": "package-0", "unit": "uJ", "wrap": 262_143_328_850}
        assert found["interval_s"] == 0.01
        begins, ends = agent.ask("idle", 20, settle_s=0.0, seconds=0.2)["window_ns"]
        samples = agent.ask("samples", 20)
        assert samples["times_ns"][0] < begins < ends < samples["times_ns"][-1]
        assert samples["values"][0] == [1_000_000, 600_000, 100_000, 500_000, 3_000_000]
        assert agent.ask("clock", 20)["monotonic_ns"] >= samples["times_ns"][-1]
        assert os.getpriority(os.PRIO_PROCESS, agent._process.pid) >= NICENESS
        with pytest.raises(InputError, match="there is no option 'colour'"):
            agent.ask("sample", 20, options={**options, "colour": "red"}, **SAMPLE)
        with pytest.raises(YoloEdgeError, match="no /sys/class/powercap"):
            agent.ask("sample", 20, options={"root": str(tmp_path / "empty")}, **SAMPLE)
        rows = agent.ask("meters", 60, board=None)["meters"]
        assert set(rows[0]) == {"kind", "available", "scope", "reason", "remedy"}


def test_an_agent_ends_at_its_deadline(tmp_path: Path) -> None:
    with AgentProcess(local_command(), "a meter") as agent:
        agent.ask("sample", 20, kind="rapl", options={"root": str(trees.rapl(tmp_path))}, board=None, deadline_s=0.3)
        agent._process.wait(20)
        with pytest.raises(AgentError, match="ended"):
            agent.ask("samples", 20)


def test_an_agent_ends_with_its_pipe_and_takes_tegrastats_along(tmp_path: Path) -> None:
    line = "VDD_IN 6030mW/6030mW"
    trees.program(tmp_path, "tegrastats", f"echo $$ >{tmp_path}/pid; while :; do echo '{line}'; sleep 0.05; done")
    with AgentProcess(local_command(), "a meter") as agent:
        options = {"root": str(tmp_path)}
        agent.ask("sample", 20, kind="tegrastats", options=options, board=trees.ORIN, deadline_s=60)
        agent.ask("idle", 20, settle_s=0, seconds=0.2)
        assert len(agent.ask("samples", 20)["values"]) >= 3
        pid = int((tmp_path / "pid").read_text())
        assert Path(f"/proc/{pid}").exists()
    wait_for(lambda: not runs(pid))


def test_reading_needs_no_numpy(tmp_path: Path) -> None:
    """A sampler is small and starts at once."""
    root = trees.rapl(tmp_path)
    code = "import sys; from yolo_edge.ondevice.power import open_meter, probe_all; from yolo_edge.ondevice.power."
    code += f"sampler import Sampler; open_meter('rapl', {{}}, {str(root)!r}).read(); "
    code += "assert not {'numpy', 'cv2', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert open_meter("rapl", {}, root).read()[0] == 1_000_000


def test_closing_an_agent_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    polite: list[bool] = []  # for good: this process has other tests to run
    monkeypatch.setattr(server, "be_polite", lambda: polite.append(True))
    agent = Agent()
    request = {"do": "sample", "options": {"root": str(trees.rapl(tmp_path))}, **SAMPLE}
    assert agent.answer(request)["kind"] == "rapl"
    assert agent.answer(request)["kind"] == "rapl"  # the first one is closed
    agent.close()
    assert len(polite) == 2
    assert "reads no power meter" in agent.answer({"do": "samples"})["error"]
