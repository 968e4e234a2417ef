"""What the outputs of each kind of detector mean: raw tensors → boxes in pixels of the input, and scores of classes.

A head takes its card and the outputs (float32, dequantized, in the card's order) and gives boxes (N, 4) as x0, y0, x1, y1 in pixels
of the network's input, and scores (N, classes), 0 to 1. Raises DetectorError where the outputs don't have the shapes that the
card says.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import DetectorError
from .overlap import Boxes

if TYPE_CHECKING:
    from .card import DetectorCard

Scores: TypeAlias = NDArray[np.float32]
Found: TypeAlias = tuple[Boxes, Scores]

SSD_ANCHORS = 1917
"""Of the MobileNet SSDs of TensorFlow's object detection at 300x300 pixels: 19², 10², 5², 3², 2² and 1 cells."""
_SSD_CENTRE, _SSD_SIZE = 10.0, 5.0
"""By what box encodings are divided (faster_rcnn_box_coder's scales in the configurations of the SSD MobileNets)."""


def decoded(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """Boxes and scores by the card's head. Raises DetectorError."""
    return _HEADS[card.head](card, outputs)


def _shelfmatch(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """Our own: in each cell the logits of its classes and then the distances of the box's left, top, right and bottom from the
    cell's centre, in strides; cells as last axis, one output for each stride, one for all, or logits and distances apart."""
    count = len(card.classes)
    parts = [one.reshape(-1, one.shape[-1]) for one in outputs]
    both = [part for part in parts if part.shape[1] == count + 4]
    logits = both or [part for part in parts if part.shape[1] == count]
    raw = both or [part for part in parts if part.shape[1] == 4]
    places, strides = cells_of(card)
    if sum(map(len, logits)) != len(places) or sum(map(len, raw)) != len(places):
        raise _strange(card, outputs, f"{len(places)} cells of {count} classes and 4 distances")
    scores = np.concatenate([part[:, :count] for part in logits])
    return _around(card, places, strides, _positive(card, np.concatenate([part[:, -4:] for part in raw]))), _probable(
        card, scores
    )


def _positive(card: DetectorCard, raw: NDArray[np.float32]) -> NDArray[np.float32]:
    if card.distances == "softplus":
        return np.logaddexp(raw, np.float32(0))
    if card.distances == "exp":
        return np.exp(np.minimum(raw, np.float32(20)))
    return np.maximum(raw, 0)


def _around(
    card: DetectorCard, places: NDArray[np.float32], strides: NDArray[np.float32], distances: NDArray[np.float32]
) -> Boxes:
    """Boxes from distances (N, 4) in strides to all sides of cells."""
    reach = distances * strides[:, np.newaxis]
    boxes: Boxes = np.concatenate([places - reach[:, :2], places + reach[:, 2:]], axis=1)
    return boxes


def _nanodet(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """NanoDet (github.com/RangiLyu/nanodet): in each cell the classes' scores, then a distribution for each distance over 0, 1, …
    strides (X. Li et al. 2020, "Generalized Focal Loss", section 3.2)."""
    count = len(card.classes)
    places, strides = cells_of(card)
    whole = np.concatenate([one.reshape(-1, one.shape[-1]) for one in outputs])
    if len(whole) != len(places) or whole.shape[1] <= count or (whole.shape[1] - count) % 4:
        raise _strange(card, outputs, f"{len(places)} cells of {count} classes and four distributions")
    bins = whole[:, count:].reshape(len(whole), 4, -1)
    weights = np.exp(bins - bins.max(axis=2, keepdims=True))
    steps = np.arange(bins.shape[2], dtype=np.float32)
    distances = (weights * steps).sum(axis=2) / weights.sum(axis=2)
    return _around(card, places, strides, distances), _probable(card, whole[:, :count])


def _yolov5(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """YOLOv5: (1, N, 5 + classes): centre x, y, width, height, whether there is anything, and the classes."""
    rows = _rows(card, outputs, 5 + len(card.classes), transposed=False)
    scores = _probable(card, rows[:, 4:])
    return _centred(card, rows), scores[:, 1:] * scores[:, :1]


def _yolov8(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """YOLOv8 and v11: (1, 4 + classes, N): centre x, y, width, height, and the classes."""
    rows = _rows(card, outputs, 4 + len(card.classes), transposed=True)
    return _centred(card, rows), _probable(card, rows[:, 4:])


def _yolo_nms(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """Ultralytics' end-to-end exports: (1, N, 6): x0, y0, x1, y1, score and class."""
    rows = _rows(card, outputs, 6, transposed=False)
    return rows[:, :4] * _unit(card), _one_hot(card, rows[:, 5], rows[:, 4])


def _ssd(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """SSDs whose graph gives boxes (1, N, 4) as x0, y0, x1, y1 and scores (1, N, 1 + classes), the ground first
    (github.com/qfgaohao/pytorch-ssd)."""
    boxes, scores = _boxes_and_scores(card, outputs)
    return boxes * _unit(card), _probable(card, scores)[:, 1:]


def _ssd_anchors(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """TensorFlow's MobileNet SSDs without the operator that ends them: box encodings (1, 1917, 4) as y, x, height, width beside
    anchors, and scores (1, 1917, 1 + classes), the ground first."""
    encoded, scores = _boxes_and_scores(card, outputs)
    anchors = ssd_anchors()
    if len(encoded) != len(anchors):
        raise _strange(card, outputs, f"{len(anchors)} anchors")
    centre = encoded[:, :2] / _SSD_CENTRE * anchors[:, 2:] + anchors[:, :2]
    half = np.exp(np.minimum(encoded[:, 2:] / _SSD_SIZE, 20)) * anchors[:, 2:] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)[:, [1, 0, 3, 2]]
    sides = np.array([card.width, card.height] * 2, np.float32)
    return (boxes * sides).astype(np.float32), _probable(card, scores)[:, 1:]


def _ssd_nms(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """TFLite_Detection_PostProcess and its like, outputs in the order boxes (1, N, 4) as y0, x0, y1, x1 in shares, classes (1, N),
    scores (1, N), how many (1)."""
    if len(outputs) != 4 or outputs[0].shape[-1] != 4:
        raise _strange(card, outputs, "boxes, classes, scores and their number")
    boxes, classes, scores = outputs[0].reshape(-1, 4), outputs[1].reshape(-1), outputs[2].reshape(-1)
    number = int(min(max(float(np.nan_to_num(outputs[3].reshape(-1)[0])), 0), len(boxes), len(classes), len(scores)))
    sides = np.array([card.width, card.height] * 2, np.float32)
    return boxes[:number, [1, 0, 3, 2]] * sides, _one_hot(card, classes[:number], scores[:number])


_HEADS: dict[str, Callable[[Any, Sequence[NDArray[np.float32]]], Found]] = {
    "shelfmatch": _shelfmatch,
    "nanodet": _nanodet,
    "yolov5": _yolov5,
    "yolov8": _yolov8,
    "yolo-nms": _yolo_nms,
    "ssd": _ssd,
    "ssd-anchors": _ssd_anchors,
    "ssd-nms": _ssd_nms,
}


def cells_of(card: DetectorCard) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, 2) x, y of what each cell looks from and (N,) its stride, both in pixels, stride by stride, row by row."""
    return _cells(card.width, card.height, card.strides, card.center)


@functools.lru_cache(8)
def _cells(
    width: int, height: int, strides: tuple[int, ...], center: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    places, own = [], []
    for stride in strides:
        rows, columns = np.mgrid[0 : -(-height // stride), 0 : -(-width // stride)].astype(np.float32)
        places.append((np.stack([columns.ravel(), rows.ravel()], axis=1) + np.float32(center)) * np.float32(stride))
        own.append(np.full(rows.size, stride, np.float32))
    return np.concatenate(places), np.concatenate(own)


@functools.cache
def ssd_anchors() -> NDArray[np.float32]:
    """(1917, 4): centre y, x, height, width in shares, as TensorFlow's ssd_anchor_generator makes them of six layers, scales 0.2 to
    0.95, ratios 1, 2, 1/2, 3, 1/3, fewer in the lowest layer (object_detection/anchor_generators,
    multiple_grid_anchor_generator.py)."""
    scales = [*np.linspace(0.2, 0.95, 6), 1.0]
    anchors = []
    for layer, side in enumerate((19, 10, 5, 3, 2, 1)):
        if layer == 0:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            shapes = [(scales[layer], ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)]
            shapes.append((float(np.sqrt(scales[layer] * scales[layer + 1])), 1.0))
        sizes = [(scale / np.sqrt(ratio), scale * np.sqrt(ratio)) for scale, ratio in shapes]
        for row in range(side):
            for column in range(side):
                anchors += [((row + 0.5) / side, (column + 0.5) / side, high, wide) for high, wide in sizes]
    return np.array(anchors, np.float32)


def _rows(
    card: DetectorCard, outputs: Sequence[NDArray[np.float32]], width: int, *, transposed: bool
) -> NDArray[np.float32]:
    """The only output as (N, width)."""
    if len(outputs) == 1:
        high, wide = (1, *outputs[0].shape)[-2:]
        if outputs[0].size == high * wide and transposed and high == width:
            return outputs[0].reshape(high, wide).T
        if outputs[0].size == high * wide and wide == width:
            return outputs[0].reshape(high, wide)
    raise _strange(card, outputs, f"one of {width} numbers a box ({len(card.classes)} classes)")


def _boxes_and_scores(
    card: DetectorCard, outputs: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    count = 1 + len(card.classes)
    tables = [one.reshape(-1, one.shape[-1]) for one in outputs]
    if len(tables) == 2 and tables[0].shape[1] == 4 and tables[1].shape == (len(tables[0]), count):
        return tables[0], tables[1]
    raise _strange(card, outputs, f"boxes and then scores of {count} classes, the ground first")


def _centred(card: DetectorCard, rows: NDArray[np.float32]) -> Boxes:
    """x, y, width, height as corners, in pixels."""
    half = rows[:, 2:4] / 2
    boxes: Boxes = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1) * _unit(card)
    return boxes


def _unit(card: DetectorCard) -> NDArray[np.float32]:
    """What boxes are multiplied by to be in pixels, (4,)."""
    return np.array([card.width, card.height] * 2 if card.boxes == "shares" else [1] * 4, np.float32)


def _probable(card: DetectorCard, scores: NDArray[np.float32]) -> Scores:
    if card.scores == "logit" or card.head == "shelfmatch":
        probable: Scores = 0.5 * (1 + np.tanh(0.5 * scores))  # the sigmoid, without overflow
        return probable
    return scores


def _one_hot(card: DetectorCard, classes: NDArray[np.float32], scores: NDArray[np.float32]) -> Scores:
    """(N, classes) of one class and one score a box; a class that the card doesn't have scores nothing."""
    table = np.zeros((len(scores), len(card.classes)), np.float32)
    number = np.nan_to_num(classes, nan=-1, posinf=-1, neginf=-1)
    sound = (number >= 0) & (number < len(card.classes))
    table[np.flatnonzero(sound), number[sound].astype(np.intp)] = scores[sound]
    return table


def _strange(card: DetectorCard, outputs: Sequence[NDArray[np.float32]], expected: str) -> DetectorError:
    shapes = ", ".join(str(list(one.shape)) for one in outputs)
    return DetectorError(
        f"detector {card.file} gave outputs {shapes}; its card says head {card.head}, expected {expected}"
    )
