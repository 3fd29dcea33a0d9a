"""`yolo-edge inspect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from yolo_edge.cli.options import Anchors, Json, Model, Names, SpecFile, Weights
from yolo_edge.cli.options import anchors as read_anchors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yolo_edge.export.importers.onnx.advice import Advice
    from yolo_edge.export.summary import Summary
    from yolo_edge.ondevice.spec import ModelSpec, NmsOptions


def inspect(
    model: Model,
    weights: Weights = None,
    names: Names = None,
    spec_file: SpecFile = None,
    anchors: Anchors = None,
    json: Json = False,
) -> None:
    """Show layers, parameters, multiply-accumulates, heads, anchors and preprocessing of a model."""
    from yolo_edge.cli.output import print_json

    spec, summary, notes, advice = _look(model, weights, names, spec_file, read_anchors(anchors))
    if json:
        print_json({**_document(model, spec, summary, notes), "advice": advice})
        return
    _print_layers(summary)
    if spec is not None:
        _print_heads(spec)
    _print_facts(model, spec, summary)
    if advice is not None:
        _print_advice(advice)
    from yolo_edge.cli.output import note, note_names

    for text in notes:
        note(text)
    if spec is not None:
        note_names(spec)


def _look(
    model: Path,
    weights: Path | None,
    names: str | None,
    spec_file: Path | None,
    anchors: "Sequence[tuple[float, float]]",
) -> "tuple[ModelSpec | None, Summary, list[str], Advice | None]":
    from yolo_edge.cli.models import check_suffix
    from yolo_edge.export import canonicalize
    from yolo_edge.export.importers.onnx.recognize import UnknownFamilyError
    from yolo_edge.export.load import load_model
    from yolo_edge.export.summary import summarize
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.names import rename_classes
    from yolo_edge.ondevice.spec import METADATA_KEY, ModelSpec

    check_suffix(model)
    if anchors and model.suffix.lower() != ".onnx":
        raise InputError(f"--anchors: go with an .onnx of another trainer, {model} is none")
    if model.suffix.lower() == ".cfg":
        # a cfg is worth looking at without its weights; weights that are there are checked
        given = weights or model.with_suffix(".weights")
        missing = weights is None and not given.exists()
        source = load_model(model, weights=weights, names=names, shapes_only=missing)
        notes = [f"note: no weights at {given}; only the structure was looked at"] if missing else []
        return source.spec, summarize(canonicalize(source.graph)), notes, None
    if weights is not None:
        raise InputError(f"--weights {weights}: goes with a .cfg, {model} holds its own")
    if spec_file is not None:
        return _look_foreign(model, names, spec_file, anchors)
    summary, text, notes = (_look_tflite if model.suffix.lower() == ".tflite" else _look_onnx)(model)
    if text is not None:
        spec = ModelSpec.from_json(text, f"{model}: spec")
        return rename_classes(spec, names) if names is not None else spec, summary(), notes, None
    advice = None
    try:
        if model.suffix.lower() == ".onnx":
            return _look_foreign(model, names, None, anchors)
        problem = f"{model} carries no {METADATA_KEY}: `yolo-edge export` did not write it"
    except InputError as error:
        problem = str(error)
        advice = error.advice if isinstance(error, UnknownFamilyError) else None
    if names is not None:
        raise InputError(f"--names {names}: {model} has no spec to put them into")
    try:
        return None, summary(), [f"note: {problem}", *notes], advice
    except InputError:
        raise InputError(problem) from None


def _look_foreign(
    model: Path, names: str | None, spec_file: Path | None, anchors: "Sequence[tuple[float, float]]"
) -> "tuple[ModelSpec | None, Summary, list[str], Advice | None]":
    """The network of another trainer's file, up to its raw heads."""
    from yolo_edge.export import canonicalize
    from yolo_edge.export.load import load_model
    from yolo_edge.export.summary import summarize

    source = load_model(model, names=names, spec=spec_file, anchors=anchors)
    return source.spec, summarize(canonicalize(source.graph)), [f"note: {text}" for text in source.notes], None


def _look_onnx(model: Path) -> "tuple[Callable[[], Summary], str | None, list[str]]":
    from yolo_edge.export.summary import load_onnx, read_spec_text, summarize

    return lambda: summarize(load_onnx(model), str(model)), read_spec_text(model), []


