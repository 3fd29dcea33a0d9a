"""Reading and writing files that a user named, with errors that say what is wrong."""

import errno
import mmap
import os
import stat
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union

from yolo_edge.ondevice.errors import InputError, YoloEdgeError

# a failed job, not bad input
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)

PathLike = Union[str, "os.PathLike[str]"]


def check_readable(path: PathLike) -> int:
    """Check that `path` is a file with something in it that may be read.

    Returns:
        Its size in bytes.

    Raises:
        InputError: It is not; the message says why.
    """
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: is a folder, expected a file")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: is not a regular file")
        if status.st_size == 0:
            raise InputError(f"{path}: the file is empty")
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise InputError(f"{path}: {reason(error)}") from error
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{path!r}: not a file name ({error})") from error
    return status.st_size


def read_bytes(path: PathLike, limit: int) -> bytes:
    """The contents of a file of at most `limit` bytes.

    Raises:
        InputError: It cannot be read, is empty, or is larger.
    """
    size = check_readable(path)
    if size > limit:
        raise InputError(f"{path}: {size} bytes, more than the {limit} that such a file may have")
    try:
        with Path(path).open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path}: {reason(error)}") from error


@contextmanager
def mapped(path: PathLike) -> Iterator[memoryview]:
    """The bytes of a file that has some, without reading them all.

    Views of the value must be gone at the end, also those that a traceback would keep.

    Raises:
        OSError: It cannot be read.
    """
    with Path(path).open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with whole, memoryview(whole) as data:
        yield data


def read_text(path: PathLike, limit: int, expected: str) -> str:
    """The contents of a UTF-8 file of at most `limit` bytes; `expected` says in an error what it should hold.

    Raises:
        InputError: It cannot be read, is empty, is larger, or is not UTF-8.
    """
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {expected} ({error})") from error


def write_atomically(path: PathLike, data: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then renamed into it. Makes missing folders.

    Raises:
        InputError: It cannot be written there.
        YoloEdgeError: The disk is full or broken.
    """
    target = Path(path)
    check_replaceable(target)
    # a name of its own, so that two jobs or threads do not write into one file
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:  # Ctrl-C too
            if temporary.exists():
                temporary.unlink()
            raise
    except OSError as error:
        raise not_written(path, error) from error


def check_replaceable(path: PathLike) -> None:
    """Check that nothing is at `path`, or a regular file: root could put a file in the place of /dev/null.

    Raises:
        InputError: Something else is there.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return  # nothing there, or what writing will complain about
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: is a folder, expected the name of a file")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is not a regular file, and is not written over")


def not_written(path: PathLike, error: OSError) -> YoloEdgeError:
    """The error for a file that could not be written: a failed job where the disk is full or broken, else bad input."""
    kind = YoloEdgeError if error.errno in _FULL else InputError
    return kind(f"{path}: cannot be written ({reason(error)})")


def check_output_folder(path: PathLike) -> None:
    """Check that `path` is a folder that can be written into, or can be made; nothing is made.

    Raises:
        InputError: It is not.
    """
    folder = Path(path).absolute()
    try:
        while not folder.exists() and not folder.is_symlink() and folder.parent != folder:
            folder = folder.parent
    except OSError as error:
        raise InputError(f"{path}: not a folder that can be made ({reason(error)})") from error
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder, files cannot be written there")
    if not os.access(str(folder), os.W_OK | os.X_OK):
        raise InputError(f"{path}: files cannot be written there (permission denied, or read-only)")


def cache_folder() -> Path:
    """Where what can be made or fetched again is kept: under $XDG_CACHE_HOME, or ~/.cache."""
    folder = os.environ.get("XDG_CACHE_HOME", "")
    # a relative one is to be passed over, says the XDG base directory specification
    base = Path(folder) if Path(folder).is_absolute() else Path.home() / ".cache"
    return base / "yolo-edge"


def printable(name: str) -> str:
    """A file name as text that can be printed and encoded: what is no UTF-8 or moves the cursor becomes "?"."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def first_line(error: Exception, limit: int = 200) -> str:
    """The first line of a library's error, or the error's type where it says nothing, as text that can be printed."""
    return printable((str(error).strip() or type(error).__name__).splitlines()[0])[:limit]


def reason(error: OSError) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    return (error.strerror or str(error)).lower()
