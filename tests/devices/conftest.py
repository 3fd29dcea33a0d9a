"""A phone behind the real adb, which has a server and a home of its own."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devices.phone import Phone, free_port, make_phone, serving


@pytest.fixture(scope="session")
def adb_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The adb program, apart from that of whoever runs the tests."""
    before = {name: os.environ.get(name) for name in ("HOME", "ANDROID_ADB_SERVER_PORT")}
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(free_port())
    yield
    subprocess.run(["adb", "kill-server"], check=False, capture_output=True, timeout=20)
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture
def phone(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Phone]:
    made = make_phone(tmp_path / "phone")  # skips without the programs
    request.getfixturevalue("adb_home")
    with serving(made):
        yield made
        subprocess.run(["adb", "disconnect", f"127.0.0.1:{made.port}"], check=False, capture_output=True, timeout=20)
