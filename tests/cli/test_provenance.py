"""What results say of how they were made."""

import sys

import pytest

from yolo_edge.cli.provenance import command_line


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["benchmark", "a.onnx", "-o", "out"], ["benchmark", "a.onnx", "-o", "out"]),
        (["devices", "web", "--token", "my secret", "-o", "out"], ["devices", "web", "--token", "…", "-o", "out"]),
        (["devices", "web", "--token=my secret"], ["devices", "web", "--token=…"]),
        (["devices", "web", "--token"], ["devices", "web", "--token"]),
        (["detect", "a\x1b[2J.onnx"], ["detect", "a?[2J.onnx"]),
    ],
)
def test_the_command_line_without_its_token(
    words: list[str], shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/yolo-edge", *words])
    assert command_line() == ["yolo-edge", *shown]
