"""The command line. Commands load what they need when they run: `--help` loads no runtime and no onnx."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from yolo_edge.ondevice.errors import YoloEdgeError
from yolo_edge.ondevice.files import printable, reason
from yolo_edge.ondevice.opencv import prepare_opencv

_INTERRUPTED, _BY_SIGNAL = 130, 128
# packages that an extra brings → the extra
_EXTRAS = {
    "altair": "report",
    "distributed": "dask",
    "flatbuffers": "export",
    "jinja2": "report",
    "onnx": "export",
    "onnx_ir": "export",
    "starlette": "demo",
    "uvicorn": "demo",
    "vl_convert": "report",
    "websockets": "demo",
}


class _TerminatedError(BaseException):
    """SIGTERM or SIGHUP came: clean up as after Ctrl-C."""

    def __init__(self, number: int):
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: Without the program's name; None: those of this process.

    Returns:
        The exit code: 0 done, 1 a failed job, 2 bad input or usage, 128 + n ended by signal n.
    """
    prepare_opencv()
    _handle_endings()
    _prepare_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except KeyboardInterrupt:
        _complain("interrupted")
        return _INTERRUPTED
    except _TerminatedError as error:
        _complain("terminated")
        return _BY_SIGNAL + error.number
    except BrokenPipeError:  # the reader of our output went away: nothing to tell it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _prepare_streams() -> None:
    """Let any text be printed, also to a terminal that lacks its letters and to a stream that was closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for good
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _run(arguments: list[str]) -> int:
    import typer
    from typer.exceptions import TyperException

    from yolo_edge.cli.app import app

    try:
        code = app(arguments, prog_name="yolo-edge", standalone_mode=False)
        sys.stdout.flush()
    except YoloEdgeError as error:
        _complain(str(error))
        return error.exit_code
    except TyperException as error:  # usage: an unknown option, a missing argument
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "yolo-edge"
        _complain(f"{' '.join(message.split()).rstrip('.')}. See: {command} --help")
        return 2
    except typer.Abort:
        raise KeyboardInterrupt from None
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in _EXTRAS:
            return _internal(error)
        _complain(f"this command needs {name}; run: pip install 'yolo-edge[{_EXTRAS[name]}]'")
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk under standard output: what we write ourselves has errors of its own
        _complain(f"the output cannot be written ({reason(error)})")
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort: a person sees one line, never a traceback
        return _internal(error)
    if code == _INTERRUPTED:  # typer's way to say it
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _internal(error: Exception) -> int:
    if os.environ.get("YOLO_EDGE_DEBUG"):
        raise error
    text = " ".join(str(error).split())[:300]
    _complain(f"internal error, please report it: {type(error).__name__}: {text} (YOLO_EDGE_DEBUG=1 shows where)")
    return 1


def _complain(message: str) -> None:
    # one line, whatever the message was made from
    try:
        print(f"error: {printable(message)}", file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        return  # nobody to tell


def _handle_endings() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    # only the first is heard: more would break off the cleaning up, and come where a terminal tells all of a group and
    # a parent its children again. A second Ctrl-C is a person who will not wait: it kills.
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt if number == signal.SIGINT else _TerminatedError(number)
