"""Every command of README.md and docs/: run where it can be, held against the program where not."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tests.docs.pages import PAGES, Block, Command, blocks_of, prose_of
from tests.docs.program import complaints, named_commands, options, script_complaints, spellings, unknown_options
from tests.export import foreign
from tests.support import ROOT
from yolo_edge.cli import main
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.load import load_model
from yolo_edge.export.quantization import choose
from yolo_edge.export.quantization.recipe import RECIPES


def _link(path: Path, target: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _sample_as(path: Path) -> None:
    for suffix in (".cfg", ".weights", ".names"):
        shutil.copy(path.with_name(f"model{suffix}"), path.with_suffix(suffix))


def _export_as(path: Path) -> None:
    source = load_model(path.parents[1] / "model.cfg")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(write_onnx(canonicalize(source.graph), source.spec))


# what pages call files → how it is made here; all pages start from what docs/index.md makes
STANDINS: dict[str, Callable[[Path], object]] = {
    "coco128.yaml": lambda path: shutil.copy(path.with_name("data.yaml"), path),
    "dog.jpg": lambda path: shutil.copy(path.with_name("photo.jpg"), path),
    "examples": lambda path: _link(path, ROOT / "examples"),
    "pictures": lambda path: _link(path, "images/train"),
    "raw.onnx": lambda path: onnx.save(foreign.yolov5(form="raw"), path),
    "yolov5n.onnx": lambda path: onnx.save(foreign.yolov5(), path),
    "yolov8n.onnx": lambda path: onnx.save(foreign.yolov8(), path),
    "yolox_nano.onnx": lambda path: onnx.save(foreign.yolox(), path),
    "FastestDet.onnx": lambda path: onnx.save(foreign.fastestdet(), path),
    "nanodet_m_416.onnx": lambda path: onnx.save(foreign.nanodet(), path),
    "yolo-fastestv2.onnx": lambda path: onnx.save(foreign.fastestv2(anchors=3, classes=4), path),
    "yolo-fastest-1.1.cfg": _sample_as,
    "out/yolo-fastest-1.1-xl-320-fp32.onnx": _export_as,
}
# measured for a moment only
SHORTER = {"benchmark": ("--seconds", "0.1", "--inferences", "16", "--repeats", "1", "--cooldown", "0")}
INDEX = ROOT / "docs" / "index.md"
RUN = [
    page
    for page in PAGES
    if page != INDEX
    and any((b.has_commands or b.is_python) and not b.not_run and not b.is_synopsis for b in blocks_of(page))
]


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What docs/index.md makes, by its own program."""
    folder = tmp_path_factory.mktemp("kitchen")
    (block,) = [block for block in blocks_of(INDEX) if block.is_python]
    _python(block, folder)
    return folder


