"""What is asked of the machine that is measured. Where it is, and how it is reached, is not known here."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, TypeVar

Self = TypeVar("Self")

QUICK_SECONDS = 120.0  # to answer something quick


class Agent(Protocol):
    """What is asked of the other side; `yolo_edge.devices.agents.AgentProcess` is one."""

    host: dict[str, Any]

    def ask(self, do: str, timeout: float, **arguments: object) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        ...

    def __enter__(self: Self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


Connect = Callable[[str], Agent]
