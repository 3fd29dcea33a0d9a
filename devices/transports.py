"""From what the inventory says to a device that can be used."""

from yolo_edge.devices.device import Device
from yolo_edge.devices.inventory import LOCAL, Entry
from yolo_edge.devices.local import LocalDevice
from yolo_edge.devices.ssh import SshDevice
from yolo_edge.ondevice.errors import InputError

# by the scheme of the address
TRANSPORTS: dict[str, type[LocalDevice | SshDevice]] = {LOCAL: LocalDevice, "ssh": SshDevice}


def open_device(name: str, entry: Entry) -> Device:
    """The device of an entry of the inventory, not yet connected: entering it does that.

    Raises:
        InputError: Its address is none that can be used.
    """
    scheme, colon, _ = entry.url.partition(":")
    if not colon or scheme not in TRANSPORTS or (scheme == LOCAL) != (name == LOCAL):
        known = " or ".join(f"{scheme}://" for scheme in TRANSPORTS if scheme != LOCAL)
        raise InputError(f"{name}: url {entry.url!r}: expected one that begins with {known}")
    return TRANSPORTS[scheme](name, entry)