@pytest.mark.parametrize("page", RUN, ids=_id)
def test_what_can_be_run_runs(
    page: Path, kitchen: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(kitchen, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # one recipe instead of all: what they are worth is tested elsewhere
    monkeypatch.setattr(choose.quantize, "__kwdefaults__", {**choose.quantize.__kwdefaults__, "recipes": RECIPES[1:2]})
    text = page.read_text()
    for name, make in STANDINS.items():
        if name in text:
            make(folder / name)
    for block in blocks_of(page):
        if block.not_run or block.is_synopsis:
            continue
        if block.is_python:
            _python(block, folder)
        elif block.has_commands:
            for command in block.commands:
                _run(command, block, folder, capfd)


def _run(command: Command, block: Block, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = f"{block.where}: {command.text}"
    for part in command.text.split(" && "):
        words = shlex.split(part, comments=True)
        target = folder / words.pop() if ">" in words else None
        words = [word for word in words if word != ">"]
        program, *arguments = [found for word in words for found in _expand(word)]
        capfd.readouterr()
        if program == "yolo-edge":
            more = SHORTER.get(arguments[0], ())
            given = [
                word for pair in zip(more[::2], more[1::2], strict=True) if pair[0] not in arguments for word in pair
            ]
            code = main([*arguments, *given])
            out, err = capfd.readouterr()
            assert code == 0, f"{where}\n{err}"
            _compare(command, out + err, where)
        elif program in ("python", ".venv-dev/bin/python") and arguments[0].startswith("benchmarks/scripts/"):
            continue  # takes minutes by its nature; held against the script
        elif program == "python":
            done = subprocess.run(
                [sys.executable, *arguments], capture_output=True, text=True, input="\n".join(command.fed), check=False
            )
            assert done.returncode == 0, f"{where}\n{done.stderr}"
            out = done.stdout
        elif program == "source":
            continue
        else:
            pytest.fail(f"{where}: a program that tests do not run; mark the block with <!-- not run: why -->")
        if target is not None:
            target.write_text(out)


def _expand(word: str) -> list[str]:
    """As a shell does it."""
    found = sorted(map(str, Path().glob(word))) if "*" in word else []
    return found or [word]


def _compare(command: Command, printed: str, where: str) -> None:
    """The columns of a table that a page shows are those that are printed."""
    for head, rule in zip(command.shown, command.shown[1:], strict=False):
        if re.fullmatch(r" ─+", rule):
            assert head.split() in [line.split() for line in printed.splitlines()], (
                f"{where}: prints no table with {head!r}"
            )


def _python(block: Block, folder: Path) -> None:
    script = "\n".join(block.lines)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
        check=False,
    )
    assert done.returncode == 0, f"{block.where}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_what_cannot_be_run_is_what_the_program_takes(page: Path) -> None:
    for block in blocks_of(page):
        if block.is_python and block.not_run:
            compile("\n".join(block.lines), block.where, "exec")
        if not block.has_commands:
            continue
        if block.is_synopsis:
            text = "\n".join(block.lines)
            for part in re.split(r"(?m)^(?=\$ |yolo-edge )", text):
                if part.strip().startswith(("yolo-edge", "$ yolo-edge")):
                    assert not unknown_options(part), f"{block.where}: {part}"
        else:
            for command in block.commands:
                assert not complaints(command.text), f"{block.where}: {command.text}: {complaints(command.text)}"


def test_a_synopsis_is_whole_unless_it_ends_with_dots() -> None:
    for block in blocks_of(ROOT / "README.md"):
        text = "\n".join(block.lines)
        names = named_commands(text) if block.is_synopsis and "$ " not in text else []
        if len(names) == 1 and not text.endswith(" ..."):
            shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", text))
            missing = [found for found in spellings(names[0]) if not shown & set(found)]
            assert not missing, f"{block.where}: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_commands_in_the_text_name_options_that_there_are(page: Path) -> None:
    for code in re.findall(r"`([^`]+)`", prose_of(page)):
        text = " ".join(code.split())
        if text.startswith("yolo-edge ") and text not in NOT_BUILT:
            assert named_commands(text), f"{page}: {text}"
            assert not unknown_options(text), f"{page}: {text}"
        script = re.match(r"(?:\.venv-dev/bin/)?python (\S+\.py.*)", text)
        if script and script[1].split()[0] not in SCRIPTS_OF_OTHERS:
            assert not script_complaints(shlex.split(script[1])), (
                f"{page}: {text}: {script_complaints(shlex.split(script[1]))}"
            )


def test_options_in_the_text_are_those_of_some_command() -> None:
    every = set().union(*options().values()) | {"--help", "--version"}
    unknown = {}
    for page in PAGES:
        for code in re.findall(r"`(--[a-z][a-z0-9_-]*)", prose_of(page)):
            if code not in every and not any(code in script.read_text() for script in _scripts()):
                unknown.setdefault(code, page.name)
    assert set(unknown) <= OF_OTHERS, unknown


# options of other programs that the text names
SCRIPTS_OF_OTHERS = {"deploy/ONNX/export_onnx.py", "export.py", "tools/export_onnx.py"}
NOT_BUILT = {"yolo-edge devices web"}
OF_OTHERS = {"--decode_in_inference", "--grid", "--end2end", "--system-site-packages"}


def _scripts() -> list[Path]:
    return [*(ROOT / "tools").glob("*.py"), *(ROOT / "benchmarks" / "scripts").glob("*.py")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("yolo-edge export model.cfg -o out --no-such 1", "No such option"),
        ("yolo-edge export -o out", "Missing argument"),
        ("yolo-edge detect m.onnx a.jpg --confidence much", "should be a valid number"),
        ("yolo-edge detekt a.jpg", "no command"),
        ("make no-such-target", "no target"),
        ("pip install 'yolo-edge[none]'", "no extra"),
        ("python tools/none.py", "no file"),
        ("python tools/train_sample.py --none", "has no --none"),
        ("frobnicate", "what is"),
    ],
)
def test_mistakes_are_seen(text: str, words: str) -> None:
    (complaint,) = complaints(text)
    assert words in complaint


def test_mistakes_in_a_synopsis_are_seen() -> None:
    assert unknown_options("yolo-edge detect MODEL [--none]") == ["--none"]
    assert unknown_options("yolo-edge devices list | add NAME URL [--yes]") == ["--yes"]
