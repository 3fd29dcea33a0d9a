"""Phones over adb: the real program, before a double of a phone."""

import io
import os
import tempfile
import time
from pathlib import Path

import pytest

from tests.devices.phone import Phone
from yolo_edge.devices.adb import AdbDevice, parse_url
from yolo_edge.devices.adb_errors import explain
from yolo_edge.devices.android.facts import android_facts, read_sources
from yolo_edge.devices.device import DeviceError
from yolo_edge.devices.inventory import Entry
from yolo_edge.ondevice.errors import InputError

HOSTILE = ["a b", "$HOME", "`id`", "$(id)", "'", '"', "\\", "\n", "*", "", "-x", ";reboot", "ü☃"]


def connect(phone: Phone) -> AdbDevice:
    return AdbDevice("phone", Entry(url=phone.url))


def until(condition: object, seconds: float = 12.0) -> float:
    """How long it took."""
    began = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - began < seconds
        time.sleep(0.1)
    return time.monotonic() - began


def test_programs_and_files(phone: Phone, tmp_path: Path) -> None:
    with connect(phone) as device:
        done = device.run(["printf", "%s|", *HOSTILE])
        assert done.stdout.decode() == "".join(f"{text}|" for text in HOSTILE)
        assert device.run(["sh", "-c", "echo out; echo err >&2; exit 7"]).returncode == 7
        assert device.run(["sh", "-c", "echo err >&2"]).stderr == b"err\n"
        assert device.run(["no-such-program"]).returncode == 127
        data = os.urandom(700_000)
        assert device.run(["cat"], input=data).stdout == data
        assert device.run(["wc", "-c"], input=io.BytesIO(b"").read()).stdout.split() == [b"0"]
        (tmp_path / "a file").write_bytes(data)
        there = f"{device.folder}/it's $HOME"
        device.push(tmp_path / "a file", there)
        device.pull(there, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == data
        assert device.read_text("/proc/meminfo").startswith("MemTotal:")
        with pytest.raises(DeviceError, match=r"/nothing cannot be read \(.*No such file"):
            device.read_text("/nothing")
        with pytest.raises(DeviceError, match="cannot be read"):
            device.pull("/nothing", tmp_path / "none")
        with pytest.raises(DeviceError, match=r"0\.7 MB cannot be written to /no/such"):
            device.push(tmp_path / "a file", "/no/such/folder")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "back", "phone"]
    until(lambda: phone.left() == [])


def test_what_takes_too_long_is_ended_there_too(phone: Phone) -> None:
    with connect(phone) as device:
        with pytest.raises(DeviceError, match="no answer from sh within 1 s"):
            device.run(["sh", "-c", "sleep 61 & sleep 61"], timeout=1)
        until(lambda: not phone.running("sleep 61"))
        assert device.run(["true"]).returncode == 0


def test_the_phone_is_left_as_it_was(phone: Phone) -> None:
    with tempfile.TemporaryFile() as errors, connect(phone) as device:
        process = device.stream(["sleep", "62"], errors=errors)
        until(lambda: phone.running("sleep 62"))
        assert phone.left() == [str(device.folder).rpartition("/")[2]]
    until(lambda: phone.left() == [] and not phone.running("sleep 62"))
    process.wait(10)
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def test_a_cable_that_is_pulled_out(phone: Phone) -> None:
    with connect(phone) as device:
        with tempfile.TemporaryFile() as errors:
            process = device.stream(["sleep", "63"], errors=errors)
            until(lambda: phone.running("sleep 63"))
            phone.unplug()
            # adb ends as if all were well
            code = process.wait(10)
            errors.seek(0)
            lost = device.ended(code, errors.read().decode())
            assert "the connection to 127.0.0.1" in str(lost)
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                stream.close()
        began = time.monotonic()
        with pytest.raises(DeviceError, match=r"was lost.*check the cable"):
            device.run(["sleep", "1"])
        assert time.monotonic() - began < 10
    until(lambda: phone.left() == [] and not phone.running("sleep 63"), 12)


@pytest.mark.parametrize(
    "url",
    [
        "adb://",
        "adb:ABC",
        "adb://-s",
        "adb://a b",
        "adb://host:0",
        "adb://host:99999",
        "adb://x;reboot",
        "adb://user@host:5555",
        "adb://\n",
    ],
)
def test_addresses_that_lead_nowhere(url: str) -> None:
    with pytest.raises(InputError, match="adb://SERIAL"):
        parse_url("phone", url)


def test_addresses() -> None:
    assert parse_url("p", "adb://emulator-5554") == ("emulator-5554", False)
    assert parse_url("p", "adb://192.168.1.5:5555") == ("192.168.1.5:5555", True)
    assert parse_url("p", "adb://[fe80::1]:5555") == ("[fe80::1]:5555", True)


def test_a_phone_that_is_not_there(phone: Phone) -> None:
    with pytest.raises(DeviceError, match=r"it is not there.*adb devices"), AdbDevice("p", Entry(url="adb://NO1")):
        pass
    with (
        pytest.raises(DeviceError, match=r"nothing listens.*adb tcpip"),
        AdbDevice("p", Entry(url="adb://127.0.0.1:1")),
    ):
        pass


def test_old_androids_are_refused(phone: Phone) -> None:
    phone.write("old", "")
    with pytest.raises(DeviceError, match=r"older than 7\.0"), connect(phone):
        pass


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", "say yes"),
        ("error: insufficient permissions for device: no permissions", "udev"),
        ("error: device offline", "unplug it"),
        ("failed to connect to 'x:5555': No route to host", "same network"),
        ("something \x1b[31mnew", "adb fails: something"),
        ("", "says nothing"),
    ],
)
def test_complaints(said: str, told: str) -> None:
    assert told in explain(said)
    assert "\x1b" not in explain(said)


def test_facts(phone: Phone) -> None:
    phone.odpm()
    with connect(phone) as device:
        found = android_facts(device)
    assert (found.model, found.soc, found.os) == ("Google Pixel 6", "Google Tensor", "Android 14 (API 34)")
    assert [(core["size"], core["kind"], core["count"], core["max_mhz"]) for core in found.cpu["cores"]] == [
        ("big", "Cortex-X1", 2, 2802.0),
        ("middle", "Cortex-A78", 2, 2253.0),
        ("little", "Cortex-A55", 4, 1803.0),
    ]
    assert found.cpu["vector"] == ["NEON", "fp16", "dotprod"]
    assert found.thermals["status"] == 0
    assert found.thermals["temperatures_c"] == {"CPU": 44.181, "SKIN": 35.1}
    assert not found.emulated
    assert [(meter.kind, meter.available, meter.scope) for meter in found.meters] == [
        ("odpm", True, "soc_rails"),
        ("battery", True, "battery"),
    ]


def test_what_cannot_be_measured_says_why(phone: Phone) -> None:
    phone.battery(plugged=True)
    with connect(phone) as device:
        odpm, battery = android_facts(device).meters
        assert not odpm.available
        assert "no energy counters" in str(odpm.reason)
        assert "invalid (charging): USB powered" in str(battery.reason)
        assert "Wi-Fi" in str(battery.remedy)
        phone.battery(current=None)
        assert read_sources(device).service
        phone.write("dumps/current_now", "No such service\n")
        battery = android_facts(device).meters[1]
        assert not battery.available
        assert "is not there" in str(battery.reason)


def test_an_emulator_is_one(phone: Phone) -> None:
    phone.write("properties", "[ro.kernel.qemu]: [1]\n[ro.hardware]: [ranchu]\n")
    with connect(phone) as device:
        assert android_facts(device).emulated
