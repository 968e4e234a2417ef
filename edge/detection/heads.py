"""What the outputs of each kind of detector mean: raw tensors → boxes in pixels of the input, and scores of classes.

A head takes its card and the outputs (float32, dequantized, in the card's order) and gives boxes (N, 4) as x0, y0, x1, y1 in pixels
of the network's input, and scores (N, classes), 0 to 1. What shapes it can read, `check_shapes` asks once before: it is as loose as
the heads are, and no looser.
"""

from __future__ import annotations

import functools
import math
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
Shapes: TypeAlias = Sequence[tuple[int, ...]]

SSD_ANCHORS = 1917
"""Of the MobileNet SSDs of TensorFlow's object detection at 300x300 pixels: 19², 10², 5², 3², 2² and 1 cells."""
_SSD_CENTRE, _SSD_SIZE = 10.0, 5.0
"""By what box encodings are divided (faster_rcnn_box_coder's scales in the configurations of the SSD MobileNets)."""


def check_shapes(card: DetectorCard, shapes: Shapes) -> None:
    """Hold the shapes of a run's outputs, in the card's order, against what the card's head reads, before anything is decoded.
    Where a network gives as many rows as it finds, none is fine. Raises DetectorError that names both."""
    fits, expected = _SHAPES[card.head](card, shapes)
    if not fits:
        found = ", ".join(f"{one.name} {list(shape)}" for one, shape in zip(card.outputs, shapes, strict=True))
        raise DetectorError(
            f"detector {card.file} gave outputs {found}; its card says head {card.head}, expected {expected}; correct the card, or "
            "export the detector for this head"
        )


