"""`yolo-edge devices web`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_edge.cli.address import Listen, Token, listening_on
from yolo_edge.cli.benchmark import show_result
from yolo_edge.cli.measuring import (
    Cooldown,
    Csv,
    Image,
    Inferences,
    Output,
    Quick,
    Repeats,
    Restart,
    Seconds,
    Subjects,
    ThreadList,
    make_settings,
    run_and_keep,
)
from yolo_edge.cli.options import Json, Names, Resize, Sizes, Weights, check_resize, path, sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yolo_edge.benchmarks.results import BenchmarkResult
    from yolo_edge.benchmarks.rounds import Subject
    from yolo_edge.benchmarks.settings import Settings
    from yolo_edge.devices.web.facts import PageFacts
    from yolo_edge.devices.web.package import OrtWeb


def web(
    models: Subjects,
    output: Output = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Of the device, in the result. Default: as its browser says; the page asks.", show_default=False
        ),
    ] = None,
    threads: ThreadList = None,
    quick: Quick = False,
    listen: Listen = "127.0.0.1:8081",
    token: Token = None,
    https: Annotated[
        bool,
        typer.Option(
            "--https", help="With a certificate that is made for this: browsers give threads over HTTPS only."
        ),
    ] = False,
    ort_web: Annotated[
        Path | None,
        typer.Option(
            help="A folder with onnxruntime-web. Default: a pinned version from the npm registry, kept in the cache.",
            metavar="DIR",
            show_default=False,
            parser=path,
        ),
    ] = None,
    image: Image = None,
    seconds: Seconds = None,
    inferences: Inferences = None,
    repeats: Repeats = None,
    cooldown: Cooldown = None,
    restart: Restart = False,
    csv: Csv = None,
    weights: Weights = None,
    size: Sizes = None,
    resize: Resize = None,
    names: Names = None,
    json: Json = False,
) -> None:
    """Measure models in the browser of a phone, which opens a page of this machine: latency of onnxruntime-web."""
    _check_extra()
    from contextlib import ExitStack

    from msgspec.structs import replace

    from yolo_edge.benchmarks.benchmark import Benchmark, check_names
    from yolo_edge.cli.output import note, running
    from yolo_edge.cli.provenance import command_line, git_revision
    from yolo_edge.cli.report import check_output_file
    from yolo_edge.cli.subjects import find_subjects
    from yolo_edge.devices.scratch import scratch_folder
    from yolo_edge.devices.web.agent import RUNTIME, BrowserAgents, Models
    from yolo_edge.devices.web.package import find_ort_web
    from yolo_edge.devices.web.server import WebServer
    from yolo_edge.devices.web.session import Session
    from yolo_edge.ondevice.errors import InputError, YoloEdgeError
    from yolo_edge.ondevice.files import cache_folder, check_output_folder
    from yolo_edge.serving.address import read_address

    for model in models:
        if model.suffix.lower() == ".tflite":
            raise InputError(f"{model}: the browser runs .onnx files: yolo-edge export --format onnx")
    _check_name(name)
    check_resize(resize)
    if output is not None:
        check_output_folder(output)
    if csv is not None:
        check_output_file(csv)
    settings = make_settings(
        quick=quick,
        threads=threads,
        image=image,
        seconds=seconds,
        inferences=inferences,
        repeats=repeats,
        cooldown=cooldown,
    )
    settings = replace(settings, runtime=RUNTIME, pin=False, peak_s=0.0)
    address = read_address(listen, token)
    with ExitStack() as stack:
        listening = stack.enter_context(listening_on(address))
        assert listening is not None  # noqa: S101 - there is an address
        folder = stack.enter_context(scratch_folder())
        subjects = find_subjects(
            models,
            folder,
            weights=weights,
            names=names,
            resize=resize,
            runtime="onnxruntime",
            threads=(1,),
            sizes=sizes(size),
        )
        check_names(subjects)  # not only once the phone is there
        served = Models()
        for subject in subjects:
            served.add(subject.path, subject.spec, settings.image)
        with running(None) as show:
            ort = find_ort_web(ort_web, lambda text: show(0, text))
        certificate = fingerprint = None
        if https:
            from yolo_edge.devices.web.certificate import own_certificate

            certificate, fingerprint = own_certificate(cache_folder() / "certificate", [address.reached_by])
        session = Session(note)
        server = stack.enter_context(
            WebServer(
                listening,
                session,
                served,
                ort,
                about=_about(subjects, settings, ort, name),
                token=address.token,
                certificate=certificate,
                note=note,
            )
        )
        _invite(address.url(server.port, "https" if https else "http"), address.hint, fingerprint, server.port)
        facts = session.wait_for_page()
        note(f"{facts.label}: {_described(facts)}")
        try:
            plan = Benchmark(
                subjects,
                _with_threads(settings, facts),
                BrowserAgents(session, served, facts, ort.version),
                device=facts.label,
                revision=git_revision(),
                command=command_line(),
            )
            result, written = run_and_keep(stack, plan, output, restart=restart, tell=session.tell)
        except YoloEdgeError as error:
            session.close(str(error))
            raise
        session.close("it is done", _summary(result, saved=written is not None))
        show_result(result, written, json=json, csv=csv)
        _tell_comparison(result)


def _check_extra() -> None:
    """Before anything else is done; some of it `demo` needs, too, and would be told to belong there."""
    from importlib import import_module

    from yolo_edge.ondevice.errors import InputError

    for name in ("starlette", "uvicorn", "segno", "cryptography"):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise InputError(f"this command needs {error.name}; run: pip install 'yolo-edge[web]'") from error


def _check_name(name: str | None) -> None:
    from yolo_edge.ondevice.errors import InputError

    if name is not None and not (name.strip() and name.isprintable() and len(name) <= 60 and name.lower() != "local"):
        raise InputError(f"--name {name!r}: expected up to 60 letters that can be printed, and not local: that is here")


def _about(subjects: "Sequence[Subject]", settings: "Settings", ort: "OrtWeb", name: str | None) -> dict[str, Any]:
    """What the page is told first."""
    from yolo_edge._version import __version__
    from yolo_edge.benchmarks.results import model_name
    from yolo_edge.cli.output import file_size, plural
    from yolo_edge.devices.web.package import SCRIPT, WASM

    each = settings.seconds + settings.repeats * 2 * settings.warm_up_window_s
    return {
        "version": __version__,
        "ort": ort.version,
        "script": SCRIPT,
        "wasm": WASM,
        "label": name or "",
        "models": [
            {
                "name": model_name(subject.name),
                "about": ", ".join(
                    text
                    for text in (
                        subject.precision or "no spec: the inference of made-up values",
                        "" if subject.input is None else f"{subject.input[0]} x {subject.input[1]}",
                        file_size(subject.bytes),
                    )
                    if text
                ),
            }
            for subject in subjects
        ],
        "advice": (
            f"{'A first look: s' if settings.quick else 'S'}ome {each:.0f} s for each model and number of threads, in "
            f"{plural(settings.repeats, 'repeat')}."
        ),
    }


def _invite(url: str, hint: str, fingerprint: str | None, port: int) -> None:
    """Say how to open the page."""
    import sys

    from yolo_edge.cli.output import note

    if sys.stderr.isatty():
        import segno

        segno.make(url, micro=False).terminal(out=sys.stderr, compact=True)
    note(f"Open {url}{hint} on the phone, and press Start there (Ctrl-C ends it).")
    if fingerprint is not None:
        note(
            "Its browser will warn of the certificate, which this machine made for itself; go on only where it shows "
            f"this SHA-256: {fingerprint}"
        )
    if url.startswith(("http://127.", "http://localhost", "http://[::1]")):
        note(
            f"This address is this machine's own. An Android phone on a cable has it, too, and gives it threads: adb "
            f"reverse tcp:{port} tcp:{port}. Other phones: --https --listen 0.0.0.0:{port} --token auto"
        )


def _described(facts: "PageFacts") -> str:
    from yolo_edge.devices.web.facts import host_of

    host = host_of(facts, "")
    isolation = "cross-origin isolated" if facts.isolated else "not cross-origin isolated: one thread"
    return ", ".join([host["os"], host["versions"]["browser"], f"{facts.cores} cores", isolation])


def _with_threads(settings: "Settings", facts: "PageFacts") -> "Settings":
    """The settings with numbers of threads that the page can have.

    Raises:
        YoloEdgeError: It cannot have those that were asked for.
    """
    from msgspec.structs import replace

    from yolo_edge.benchmarks.settings import default_threads
    from yolo_edge.cli.output import note
    from yolo_edge.ondevice.errors import YoloEdgeError

    if facts.isolated:
        return settings if settings.threads else replace(settings, threads=default_threads(facts.cores))
    remedy = "--https, or by a cable (adb reverse) http://localhost, give more (docs/phones.md)"
    if set(settings.threads) - {1}:
        asked = ",".join(map(str, settings.threads))
        raise YoloEdgeError(
            f"{facts.label}: --threads {asked}: the page is not cross-origin isolated, so "
            f"its browser gives one thread, whatever is asked for: --threads 1; {remedy}"
        )
    if not settings.threads and facts.cores > 1:
        note(f"{facts.label}: measured with 1 thread alone: the page is not cross-origin isolated; {remedy}")
    return replace(settings, threads=(1,))


def _tell_comparison(result: "BenchmarkResult") -> None:
    """Tell how the outputs compare with this machine's."""
    from yolo_edge.benchmarks.results import model_name
    from yolo_edge.cli.output import note, plural
    from yolo_edge.evaluation.snr import MAX_SNR_DB

    for name in dict.fromkeys(cell.model for cell in result.cells):
        cells = [cell for cell in result.cells if cell.model == name]
        parts = []
        agreements = [cell.agreement for cell in cells if cell.agreement is not None]
        if agreements and cells[0].detections is not None:
            parts.append(f"{plural(cells[0].detections, 'box', 'boxes')}, agreement {min(agreements):.3f}")
        ratios = [cell.snr_db for cell in cells if cell.snr_db is not None]
        if ratios:
            parts.append(
                "equal outputs" if min(ratios) >= MAX_SNR_DB else f"outputs with an SNR of {min(ratios):.0f} dB"
            )
        note(f"{model_name(name)}, compared with this machine: {', '.join(parts) or 'outputs of another size'}")
    if any(cell.detections == 0 for cell in result.cells) and result.settings.image is None:
        note(
            "Nothing is found in the made-up picture: --image FILE gives one with something in it to compare boxes of."
        )


def _summary(result: "BenchmarkResult", *, saved: bool) -> dict[str, Any]:
    """What the page shows at the end."""
    from yolo_edge.benchmarks.results import model_name

    return {
        "quick": result.settings.quick,
        "saved": saved,
        "cells": [
            {
                "model": model_name(cell.model),
                "threads": cell.threads,
                "p50": cell.latency_ms.p50,
                "p90": cell.latency_ms.p90,
                "valid": cell.valid,
                "why": cell.invalid_reason,
            }
            for cell in result.cells
        ],
    }
