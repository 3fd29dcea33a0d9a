import contextlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_edge.devices.inventory import (
    Entry,
    add_device,
    default_path,
    find_device,
    read_inventory,
    remove_device,
)
from yolo_edge.ondevice.errors import InputError

PI = Entry(url="ssh://pi@raspberrypi.local")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "devices.toml"


def test_local_is_always_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == tmp_path / "yolo-edge" / "devices.toml"
    assert list(read_inventory()) == ["local"]
    assert find_device("local").url == "local:"
    assert list(tmp_path.iterdir()) == []


def test_a_relative_config_home_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert default_path() == Path.home() / ".config/yolo-edge/devices.toml"


def test_devices_come_and_go(path: Path) -> None:
    add_device("pi5", PI, path)
    add_device("qemu", Entry(url="ssh://board:2222", python="/opt/python3", emulated=True), path)
    assert list(read_inventory(path)) == ["local", "pi5", "qemu"]
    assert find_device("qemu", path).emulated
    with pytest.raises(InputError, match=r"pi5: is in .* already, as ssh://pi@raspberrypi.local; --replace"):
        add_device("pi5", Entry(url="ssh://other"), path)
    add_device("pi5", Entry(url="ssh://other"), path, replace=True)
    assert find_device("pi5", path) == Entry(url="ssh://other")
    remove_device("pi5", path)
    assert list(read_inventory(path)) == ["local", "qemu"]
    with pytest.raises(InputError, match=r"pi5: no such device in .*, which has local, qemu; add it with"):
        remove_device("pi5", path)
    with pytest.raises(InputError, match="always there"):
        remove_device("local", path)
    assert [item.name for item in path.parent.iterdir()] == ["devices.toml"]


def test_what_people_wrote_stays(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('# mine\n[devices.pi4]  # in the cellar\nurl = "ssh://pi4"\n\n# the end\n')
    add_device("pi5", PI, path)
    text = path.read_text()
    assert "# mine\n[devices.pi4]  # in the cellar\n" in text
    assert "# the end" in text
    assert list(read_inventory(path)) == ["local", "pi4", "pi5"]


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "../x", "é", "a" * 64, "x\ny", "local", "Local", ".x", "a;b"])
def test_names_that_are_none(path: Path, name: str) -> None:
    with pytest.raises(InputError):
        add_device(name, PI, path)
    assert not path.exists()


@pytest.mark.parametrize("python", ["", " ", "-c", "py\nthon", "p\0"])
def test_interpreters_that_are_none(path: Path, python: str) -> None:
    with pytest.raises(InputError, match="pi5: python"):
        add_device("pi5", Entry(url="ssh://board", python=python), path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices", "not TOML"),
        ("[devices.pi5]\n", "missing required field `url`"),
        ("[devices.pi5]\nurl = 3\n", "Expected `str`, got `int`"),
        ('[devices.pi5]\nurl = "ssh://a"\npasword = "x"\n', "unknown field `pasword`"),
        ('[device.pi5]\nurl = "ssh://a"\n', "unknown field `device`"),
        ("devices = 3", "not an inventory"),
        ('[devices."a b"]\nurl = "ssh://a"\n', "not a name for a device"),
        ('[devices.local]\nurl = "ssh://a"\n', "is this machine"),
        ('[devices.pi5]\nurl = "ssh://a"\npython = "-c"\n', "python '-c'"),
        ('[devices.pi5]\nurl = "ssh://a"\nurl = "ssh://b"\n', "not TOML"),
    ],
)
def test_files_that_are_none(path: Path, text: str, said: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_inventory(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        add_device("pi5", PI, path)
    assert path.read_text() == text


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_inventory(tmp_path / "missing.toml")
    with pytest.raises(InputError, match="is a folder"):
        read_inventory(tmp_path)
    (tmp_path / "latin").write_bytes(b"# \xe9\n")
    with pytest.raises(InputError, match="expected TOML in UTF-8"):
        read_inventory(tmp_path / "latin")


def test_a_folder_that_may_not_be_written_into(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        add_device("pi5", PI, tmp_path / "file" / "devices.toml")
    if os.getuid():
        tmp_path.chmod(stat.S_IRUSR)


@given(text=st.text(max_size=200))
def test_any_text_is_an_inventory_or_bad_input(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "devices.toml"
    path.write_text(f"#\n{text}", encoding="utf-8", errors="replace")
    with contextlib.suppress(InputError):  # and nothing else
        assert "local" in read_inventory(path)
