"""`--listen` and `--token`: where a page is served, and to whom."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import socket

    from yolo_edge.serving.address import Address

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


@contextmanager
def listening_on(address: "Address | None") -> "Iterator[socket.socket | None]":
    """A socket that listens there; None for none."""
    if address is None:
        yield None
        return
    from yolo_edge.serving.address import listen

    with listen(address.host, address.port) as listening:
        yield listening
