"""`yolo-edge sweep --devices`, on boards that are this machine behind a real sshd."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.cli.conftest import Run
from tests.devices.conftest import server, session_server  # noqa: F401 - fixtures
from tests.devices.sshd import Server, free_port
from tests.support import random_darknet
from yolo_edge.benchmarks.result_file import read_result
from yolo_edge.benchmarks.settings import quick_settings
from yolo_edge.cli.sweep_steps import StoppedError, Timing
from yolo_edge.devices import session
from yolo_edge.devices.inventory import Entry, add_device
from yolo_edge.export.exporter import ExportOptions, export
from yolo_edge.ondevice.errors import YoloEdgeError

TIMED = ["--quick", "--seconds", "0.05", "--inferences", "5", "--repeats", "1", "--threads", "1"]
BRIEF = replace(
    quick_settings(),
    threads=(1,),
    seconds=0.05,
    inferences=5,
    repeats=1,
    cooldown_s=0.0,
    warm_up_window_s=0.05,
    warm_up_cap_s=0.1,
    peak_s=0.05,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_darknet(tmp_path_factory.mktemp("model"), 11, classes=3)


@pytest.fixture
def inventory(server: Server, tmp_path: Path) -> Path:  # noqa: F811
    path = tmp_path / "devices.toml"
    for name in ("one", "two"):
        add_device(name, server.entry, path)
    add_device("emulator", replace(server.entry, emulated=True), path)
    add_device("gone", Entry(url=f"ssh://127.0.0.1:{free_port()}"), path)
    add_device("phone", Entry(url="adb:"), path)
    return path


def test_several_devices_at_once_of_which_one_is_lost(
    run: Run, source: Path, inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, both = session.session_on, threading.Barrier(2)

    def together(name: str, entry: Entry) -> Any:
        if name in ("one", "two"):
            both.wait(
                120
            )  # each waits until the other is there, too: measured one after the other, neither would go on
        return real(name, entry)

    monkeypatch.setattr(session, "session_on", together)
    out = tmp_path / "out"
    command = ["sweep", source, "--sizes", "64", *TIMED, "--inventory", inventory, "-o", out, "--json"]
    done = run(*command, "--devices", "one,gone,two,local")
    assert done.code == 1
    assert "error: gone: " in done.err
    document = done.json
    assert [cell["device"] for cell in document["cells"]] == ["one", "two", "local"]  # as they were named
    assert [item["device"] for item in document["lost"]] == ["gone"]
    assert len({cell["model"] for cell in document["cells"]}) == 1
    results = {path: path.read_bytes() for path in (out / "results").iterdir()}
    assert len(results) == 3
    hosts = [read_result(path).cells[0].device for path in sorted(results)]
    assert sorted(hosts) == ["local", "one", "two"]
    # all there: nobody is asked again
    monkeypatch.setattr(session, "session_on", lambda *_: pytest.fail("measured again"))
    again = run(*command, "--devices", "two,local")
    assert again.code == 0, again.err
    assert [cell["device"] for cell in again.json["cells"]] == ["two", "local"]
    assert again.json["lost"] == []
    assert {path: path.read_bytes() for path in (out / "results").iterdir()} == results


def test_times_of_an_emulator_are_withheld(run: Run, source: Path, inventory: Path, tmp_path: Path) -> None:
    done = run(
        *("sweep", source, "--sizes", "64", *TIMED, "--inventory", inventory, "-o", tmp_path / "out"),
        *("--devices", "emulator"),
    )
    assert done.code == 0, done.err
    (row,) = (line.split() for line in done.out.splitlines() if "emulator" in line)
    assert row[-3:] == ["emulated", "withheld", "-"]


def test_a_device_that_was_interrupted_goes_on(source: Path, inventory: Path, tmp_path: Path) -> None:
    """Neither the batch that was finished nor the repeat that was is measured again."""
    folder = tmp_path / "out"
    (folder / "results").mkdir(parents=True)
    files = export(source, folder / "models", ExportOptions(sizes=((64, 64), (96, 96)))).files
    batches = [[Path(file.path)] for file in files]
    settings = replace(BRIEF, repeats=2)
    stop = threading.Event()

    def until_the_second_repeat(what: str) -> None:
        if len(list((folder / "results").glob("benchmark-*.json"))) == 1 and "(2 of 2)" in what:
            stop.set()

    first = Timing("one", batches, settings, folder, inventory)
    with pytest.raises(StoppedError, match="one: stopped"):
        first.run(stop, until_the_second_repeat)
    (there,) = first.results
    before = there.read_bytes()
    assert [path for path in (folder / "results").iterdir() if path != there]  # the journal of the second batch
    second, told = Timing("one", batches, settings, folder, inventory), list[str]()
    second.run(threading.Event(), told.append)
    assert second.results[0] == there
    assert there.read_bytes() == before
    assert told[0] == "one: 1 files are measured"
    assert not any("(1 of 2)" in what for what in told)
    assert any("(2 of 2)" in what for what in told)
    result = read_result(second.results[1])
    assert result.cells[0].samples is not None
    assert result.cells[0].samples.repeats == 2
    assert len(list((folder / "results").iterdir())) == 2


def test_a_device_that_is_lost_midway_keeps_what_it_has(
    source: Path, inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yolo_edge.cli.sweep import _measure

    folder = tmp_path / "out"
    (folder / "results").mkdir(parents=True)
    real, calls = session.session_on, list[str]()

    def once(name: str, entry: Entry) -> Any:
        calls.append(name)
        if len(calls) > 1:
            raise YoloEdgeError("one: the connection was lost")
        return real(name, entry)

    monkeypatch.setattr(session, "session_on", once)
    files = export(source, folder / "models", ExportOptions(sizes=((64, 64), (96, 96)))).files
    timing = Timing("one", [[Path(file.path)] for file in files], BRIEF, folder, inventory)
    lost = _measure(None, [timing], None, None)
    assert {name: str(error) for name, error in lost.items()} == {"one": "one: the connection was lost"}
    assert len(timing.results) == 1
    assert json.loads(timing.results[0].read_text())["cells"][0]["device"] == "one"


def test_phones_are_for_benchmark(refuse: Callable[..., str], source: Path, inventory: Path, tmp_path: Path) -> None:
    told = refuse("sweep", source, "-o", tmp_path / "out", "--devices", "phone", "--inventory", inventory)
    assert "--device phone --benchmark-model PROGRAM" in told
    assert not (tmp_path / "out").exists()
