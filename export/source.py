"""What an importer makes of a trained model's files, and the way from there to the canonical form."""

from dataclasses import dataclass, replace

from onnx_ir.passes.common import RemoveUnusedNodesPass

from yolo_edge.export.canonical import check_canonical
from yolo_edge.export.graph import Graph
from yolo_edge.export.passes.fold_batch_norm import FoldBatchNorm
from yolo_edge.export.passes.fold_scale import FoldScale
from yolo_edge.export.passes.fold_shuffles import FoldShuffles
from yolo_edge.export.passes.fuse_activations import FuseActivations
from yolo_edge.export.passes.merge_convolutions import MergeConvolutions
from yolo_edge.export.passes.split_convolutions import SplitConvolutions
from yolo_edge.ondevice.spec import ModelSpec


@dataclass(frozen=True)
class SourceModel:
    """A trained model as it came.

    Attributes:
        stem: What exported files are named after.
        graph: The network before any pass; what exports are compared with.
        spec: What surrounds it.
        notes: What a person should know of it.
    """

    stem: str
    graph: Graph
    spec: ModelSpec
    notes: tuple[str, ...] = ()

    def with_spec(self, spec: ModelSpec) -> "SourceModel":
        """The same network, surrounded by something else."""
        return replace(self, spec=spec)


def canonicalize(graph: Graph) -> Graph:
    """A copy of an imported graph in canonical form.

    Raises:
        NotCanonicalError: The passes do not bring it there.
    """
    result = graph.clone()
    for step in (FoldBatchNorm, FuseActivations, MergeConvolutions, FoldScale, SplitConvolutions, FoldShuffles):
        step()(result)
    RemoveUnusedNodesPass()(result)
    check_canonical(result)
    return result
