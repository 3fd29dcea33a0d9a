"""A cfg and its weights → `Graph` and `ModelSpec`."""

from dataclasses import replace
from pathlib import Path

from yolo_edge.export.graph import GraphBuilder
from yolo_edge.export.importers.darknet.building import Network
from yolo_edge.export.importers.darknet.cfg import Section, read_cfg
from yolo_edge.export.importers.darknet.heads import HEADS
from yolo_edge.export.importers.darknet.layers import LAYERS, REFUSED, TRAINING_ONLY
from yolo_edge.export.importers.darknet.weights import NoWeights, WeightsFile, WeightSource
from yolo_edge.export.importers.size import MAX_SIDE, check_sides, check_stride
from yolo_edge.export.provenance import find_licence, sha256
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable
from yolo_edge.ondevice.names import assumed_names
from yolo_edge.ondevice.spec import InputSpec, ModelSpec, Provenance, check_spec


def import_darknet(
    cfg: Path, weights: Path | WeightSource | None = None, size: tuple[int, int] | None = None
) -> SourceModel:
    """Import a darknet detector.

    Args:
        cfg: The cfg file.
        weights: The weights file, or where else parameters come from (`NoWeights` for a look at the structure); None:
            the file beside the cfg, under its name.
        size: Input (width, height); None: the cfg's own.

    Returns:
        The network, with BatchNormalization not yet folded.

    Raises:
        InputError: A file cannot be read or does not fit, or the network cannot have that size.
    """
    sections = read_cfg(cfg)
    _check_detector(sections, cfg)
    if weights is None:
        weights = cfg.with_suffix(".weights")
        if not weights.exists():
            raise InputError(f"{cfg}: no weights at {weights}; give them with --weights FILE")
    own_size = _own_size(sections[0])
    size = size or own_size
    _check_size(sections, cfg, own_size, size)
    source = WeightsFile(weights) if isinstance(weights, Path) else weights
    network = _build(sections, cfg, size, source)
    files = [cfg]
    if isinstance(source, WeightsFile):
        source.finish(cfg)
        files.append(source.path)
    return _finish(network, sections[0], cfg, size, files)


def _own_size(net: Section) -> tuple[int, int]:
    width, height = net.integer("width", 0), net.integer("height", 0)
    for key, side in (("width", width), ("height", height)):
        if not 1 <= side <= MAX_SIDE:
            raise net.error(f"expected 1..{MAX_SIDE}, got {side}", key)
    if net.integer("channels", 3) != 3:
        raise net.error(f"only pictures with 3 channels are supported, got {net.text('channels', '')}", "channels")
    return width, height


def _check_size(sections: list[Section], cfg: Path, own: tuple[int, int], size: tuple[int, int]) -> None:
    """Refuse a size that the network cannot have, before its weights are read."""
    if size == own:
        return
    check_sides(size)
    stride = max(head.stride for head, _ in _build(sections, cfg, own, NoWeights()).heads)
    check_stride(size, stride, cfg.name)


def _build(sections: list[Section], cfg: Path, size: tuple[int, int], weights: WeightSource) -> Network:
    network = Network(GraphBuilder(printable(cfg.stem), *size), weights)
    for section in sections[1:]:
        if section.kind in HEADS:
            HEADS[section.kind](network, section)
            network.outputs.append(None)
        elif section.kind in LAYERS:
            network.outputs.append(LAYERS[section.kind](network, section))
        elif section.kind in TRAINING_ONLY:
            network.outputs.append(None)
        else:
            raise section.error(REFUSED.get(section.kind, "this kind of layer is not supported"))
    return network


def _check_detector(sections: list[Section], cfg: Path) -> None:
    """Refuse what is no detector, and say what it is instead."""
    if any(section.kind in HEADS for section in sections):
        return
    heads = ", ".join(f"[{kind}]" for kind in HEADS)
    telling = [section for section in sections if section.kind in REFUSED]
    if telling:
        raise telling[-1].error(f"{REFUSED[telling[-1].kind]}; a detector has one of {heads}")
    raise InputError(f"{cfg}: not a detector: it has none of {heads}")


def _finish(network: Network, net: Section, cfg: Path, size: tuple[int, int], files: list[Path]) -> SourceModel:
    outputs, heads = {}, []
    names: dict[int, str] = {}  # two heads may read the same map
    for head, value in network.heads:
        name = names.setdefault(id(value), f"head_{len(names)}")
        outputs[name] = value
        heads.append(replace(head, tensors={"map": name}))
    class_names, names_from = assumed_names(network.classes)
    if network.names:
        class_names, names_from = network.names, "tree"
    spec = ModelSpec(
        # darknet stretches, unless it is told otherwise; its letterbox pads with 0.5
        input=InputSpec(size[0], size[1], resize="letterbox" if net.integer("letter_box", 0) else "stretch"),
        heads=tuple(heads),
        names=class_names,
        names_from=names_from,
        provenance=Provenance(
            source=printable(cfg.name),
            sha256={printable(file.name): sha256(file) for file in files},
            licence=find_licence(files[-1].parent),
        ),
    )
    check_spec(spec, str(cfg))
    return SourceModel(stem=cfg.stem, graph=network.builder.build(outputs), spec=spec)
