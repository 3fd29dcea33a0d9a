"""The devices that a user has: a TOML file, `~/.config/yolo-edge/devices.toml`.

    [devices.pi5]
    url = "ssh://pi@raspberrypi.local"

`local`, this machine, is always there and in no file.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import tomlkit
import tomlkit.exceptions

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import first_line, printable, read_text, write_atomically

LOCAL = "local"

_MAX_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One device of the inventory.

    Attributes:
        url: Where it is: ssh://[user@]host[:port], of which a host of ~/.ssh/config will do; adb://SERIAL or
            adb://HOST:PORT.
        python: The interpreter to use there, or to make the environment of `devices setup` from; None: python3.
        emulated: It is an emulator, whatever it says itself: its times mean nothing.
    """

    url: str
    python: str | None = None
    emulated: bool = False


class Inventory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: devices by name."""

    devices: dict[str, Entry] = {}


def default_path() -> Path:
    """Where the inventory is: under $XDG_CONFIG_HOME, or ~/.config."""
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    # a relative one is to be passed over, says the XDG base directory specification
    base = Path(folder) if Path(folder).is_absolute() else Path.home() / ".config"
    return base / "yolo-edge" / "devices.toml"


def read_inventory(path: Path | None = None) -> dict[str, Entry]:
    """The devices of a file by name, `local` first.

    Args:
        path: The file; None: the default, which may be missing.

    Raises:
        InputError: It is missing or malformed; the message says where.
    """
    place = path or default_path()
    found = {LOCAL: Entry(url=f"{LOCAL}:")}
    if path is None and not place.exists():
        return found
    return {**found, **_read(place)[1]}


def find_device(name: str, path: Path | None = None) -> Entry:
    """A device by its name.

    Raises:
        InputError: There is none of this name, or the file is malformed.
    """
    devices = read_inventory(path)
    if name not in devices:
        raise InputError(
            f"{printable(name)}: no such device in {path or default_path()}, which has {', '.join(devices)}; "
            "add it with: yolo-edge devices add NAME ssh://USER@HOST"
        )
    return devices[name]


def add_device(name: str, entry: Entry, path: Path | None = None, *, replace: bool = False) -> None:
    """Write a device into the file, which is made where it is missing; whatever else is in there stays as it is.

    Args:
        name: Of the device.
        entry: What to write.
        path: The file; None: the default.
        replace: Write it over another of the same name.

    Raises:
        InputError: The name, the interpreter or the file cannot be used, or the name is taken.
    """
    check_name(name)
    check_python(name, entry.python)
    place = path or default_path()
    document = tomlkit.document()
    if place.exists():
        document, devices = _read(place)
        if name in devices and not replace:
            raise InputError(f"{name}: is in {place} already, as {devices[name].url}; --replace writes over it")
    section = document.setdefault("devices", tomlkit.table(is_super_table=True))
    section[name] = msgspec.to_builtins(entry)
    write_atomically(place, tomlkit.dumps(document).encode())


def remove_device(name: str, path: Path | None = None) -> None:
    """Take a device out of the file.

    Raises:
        InputError: There is none of this name, or the file is malformed.
    """
    if name == LOCAL:
        raise InputError(f"{LOCAL}: is this machine, and always there")
    find_device(name, path)
    place = path or default_path()
    document, _ = _read(place)
    document["devices"].remove(name)
    write_atomically(place, tomlkit.dumps(document).encode())


def check_name(name: str) -> None:
    """Check the name of a new device.

    Raises:
        InputError: It is none, or taken.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{printable(name)!r}: not a name for a device: expected a letter or digit, then up to 62 letters, digits, "
            "dots, dashes and underscores"
        )
    if name.lower() == LOCAL:
        raise InputError(f"{name}: is this machine, and always there; choose another name")


def check_python(name: str, python: str | None) -> None:
    """Check what an entry says of the interpreter to use.

    Raises:
        InputError: It cannot be one.
    """
    if python is not None and (not python.strip() or not python.isprintable() or python.startswith("-")):
        raise InputError(f"{name}: python {python!r}: expected the name or the path of an interpreter")


def _read(path: Path) -> tuple[tomlkit.TOMLDocument, Mapping[str, Entry]]:
    empty = path.is_file() and not path.stat().st_size  # after the last device was removed
    text = "" if empty else read_text(path, _MAX_BYTES, "expected TOML in UTF-8")
    try:
        document = tomlkit.parse(text)
        inventory = msgspec.convert(document.unwrap(), Inventory)
    except tomlkit.exceptions.TOMLKitError as error:
        raise InputError(f"{path}: not TOML: {first_line(error)}") from error
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(f"{path}: not an inventory of devices: {first_line(error)}") from error
    for name, entry in inventory.devices.items():
        try:
            check_name(name)
            check_python(name, entry.python)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return document, inventory.devices