def _look_tflite(model: Path) -> "tuple[Callable[[], Summary], str | None, list[str]]":
    from yolo_edge.export.tflite.delegation import Delegation
    from yolo_edge.export.tflite.summary import summarize_tflite
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.runtimes.tflite_file import read_metadata
    from yolo_edge.ondevice.spec import METADATA_KEY

    summary = summarize_tflite(model)
    text = read_metadata(model, str(model)).get(METADATA_KEY)
    try:
        delegation = Delegation.of(model)
    except InputError as error:
        return lambda: summary, text, [f"note: what XNNPACK runs of it is not known: {error}"]
    left_out = ", ".join(f"{name} ({count})" for name, count in delegation.left_out.most_common())
    total, parts = len(delegation.operators), delegation.partitions
    done = total - delegation.left_out.total()
    return (
        lambda: summary,
        text,
        [
            f"note: XNNPACK runs {done} of {total} operators here, in {parts} part{'' if parts == 1 else 's'}"
            + (f"; not {left_out}" if left_out else "")
        ],
    )


def _document(model: Path, spec: "ModelSpec | None", summary: "Summary", notes: list[str]) -> dict[str, Any]:
    from yolo_edge.ondevice.files import printable

    return {
        "model": printable(str(model)),
        "parameters": summary.parameters,
        "macs": summary.macs,
        "spec": spec,
        "layers": summary.layers,
        "notes": notes,
    }


def _print_layers(summary: "Summary") -> None:
    from yolo_edge.cli.output import count, print_table

    print_table(
        ["layer", "operator", "activation", "output>", "parameters>", "MACs>"],
        (
            [
                layer.name,
                layer.kind,
                layer.activation,
                "x".join("?" if size is None else str(size) for size in layer.output),
                layer.parameters or "",
                count(layer.macs) if layer.macs else "",
            ]
            for layer in summary.layers
        ),
    )


def _print_advice(advice: "Advice") -> None:
    import json

    typer.echo(f"Likely: {advice.likely}.\nMissing: {advice.missing}.\n")
    typer.echo("A spec to fill in, for --spec FILE; look at colours, mean, scale and resize, too:\n")
    typer.echo(json.dumps(advice.spec, indent=2, ensure_ascii=False))


def _print_heads(spec: "ModelSpec") -> None:
    from yolo_edge.cli.output import print_table

    rows = []
    for head in spec.heads:
        height, width = spec.grid(head) if head.stride > 1 else ("", "")
        anchors = "  ".join(f"{w:g}x{h:g}" for w, h in head.anchors)
        tensors = ", ".join(head.tensors.values())
        rows.append([tensors, head.family, head.stride, f"{width}x{height}".strip("x"), anchors, f"{head.scale_xy:g}"])
    print_table(["head", "family", "stride>", "grid>", "anchors (width x height, pixels)", "scale_x_y>"], rows)


def _describe_nms(nms: "NmsOptions") -> str:
    return f"confidence {nms.confidence:g}, IoU {nms.iou:g}, at most {nms.max_detections}"


def _print_facts(model: Path, spec: "ModelSpec | None", summary: "Summary") -> None:
    from yolo_edge.cli.output import count, print_table

    rows: list[list[object]] = [
        ["model", model],
        ["parameters", f"{count(summary.parameters)} ({summary.parameters})"],
        ["MACs", f"{count(summary.macs)} ({summary.macs})"],
    ]
    if spec is not None:
        image = spec.input
        pad = f", padded with {image.pad_value} ({image.pad_position})" if image.resize == "letterbox" else ""
        rows += [
            ["input", f"{image.tensor}: {image.dtype} {list(image.shape)} {image.layout} {image.color}"],
            ["pixel → tensor", f"(p − {list(image.mean)}) × {[round(s, 6) for s in image.scale]}"],
            ["resize", f"{image.resize}{pad}, {image.interpolation}"],
            ["precision", spec.precision],
            ["classes", f"{len(spec.names)}: {', '.join(spec.names[:8])}{' …' if len(spec.names) > 8 else ''}"],
            ["source", spec.provenance.source],
            ["licence", spec.provenance.licence or "not known"],
        ]
        rows += [["NMS inside", _describe_nms(head.nms)] for head in spec.heads if head.nms is not None]
        rows += [[f"sha256 of {name}", f"{digest[:16]}…"] for name, digest in spec.provenance.sha256.items()]
        rows += [["written by", spec.provenance.tool]] if spec.provenance.tool else []
    print_table(["", ""], rows)
