"""Machines that this process takes for its own, where the int8 kernels of onnxruntime are chosen."""

import platform
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from yolo_edge.ondevice.runtimes import onnx as onnx_runtime

CPUINFO = """processor\t: 0
model name\t: Some CPU
vmx flags\t: avx_vnni
flags\t\t: fpu sse4_1 avx2 {0}
bugs\t\t: avx512_vnni

processor\t: 1
flags\t\t: fpu sse4_1 avx2 {0}
"""


def is_precise(options: ort.SessionOptions) -> bool:
    """Whether a session with these options keeps int8 sums from saturating."""
    try:
        return bool(options.get_session_config_entry("session.x64quantprecision") == "1")
    except RuntimeError:  # there is no such entry
        return False


class Machine:
    """An x86-64 CPU with AVX2 and without VNNI, unless it becomes another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path):
        self._monkeypatch, self.cpuinfo = monkeypatch, folder / "cpuinfo"
        monkeypatch.setattr(onnx_runtime, "CPUINFO", self.cpuinfo)
        self.becomes("x86_64", "")

    def sessions(self) -> list[bool]:
        """Whether each session that is made from now on is told to be precise; the list grows."""
        made: list[bool] = []
        session = ort.InferenceSession

        def make(model: Any, options: ort.SessionOptions, **others: Any) -> ort.InferenceSession:
            made.append(is_precise(options))
            return session(model, options, **others)

        self._monkeypatch.setattr(ort, "InferenceSession", make)
        return made

    def becomes(self, machine: str, features: str | None) -> None:
        """Another machine, as Python names it, with more features than AVX2; None: it does not tell."""
        self._monkeypatch.setattr(platform, "machine", lambda: machine)
        if features is None:
            self.cpuinfo.unlink()
        else:
            self.cpuinfo.write_text(CPUINFO.format(features))
