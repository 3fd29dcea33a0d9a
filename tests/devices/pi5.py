"""The double of a Raspberry Pi 5: Debian for arm64 under qemu's user mode, with an SSH server of its own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.devices.sshd import free_port, make_key, wait_for_port

_PROGRAMS = {"qemu-aarch64-static": "qemu-user-static", "mmdebstrap": "mmdebstrap", "ssh-keygen": "openssh-client"}
_MOUNTS = ("proc/cpuinfo", "proc", "dev", "sys")


@dataclass
class Double:
    """A running double: `root` is its file system, `config` what ssh reads for the host `pi5`."""

    root: Path
    config: Path


def _lacks() -> str | None:
    if os.getuid() != 0:
        return "the double of a Raspberry Pi needs root: chroot and mounts"
    missing = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    return f"the double of a Raspberry Pi needs: apt install {' '.join(missing)}" if missing else None


@contextmanager
def serve_double(shared: Path, folder: Path) -> Iterator[Double]:
    """Build and start one. Where it cannot be the test skips and says so, in CI that is a failure."""
    script = shared / "doubles" / "arm64-pi5.sh"
    reason = _lacks() or (None if script.exists() else f"no {script}")
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    root, port = folder / "root", free_port()
    try:
        built = subprocess.run(
            ["bash", script, "build", root],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PIP_DRY_RUN": "1"},  # runtimes come by `devices setup`
        )
        assert built.returncode == 0, built.stderr[-2000:]
        key = make_key(folder / "id")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["bash", script, "serve", root, str(port), key.with_suffix(".pub")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for_port(port, process)
            known, config = folder / "known", folder / "ssh_config"
            known.write_text(f"[127.0.0.1]:{port} {(root / 'etc/double/host.pub').read_text()}")
            config.write_text(
                f"Host pi5\nHostName 127.0.0.1\nPort {port}\nUser pi\nIdentityFile {key}\nIdentitiesOnly yes\n"
                f"UserKnownHostsFile {known}\n"
            )
            yield Double(root, config)
        finally:
            process.terminate()
            process.wait()
    finally:
        for mount in _MOUNTS:
            if subprocess.run(["mountpoint", "-q", root / mount], check=False).returncode == 0:
                subprocess.run(["umount", "-l", root / mount], check=False)
        # half a gigabyte, and pytest keeps the folders of three runs; never across what is still mounted
        shutil.rmtree(root, ignore_errors=True) if not any((root / name).is_mount() for name in _MOUNTS) else None
