"""YOLO9000's word tree: class probabilities that are products along a path from the root.

Redmon and Farhadi, "YOLO9000: Better, Faster, Stronger" (2017), section 4; darknet's src/tree.c.
"""

from functools import lru_cache
from typing import Dict, Tuple

import numpy as np

_WALK_THRESHOLD = 0.5  # darknet's `hier_thresh`


@lru_cache(maxsize=8)
def _groups(tree: Tuple[int, ...]) -> Tuple[np.ndarray, np.ndarray, Dict[int, int]]:
    """The first node of each group of siblings, the group of each node, and the group of each parent's children."""
    parents = np.array(tree)
    starts = np.flatnonzero(np.concatenate([[True], parents[1:] != parents[:-1]]))
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(parents))))
    return starts, group, {int(parents[start]): number for number, start in enumerate(starts)}


def _conditional(tree: Tuple[int, ...], logits: np.ndarray) -> np.ndarray:
    """P(node | its parent): a softmax over each group of siblings. float32 [n, nodes]."""
    starts, group, _ = _groups(tree)
    largest = np.maximum.reduceat(logits, starts, axis=1)
    raised = np.exp(logits - largest[:, group])
    result: np.ndarray = raised / np.add.reduceat(raised, starts, axis=1)[:, group]
    return result


def walk(tree: Tuple[int, ...], logits: np.ndarray) -> np.ndarray:
    """The node where a walk down from the root ends (`hierarchy_top_prediction`).

    At each step it goes to the likeliest child, while the product of the probabilities stays above 0.5; the likeliest
    root is taken in any case.

    Args:
        tree: The parent of each node, −1 for roots.
        logits: float32 [n, nodes].

    Returns:
        int64 [n].
    """
    starts, _, children = _groups(tree)
    ends = np.append(starts[1:], len(tree))
    result = np.empty(len(logits), np.int64)
    for row, probabilities in enumerate(_conditional(tree, logits)):
        node, product = -1, 1.0
        while node in children:
            group = children[node]
            child = int(starts[group] + probabilities[starts[group] : ends[group]].argmax())
            product *= float(probabilities[child])
            if product <= _WALK_THRESHOLD and node >= 0:
                break
            node = child
            if product <= _WALK_THRESHOLD:
                break
        result[row] = node
    return result


def map_probabilities(tree: Tuple[int, ...], nodes: Tuple[int, ...], logits: np.ndarray) -> np.ndarray:
    """The absolute probabilities of some nodes: products from the root down (`get_hierarchy_probability`).

    Args:
        tree: The parent of each node, −1 for roots.
        nodes: Those that are asked for.
        logits: float32 [n, nodes of the tree].

    Returns:
        float32 [n, nodes asked for].
    """
    conditional = _conditional(tree, logits)
    result = np.ones((len(logits), len(nodes)), np.float32)
    for column, start in enumerate(nodes):
        node = start
        while node >= 0:
            result[:, column] *= conditional[:, node]
            node = tree[node]
    return result
