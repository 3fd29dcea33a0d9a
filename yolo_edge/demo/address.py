"""Where the page is served, and who may look there."""

import ipaddress
import os
import re
import secrets
import socket
from dataclasses import dataclass

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import reason

SHORTEST_TOKEN = 8

_LISTEN = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


@dataclass(frozen=True)
class Address:
    """Where the page is served, to whom.

    Attributes:
        host: A name or an address, without brackets.
        port: 0: any that is free.
        token: What viewers have to know; None: nothing.
        shown: Whether the token may be printed: not one that a person chose.
    """

    host: str
    port: int
    token: str | None
    shown: bool

    def url(self, port: int) -> str:
        """What a person opens, on the port that was found: with the token, unless they made it themselves."""
        host = self.host
        try:
            if ipaddress.ip_address(host).is_unspecified:
                host = _own_address()
        except ValueError:  # a name
            pass
        query = f"?token={self.token}" if self.token and self.shown else ""
        text = f"http://{bracketed(host)}:{port}/{query}"
        return text + (" with the token that you gave" if self.token and not self.shown else "")


def read_address(text: str, token: str | None) -> Address:
    """The options `--listen` and `--token`.

    Raises:
        InputError: They are none, or others can reach the address and there is no token.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or int(match.group(2)) > 65535:
        raise InputError(f"--listen {text!r}: expected HOST:PORT, such as 127.0.0.1:8080 or [::]:8080")
    host = match.group(1).strip("[]")
    if token is None and not is_loopback(host):
        raise InputError(f"--listen {text}: others can reach that; add --token auto, or --token TEXT")
    found = None if token is None else new_token(token)
    return Address(host, int(match.group(2)), found, token == "auto")  # noqa: S105 - the word, not a token


def bracketed(host: str) -> str:
    """As it stands before a port."""
    return f"[{host}]" if ":" in host else host


def new_token(text: str) -> str:
    """The value of `--token` → the token.

    Raises:
        InputError: It is too short, or no text that fits in an address.
    """
    if text == "auto":
        return secrets.token_urlsafe(16)
    if len(text) < SHORTEST_TOKEN or not all("!" <= letter <= "~" for letter in text):
        raise InputError(
            f"--token: expected auto, or at least {SHORTEST_TOKEN} letters, digits and signs of ASCII without spaces"
        )
    return text


def is_loopback(host: str) -> bool:
    """Whether a name or address can only be this machine."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        InputError: It cannot.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=64)
    except (OSError, OverflowError, UnicodeError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
            why = os.strerror(error.errno).lower()  # without what Python adds
        hint = f"; --listen {host}:{port + 1} may be free" if "in use" in why and port < 65535 else ""
        raise InputError(f"--listen {host}:{port}: {why}{hint}") from error


def _own_address() -> str:
    """The address that this machine has in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; the kernel chooses the way, and with it the address
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
