"""`--listen` and `--token`: where a page is served, and to whom."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import socket

Listen = Annotated[str, typer.Option(help="Where the page is served.", metavar="HOST:PORT")]
Token = Annotated[
    str | None,
    typer.Option(
        help="What viewers have to know; auto makes one up. Needed for any address that others can reach.",
        metavar="auto|TEXT",
        envvar="YOLO_EDGE_TOKEN",
        show_default=False,
    ),
]


class Address:
    """Where a page is served, to whom.

    Attributes:
        host: As the user named it.
        port: The same; 0: any.
        token: What viewers have to know; None: nothing.
    """

    def __init__(self, host: str, port: int, token: str | None, shown: bool):
        """`shown`: the token may be printed, since we made it up."""
        self.host, self.port, self.token = host, port, token
        self._shown = shown

    @property
    def reached_by(self) -> str:
        """The name or address that others reach it by."""
        import ipaddress

        try:
            return _own_address() if ipaddress.ip_address(self.host).is_unspecified else self.host
        except ValueError:  # a name
            return self.host

    def url(self, listening: "socket.socket", scheme: str = "http") -> str:
        """What a browser opens: with the token, unless the user gave it."""
        host = self.reached_by
        host = f"[{host}]" if ":" in host else host
        query = f"?token={self.token}" if self.token and self._shown else ""
        return f"{scheme}://{host}:{listening.getsockname()[1]}/{query}"

    @property
    def hint(self) -> str:
        """What a person has to know beside the address."""
        return " with the token that you gave" if self.token and not self._shown else ""


def read_address(listen: str, token: str | None) -> Address:
    """The values of `--listen` and `--token`.

    Raises:
        InputError: They are none, or others can reach that, and there is no token.
    """
    import re

    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.serving.gate import is_loopback, new_token

    match = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", listen)
    if match is None or int(match.group(2)) > 65535:
        raise InputError(f"--listen {listen!r}: expected HOST:PORT, such as 127.0.0.1:8080 or [::]:8080")
    host = match.group(1).strip("[]")
    if token is None and not is_loopback(host):
        raise InputError(f"--listen {listen}: others can reach that; add --token auto, or --token TEXT")
    shown = None if token is None else new_token(token)
    return Address(host, int(match.group(2)), shown, token == "auto")  # noqa: S105 - the word, not a token


def _own_address() -> str:
    """The address that this machine has in its network."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; the kernel chooses the way, and with it the address
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


@contextmanager
def listening_on(address: Address | None) -> "Iterator[socket.socket | None]":
    """A socket that listens there; None for none."""
    if address is None:
        yield None
        return
    from yolo_edge.serving.server import listen

    with listen(address.host, address.port) as listening:
        yield listening
