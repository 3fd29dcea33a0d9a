"""What adb complains of, as one line that says what to do."""

import re

from yolo_edge.ondevice.files import printable

_LONGEST = 300
_REPLUG = "unplug it and plug it in again, or, over Wi-Fi, switch its screen on"
_WIRELESS = (
    "with a cable: adb tcpip 5555, then the cable out and adb://HOST:5555; without one: Wireless debugging in the "
    "phone's developer options shows HOST:PORT, after adb pair HOST:PORT"
)

# what adb writes → what to do
_KNOWN = (
    (r"unauthorized|failed to authenticate", "the phone has not allowed this computer: unlock it and say yes there"),
    (
        r"no permissions",
        "this user may not use the USB device: apt install android-sdk-platform-tools-common (udev rules)",
    ),
    (r"offline", f"the phone does not answer: {_REPLUG}"),
    (r"[Cc]onnection refused", f"nothing listens for adb there: {_WIRELESS}"),
    (
        r"No route to host|timed out|unreachable",
        "it cannot be reached: are both in the same network, and its screen on?",
    ),
    (
        r"not resolve host|[Nn]ame or service not known|nodename nor servname|failure in name resolution",
        "its name is not known: use its address (Settings, Wi-Fi, the network)",
    ),
    (r"protocol fault|[Cc]onnection reset", f"the connection broke off: {_REPLUG}"),
    (
        r"device '.*' not found|no devices",
        "it is not there: is the cable in, and USB debugging on (developer options)? adb devices lists what is",
    ),
    (r"cannot connect to daemon|daemon not running", "adb's server does not start: adb kill-server, then again"),
    (r"No space left on device|ENOSPC", "its storage is full: free some space there"),
)


def explain(complaint: str) -> str:
    """A line for a person.

    Args:
        complaint: What adb wrote.
    """
    for pattern, text in _KNOWN:
        if re.search(pattern, complaint):
            return text
    lines = [line for line in complaint.splitlines() if line.strip() and not line.startswith("*")]
    said = printable(lines[-1].strip())[:_LONGEST] if lines else "it says nothing"
    return f"adb fails: {said}"
