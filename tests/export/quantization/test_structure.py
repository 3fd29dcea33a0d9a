"""Which nodes compute in int8, and which tensors share."""

from pathlib import Path

import pytest

from tests.export.quantization.support import depthwise_darknet
from tests.support import random_darknet
from yolo_edge.export import canonicalize
from yolo_edge.export.load import load_model
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.structure import SHARING, Structure, computed_inputs


@pytest.mark.parametrize("seed", range(8))
def test_tensors_that_share(tmp_path: Path, seed: int) -> None:
    structure = Structure.of(expand_activations(canonicalize(load_model(random_darknet(tmp_path, seed)).graph)))
    for node in structure.graph.graph:
        if structure.is_int8(node):
            names = {value.name or "" for value in [*computed_inputs(node), structure.result(node)]}
            assert names <= set(structure.group), node.name
            if node.op_type in SHARING:
                assert len({structure.group[name] for name in names}) == 1, node.name
    assert all(structure.group[group] == group for group in structure.group.values() if group in structure.group)


def test_what_is_fused_goes_along(tmp_path: Path) -> None:
    graph = expand_activations(canonicalize(load_model(depthwise_darknet(tmp_path, 0, "relu")).graph))
    structure = Structure.of(graph)
    assert structure.fused
    for name, following in structure.fused.items():
        assert name not in structure.group
        assert following.name not in structure.nodes
    first = next(node for node in graph.graph if node.op_type == "Conv")
    by_hand = Structure.of(graph, {first.name or "": "by hand"})
    assert not by_hand.is_int8(first)
    assert "images" not in by_hand.group
    assert by_hand.nodes[first.name or ""].reason == "by hand"
    assert len(by_hand.int8_convolutions()) == len(structure.int8_convolutions()) - 1
