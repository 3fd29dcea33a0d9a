"""Keeps a folder on a device while the coordinator is there, and removes it afterwards.

Sent as text to whatever Python the device has, 3.4 or newer, and run by itself: it imports nothing of ours.

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

PREFIX = "yolo-edge-"
LEASE = 8.0  # seconds without a sign of life
ENVIRONMENT = "~/.local/share/yolo-edge/venv"  # that `yolo-edge devices setup` makes


def keep() -> None:
    """Do what the module says."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parent = tempfile.gettempdir()
    sweep(parent)
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
    try:
        alive = os.open(os.path.join(folder, "new"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(alive, fcntl.LOCK_EX)
        os.rename(os.path.join(folder, "new"), os.path.join(folder, "alive"))  # never seen without its lock
        environment = os.path.expanduser(ENVIRONMENT)
        ready = os.path.exists(os.path.join(environment, "ready.json"))
        print(
            json.dumps(
                {
                    "folder": folder,
                    "python": list(sys.version_info[:3]),
                    "executable": sys.executable,
                    "machine": platform.machine(),
                    "bits": 8 * struct.calcsize("P"),
                    "home": os.path.expanduser("~"),
                    "environment": environment if ready else None,
                }
            )
        )
        sys.stdout.flush()
        while select.select([0], [], [], LEASE)[0] and os.read(0, 65536):
            pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: str) -> None:
    """Remove the folders of keepers that were killed: ours, and without anybody who holds the lock."""
    try:
        names = os.listdir(parent)
    except OSError:  # a folder that may be written into, not read
        return
    for name in names:
        folder = os.path.join(parent, name)
        alive = os.path.join(folder, "alive")
        if not name.startswith(PREFIX) or os.path.islink(folder) or os.path.islink(alive):
            continue
        try:
            if os.stat(folder).st_uid != os.getuid():
                continue
            descriptor = os.open(alive, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    keep()
