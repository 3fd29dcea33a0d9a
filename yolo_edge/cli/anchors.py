"""`yolo-edge anchors`."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_edge.cli.options import Images, Json, SkipBad, path, sizes

if TYPE_CHECKING:
    from yolo_edge.anchors import Clusters, HeadAnchors
    from yolo_edge.anchors.kmeans import Floats
    from yolo_edge.ondevice.spec import ModelSpec

_GAIN = 0.005  # of average IoU: less is no reason to train again
_DEFAULT_SIZE, _DEFAULT_K = (416, 416), 9


def anchors(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="A data.yaml, COCO's instances.json, a VOC folder, or a folder of pictures with YOLO labels.",
            metavar="DATASET",
            show_default=False,
            parser=path,
        ),
    ],
    k: Annotated[
        int | None,
        typer.Option("-k", help="How many anchors. Default: as many as the cfg has, or 9.", show_default=False),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Input of the network, 416 or 352x288. Default: the cfg's, or 416.", show_default=False),
    ] = None,
    update: Annotated[str, typer.Option(help="Where a centre moves: to the median or the mean.")] = "median",
    resize: Annotated[
        str | None,
        typer.Option(
            help="How pictures get into the input; none: pixels of the pictures. Default: the cfg's way, or stretch.",
            metavar="stretch|letterbox|none",
            show_default=False,
        ),
    ] = None,
    difficult: Annotated[bool, typer.Option("--difficult", help="Count VOC's difficult objects too.")] = False,
    split: Annotated[
        str | None,
        typer.Option(help="Of a data.yaml or a VOC folder. Default: the training part.", show_default=False),
    ] = None,
    images: Images = None,
    cfg: Annotated[
        Path | None,
        typer.Option(help="A .cfg or exported model: its anchors are compared.", show_default=False, parser=path),
    ] = None,
    strides: Annotated[
        str | None,
        typer.Option(
            help="Of the heads, in the network's order: 32,16,8 as yolov3, 8,16,32 as yolov4. Default: the cfg's.",
            show_default=False,
        ),
    ] = None,
    write_cfg: Annotated[
        Path | None,
        typer.Option(help="Write --cfg with the new anchors to this file.", show_default=False, parser=path),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw boxes and anchors into this .svg.", show_default=False, parser=path)
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(help="Average IoU against k: 1..15.", metavar="FROM..TO", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same anchors.")] = 0,
    starts: Annotated[int, typer.Option(help="The best of so many is taken.")] = 16,
    skip_bad: SkipBad = False,
    json: Json = False,
) -> None:
    """Cluster the boxes of a dataset into anchors for the next training."""
    from yolo_edge.anchors import cluster, score
    from yolo_edge.anchors.boxes import box_sizes
    from yolo_edge.cli.data import note_dataset
    from yolo_edge.cli.output import print_json, track
    from yolo_edge.datasets import read_dataset
    from yolo_edge.ondevice.errors import InputError

    _check(plot, write_cfg, cfg, seed, update, resize)
    spec = None if cfg is None else _read_spec(cfg)
    if k is None:
        k = _DEFAULT_K if spec is None else len(_anchors_of(spec))
    target = _size(size, spec)
    own = None if spec is None else (spec.input.width, spec.input.height)
    if write_cfg is not None and own is not None and target != own:
        raise InputError(
            f"--size {size}: {write_cfg} would get anchors for it, and keep the {own[0]}x{own[1]} of {cfg}: set width "
            "and height there first, or leave out --write-cfg"
        )
    way = resize or ("stretch" if spec is None else spec.input.resize)
    wanted = _sweep_range(sweep)
    data = read_dataset(dataset, split=split, training=True, images=images, skip_bad=skip_bad, track=track)
    sizes_found = box_sizes(data, target, way, difficult=difficult)
    boxes = sizes_found.boxes
    began = time.perf_counter()
    found = cluster(boxes, k, update=update, seed=seed, starts=starts)
    seconds = time.perf_counter() - began
    current = None if spec is None else score(boxes, _anchors_of(spec))
    heads = _heads(found.anchors, strides, spec)
    swept: list[dict[str, Any]] = []
    for number in track(wanted[::-1], "clustering"):  # the largest first: it is what may be too large
        try:
            other = found if number == k else cluster(boxes, number, update=update, seed=seed, starts=starts)
        except InputError as error:
            raise InputError(f"--sweep {sweep}: {error}") from error
        swept.insert(0, {"k": number, "avg_iou": other.avg_iou, "bpr": other.bpr})
    result = {
        "anchors": found.anchors.tolist(),
        "avg_iou": found.avg_iou,
        "bpr": found.bpr,
        "boxes": len(boxes),
        "seconds": round(seconds, 4),
        "share": found.share.tolist(),
        "masks": [{"stride": head.stride, "mask": head.mask} for head in heads],
        "size": target,
        "resize": way,
        "update": update,
        "seed": seed,
        "left_out": sizes_found.left_out,
        "skipped": len(data.skipped),
        "current": None if current is None else _summary(current),
        "verdict": None if current is None else _verdict(found, current, cfg),
        "sweep": swept,
    }
    if write_cfg is not None and cfg is not None:
        _write_cfg(cfg, write_cfg, found, heads)
    if plot is not None:
        points = [(entry["k"], entry["avg_iou"]) for entry in swept]
        title = f"{Path(data.source).name}: {len(boxes)} boxes, {_describe_resize(way, target)}"
        _draw(plot, boxes, found, current, points, title)
    if json:
        print_json(result)
    else:
        _print(result, found, heads, len(data.names))
    note_dataset(data)
    _note_left_out(sizes_found.left_out)


def _check(
    plot: Path | None, write_cfg: Path | None, cfg: Path | None, seed: int, update: str, resize: str | None
) -> None:
    from yolo_edge.anchors import UPDATES
    from yolo_edge.anchors.boxes import RESIZES
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.files import check_output_folder

    if update not in UPDATES:
        raise InputError(f"--update {update!r}: expected {' or '.join(UPDATES)}")
    if resize not in (None, *RESIZES):
        raise InputError(f"--resize {resize!r}: expected {', '.join(RESIZES)}")
    if resize == "none" and cfg is not None:
        raise InputError("--resize none: goes without --cfg, whose anchors are in pixels of its input")
    if seed < 0:
        raise InputError(f"--seed {seed}: expected 0 or more")
    if plot is not None and plot.suffix.lower() != ".svg":
        raise InputError(f"--plot {plot}: expected a .svg file")
    if write_cfg is not None:
        if cfg is None or cfg.suffix.lower() != ".cfg":
            raise InputError("--write-cfg: needs --cfg, the .cfg to change")
        if write_cfg.suffix.lower() != ".cfg" or write_cfg.resolve() == cfg.resolve():
            raise InputError(f"--write-cfg {write_cfg}: expected another .cfg file than {cfg}")
    for target in (plot, write_cfg):
        if target is not None:
            check_output_folder(target.parent)


def _read_spec(model: Path) -> "ModelSpec":
    from yolo_edge.cli.models import read_spec
    from yolo_edge.ondevice.errors import InputError

    spec = read_spec(model)
    if not any(head.anchors for head in spec.heads):
        raise InputError(f"--cfg {model}: has no anchors")
    return spec


def _size(text: str | None, spec: "ModelSpec | None") -> tuple[int, int]:
    from yolo_edge.ondevice.errors import InputError

    if text is None:
        return _DEFAULT_SIZE if spec is None else (spec.input.width, spec.input.height)
    found = [item for item in sizes(text) if item is not None]
    if len(found) != 1 or 0 in found[0]:
        raise InputError(f"--size {text!r}: expected one size, such as 416 or 352x288")
    return found[0]


def _sweep_range(text: str | None) -> list[int]:
    from yolo_edge.anchors.kmeans import MAX_K
    from yolo_edge.ondevice.errors import InputError

    if text is None:
        return []
    match = re.fullmatch(r"([0-9]{1,4})\.\.([0-9]{1,4})", text)
    first, last = (int(number) for number in match.groups()) if match else (0, 0)
    if not 1 <= first <= last <= MAX_K:
        raise InputError(f"--sweep {text!r}: expected FROM..TO, such as 1..15")
    return list(range(first, last + 1))


def _anchors_of(spec: "ModelSpec") -> "Floats":
    import numpy as np

    return np.array(list(dict.fromkeys(anchor for head in spec.heads for anchor in head.anchors)), np.float64)


def _heads(found: "Floats", text: str | None, spec: "ModelSpec | None") -> "list[HeadAnchors]":
    from yolo_edge.anchors import assign, default_strides
    from yolo_edge.ondevice.errors import InputError

    if text is not None:
        if not re.fullmatch(r"[1-9][0-9]{0,3}(,[1-9][0-9]{0,3})*", text):
            raise InputError(f"--strides {text!r}: expected strides such as 32,16,8")
        return assign(found, [int(part) for part in text.split(",")])
    if spec is not None:
        return assign(found, [head.stride for head in spec.heads])
    return assign(found, default_strides(len(found)))


def _describe_resize(way: str, size: tuple[int, int]) -> str:
    return "in pixels of the pictures" if way == "none" else f"{way} to {size[0]}x{size[1]}"


def _summary(clusters: "Clusters") -> dict[str, Any]:
    return {"anchors": clusters.anchors.tolist(), "avg_iou": clusters.avg_iou, "bpr": clusters.bpr}


def _verdict(found: "Clusters", current: "Clusters", cfg: Path | None) -> str:
    name = "" if cfg is None else cfg.name
    if len(found.anchors) != len(current.anchors):
        name += f" ({len(found.anchors)} against {len(current.anchors)} of them)"
    gain = 100 * (found.avg_iou - current.avg_iou)
    if gain < 100 * _GAIN:
        return f"no better than the anchors of {name} ({gain:+.1f} points of average IoU): keep those"
    return f"better than the anchors of {name} by {gain:.1f} points of average IoU: worth using in the next training"


def _write_cfg(cfg: Path, target: Path, found: "Clusters", heads: "list[HeadAnchors]") -> None:
    from yolo_edge.anchors.heads import format_anchors
    from yolo_edge.cli.output import note
    from yolo_edge.export.importers.darknet.reanchor import replace_anchors
    from yolo_edge.ondevice.files import write_atomically

    cells = [format_anchors(found.anchors[list(head.mask)], head.stride) for head in heads]
    text = replace_anchors(cfg, format_anchors(found.anchors), cells, [head.mask for head in heads])
    write_atomically(target, text.encode())
    note(f"{target} has the new anchors; weights that were trained with the old ones do not fit it: train again")


def _draw(
    target: Path,
    boxes: "Floats",
    found: "Clusters",
    current: "Clusters | None",
    sweep: list[tuple[int, float]],
    title: str,
) -> None:
    from yolo_edge.anchors.plot import plot_anchors
    from yolo_edge.charts import to_svg
    from yolo_edge.cli.output import note
    from yolo_edge.ondevice.files import write_atomically

    old = None if current is None else current.anchors
    chart = plot_anchors(boxes, found, title, current=old, sweep=sweep)
    write_atomically(target, to_svg(chart).encode())
    note(f"drawn: {target}")


def _print(result: dict[str, Any], found: "Clusters", heads: "list[HeadAnchors]", classes: int) -> None:
    from yolo_edge.anchors import region_fragment, yolo_fragment
    from yolo_edge.cli.output import print_table

    stride = {number: head.stride for head in heads for number in head.mask}
    print_table(
        ["anchor>", "width>", "height>", "share>", "stride>"],
        (
            [number, f"{width:g}", f"{height:g}", f"{share:.1%}", stride[number]]
            for number, ((width, height), share) in enumerate(zip(found.anchors.tolist(), found.share, strict=True))
        ),
    )
    current = result["current"]
    rows: list[list[object]] = [
        ["new", len(found.anchors), f"{found.avg_iou:.2%}", f"{found.bpr:.2%}"],
    ]
    if current is not None:
        rows.append(["current", len(current["anchors"]), f"{current['avg_iou']:.2%}", f"{current['bpr']:.2%}"])
    print_table(["anchors", "k>", "average IoU>", "best possible recall>"], rows)
    if result["sweep"]:
        print_table(
            ["k>", "average IoU>", "best possible recall>"],
            ([entry["k"], f"{entry['avg_iou']:.2%}", f"{entry['bpr']:.2%}"] for entry in result["sweep"]),
        )
    if result["verdict"]:
        typer.echo(f"The new anchors are {result['verdict']}.\n")
    how = _describe_resize(result["resize"], result["size"])
    typer.echo(f"{result['boxes']} boxes, {how}, {result['update']} update, {result['seconds']:.2f} s\n")
    typer.echo(f"# [yolo], pixels\n{yolo_fragment(found.anchors, heads, classes)}\n")
    if len(heads) == 1:
        typer.echo(f"# [region], grid cells\n{region_fragment(found.anchors, heads[0].stride, classes)}\n")


def _note_left_out(left_out: dict[str, int]) -> None:
    from yolo_edge.cli.output import note

    words = {"crowd": "crowds", "difficult": "difficult ones (--difficult counts them)", "zero_size": "of no size"}
    parts = [f"{count} {words[reason]}" for reason, count in left_out.items() if count]
    if parts:
        note(f"note: boxes left out: {', '.join(parts)}")
