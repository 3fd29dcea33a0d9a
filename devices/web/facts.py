"""What a page tells of its browser, and what of it goes into a result."""

import re
from typing import Annotated, Any

import msgspec

from yolo_edge.ondevice.files import printable

_MACHINES = {("arm", "64"): "aarch64", ("arm", "32"): "armv7l", ("x86", "64"): "x86_64", ("x86", "32"): "i686"}
# the part of a user agent → a name; the first that is there counts, since most claim to be others, too
_BROWSERS = (
    (r"EdgA?(?:iOS)?/([\d.]+)", "Edge"),
    (r"SamsungBrowser/([\d.]+)", "Samsung Internet"),
    (r"OPR/([\d.]+)", "Opera"),
    (r"FxiOS/([\d.]+)", "Firefox"),
    (r"CriOS/([\d.]+)", "Chrome"),
    (r"Firefox/([\d.]+)", "Firefox"),
    (r"(?:Headless)?Chrome/([\d.]+)", "Chrome"),
    (r"Version/([\d.]+).* Safari/", "Safari"),
)
_SYSTEMS = (
    (r"\((?:iPhone|iPod).*? OS ([\d_]+)", "iOS"),
    (r"\(iPad.*? OS ([\d_]+)", "iPadOS"),
    (r"Android ([\d.]+)", "Android"),
    (r"Windows NT ([\d.]+)", "Windows"),
    (r"Mac OS X ([\d_.]+)", "macOS"),
    (r"CrOS \S+ ([\d.]+)", "ChromeOS"),
    (r"Linux()", "Linux"),
)

Text = Annotated[str, msgspec.Meta(max_length=1000)]
Short = Annotated[str, msgspec.Meta(max_length=100)]


class PageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a page tells when it begins; the last five are empty where the browser keeps them to itself.

    Attributes:
        label: What the device is to be called.
        user_agent: Of the browser, as it calls itself.
        cores: Processors that it says there are.
        isolated: Whether the page is cross-origin isolated: without that there is one thread.
        secure: Whether it came over HTTPS, or from the device itself.
        clock_us: Steps of its clock.
        model: Of the device.
        system: Name and version of the operating system.
        browser: Name and version.
        architecture: "arm", "x86".
        bits: "64", "32".
    """

    label: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    user_agent: Text
    cores: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    isolated: bool
    secure: bool
    clock_us: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    model: Short = ""
    system: Short = ""
    browser: Short = ""
    architecture: Short = ""
    bits: Short = ""


def read_facts(data: bytes) -> PageFacts:
    """The facts in a request.

    Raises:
        ValueError: They are none.
    """
    facts = msgspec.json.decode(data, type=PageFacts)
    texts = {key: " ".join(printable(value).split()) for key, value in _fields(facts).items() if isinstance(value, str)}
    found = msgspec.structs.replace(facts, **texts)
    if not found.label or found.label.lower() == "local":
        raise ValueError("a device has a name, and is not this machine")
    return found


def host_of(facts: PageFacts, version: str) -> dict[str, Any]:
    """The `host` of a result; `version` is that of onnxruntime-web."""
    agent = facts.user_agent
    system = facts.system or _first(_SYSTEMS, agent).replace("_", ".") or "unknown"
    apple = re.search(r"\((iPhone|iPad|iPod)", agent)
    return {
        "name": facts.label,
        "model": facts.model or (apple[1] if apple else None),
        "machine": _MACHINES.get((facts.architecture, facts.bits), "unknown"),
        "cpu": {"cpus": facts.cores, "cpus_in_all": facts.cores},
        "os": system,
        "kernel": "unknown",
        "python": "none",
        "versions": {"onnxruntime-web": version, "browser": facts.browser or _first(_BROWSERS, agent) or "unknown"},
        "browser": {
            "user_agent": agent,
            "cores": facts.cores,
            "isolated": facts.isolated,
            "secure": facts.secure,
            "clock_us": facts.clock_us,
        },
    }


def _first(patterns: tuple[tuple[str, str], ...], text: str) -> str:
    for pattern, name in patterns:
        found = re.search(pattern, text)
        if found:
            return f"{name} {found[1]}".strip()
    return ""


def _fields(facts: PageFacts) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.structs.asdict(facts)
    return found
