"""Recipes: which accuracy passes make a plan, and with what settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from msgspec import structs

from yolo_edge.export.graph import Graph
from yolo_edge.export.quantization.affine import correct_affine
from yolo_edge.export.quantization.apply import apply_plan, changed_weights, channel_scale, integer_weights, weights_of
from yolo_edge.export.quantization.calibration import TensorStatistics
from yolo_edge.export.quantization.equalize import Equalisation, equalize
from yolo_edge.export.quantization.heads import rescale_heads
from yolo_edge.export.quantization.plan import ConvolutionPlan, HeadPlan, QuantizationPlan, TensorPlan, encode_weights
from yolo_edge.export.quantization.ranges import choose_ranges
from yolo_edge.export.quantization.rounding import learn_rounding
from yolo_edge.export.quantization.structure import Structure, computed_inputs, name_of
from yolo_edge.export.quantization.walk import Layer, walk
from yolo_edge.ondevice.spec import ModelSpec


@dataclass(frozen=True)
class Recipe:
    """How a plan is made.

    Attributes:
        name: For people.
        rescale: Head rescale.
        equalize: Free equalisation.
        dense: Equalisation of channels that dense convolutions read, too.
        ranges: Of `ranges.MODES`.
        power: Of the error that ranges minimise.
        float_first: So many of the first convolutions stay float.
        rounding: Learned rounding, layer by layer.
        affine: "none"; "mean" or "slope" (of both): corrected channel by channel, layer by layer.
    """

    name: str
    rescale: bool = True
    equalize: bool = True
    dense: bool = False
    ranges: str = "auto"
    power: float = 2
    float_first: int = 0
    rounding: bool = False
    affine: str = "none"


# from few passes to many; the last ones keep the first two convolutions in float
RECIPES = (
    Recipe("ranges", rescale=False),
    Recipe("heads"),
    Recipe("heads, affine", affine="slope"),
    Recipe("dense, heads, affine", dense=True, affine="slope"),
    Recipe("dense, heads, rounding, affine", dense=True, rounding=True, affine="slope"),
    Recipe("dense, heads, affine, two float", dense=True, affine="slope", float_first=2),
    Recipe("dense, heads, rounding, affine, two float", dense=True, rounding=True, affine="slope", float_first=2),
)


UNSEEN = "dense, heads, affine"  # where detections cannot be compared


def first_convolutions(graph: Graph, count: int) -> dict[str, str]:
    """The first convolutions of a graph and what stands between them → why they are float."""
    floats: dict[str, str] = {}
    found = 0
    for node in graph.graph:
        if node.op_type == "Conv":
            found += 1
        if found > count or not count:
            break
        floats[name_of(node)] = "the first layers lose most"
    return floats


class Drafts:
    """Makes the plans of recipes, but for what is corrected layer by layer; what recipes share is made once."""

    def __init__(self, graph: Graph, statistics: Mapping[str, TensorStatistics], spec: ModelSpec):
        """Prepare.

        Args:
            graph: Canonical, with expanded activations.
            statistics: Of its tensors.
            spec: Of its raw heads.
        """
        self._graph, self._statistics = graph, statistics
        self._heads = rescale_heads(graph, statistics, spec)
        self._equalised: dict[bool | None, Equalisation] = {None: Equalisation({})}
        self._ranges: dict[tuple[object, ...], dict[str, TensorPlan]] = {}

    def draft(self, recipe: Recipe) -> QuantizationPlan:
        """The plan of a recipe."""
        structure = Structure.of(self._graph, first_convolutions(self._graph, recipe.float_first))
        how = recipe.dense if recipe.equalize else None
        if how not in self._equalised:
            self._equalised[how] = equalize(self._graph, self._statistics, recipe.dense)
        found, heads = self._equalised[how], self._heads if recipe.rescale else {}
        key = (how, recipe.float_first, recipe.ranges, recipe.power)
        if key not in self._ranges:
            seen = dict(self._statistics)
            seen.update({name: seen[name].scaled(divisor) for name, divisor in found.divisor.items()})
            self._ranges[key] = choose_ranges(structure, seen, recipe.ranges, recipe.power)
        whole = TensorPlan.of_range(0, 1)
        tensors = {name: whole if name in heads else plan for name, plan in self._ranges[key].items()}
        convolutions = {}
        for node in self._graph.graph:
            if node.op_type != "Conv":
                continue
            source = tensors.get(name_of(computed_inputs(node)[0]))
            plan = _convolution(node, found, heads.get(name_of(node.outputs[0])), source)
            if structure.is_int8(node) or plan.output_factor or plan.input_factor or plan.bias_shift:
                convolutions[name_of(node)] = plan
        return QuantizationPlan(
            recipe=recipe.name,
            tensors=tensors,
            nodes=dict(structure.nodes),
            convolutions=convolutions,
            heads=dict(heads),
        )


def finish(
    graph: Graph,
    plan: QuantizationPlan,
    recipe: Recipe,
    tensors: Sequence[np.ndarray],
    importance: Mapping[str, Sequence[np.ndarray]],
) -> QuantizationPlan:
    """Correct a draft layer by layer, on pictures.

    Args:
        graph: Canonical, with expanded activations.
        plan: Of `Drafts`.
        recipe: Its recipe.
        tensors: Inputs, float32 [1, 3, height, width].
        importance: Of the places of what convolutions give, by `Calibration.importance_of_places`.
    """
    if not recipe.rounding and recipe.affine == "none":
        return plan

    def mend(layer: Layer) -> Layer:
        if recipe.rounding:
            layer = learn_rounding(layer)
        # rounding leaves the mean to the bias
        return correct_affine(layer, recipe.affine == "slope")

    quantized = apply_plan(graph, plan)
    convolutions = dict(plan.convolutions)
    for name, layer in walk(quantized, tensors, importance, mend).items():
        before = convolutions[name]
        nearest = integer_weights(layer.weight, layer.scale, structs.replace(before, weights=""), name)
        _, bias = weights_of(layer.node)
        moved = layer.bias.astype(np.float64) - bias
        shift = moved + (np.array(before.bias_shift) if before.bias_shift else 0)
        convolutions[name] = structs.replace(
            before,
            weight_scale=tuple(map(float, layer.scale)),
            bias_shift=_numbers(shift, 0),
            weights="" if np.array_equal(nearest, layer.integers) else encode_weights(layer.integers),
        )
    return structs.replace(plan, convolutions=convolutions)


def _convolution(
    node: ir.Node, found: Equalisation, head: HeadPlan | None, source: TensorPlan | None
) -> ConvolutionPlan:
    out, into = found.factors(node)
    shift = np.zeros(len(out))
    if head is not None:
        factor = np.array(head.factor)
        out, shift = out / factor, -np.array(head.offset) / factor
    changed = changed_weights(node, out, into, shift)
    return ConvolutionPlan(
        tuple(map(float, channel_scale(*changed, 1.0 if source is None else source.scale))),
        _numbers(out, 1),
        _numbers(into, 1),
        _numbers(shift, 0),
    )


def _numbers(array: np.ndarray, neutral: float) -> tuple[float, ...]:
    return tuple(map(float, array)) if (array != neutral).any() else ()
