"""What ssh complains of, as one line that says what to do."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from yolo_edge.ondevice.files import printable

_LONGEST = 300


@dataclass(frozen=True)
class Destination:
    """Where ssh was to connect to.

    Attributes:
        host: A name, an address, or a host of ~/.ssh/config.
        user: None: ssh's choice.
        port: None: ssh's choice.
    """

    host: str
    user: str | None
    port: int | None

    @property
    def words(self) -> list[str]:
        """The words of ssh's command line for it, options first."""
        port = [] if self.port is None else ["-p", str(self.port)]
        return [*port, "--", self._address]

    @property
    def shown(self) -> str:
        """The same for a person."""
        return " ".join(word for word in self.words if word != "--")

    @property
    def known_host(self) -> str:
        """How known_hosts calls it."""
        return self.host if self.port in (None, 22) else f"[{self.host}]:{self.port}"

    @property
    def _address(self) -> str:
        return self.host if self.user is None else f"{self.user}@{self.host}"


def explain(complaint: str, to: Destination) -> str:
    """A line for a person.

    Args:
        complaint: What ssh wrote to standard error.
        to: Where it was to connect to.
    """
    for pattern, text in _KNOWN:
        found = re.search(pattern, complaint)
        if found:
            return text(found, to)
    lines = [line for line in complaint.splitlines() if line.strip()]
    said = printable(lines[-1].strip())[:_LONGEST] if lines else "it says nothing"
    return f"ssh {to.shown} fails: {said}"


def _changed(found: "re.Match[str]", to: Destination) -> str:
    by_ssh = re.search(r"ssh-keygen -f .{1,200}", found.string)  # it knows which file and which name
    command = printable(by_ssh.group(0).strip()) if by_ssh else f"ssh-keygen -R '{to.known_host}'"
    return (
        f"the host key of {to.host} is not the one that is known: it was installed anew, or another machine answers; "
        f"if you know why, forget the old key with: {command}"
    )


def _unknown(found: "re.Match[str]", to: Destination) -> str:
    return f"the host key of {to.host} is not known yet: run `ssh {to.shown}` once, and compare the fingerprint"


def _denied(found: "re.Match[str]", to: Destination) -> str:
    return (
        f"{to.host} does not let {to.user or 'us'} in ({printable(found.group(1))}): put a key there with "
        f"`ssh-copy-id {to.shown}`; a key with a passphrase wants ssh-add first"
    )


def _unnamed(found: "re.Match[str]", to: Destination) -> str:
    return f"there is no host {to.host}: check the name, or use its address (a name in .local needs mDNS here)"


def _refused(found: "re.Match[str]", to: Destination) -> str:
    return (
        f"nothing answers on port {to.port or 22} of {to.host}: is its SSH server on? "
        "(Raspberry Pi: sudo raspi-config, Interface Options)"
    )


def _away(found: "re.Match[str]", to: Destination) -> str:
    return f"{to.host} cannot be reached ({printable(found.group(0)).lower()}): is it on, and in this network?"


def _closed(found: "re.Match[str]", to: Destination) -> str:
    return f"{to.host} closed the connection before it was made: the log of its SSH server says why"


def _configuration(found: "re.Match[str]", to: Destination) -> str:
    return f"ssh does not take its configuration: {printable(found.group(0))[:_LONGEST]}"


# in this order: a changed host key is also one that fails verification
_KNOWN: list[tuple[str, Callable[["re.Match[str]", Destination], str]]] = [
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for \S+ has changed", _changed),
    (r"Host key verification failed|No \S+ host key is known", _unknown),
    (r"Permission denied \(([^)]{1,200})\)", _denied),
    (r"Too many authentication (failures)", _denied),
    (r"Could not resolve hostname", _unnamed),
    (r"Connection refused", _refused),
    (r"Connection timed out|Operation timed out|No route to host|Network is unreachable|Host is down", _away),
    (
        r"Bad configuration option.*|Bad owner or permissions.*|Can't open user config file.*|.*keyword .*",
        _configuration,
    ),
    (r"Connection (closed|reset) by|kex_exchange_identification|banner exchange", _closed),
]
