"""A phone behind the real adb, which has a server and a home of its own."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.devices.phone import Phone, free_port, make_phone, programs_or_skip, serving


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Variables that keep adb apart from that of whoever runs the tests."""
    programs_or_skip("adb")
    found = {"HOME": str(tmp_path_factory.mktemp("home")), "ANDROID_ADB_SERVER_PORT": str(free_port())}
    yield found
    subprocess.run(["adb", "kill-server"], check=False, capture_output=True, timeout=20, env={**os.environ, **found})


@pytest.fixture
def phone(tmp_path: Path, adb_server: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    for name, value in adb_server.items():
        monkeypatch.setenv(name, value)
    made = make_phone(tmp_path / "phone")
    with serving(made):
        yield made
        subprocess.run(["adb", "disconnect", f"127.0.0.1:{made.port}"], check=False, capture_output=True, timeout=20)
