"""Fixtures of the tests of devices."""

from collections.abc import Iterator

import pytest

from tests.devices.sshd import Server, configured, serve


@pytest.fixture(scope="session")
def session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("sshd"), "MaxSessions 10") as server:
        yield server


@pytest.fixture
def server(session_server: Server) -> Iterator[Server]:
    """A board that is this machine, behind a real SSH server; nothing may be left on it."""
    session_server.write_config()
    with configured(session_server):
        yield session_server
    assert list(session_server.temporary.iterdir()) == []
