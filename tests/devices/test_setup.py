"""What is installed where, and how."""

import configparser
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.devices.sshd import Server
from tests.frame.tools import ROOT, find_python
from yolo_edge.devices import setup, wheels
from yolo_edge.devices.device import Completed, DeviceError
from yolo_edge.devices.inventory import Entry
from yolo_edge.devices.setup import Setup
from yolo_edge.devices.ssh import SshDevice
from yolo_edge.devices.wheels import Needs, needs_of, setup_command
from yolo_edge.ondevice.errors import InputError

PAGE = ("starlette>=0.37", "uvicorn>=0.35", "websockets>=13")


def python(machine: str = "aarch64", bits: int = 64, minor: int = 11, **more: Any) -> dict[str, Any]:
    return {"version": [3, minor, 2], "machine": machine, "bits": bits, "glibc": [2, 36], "picamera2": False, **more}


def test_a_64_bit_board() -> None:
    needs = needs_of("pi5", python(), {})
    assert (needs.machine, needs.system_site, needs.notes) == ("aarch64", False, ())
    assert {"onnxruntime", "ai-edge-litert", "numpy"} <= set(needs.requirements)
    assert "tflite-runtime" not in needs.requirements


@pytest.mark.parametrize(
    ("chosen", "packages"),
    [
        (["onnxruntime"], {"onnxruntime"}),
        (["tflite"], {"ai-edge-litert"}),
        (["openvino", "tflite"], {"openvino>=2023.1", "ai-edge-litert"}),
        (["opencv"], set()),
    ],
)
def test_runtimes_that_were_chosen(chosen: list[str], packages: set[str]) -> None:
    needs = needs_of("pi5", python(), {}, chosen)
    always = {"opencv-python-headless>=4.6,<6", "numpy", "smbus2", *PAGE, "gpiozero", "lgpio>=0.2.2"}
    assert set(needs.requirements) == always | packages


def test_an_old_python_has_a_new_numpy_where_tflite_is_not_wanted() -> None:
    assert "numpy<2" in needs_of("pi4", python(minor=9), {}, ["tflite"]).requirements
    assert "numpy" in needs_of("pi4", python(minor=9), {}, ["onnxruntime"]).requirements


def test_runtimes_that_a_32_bit_system_has_not() -> None:
    facts = python("armv7l", 32, 13)
    with pytest.raises(DeviceError, match=r"pi3: on a 32-bit system there is neither .*: --runtime tflite"):
        needs_of("pi3", facts, {}, ["onnxruntime", "openvino"])
    needs = needs_of("pi3", facts, {}, ["opencv"])  # any Python will do
    assert needs.requirements[:3] == ("numpy<2", "opencv-python-headless>=4.6,<6", "smbus2")
    assert not any("has no" in note for note in needs.notes)


def test_the_command_that_brings_a_runtime() -> None:
    assert {setup_command("pi5", runtime) for runtime in (None, "auto", "tflite")} == {"yolo-edge devices setup pi5"}
    assert setup_command("pi5", "openvino").endswith("devices setup pi5 --runtime onnxruntime,tflite,openvino")


def test_pythons_before_litert() -> None:
    needs = needs_of("jetson", python(minor=8), {})
    assert {"onnxruntime", "tflite-runtime", "numpy<2"} <= set(needs.requirements)
    assert not any(name.startswith(("starlette", "gpiozero")) for name in needs.requirements)


