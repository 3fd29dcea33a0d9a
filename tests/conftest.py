"""Fixtures of all rooms, and the order of their files."""

import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from msgspec.structs import replace

from tests.support import random_darknet, shared_dir

# Files of half a minute and more, the longest first: `make test` gives whole files to its two workers, and one of these
# begun last would leave the other worker idle.
_LONGEST = (
    "devices/test_pi5.py",
    "sample/test_model.py",
    "quickstart/test_quickstart.py",
    "cli/test_sweep.py",
    "cli/test_benchmark.py",
    "export/test_every_cfg.py",
    "benchmarks/test_report_charts.py",
    "docs/test_commands.py",
    "export/test_foreign_real.py",
    "frame/test_packages.py",
    "frame/test_tflite_runtime.py",
)

# a job in the background, or under nohup, starts with these ignored, and so would all programs that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# how long an example takes says nothing on a machine that does other things, too
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; within a file, and among the others, all stays in order."""
    here = Path(__file__).parent
    rank = {here / name: number for number, name in enumerate(_LONGEST)}
    missing = [str(path) for path in rank if not path.is_file()]
    assert not missing, f"tests/conftest.py: _LONGEST names {missing}"
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def _no_time_lost() -> Iterator[None]:
    """Commands in this process take less time to measure; what they measure so well is tested where it is made.

    An export runs each file for a second, beside fp32; `--quick` warms up for as long, and looks for the peak.
    """
    from yolo_edge.benchmarks import settings
    from yolo_edge.export import verify

    quick = replace(settings.quick_settings(), warm_up_cap_s=0.1, peak_s=0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "_TIMING_SECONDS", 0.03)
        patch.setattr(settings, "quick_settings", lambda: quick)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    return shared_dir()


@pytest.fixture(scope="session")
def assets(shared: Path) -> Path:
    return shared / "assets"


@pytest.fixture(scope="session")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random detector of our own, with weights beside it."""
    return random_darknet(tmp_path_factory.mktemp("darknet"), seed=3)


@pytest.fixture(scope="session")
def onnx_bytes(cfg: Path) -> bytes:
    from yolo_edge.export import canonicalize, write_onnx
    from yolo_edge.export.load import load_model

    source = load_model(cfg)
    return write_onnx(canonicalize(source.graph), source.spec)


@pytest.fixture(scope="session")
def tflite_bytes(cfg: Path) -> bytes:
    from yolo_edge.export import canonicalize, write_tflite
    from yolo_edge.export.load import load_model

    source = load_model(cfg)
    return write_tflite(canonicalize(source.graph), source.spec)


@pytest.fixture(scope="session")
def tflite_file(tflite_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "random.tflite"
    path.write_bytes(tflite_bytes)
    return path


@pytest.fixture(scope="session")
def onnx_file(onnx_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "random.onnx"
    path.write_bytes(onnx_bytes)
    return path
