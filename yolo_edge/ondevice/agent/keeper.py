"""Keeps a folder on a device while the coordinator is there, and removes it afterwards.

Sent as text to whatever Python the device has, 3.6 or newer, and run by itself: it imports nothing of ours.

It prints one line of JSON: the folder, and what else has to be known before anything is sent. It then waits for any
bytes on standard input. When the input ends, or nothing comes for a while (a cable was pulled out, and nobody says so),
it removes the folder and ends. While it lives it holds the lock on the file `alive` in there: whoever else works for
the coordinator waits for that lock and ends when it gets it, however the keeper ended. Folders of earlier keepers that
were killed are removed too: their locks are free.
"""

import fcntl
import json
import os
import platform
import select
import shutil
import signal
import struct
import sys
import tempfile
from pathlib import Path
from typing import Tuple

PREFIX = "yolo-edge-"
LEASE = 8.0  # seconds without a sign of life
ENVIRONMENT = ".local/share/yolo-edge/venv"  # in the user's folder: what `yolo-edge devices setup` makes
READY = "ready.json"  # in there, when it is complete


def keep() -> None:
    """Do what the module says."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))
    folder, _ = make_folder(Path(tempfile.gettempdir()))
    try:
        environment = Path.home() / ENVIRONMENT
        hello = {
            "folder": str(folder),
            "python": list(sys.version_info[:3]),
            "executable": sys.executable,
            "machine": platform.machine(),
            "bits": 8 * struct.calcsize("P"),
            "home": str(Path.home()),
            "environment": str(environment) if is_ready(environment / READY) else None,
        }
        sys.stdout.write(json.dumps(hello) + "\n")
        sys.stdout.flush()
        while select.select([0], [], [], LEASE)[0] and os.read(0, 65536):
            pass
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)


def is_ready(path: Path) -> bool:
    """Whether an environment is complete, and made from this interpreter: a system may have got a newer one since."""
    try:
        made = json.loads(path.read_text())
        return bool(made["prefix"] == sys.prefix and made["python"] == list(sys.version_info[:2]))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def make_folder(parent: Path) -> Tuple[Path, int]:
    """A new folder, and the descriptor that holds the lock on `alive` in it; those of the killed are removed before."""
    sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=str(parent)))
    new = folder / "new"
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    new.rename(folder / "alive")  # never seen without its lock
    return folder, descriptor


def sweep(parent: Path) -> None:
    """Remove the folders of those that were killed: ours, and without anybody who holds the lock."""
    try:
        folders = [path for path in parent.iterdir() if path.name.startswith(PREFIX)]
    except OSError:  # a folder that may be written into, not read
        return
    for folder in folders:
        alive = folder / "alive"
        try:
            if folder.is_symlink() or alive.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(alive, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(str(folder), ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    keep()