def test_what_a_demo_needs() -> None:
    """The page's is that of the extra here; pins are for boards, by a library that has wheels."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["options.extras_require"]["demo"].split() == list(PAGE)
    cases = {
        ("aarch64", 11): ["gpiozero", "lgpio>=0.2.2"],
        ("aarch64", 13): ["gpiozero"],
        ("x86_64", 11): [],
    }
    for (machine, minor), pins in cases.items():
        found = needs_of("board", python(machine, minor=minor), {}).requirements
        assert list(found[found.index(PAGE[0]) :]) == [*PAGE, *pins]
    old = needs_of("board", python(glibc=[2, 31]), {}).requirements
    assert old[-1] == "gpiozero"


def test_picamera2_keeps_the_numpy_that_it_is_built_for() -> None:
    runtimes = {"numpy": {"version": "1.24.2", "problem": None}}
    needs = needs_of("pi5", python(picamera2=True), runtimes)
    assert needs.system_site
    assert "numpy<2" in needs.requirements
    assert "1.24.2" in " ".join(needs.notes)
    assert "numpy" in needs_of("pi5", python(picamera2=True), {"numpy": {"version": "2.2.4"}}).requirements


@pytest.mark.parametrize("machine", ["armv7l", "aarch64"])
def test_a_32_bit_system_also_on_a_64_bit_kernel(machine: str) -> None:
    there = {"numpy": {"version": "1.24.2", "problem": None}, "opencv": {"version": "4.6.0", "problem": None}}
    needs = needs_of("pi3", python(machine, 32), there)
    assert (needs.machine, needs.system_site) == ("armv7l", True)
    assert needs.requirements == ("tflite-runtime", "smbus2", *PAGE, "gpiozero")
    bare = needs_of("pi3", python(machine, 32), {"numpy": None, "opencv": None})
    assert {"tflite-runtime", "numpy<2"} <= set(bare.requirements)
    assert not bare.system_site
    assert "piwheels" in " ".join(bare.notes)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (python("armv6l", 32), "no runtime has a wheel for ARMv6: .*readNetFromONNX"),
        (python("armv7l", 32, 13), "its last wheel is for Python 3.11, not 3.13"),
        (python("riscv64"), "no wheel for riscv64|wheel for riscv64"),
        (python("x86_64", 32), "wheel for x86_64"),
        (python(glibc=None), "pkg install python-numpy"),
    ],
)
def test_what_nothing_fits(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(DeviceError, match=f"board: .*({said})"):
        needs_of("board", facts, {})


def test_wheels_from_a_folder_that_lacks_them(tmp_path: Path) -> None:
    needs = Needs(("yolo-edge-no-such-package",), "aarch64", False)
    with pytest.raises(InputError, match=f"--wheels {tmp_path}: .*yolo-edge-no-such-package"):
        wheels.fetch("pi5", needs, python(), tmp_path / "out", tmp_path)
    with pytest.raises(InputError, match="expected a folder of wheels"):
        wheels.fetch("pi5", needs, python(), tmp_path / "out", tmp_path / "missing")


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch, server: Server) -> Entry:
    """A board with a Python of no environment, which needs one small package."""
    found = find_python("3.11", "3.12", "3.10")
    if found is None:
        pytest.skip("no Python 3.10 to 3.12 with venv: neither on PATH nor one of pyenv's")
    monkeypatch.setattr(setup, "needs_of", lambda *_: Needs(("smbus2",), "x86_64", False, ("a note",)))
    return Entry(url="ssh://board", python=str(found.resolve()))


@pytest.mark.parametrize("offline", [False, True])
def test_an_environment_is_made_and_used(base: Entry, server: Server, offline: bool) -> None:
    with SshDevice("board", base) as device, Setup(device, offline=offline, wheels=None) as job:
        assert not (server.home / ".local").exists()
        assert job.plan.way == ("wheels" if offline else "pip")
        assert [wheel.name for wheel in job.plan.wheels] == (["smbus2"] if offline else [])
        done: list[str] = []
        job.carry_out(done.append)
        assert len(done) == job.steps()
    with SshDevice("board", base) as device:
        assert device.python == f"{server.home}/.local/share/yolo-edge/venv/bin/python"
        assert device.run([device.python, "-c", "import smbus2; print(smbus2.__file__)"]).stdout.startswith(
            str(server.home).encode()
        )
        with Setup(device, offline=True, wheels=None) as again:  # over what is there
            again.carry_out()
    ready = server.home / ".local/share/yolo-edge/venv/ready.json"
    ready.write_text(ready.read_text().replace("[3, ", "[2, "))  # the system got another Python since
    with SshDevice("board", base) as device:
        assert device.python == base.python
    shutil.rmtree(server.home / ".local")


def test_what_fails_half_way_is_removed(base: Entry, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_UNPACK", "raise OSError(28, 'No space left on device')")
    with (
        SshDevice("board", base) as device,
        Setup(device, offline=True, wheels=None) as job,
        pytest.raises(DeviceError, match=r"board: smbus2.* cannot be unpacked there .*No space left.*free some space"),
    ):
        job.carry_out()
    assert not (server.home / ".local/share/yolo-edge/venv").exists()


def test_an_environment_of_the_user_is_left_alone(server: Server) -> None:
    with (
        SshDevice("board", server.entry) as device,
        pytest.raises(DeviceError, match="is of an environment already"),
    ):
        Setup(device, offline=True, wheels=None)


class Termux:
    """What `Setup` asks of a device, and of the agent there."""

    name, python, folder, url = "phone", "python3", "/none", "ssh://phone:8022"

    def __init__(self, code: int = 0):
        self.ran: list[list[str]] = []
        self.code = code

    def run(self, argv: list[str], **_: Any) -> Completed:
        self.ran.append(argv)
        return Completed(self.code, b"", b"E: Unable to locate package python-onnxruntime")

    def connect(self, _: str) -> "Termux":
        return self

    def __enter__(self) -> "Termux":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, do: str, _: float) -> dict[str, Any]:
        executable = "/data/data/com.termux/files/usr/bin/python3"
        assert do == "facts"
        return {"python": python(glibc=None, executable=executable, environment=None, venv=True)}


def test_termux_gets_its_own_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Termux()
    monkeypatch.setattr(setup, "Session", lambda *_: device)
    with Setup(device, offline=False, wheels=None) as job:  # type: ignore[arg-type]
        assert job.plan.way == "termux"
        assert not device.ran
        told: list[str] = []
        job.carry_out(told.append)
        assert len(told) == job.steps()
    update, install = device.ran
    assert update[-1] == "update"
    assert install[-5:] == ["install", "-y", "python-numpy", "opencv-python", "python-onnxruntime"]
    assert "tflite" in job.plan.notes[0]


def test_termux_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    device: Any = Termux()
    monkeypatch.setattr(setup, "Session", lambda *_: device)
    plan = Setup(device, offline=False, wheels=None, runtimes=["opencv"]).plan
    assert plan.requirements == ("python-numpy", "opencv-python")
    assert plan.notes == ("removed again with: apt-get remove python-numpy opencv-python",)
    with pytest.raises(DeviceError, match="phone: Termux has no package of openvino or tflite: --runtime onnxruntime"):
        Setup(device, offline=False, wheels=None, runtimes=["openvino", "tflite"])


def test_termux_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Termux(code=100)
    monkeypatch.setattr(setup, "Session", lambda *_: device)
    with (
        Setup(device, offline=False, wheels=None) as job,  # type: ignore[arg-type]
        pytest.raises(DeviceError, match="package lists cannot be fetched"),
    ):
        job.carry_out()
    with pytest.raises(DeviceError, match="Termux takes no wheels"):
        Setup(device, offline=True, wheels=None)  # type: ignore[arg-type]
