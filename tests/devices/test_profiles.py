import re
from pathlib import Path

import msgspec
import pytest

from tests.ondevice.power import trees
from tests.support import shared_dir
from yolo_edge.devices.profiles import GENERIC, Profile, match, profiles
from yolo_edge.ondevice.power import open_meter, probe_all

MODELS = {
    "Raspberry Pi Zero W Rev 1.1": "raspberry-pi-zero",
    "Raspberry Pi Zero Rev 1.3": "raspberry-pi-zero",
    "Raspberry Pi Model B Plus Rev 1.2": "raspberry-pi-zero",
    "Raspberry Pi Zero 2 W Rev 1.0": "raspberry-pi-zero-2",
    "Raspberry Pi 2 Model B Rev 1.1": "raspberry-pi-2",
    "Raspberry Pi 3 Model B Plus Rev 1.3": "raspberry-pi-3",
    "Raspberry Pi Compute Module 3 Plus Rev 1.0": "raspberry-pi-3",
    "Raspberry Pi 4 Model B Rev 1.4": "raspberry-pi-4",
    "Raspberry Pi 400 Rev 1.0": "raspberry-pi-4",
    "Raspberry Pi Compute Module 4 Rev 1.0": "raspberry-pi-4",
    "Raspberry Pi 5 Model B Rev 1.0": "raspberry-pi-5",
    "Raspberry Pi 5 Model B Rev 1.0\0": "raspberry-pi-5",
    "Raspberry Pi 500 Rev 1.0": "raspberry-pi-5",
    "Raspberry Pi Compute Module 5 Rev 1.0": "raspberry-pi-5",
    "NVIDIA Jetson Nano Developer Kit": "jetson-nano",
    "NVIDIA Jetson Nano 2GB Developer Kit": "jetson-nano-2gb",
    "quill": "jetson-tx2",
    "NVIDIA Jetson TX2 Developer Kit": "jetson-tx2",
    "NVIDIA Jetson Xavier NX Developer Kit": "jetson-xavier-nx",
    "Jetson-AGX": "jetson-agx-xavier",
    "NVIDIA Jetson AGX Xavier Developer Kit": "jetson-agx-xavier",
    "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super": "jetson-orin-nano",
    "NVIDIA Orin NX Developer Kit": "jetson-orin-nx",
    "NVIDIA Jetson AGX Orin Developer Kit": "jetson-agx-orin",
    "Standard PC (i440FX + PIIX, 1996)": GENERIC,
    "Orange Pi 5": GENERIC,
    "Acme Raspberry Pi 5 case": GENERIC,
    "": GENERIC,
    None: GENERIC,
}


@pytest.mark.parametrize(("model", "key"), MODELS.items())
def test_boards_are_recognised(model: str | None, key: str) -> None:
    assert match(model).key == key


def test_each_profile_is_found_and_fits_alone() -> None:
    assert {profile.key for profile in profiles()} == set(MODELS.values())
    for model in MODELS:
        fitting = [
            profile.key
            for profile in profiles()
            if profile.key != GENERIC and any(re.search(text, model or "", re.IGNORECASE) for text in profile.models)
        ]
        assert len(fitting) <= 1


def test_the_recorded_models() -> None:
    lines = (shared_dir() / "device-samples/rpi/device-tree-models.txt").read_text().splitlines()
    assert len(lines) == 8
    assert {line: match(line).key for line in lines} == {line: MODELS[line] for line in lines}


@pytest.mark.parametrize("profile", profiles(), ids=lambda profile: profile.key)
def test_totals_count_no_rail_twice(profile: Profile) -> None:
    """What a rail of the total feeds is not in it, and what none of them feeds is."""
    power = profile.power
    rails = {rail.name: rail for rail in power.rails}
    assert len(rails) == len(power.rails)
    assert set(power.total) <= set(rails)
    for rail in rails.values():
        above, seen = rail.fed_by, {rail.name}
        while above is not None:
            assert above not in seen
            seen.add(above)
            above = rails[above].fed_by
        assert len(seen & set(power.total)) == 1
    assert (power.scope is None) is (power.sensor == "none")
    assert bool(power.total) is (power.sensor == "ina3221")
    assert power.meaning
    for limit in profile.limits:
        assert limit.what
        assert limit.remedy


def test_what_the_issue_names() -> None:
    """Limits by board and by the architecture of its system."""

    def limits(key: str, machine: str) -> str:
        (profile,) = (one for one in profiles() if one.key == key)
        return "\n".join(f"{limit.what}: {limit.remedy}" for limit in profile.limits_of(machine))

    assert "Python 3.6" in limits("jetson-nano", "aarch64")
    assert "native tools" in limits("jetson-tx2", "aarch64")
    assert "OpenCV: cv2.dnn" in limits("raspberry-pi-zero", "armv6l")
    assert "GStreamer" in limits("raspberry-pi-4", "aarch64")
    assert "tflite-runtime" in limits("raspberry-pi-3", "armv7l")
    assert "tflite-runtime" not in limits("raspberry-pi-3", "aarch64")


def test_meters_and_profiles_agree(tmp_path: Path) -> None:
    """A meter that knows its own total calls it what the profile of its board does."""
    pi5, generic = match("Raspberry Pi 5 Model B Rev 1.0"), match(None)
    pmic = open_meter("pmic", {}, trees.pi5(tmp_path / "pi5"), pi5.board())
    assert (pmic.scope, pi5.power.sensor) == (pi5.power.scope, pmic.kind)
    rapl = open_meter("rapl", {}, trees.rapl(tmp_path / "pc"), generic.board())
    assert (rapl.scope, generic.power.sensor) == (generic.power.scope, rapl.kind)


def test_the_total_of_the_recorded_orin_nx() -> None:
    root = shared_dir() / "device-samples/jetson/orin-nx_sysfs"
    board = match("NVIDIA Orin NX Developer Kit").board()
    rows = {row.kind: row for row in probe_all(root, board)}
    assert (rows["ina3221-hwmon"].available, rows["ina3221-hwmon"].scope) == (True, "module_input")


def test_profiles_are_typed() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.toml.decode('name = "x"\nmodels = ["x"]\nvolts = 3\n[power]\nsensor="none"\nmeaning=""', type=Profile)
    with pytest.raises(msgspec.ValidationError, match=r"Invalid enum value 'sun'"):
        msgspec.toml.decode('name = "x"\nmodels = ["x"]\n[power]\nsensor="sun"\nmeaning=""', type=Profile)
