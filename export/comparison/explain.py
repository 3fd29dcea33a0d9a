"""From what was measured of layers to words: what is wrong, why, and what to do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import structs

from yolo_edge.export.comparison.result import FileResult, Finding, LayerResult
from yolo_edge.export.comparison.trace import CONVOLUTION, Trace

_BAD_DB = 10.0
_CUT = 0.01  # of the values: below, cutting is meant
_UNEVEN = 8.0  # widest channel by the middle one
_VANISHED = 0.2
_WEIGHTS_DB = 25.0
_OWN = 0.3  # of the noise that a layer adds: what its own rounding has to make up to be the reason
_AGREES = 0.95  # agreement: above, nothing is called broken
_KERNELS_DB = 25.0
_COUNTS = 0.01  # added noise that is worth a word, as a share of the signal
_MOST = 6
_ROLES = {"box": "boxes", "classes": "classes", "map": "raw head", "objectness": "objectness"}


def explain(
    layers: Sequence[LayerResult],
    second: Trace,
    file: FileResult,
    agreement: float | None,
    kernels_db: float | None,
) -> tuple[Finding, ...]:
    """The findings, the worst first.

    Args:
        layers: By what they add, the worst first.
        second: The trace of the other file.
        file: What is known of it.
        agreement: Of detections; None: not known.
        kernels_db: The runtime's kernels against the file's arithmetic.
    """
    rest = [layer for layer in layers if layer.added >= _COUNTS]
    broken = agreement is None or agreement < _AGREES
    found, rest = _shared(rest, second)
    for reason in _REASONS:
        harmed = [layer for layer in rest if reason.applies(layer)]
        rest = [layer for layer in rest if layer not in harmed]
        if harmed:
            found.append(_finding(reason.key, harmed, *reason.words(harmed)))
    found += _unexplained(rest)
    found += _kernels(kernels_db)
    if not broken:  # whatever the noise, the same is detected
        found = [structs.replace(item, severity="harm") for item in found]
    found += _about(layers, second, file)
    order = {"broken": 0, "harm": 1, "note": 2}
    worst = {layer.name: layer.added for layer in layers}

    def place(item: Finding) -> tuple[int, bool, float]:
        # what has a reason of its own comes before what follows from it
        harm = max((worst.get(name, 0.0) for name in item.layers), default=0.0)
        return order[item.severity], item.key in ("gradual", "other"), -harm

    found.sort(key=place)
    if all(item.severity == "note" for item in found):
        found.insert(0, _fine(layers, agreement))
    return tuple(found)


def _shared(layers: Sequence[LayerResult], second: Trace) -> tuple[list[Finding], list[LayerResult]]:
    """Cut off because something else that is joined with it chose the scale; and the layers that are not."""
    numbers = {layer.name: i for i, layer in enumerate(second.layers)}
    groups: dict[int, list[LayerResult]] = {}
    left = []
    for layer in layers:
        join = None
        if layer.stored is not None and layer.saturated >= _CUT and layer.kind != "join":
            number = numbers.get(layer.quantized_name, -1)
            join = next((i for i, item in enumerate(second.layers) if number in item.inputs and _joins(item.op)), None)
            if join is not None and not _others(second, join, number):
                join = None
        if join is None:
            left.append(layer)
        else:
            groups.setdefault(join, []).append(layer)
    findings = []
    joined: list[LayerResult] = [layer for group in groups.values() for layer in group]
    if joined:
        first = joined[0]
        join = next(iter(groups))
        names = _list(
            [
                f"{second.layers[i].name} ({second.layers[i].op})"
                for i in _others(second, join, numbers[first.quantized_name])
            ]
        )
        stored = first.stored
        low, high = stored.range if stored is not None else (0.0, 0.0)
        dtype, scale = (stored.dtype, stored.scale) if stored is not None else ("", 0.0)
        text = (
            f"{_names(joined)} reach from {_low(joined):.3g} to {_high(joined):.3g} in float, and are stored as "
            f"{dtype} from {low:.3g} to {high:.3g} (steps of {scale:.3g}): {_percent(_worst_cut(joined))} of the "
            f"values are cut off. They have this range because {second.layers[join].op} joins them with {names}, which "
            f"fit into it, and what is joined shares one scale. {_loss(joined)}"
        )
        dead = [layer for layer in layers if layer.kind == "join" and layer.saturated >= _CUT / 10]
        findings.append(
            Finding(
                key="shared-scale",
                severity=_severity(joined),
                title=f"{_capital(_subject(joined))} cut off by a scale shared with something else",
                text=text,
                advice="End the quantized part before the join, or give each of the joined tensors a scale of its own. "
                "`yolo-edge export --precision int8` does: its int8 part ends at the raw heads, one tensor each.",
                layers=tuple(layer.name for layer in [*joined, *dead]),
            )
        )
        gone = {layer.name for layer in dead}
        left = [layer for layer in left if layer.name not in gone]
    return findings, left


def _joins(op: str) -> bool:
    return op in ("CONCATENATION", "Concat", "QLinearConcat")


def _others(second: Trace, join: int, number: int) -> list[int]:
    """What else is joined, stored with the same scale."""
    storage = second.layers[number].storage
    return [i for i in second.layers[join].inputs if i != number and second.layers[i].storage == storage]


Words = tuple[str, str, str]  # title, text, advice


@dataclass(frozen=True)
class _Reason:
    """Why layers add noise.

    Attributes:
        key: Of the finding.
        applies: Whether it is the reason of what a layer adds.
        words: Says so of layers, the worst first.
    """

    key: str
    applies: Callable[[LayerResult], bool]
    words: Callable[[Sequence[LayerResult]], Words]


def _rounded(layer: LayerResult) -> bool:
    """Whether how a result is stored is what is wrong with it."""
    return layer.stored is not None and _makes(layer, layer.storage_sqnr_db)


def _say_cut_off(found: Sequence[LayerResult]) -> Words:
    first = found[0]
    low, high = first.stored.range if first.stored is not None else (0.0, 0.0)
    return (
        f"{_capital(_subject(found))} cut off: ranges too short",
        f"{_names(found)}: the range that was chosen is too short. {first.name} reaches from {first.range[0]:.3g} to "
        f"{first.range[1]:.3g} in float, its integers from {low:.3g} to {high:.3g}, and {_percent(first.saturated)} of "
        f"its values are cut off. {_loss(found)}",
        "Calibrate with pictures like these, prepared as the detector prepares them (colours, 0..1 or 0..255, "
        "padding), and with ranges that leave less out.",
    )


def _say_vanished(found: Sequence[LayerResult]) -> Words:
    first = found[0]
    return (
        f"Values of {_subject(found)} rounded to 0",
        f"{_names(found)}: one step is too large for most values. A step of {first.name} is {_step(first):.3g}; of its "
        f"values above a hundredth of the largest, {_percent(first.lost_small)} become 0. {_loss(found)}",
        "Give the tensor a scale of its own (scores and boxes never share one), or each channel a range of its own "
        "before the rounding; else keep these layers in float.",
    )


def _say_uneven(found: Sequence[LayerResult]) -> Words:
    first = found[0]
    widest, middle = first.widest
    return (
        f"One scale for uneven channels in {_subject(found)}",
        f"{_names(found)}: channels differ too much for one scale. The widest channel of {first.name} spans "
        f"{widest:.3g}, the middle one {middle:.3g}, {widest / max(middle, 1e-30):.0f} times less: "
        f"{middle / _step(first):.0f} of the 256 steps are left for it. {_loss(found)}",
        "Scale the channels so that they fit a common step (cross-layer equalisation), or keep these layers in float; "
        "`yolo-edge export --precision int8` tries both.",
    )


def _say_coarse(found: Sequence[LayerResult]) -> Words:
    first = found[0]
    return (
        f"Rounding of {_subject(found)}",
        f"{_names(found)}: what is lost is the rounding of the result itself. {first.name} keeps "
        f"{first.storage_sqnr_db:.1f} dB when its float values are stored in steps of {_step(first):.3g}. "
        f"{_loss(found)}",
        "A tighter range, int16 activations (`--precision int8x16`), or float for these layers.",
    )


def _say_weights(found: Sequence[LayerResult]) -> Words:
    first = found[0]
    dtype, scales = first.weights or ("", 0)
    one = scales == 1 and first.channels > 1
    why = f"one scale for all {first.channels} output channels" if one else f"{dtype}, {scales} scales"
    return (
        f"Rounding of the weights of {_subject(found)}",
        f"{_names(found)}: the weights were rounded too coarsely. Those of {first.name} keep "
        f"{first.weight_sqnr_db:.1f} dB ({why}). {_loss(found)}",
        "Give each output channel a scale of its own (per-channel weights)."
        if one
        else "Rescale the channels, or keep these layers in float.",
    )


_REASONS = (
    _Reason("cut-off", lambda layer: layer.saturated >= _CUT and _rounded(layer), _say_cut_off),
    _Reason("vanished", lambda layer: layer.lost_small >= _VANISHED and _rounded(layer), _say_vanished),
    _Reason(
        "uneven",
        lambda layer: layer.widest[0] >= _UNEVEN * max(layer.widest[1], 1e-30) and _rounded(layer),
        _say_uneven,
    ),
    _Reason("coarse", _rounded, _say_coarse),
    _Reason(
        "weights",
        lambda layer: (
            layer.kind == CONVOLUTION
            and layer.weight_sqnr_db is not None
            and layer.weight_sqnr_db < _WEIGHTS_DB
            and _makes(layer, layer.weight_sqnr_db)
        ),
        _say_weights,
    ),
)


def _step(layer: LayerResult) -> float:
    return layer.stored.scale if layer.stored is not None else 1.0


def _makes(layer: LayerResult, sqnr_db: float | None) -> bool:
    """Whether noise of this ratio is the reason of what a layer adds."""
    return sqnr_db is not None and 10 ** (-sqnr_db / 10) >= _OWN * layer.added


def _unexplained(layers: Sequence[LayerResult]) -> list[Finding]:
    if not layers:
        return []
    sudden = [layer for layer in layers if layer.sqnr_db < _BAD_DB and layer.added > 0.3]
    found = []
    if sudden:
        text = f"{_names(sudden)} add noise that neither their weights nor their own rounding explain. {_loss(sudden)}"
        advice = "Look at biases and at the operators between: are both files of the same trained network?"
        title = f"{_subject(sudden)} differ without a visible reason"
        found.append(_finding("other", sudden, title, text, advice))
    gradual = [layer for layer in layers if layer not in sudden]
    if gradual:
        text = f"{_names(gradual)}: no single rounding is to blame, noise from before grows here. {_loss(gradual)}"
        title = f"Noise adds up over {len(gradual)} layers" if len(gradual) > 1 else f"Noise grows in {gradual[0].name}"
        names = tuple(layer.name for layer in gradual)
        advice = "Keep layers in float where that helps detections most: `yolo-edge export --min-agreement` finds them."
        found.append(Finding(key="gradual", severity="harm", title=title, text=text, advice=advice, layers=names))
    return found


def _kernels(kernels_db: float | None) -> list[Finding]:
    if kernels_db is None or kernels_db >= _KERNELS_DB:
        return []
    return [
        Finding(
            key="kernels",
            severity="harm" if kernels_db >= _BAD_DB else "broken",
            title="The runtime does not compute what the file says",
            text=f"Its own kernels on this machine are {kernels_db:.1f} dB from the file's arithmetic.",
            advice="On x86 without VNNI int8 sums saturate in onnxruntime unless session.x64quantprecision is set; "
            "`yolo-edge` sets it (--fast does not).",
        )
    ]


def _about(layers: Sequence[LayerResult], second: Trace, file: FileResult) -> list[Finding]:
    found = []
    rescaled = [layer for layer in layers if layer.rescaled]
    stored = sum(layer.storage is not None for layer in second.layers)
    if file.convolutions and not file.int8 and stored:
        kinds = " and ".join(sorted(file.weights))
        found.append(
            Finding(
                key="float-inside",
                severity="note",
                title="int8 only in name",
                text=f"None of the {file.convolutions} convolutions multiplies integers, and their weights are "
                f"{kinds}: only the results of {stored} operators behind them are stored as integers. The file is "
                f"neither {'faster' if 'int8' in file.weights else 'smaller nor faster'} for it.",
                advice="Export again with pictures to calibrate with.",
            )
        )
    elif 0 < file.int8 < file.convolutions:
        found.append(
            Finding(
                key="mixed",
                severity="note",
                title=f"{file.int8} of {file.convolutions} convolutions in int8",
                text=f"{file.convolutions - file.int8} compute in float.",
            )
        )
    if file.moves > file.convolutions // 2 and file.moves > 10:
        found.append(
            Finding(
                key="moves",
                severity="note",
                title=f"{file.moves} transpositions",
                text=f"The file moves its data {file.moves} times from one layout to the other, which costs time and "
                "no accuracy.",
                advice="Convert to NHWC as a whole; `yolo-edge export --format tflite` writes none.",
            )
        )
    if rescaled:
        found.append(
            Finding(
                key="rescaled",
                severity="note",
                title=f"{len(rescaled)} layers have scaled channels",
                text="Their channels hold other units than in float (equalisation, or ranges of their own), which the "
                "layers behind them undo. They were compared with that undone.",
            )
        )
    return found


def _fine(layers: Sequence[LayerResult], agreement: float | None) -> Finding:
    worst = min(layers, key=lambda layer: layer.sqnr_db, default=None)
    text = "No layer adds noise of a hundredth of its signal or more."
    if worst is not None:
        text += f" The least is {worst.sqnr_db:.1f} dB, at {worst.name}."
    if agreement is not None:
        text += f" Agreement of the detections: {agreement:.3f}."
    return Finding(key="fine", severity="note", title="No layer stands out", text=text)


def _finding(key: str, layers: Sequence[LayerResult], title: str, text: str, advice: str) -> Finding:
    names = tuple(layer.name for layer in layers)
    return Finding(key=key, severity=_severity(layers), title=title, text=text, advice=advice, layers=names)


def _severity(layers: Sequence[LayerResult]) -> str:
    return "broken" if min(layer.sqnr_db for layer in layers) < _BAD_DB else "harm"


def _names(layers: Sequence[LayerResult]) -> str:
    shown = []
    for layer in layers[:_MOST]:
        role = f"{_ROLES[layer.role]}; " if layer.role in _ROLES else ""
        shown.append(f"{layer.name} ({role}{layer.op}, {layer.channels} channels)")
    return _list(shown, len(layers))


def _subject(layers: Sequence[LayerResult]) -> str:
    if len(layers) == 1:
        return layers[0].name
    roles = {_ROLES.get(layer.role or "") for layer in layers}
    role = roles.pop() if len(roles) == 1 else None
    return f"{len(layers)} layers" if role is None else f"the {role} of {len(layers)} heads"


def _capital(text: str) -> str:
    return text if "_" in text else text[:1].upper() + text[1:]


def _list(names: Sequence[str], total: int | None = None) -> str:
    shown = list(dict.fromkeys(names))[:_MOST]
    more = (total or len(names)) - len(shown)
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _low(layers: Sequence[LayerResult]) -> float:
    return min(layer.range[0] for layer in layers)


def _high(layers: Sequence[LayerResult]) -> float:
    return max(layer.range[1] for layer in layers)


def _worst_cut(layers: Sequence[LayerResult]) -> float:
    return max(layer.saturated for layer in layers)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.2g} %"


def _loss(layers: Sequence[LayerResult]) -> str:
    worst = min(layers, key=lambda layer: layer.sqnr_db)
    return f"Signal to noise falls to {worst.sqnr_db:.1f} dB at {worst.name}."
