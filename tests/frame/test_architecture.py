"""Who may import whom: in a running process, in the sources, and by the tools that `make lint` runs."""

import ast
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.frame.tools import ROOT, run

ROOMS = ("yolo_edge", "export", "benchmarks", "devices")

# runtimes, and what only some commands need
HEAVY = (
    "ai_edge_litert",
    "altair",
    "faster_coco_eval",
    "flatbuffers",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "starlette",
    "tflite_runtime",
    "uvicorn",
)

# what travels to a device, where Python is 3.8
ONDEVICE = ROOT / "yolo_edge" / "ondevice"
TRAVELLERS = [ROOT / "yolo_edge/__init__.py", ROOT / "yolo_edge/_version.py", *sorted(ONDEVICE.rglob("*.py"))]
LATER_THAN_3_8 = {"annotationlib", "compression", "graphlib", "tomllib", "zoneinfo"}
ANYWHERE = (sys.stdlib_module_names - LATER_THAN_3_8) | {"cv2", "numpy"}
IN_RUNTIMES = {"onnxruntime"}

LAYERS = "Arrows point down only"
DEVICE = "What travels to a device loads no library of the host"


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(["import yolo_edge"], id="import"),
        pytest.param(["from yolo_edge.cli import main", "assert main(['--help']) == 0"], id="--help"),
        pytest.param(
            [
                "from typer.main import get_command",
                "from yolo_edge.cli import main",
                "from yolo_edge.cli.app import app",
                "for name in get_command(app).commands: assert main([name, '--help']) == 0",
            ],
            id="COMMAND --help",
        ),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(statements: list[str], tmp_path: Path) -> None:
    for name in HEAVY:  # an attempt to import one shows, even where it is not installed
        (tmp_path / f"{name}.py").touch()
    script = "\n".join([*statements, "import json, sys", "print()", "print(json.dumps(list(sys.modules)))"])
    done = run([sys.executable, "-c", script], cwd=tmp_path, PYTHONPATH=str(tmp_path))
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "yolo_edge" in loaded
    assert sorted(loaded & set(HEAVY)) == []


@pytest.mark.parametrize("file", TRAVELLERS, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_travels_to_a_device_suits_it(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    ast.parse(source, file.name, feature_version=(3, 8))
    refused = list(_refused_imports(source, file))
    assert refused == []


@pytest.mark.parametrize(
    "source",
    [
        "import onnx",
        "import onnxruntime",
        "import os, tomllib",
        "import yolo_edge.export",
        "from yolo_edge import export",
        "from yolo_edge.export.graph import Graph",
        "from .. import export",
        "from ..export.graph import Graph",
        "def load():\n    from rich import box",
        "if TYPE_CHECKING:\n    import msgspec",
    ],
)
def test_refused_imports_are_seen(source: str) -> None:
    assert len(list(_refused_imports(source, ONDEVICE / "planted.py"))) == 1


def _refused_imports(source: str, file: Path) -> Iterator[str]:
    """Each import of something that a device may lack, wherever in the file it is."""
    package = file.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            start = [*above, node.module] if node.module else above
            names = [".".join([*start, alias.name]) for alias in node.names]
        else:
            continue
        yield from (f"line {node.lineno}: {name}" for name in names if not _may_import(name, file))


def _may_import(name: str, file: Path) -> bool:
    first = name.split(".", maxsplit=1)[0]
    if first == "yolo_edge":
        return f"{name}.".startswith(("yolo_edge.ondevice.", "yolo_edge._version."))
    return first in ANYWHERE or (first in IN_RUNTIMES and file.is_relative_to(ONDEVICE / "runtimes"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what ruff checks."""
    for room in ROOMS:
        _copy(ROOT / room, tmp_path / room)
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    """The package as `make farm` shows it to mypy and import-linter, of copies instead of links."""
    folder = tmp_path / "build" / "farm"
    _copy(ROOT / "yolo_edge", folder / "yolo_edge")
    for room in ROOMS[1:]:
        _copy(ROOT / room, folder / "yolo_edge" / room)
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    return folder


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def test_ruff_refuses_the_bare_folder(checkout: Path) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json", "."]
    run(command, cwd=checkout)
    planted = checkout / "yolo_edge" / "planted.py"
    planted.write_text('"""Planted."""\n\nimport export.graph\n\nGraph = export.graph.Graph\n')
    found = json.loads(run(command, cwd=checkout, status=1).stdout)
    assert [(item["code"], Path(item["filename"])) for item in found] == [("TID251", planted)]


def test_mypy_sees_the_mapped_folders(farm: Path) -> None:
    cache = farm.parent / "cache"
    if (ROOT / ".mypy_cache").is_dir():  # what `make lint` knows of libraries, which is most of the work
        shutil.copytree(ROOT / ".mypy_cache", cache)
    command = [sys.executable, "-m", "mypy", "--config-file", "../../pyproject.toml", "--cache-dir", str(cache)]
    command += ["-p", "yolo_edge"]
    run(command, cwd=farm, MYPYPATH=".", timeout=300)
    (farm / "yolo_edge/export/planted.py").write_text("def planted(value):\n    return value\n")
    first, *others = run(command, cwd=farm, MYPYPATH=".", status=1).stdout.splitlines()
    assert first.startswith("yolo_edge/export/planted.py:1: error:")
    assert first.endswith("[no-untyped-def]")
    assert [line.split(" (")[0] for line in others] == ["Found 1 error in 1 file"]


@pytest.mark.parametrize(
    ("file", "imported", "broken"),
    [
        ("yolo_edge/ondevice/planted.py", "yolo_edge.export", [LAYERS, DEVICE]),
        ("yolo_edge/ondevice/planted.py", "onnx", [DEVICE]),
        ("yolo_edge/benchmarks/planted.py", "yolo_edge.export", [LAYERS]),
    ],
)
def test_import_linter_sees_the_mapped_folders(file: str, imported: str, broken: list[str], farm: Path) -> None:
    program = Path(sys.executable).with_name("lint-imports")
    command = [program, "--config", "../../pyproject.toml", "--no-cache"]
    run(command, cwd=farm)
    (farm / file).write_text(f"import {imported}\n")
    # wide enough for a contract's name on one line
    lines = run(command, cwd=farm, status=1, COLUMNS="200").stdout.splitlines()
    assert [line.removesuffix(" BROKEN") for line in lines if line.endswith(" BROKEN")] == broken
    module = file.removesuffix(".py").replace("/", ".")
    assert any(line.strip("- ") == f"{module} -> {imported} (l.1)" for line in lines)
