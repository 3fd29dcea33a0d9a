"""Running the command line."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.support import random_picture
from yolo_edge.cli import main


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process; what C code writes is caught too."""

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture
def refuse(run: Run) -> Callable[..., str]:
    """Run a command line that must be refused: exit 2, nothing on standard output, one line on standard error."""

    def call(*arguments: object, code: int = 2) -> str:
        result = run(*arguments)
        assert result.code == code, result
        assert result.out == ""
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1
        assert "Traceback" not in result.err
        assert "internal error" not in result.err
        return result.err

    return call


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "a picture.png"
    cv2.imwrite(str(path), random_picture(120, 90))
    return path
