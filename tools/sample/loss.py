"""What YOLOv3's heads are trained with: boxes by CIoU, objectness and classes by cross-entropy."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from sample.network import SCALE_X_Y
from yolo_edge.sample import CLASSES

_RATIO = 3.0  # an anchor is responsible for boxes whose sides differ by less than this factor (YOLOv5)
_NO_PENALTY = 0.6  # a prediction that overlaps a box so far, but is not responsible for it, is left alone
_BOX, _OBJECT = 4.0, 2.0
_EMPTY = (
    10.0  # weight of cells without an object: what looks like a code counts for more than its share of the pictures
)


class YoloLoss:
    """Loss of the raw maps of all heads.

    Args:
        anchors: of each head, [k,2] in pixels.
    """

    def __init__(self, anchors: Sequence[Sequence[tuple[float, float]]]) -> None:
        self._heads = [torch.tensor(head) for head in anchors]
        self._all = torch.cat(self._heads)

    def __call__(self, maps: Sequence[Tensor], boxes: Tensor, size: int) -> tuple[Tensor, dict[str, float]]:
        """The loss, and its parts for the log.

        Args:
            maps: of each head [n, k (5 + classes), gy, gx].
            boxes: [m,6] number of the picture, class, x, y, w, h in pixels of the input.
            size: of the square input in pixels.
        """
        ratio = boxes[:, None, 4:6] / self._all[None]
        worst = torch.maximum(ratio, 1 / ratio).amax(2)
        responsible = worst < _RATIO
        if len(boxes):  # no box goes without
            responsible[torch.arange(len(boxes)), worst.argmin(1)] = True
        parts = {"box": maps[0].new_zeros(()), "object": maps[0].new_zeros(()), "class": maps[0].new_zeros(())}
        positives, first = 0, 0
        for raw, anchors in zip(maps, self._heads, strict=True):
            found = self._head(raw, anchors, boxes, responsible[:, first : first + len(anchors)], size, parts)
            first, positives = first + len(anchors), positives + found
        scale = 1 / max(positives, 1)
        total = scale * (_BOX * parts["box"] + _OBJECT * parts["object"] + parts["class"])
        return total, {name: float(part.detach()) * scale for name, part in parts.items()}

    def _head(
        self, raw: Tensor, anchors: Tensor, boxes: Tensor, responsible: Tensor, size: int, parts: dict[str, Tensor]
    ) -> int:
        n, _, gy, gx = raw.shape
        stride = size / gx
        values = raw.view(n, len(anchors), 5 + len(CLASSES), gy, gx).permute(0, 1, 3, 4, 2)
        predicted = _decode(values, anchors, stride)
        objects = torch.zeros(n, len(anchors), gy, gx)
        weight = torch.full_like(objects, _EMPTY)
        with torch.no_grad():
            for picture in boxes[:, 0].unique().long().tolist():
                inside = boxes[boxes[:, 0] == picture, 2:6]
                overlap = _iou(predicted[picture].reshape(-1, 1, 4), inside[None]).amax(1)
                weight[picture] = (overlap < _NO_PENALTY).float().view(len(anchors), gy, gx) * _EMPTY
        which, anchor = responsible.nonzero(as_tuple=True)
        if len(which):
            which, anchor, x, y = _cells(boxes[which, 2:4] / stride, which, anchor, (gx, gy))
            chosen = boxes[which]
            picture = chosen[:, 0].long()
            overlap = _ciou(predicted[picture, anchor, y, x], chosen[:, 2:6])
            parts["box"] = parts["box"] + (1 - overlap).sum()
            objects[picture, anchor, y, x] = overlap.detach().clamp(0, 1)
            weight[picture, anchor, y, x] = 1
            classes = one_hot(chosen[:, 1].long(), len(CLASSES)).float()
            logits = values[picture, anchor, y, x, 5:]
            parts["class"] = parts["class"] + binary_cross_entropy_with_logits(logits, classes, reduction="sum")
        loss = binary_cross_entropy_with_logits(values[..., 4], objects, reduction="none")
        parts["object"] = parts["object"] + (weight * loss).sum()
        return len(which)


def _decode(values: Tensor, anchors: Tensor, stride: float) -> Tensor:
    """Boxes x, y, w, h in pixels (YOLOv3, with YOLOv4's scale_x_y)."""
    gy, gx = values.shape[2:4]
    grid = torch.stack(torch.meshgrid(torch.arange(gx), torch.arange(gy), indexing="xy"), -1)
    centre = (torch.sigmoid(values[..., :2]) * SCALE_X_Y - (SCALE_X_Y - 1) / 2 + grid) * stride
    side = torch.exp(values[..., 2:4].clamp(max=6)) * anchors[None, :, None, None]
    return torch.cat([centre, side], -1)


def _cells(
    centre: Tensor, which: Tensor, anchor: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The cell of each centre, and the two neighbours that are nearest to it (YOLOv5): box, anchor, x, y of each."""
    limit = torch.tensor(grid)
    cell = centre.long().clamp(min=torch.zeros(2, dtype=torch.long), max=limit - 1)
    aside = torch.where(centre - cell < 0.5, -1, 1)
    steps = torch.stack([torch.zeros_like(aside), aside * torch.tensor([1, 0]), aside * torch.tensor([0, 1])])
    cells = cell[None] + steps
    inside = ((cells >= 0) & (cells < limit)).all(2)
    chosen = cells[inside]
    return which.expand(3, -1)[inside], anchor.expand(3, -1)[inside], chosen[:, 0], chosen[:, 1]


def _iou(a: Tensor, b: Tensor) -> Tensor:
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    shared = (high - low).clamp(0).prod(-1)
    return shared / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared + 1e-7)


def _ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU (Zheng et al. 2020, equation 10) of boxes [m,4]."""
    low = torch.minimum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.maximum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    diagonal = (high - low).pow(2).sum(-1) + 1e-7
    distance = (a[..., :2] - b[..., :2]).pow(2).sum(-1) / diagonal
    turn = (torch.atan(b[..., 2] / b[..., 3]) - torch.atan(a[..., 2] / a[..., 3])).pow(2) * (4 / math.pi**2)
    overlap = _iou(a, b)
    with torch.no_grad():
        share = turn / (1 - overlap + turn + 1e-7)
    return overlap - distance - share * turn
