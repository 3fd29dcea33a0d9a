"""The wheel and the sdist: what is in them, and that they work in an empty environment."""

import configparser
import fcntl
import json
import os
import re
import shutil
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from tests.frame.tools import ROOT, assert_same_detections, install, new_environment, run
from tests.support import random_darknet
from yolo_edge import Detector, __version__
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.load import load_model


@dataclass(frozen=True)
class Distributions:
    """What `python -m build` made of `tree`, a copy of the checkout."""

    tree: Path
    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Sample:
    """A detector as source and exported, a picture, and what this environment finds in it."""

    cfg: Path
    model: Path
    picture: Path
    expected: list[dict[str, Any]]


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Built once, in all processes of pytest-xdist together."""
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    tree, built = common / "tree", common / "built"
    with (common / "distributions.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            _copy_checkout(tree)
            making = tmp_path_factory.mktemp("dist")
            run([sys.executable, "-m", "build", "--outdir", making, tree], cwd=common, timeout=300)
            making.rename(built)
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    return Distributions(tree, wheel, sdist)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("sample")
    cfg = random_darknet(folder, seed=35)
    source = load_model(cfg)
    model = folder / "sample.onnx"
    model.write_bytes(write_onnx(canonicalize(source.graph), source.spec))
    # as large as the network's input: how a version of OpenCV resizes does not matter
    size = (source.spec.input.height, source.spec.input.width, 3)
    picture = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    cv2.imwrite(str(folder / "picture.png"), picture)
    found = Detector(model, confidence=0.01)(picture)
    return Sample(cfg, model, folder / "picture.png", found.to_dicts(source.spec.names))


def test_setup_cfg_lists_the_packages_of_the_tree() -> None:
    listed = _setup_cfg(ROOT)["options"]["packages"].split()
    assert sorted(listed) == sorted(name for name, _ in _packages(ROOT))


def test_setup_cfg_maps_every_room() -> None:
    rooms = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"}
    assert rooms == set(_package_dir(ROOT).values())


def test_the_wheel_holds_the_packages_whole_and_nothing_else(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith(f"yolo_edge-{__version__}.dist-info/")}
    # data files too: one that no pattern of package_data matches is missing here
    expected = {
        f"{package.replace('.', '/')}/{file.name}"
        for package, folder in _packages(distributions.tree)
        for file in folder.iterdir()
        if file.is_file()
    }
    assert names == expected
    assert "yolo_edge/py.typed" in names


def test_the_sdist_holds_the_checkout(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tree = distributions.tree
    files = {file.relative_to(tree).as_posix() for file in tree.rglob("*") if file.is_file()}
    # what setuptools leaves there is of the build
    assert {name for name in files - held if ".egg-info/" not in name and not name.startswith("build/")} == set()


def test_both_are_fit_for_an_index(distributions: Distributions) -> None:
    run([sys.executable, "-m", "twine", "check", "--strict", distributions.wheel, distributions.sdist], cwd=ROOT)


def test_the_description_leads_nowhere_that_an_index_has_not(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as archive:
        text = archive.read(f"yolo_edge-{__version__}.dist-info/METADATA").decode().partition("\n\n")[2]
    assert text.startswith("# yolo-edge\n")
    assert not re.findall(r"!\[|<!--|\]\((?!https?:)[^)]*\)", text)
    assert "docs/int8.md" in text
    assert "[--size 320,352x288]" in text


def test_versions_and_licences_are_the_same_everywhere() -> None:
    metadata = _setup_cfg(ROOT)["metadata"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (__version__, metadata["license"])
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_wheel_works_in_an_empty_environment(distributions: Distributions, sample: Sample, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with new_environment(tmp_path / "environment") as programs:
        install(programs, str(distributions.wheel))
        version = run([programs / "python", "-c", "import cv2; print(cv2.__version__)"], cwd=elsewhere).stdout.strip()
        print(f"the wheel brought OpenCV {version}; the expected detections come from {cv2.__version__}")
        _check_without_extra(programs / "yolo-edge", sample, elsewhere)
        install(programs, f"{distributions.wheel}[export]")
        _check_with_extra(programs / "yolo-edge", sample, elsewhere)


def test_pip_makes_the_same_wheel_of_the_sdist(distributions: Distributions, tmp_path: Path) -> None:
    """So it works where the wheel does, and needs what the wheel needs."""
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "-q", "--no-deps"]
    run([*command, "--wheel-dir", tmp_path, distributions.sdist], cwd=tmp_path, timeout=600)
    assert _contents(tmp_path / distributions.wheel.name) == _contents(distributions.wheel)


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _check_without_extra(program: Path, sample: Sample, folder: Path) -> None:
    done = run([program, "--version"], cwd=folder)
    assert done.stdout == f"yolo-edge {__version__}\n"
    _check_detect(program, sample.model, sample, folder)
    run([program, "detect", sample.model, sample.picture, "--resize", "letterbox"], cwd=folder)
    small = ["--quick", "--seconds", "0.1", "--repeats", "1", "--threads", "1", "--output", "measured"]
    document = json.loads(run([program, "benchmark", sample.model, *small, "--json"], cwd=folder).stdout)
    assert document["cells"][0]["latency_ms"]["p50"] > 0
    (measured,) = (folder / "measured").iterdir()
    done = run([program, "report", measured, "--output", "page.html"], cwd=folder, status=2)
    assert "pip install 'yolo-edge[report]'" in done.stderr
    assert not (folder / "page.html").exists()
    for command in (
        ["export", sample.cfg, "--output", "out"],
        ["inspect", sample.cfg],
        ["detect", sample.cfg, sample.picture],
    ):
        done = run([program, *command], cwd=folder, status=2)
        assert "pip install 'yolo-edge[export]'" in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
    assert not (folder / "out").exists()


def _check_with_extra(program: Path, sample: Sample, folder: Path) -> None:
    assert "parameters" in run([program, "inspect", sample.cfg], cwd=folder).stdout
    options = ["--precision", "fp32,fp16", "--output", "out", "--json"]
    exported = json.loads(run([program, "export", sample.cfg, *options], cwd=folder).stdout)
    assert [file["precision"] for file in exported] == ["fp32", "fp16"]
    for file in exported:
        assert (folder / file["path"]).stat().st_size == file["bytes"]
    _check_detect(program, folder / exported[0]["path"], sample, folder)


def _check_detect(program: Path, model: Path, sample: Sample, folder: Path) -> None:
    options = ["--confidence", "0.01", "--json"]
    (result,) = json.loads(run([program, "detect", model, sample.picture, *options], cwd=folder).stdout)
    assert result["image"] == str(sample.picture)
    assert_same_detections(result["detections"], sample.expected)


def _setup_cfg(root: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string((root / "setup.cfg").read_text(encoding="utf-8"))
    return parser


def _package_dir(root: Path) -> dict[str, str]:
    """Package → the folder it is in."""
    lines = _setup_cfg(root)["options"]["package_dir"].split("\n")
    return dict(line.split(" = ") for line in lines if line)


def _packages(root: Path) -> list[tuple[str, Path]]:
    """The name and folder of every package in the tree."""
    return [
        (".".join([name, *file.parent.relative_to(root / room).parts]), file.parent)
        for name, room in _package_dir(root).items()
        for file in (root / room).rglob("__init__.py")
    ]


def _copy_checkout(target: Path) -> None:
    """Copy what git knows or would add, so that what builds leave behind stays out of the checkout."""
    if not (ROOT / ".git").exists():  # an unpacked source distribution
        made = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", ".venv*", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, target, ignore=made)
        return
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT).stdout
    for name in listed.split("\0"):
        if (ROOT / name).is_file():  # not one that was deleted and is still in the index
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