def decoded(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """Boxes and scores by the card's head, of outputs whose shapes were checked. Numbers that are none give boxes that are none."""
    with np.errstate(invalid="ignore", over="ignore"):
        return _HEADS[card.head](card, outputs)


def _shelfmatch(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """Our own: in each cell the logits of its classes and then the distances of the box's left, top, right and bottom from the
    cell's centre, in strides; cells as last axis, one output for each stride, one for all, or logits and distances apart."""
    count = len(card.classes)
    parts = _tables(outputs)
    both = [part for part in parts if part.shape[1] == count + 4]
    logits = both or [part for part in parts if part.shape[1] == count]
    raw = both or [part for part in parts if part.shape[1] == 4]
    places, strides = cells_of(card)
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
    whole = np.concatenate(_tables(outputs))
    bins = whole[:, count:].reshape(len(whole), 4, -1)
    weights = np.exp(bins - bins.max(axis=2, keepdims=True))
    steps = np.arange(bins.shape[2], dtype=np.float32)
    distances = (weights * steps).sum(axis=2) / weights.sum(axis=2)
    return _around(card, places, strides, distances), _probable(card, whole[:, :count])


def _yolov5(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """YOLOv5: (1, N, 5 + classes): centre x, y, width, height, whether there is anything, and the classes."""
    rows = _rows(outputs, 5 + len(card.classes))
    scores = _probable(card, rows[:, 4:])
    return _centred(card, rows), scores[:, 1:] * scores[:, :1]


def _yolov8(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """YOLOv8 and v11: (1, 4 + classes, N): centre x, y, width, height, and the classes."""
    rows = _rows(outputs, 4 + len(card.classes), transposed=True)
    return _centred(card, rows), _probable(card, rows[:, 4:])


def _yolo_nms(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """Ultralytics' end-to-end exports: (1, N, 6): x0, y0, x1, y1, score and class."""
    rows = _rows(outputs, 6)
    return rows[:, :4] * _unit(card), _one_hot(card, rows[:, 5], rows[:, 4])


def _ssd(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """SSDs whose graph gives boxes (1, N, 4) as x0, y0, x1, y1 and scores (1, N, 1 + classes), the ground first
    (github.com/qfgaohao/pytorch-ssd)."""
    boxes, scores = _tables(outputs)
    return boxes * _unit(card), _probable(card, scores)[:, 1:]


def _ssd_anchors(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """TensorFlow's MobileNet SSDs without the operator that ends them: box encodings (1, 1917, 4) as y, x, height, width beside
    anchors, and scores (1, 1917, 1 + classes), the ground first."""
    encoded, scores = _tables(outputs)
    anchors = ssd_anchors()
    centre = encoded[:, :2] / _SSD_CENTRE * anchors[:, 2:] + anchors[:, :2]
    half = np.exp(np.minimum(encoded[:, 2:] / _SSD_SIZE, 20)) * anchors[:, 2:] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)[:, [1, 0, 3, 2]]
    sides = np.array([card.width, card.height] * 2, np.float32)
    return (boxes * sides).astype(np.float32), _probable(card, scores)[:, 1:]


def _ssd_nms(card: DetectorCard, outputs: Sequence[NDArray[np.float32]]) -> Found:
    """TFLite_Detection_PostProcess and its like, outputs in the order boxes (1, N, 4) as y0, x0, y1, x1 in shares, classes (1, N),
    scores (1, N), how many (1)."""
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


def _rows(outputs: Sequence[NDArray[np.float32]], width: int, *, transposed: bool = False) -> NDArray[np.float32]:
    """The only output as (N, width)."""
    high, wide = (1, *outputs[0].shape)[-2:]
    table = outputs[0].reshape(high, wide)
    return table.T if transposed and high == width else table


def _tables(outputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Outputs as (N, width of each)."""
    return [one.reshape(-1, one.shape[-1]) for one in outputs]


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


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """A shape as rows and their width; of a number alone, which has no rows, (0, 0)."""
    return (math.prod(shape[:-1]), shape[-1]) if shape else (0, 0)


def _cell_count(card: DetectorCard) -> int:
    return sum(-(-card.height // stride) * -(-card.width // stride) for stride in card.strides)


def _shelfmatch_shapes(card: DetectorCard, shapes: Shapes) -> tuple[bool, str]:
    """The first of each pair: whether a head reads these shapes; the second: which ones it does."""
    count, cells, sides = len(card.classes), _cell_count(card), [_sides(shape) for shape in shapes]

    def rows(width: int) -> int:
        return sum(high for high, wide in sides if wide == width)

    whole = any(wide == count + 4 for _, wide in sides)
    each = (rows(count + 4),) if whole else (rows(count), rows(4))
    fits = all(wide for _, wide in sides) and all(one == cells for one in each)
    fits = fits and (whole or count != 4)  # four classes apart from four distances can't be told from them
    return fits, f"{cells} cells of {count} classes and 4 distances"


def _nanodet_shapes(card: DetectorCard, shapes: Shapes) -> tuple[bool, str]:
    count, cells, sides = len(card.classes), _cell_count(card), [_sides(shape) for shape in shapes]
    width = sides[0][1]
    fits = all(wide == width for _, wide in sides) and sum(high for high, _ in sides) == cells
    fits = fits and width - count >= 8 and (width - count) % 4 == 0  # of one bin alone each distance would be 0
    return fits, f"{cells} cells of {count} classes and four distributions"


def _yolo_shapes(card: DetectorCard, shapes: Shapes) -> tuple[bool, str]:
    count = len(card.classes)
    width = {"yolov5": 5 + count, "yolov8": 4 + count}.get(card.head, 6)
    fits = len(shapes) == 1 and len(shapes[0]) > 0
    if fits:
        high, wide = (1, *shapes[0])[-2:]
        fits = math.prod(shapes[0]) == high * wide and (wide == width or (card.head == "yolov8" and high == width))
    if card.head == "yolo-nms":
        return fits, "one output [1, N, 6]"
    table = f"[1, N, {width}]" if card.head == "yolov5" else f"[1, {width}, N]"
    return fits, f"one output {table}, a box's {width - count} numbers and {count} classes"


def _ssd_shapes(card: DetectorCard, shapes: Shapes) -> tuple[bool, str]:
    count, sides = 1 + len(card.classes), [_sides(shape) for shape in shapes]
    fits = len(sides) == 2 and sides[0][1] == 4 and sides[1] == (sides[0][0], count)
    number = str(SSD_ANCHORS) if card.head == "ssd-anchors" else "N"
    fits = fits and (number == "N" or sides[0][0] == SSD_ANCHORS)
    return fits, f"boxes [1, {number}, 4] and then scores [1, {number}, {count}], the ground first"


def _ssd_nms_shapes(card: DetectorCard, shapes: Shapes) -> tuple[bool, str]:
    fits = len(shapes) == 4 and _sides(shapes[0])[1] == 4 and math.prod(shapes[3]) == 1
    fits = fits and math.prod(shapes[1]) == math.prod(shapes[2]) == _sides(shapes[0])[0]
    return fits, "boxes [1, N, 4], classes [1, N], scores [1, N] and their number [1]"


_SHAPES: dict[str, Callable[[Any, Shapes], tuple[bool, str]]] = {
    "shelfmatch": _shelfmatch_shapes,
    "nanodet": _nanodet_shapes,
    "yolov5": _yolo_shapes,
    "yolov8": _yolo_shapes,
    "yolo-nms": _yolo_shapes,
    "ssd": _ssd_shapes,
    "ssd-anchors": _ssd_shapes,
    "ssd-nms": _ssd_nms_shapes,
}
