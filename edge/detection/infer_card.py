"""A card for a bare detector file, where its outputs make it certain what they mean; otherwise what it has, and the card to write.

Shapes tell most: how many cells a network of this input has is known (`_cell_count`), and no other count fits. What shapes don't
tell, whether boxes are pixels or shares and whether scores are probabilities, one run on grey tells.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..encoders.infer_card import image_input, tflite_normalization
from ..encoders.runtimes import choose_runtime, open_session
from ..encoders.session import Session, TensorInfo
from ..errors import DetectorError
from .card import DetectorCard
from .failures import as_detector_error
from .heads import SSD_ANCHORS

_YOLO, _NANODET_PLUS = (8, 16, 32), (8, 16, 32, 64)
_BINS: Final = 8
"""NanoDet's distributions, as published, go from 0 to 7 strides."""
_SHARES = 2.0
"""Coordinates of cells all over the input that stay below are shares of its sides."""

Outputs = Mapping[str, NDArray[np.float32]]
Normalization = tuple[list[float], list[float]]

_HALF = ([127.5] * 3, [127.5] * 3)
_IMAGENET_NANODET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
"""NanoDet's configurations, red first (its own order is blue first)."""


def inspect_detector(path: Path) -> DetectorCard:
    """Read a card off a .tflite or .onnx file: YOLOv5, v8 and v11, also where they end with NMS, NanoDet, SSD with and without it.

    Raises DetectorError for a file that is none of them, with its inputs and outputs.
    """
    try:
        model = path.read_bytes()
    except OSError as error:
        raise DetectorError(f"detector {path} can't be read: {error.strerror or error}") from error
    file_format = "onnx" if path.suffix == ".onnx" else "tflite"
    if not model:
        raise DetectorError(f"detector {path.name} is empty; expected a .{file_format} file")
    with as_detector_error(path.name):
        session = open_session(choose_runtime("onnx" if file_format == "onnx" else "tflite"), model, threads=1)
        tensor, layout, size = image_input(path, session, "detector")
    _check_outputs(path, session)
    outputs = _run_on_grey(path, session, tensor, layout, size)
    record = _head_of(path, model, outputs, size)
    if record is None:
        raise DetectorError(
            f"detector {path.name} takes {tensor.dtype} {list(tensor.shape)} and gives {_described(session)}, which is none of the "
            "outputs that are known (YOLOv5, v8, v11, NanoDet, SSD with and without NMS); export it as one of them, or write "
            f"{path.with_suffix('.json').name} with its head"
        )
    infos = {info.name: info for info in session.outputs}
    names = record.pop("outputs")
    normalization = record.pop("normalization")
    if file_format == "tflite" and tensor.dtype == "float32":
        normalization = tflite_normalization(model) or normalization
    stored = tensor.dtype != "float32"
    if normalization is not None and not (stored and tensor.quantization is None):
        record["mean"], record["std"] = normalization
    return DetectorCard.from_dict(
        {
            "name": path.stem, "file": path.name, "sha256": hashlib.sha256(model).hexdigest(), "size_bytes": len(model),
            "format": file_format, "width": size[1], "height": size[0], "input_name": tensor.name,
            "input_dtype": tensor.dtype, "layout": layout, "input_quantization": _as_dict(tensor),
            "outputs": [{"name": name, "dtype": infos[name].dtype, "quantization": _as_dict(infos[name])} for name in names],
            "provenance": "inspected", **record,
        }
    )  # fmt: skip


def _as_dict(info: TensorInfo) -> dict[str, Any] | None:
    found = info.quantization
    return None if found is None or info.dtype == "float32" else {"scale": found.scale, "zero_point": found.zero_point}


def _described(session: Session) -> str:
    return ", ".join(f"{info.name} {info.dtype} {list(info.shape)}" for info in session.outputs) or "nothing"


def _check_outputs(path: Path, session: Session) -> None:
    """Refuse what no detector gives, before it is run."""
    for info in session.outputs:
        if info.dtype not in ("uint8", "int8", "float32"):
            raise DetectorError(
                f"detector {path.name} gives {_described(session)}; expected float32, int8 or uint8 in all of them"
            )
        if info.dtype != "float32" and info.quantization is None:
            raise DetectorError(
                f"detector {path.name}: output {info.name} is {info.dtype} without scale and zero point; "
                "export it with them, or as float"
            )


def _run_on_grey(
    path: Path, session: Session, tensor: TensorInfo, layout: str, size: tuple[int, int]
) -> dict[str, NDArray[np.float32]]:
    """What the file gives for a grey picture, as real numbers."""
    shape = (1, *size, 3) if layout == "NHWC" else (1, 3, *size)
    grey: NDArray[Any] = np.full(shape, _grey(tensor), np.float32)
    with as_detector_error(path.name):
        raw = session.run_for(grey.astype(tensor.dtype), [info.name for info in session.outputs])
    real: dict[str, NDArray[np.float32]] = {}
    for info, value in zip(session.outputs, raw, strict=True):
        number = value.astype(np.float32)
        if info.quantization is not None and info.dtype != "float32":
            number = (number - info.quantization.zero_point) * np.float32(info.quantization.scale)
        real[info.name] = number
    return real


def _grey(tensor: TensorInfo) -> float:
    """The middle of what an input takes."""
    if np.issubdtype(np.dtype(tensor.dtype), np.floating):
        return 0.5
    least, most = np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max
    return (least + most + 1) // 2


def _cell_count(size: tuple[int, int], strides: Sequence[int]) -> int:
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


def _head_of(path: Path, model: bytes, outputs: Outputs, size: tuple[int, int]) -> dict[str, Any] | None:
    """What a card says of the outputs, None where that isn't certain."""
    if len(outputs) == 1:
        return _one_output(path, next(iter(outputs)), next(iter(outputs.values())), size)
    if len(outputs) == 2:
        return _boxes_and_scores(outputs)
    if len(outputs) == 4:
        return _after_nms(path, model, outputs)
    return None


def _one_output(path: Path, name: str, value: NDArray[np.float32], size: tuple[int, int]) -> dict[str, Any] | None:
    if value.ndim != 3 or value.shape[0] != 1:
        return None
    first, last = value.shape[1:]
    cells, more = _cell_count(size, _YOLO), _cell_count(size, _NANODET_PLUS)
    table = value[0]
    if first in (3 * cells, 3 * more) and last >= 6:
        return _yolo("yolov5", name, last - 5, table)
    if last in (cells, more) and first >= 5:
        return _yolo("yolov8", name, first - 4, table.T)
    count = last - 4 * _BINS
    if first in (cells, more) and count >= 1 and _is_probable(table[:, :count]) and table[:, count:].min() < 0:
        plus = first == more
        return {
            "head": "nanodet", "classes": _numbered(count), "strides": list(_NANODET_PLUS if plus else _YOLO),
            # NanoDet-Plus looks from the cells' corners (get_single_level_center_priors), NanoDet from their centres.
            "center": 0.0 if plus else 0.5, "outputs": [name], "color_order": "BGR", "resize": "squash",
            "normalization": _IMAGENET_NANODET,
        }  # fmt: skip
    if last == 6 and first <= 1000:
        shares = bool(table[:, :4].max(initial=0) <= _SHARES)
        # Of grey most find nothing, which has no units: those of Ultralytics' exports of this format (nn/autobackend.py
        # multiplies what a TFLite file gives by the input's sides).
        shares = shares and (path.suffix == ".tflite" or bool(table[:, 4].max(initial=0) > 0))
        return {
            "head": "yolo-nms", "classes": _numbered(80), "boxes": "shares" if shares else "pixels", "outputs": [name],
            **_LETTERBOX,
        }  # fmt: skip
    return None


_LETTERBOX: Final[dict[str, Any]] = {
    "resize": "pad",
    "padding": [114, 114, 114],
    "normalization": ([0.0] * 3, [255.0] * 3),
}
"""Ultralytics' preprocessing: pixels from 0 to 1 on a border of 114."""


def _yolo(head: str, name: str, classes: int, rows: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "head": head,
        "classes": _numbered(classes),
        "boxes": "shares" if float(rows[:, :2].max(initial=0)) <= _SHARES else "pixels",
        "scores": "probability" if _is_probable(rows[:, 4:]) else "logit",
        "outputs": [name],
        **_LETTERBOX,
    }


def _boxes_and_scores(outputs: Outputs) -> dict[str, Any] | None:
    boxes = [name for name, value in outputs.items() if value.ndim == 3 and value.shape[2] == 4]
    if len(boxes) == 2:  # three classes and the ground are four numbers, too
        boxes = [name for name in boxes if "box" in name.lower() or "loc" in name.lower()]
    scores = [name for name, value in outputs.items() if value.ndim == 3 and name not in boxes]
    if len(boxes) != 1 or len(scores) != 1 or outputs[boxes[0]].shape[:2] != outputs[scores[0]].shape[:2]:
        return None
    if outputs[boxes[0]].shape[0] != 1:
        return None
    corners, classes = outputs[boxes[0]][0], outputs[scores[0]].shape[2] - 1
    if classes < 1 or not len(corners):  # without a box nothing tells their units
        return None
    record = {
        "classes": _numbered(classes), "outputs": [boxes[0], scores[0]], "resize": "squash", "normalization": _HALF,
        "boxes": "shares", "scores": "probability" if _is_probable(outputs[scores[0]]) else "logit",
    }  # fmt: skip
    if len(corners) == SSD_ANCHORS:
        return {"head": "ssd-anchors", **record}
    ordered = bool((corners[:, 2:] >= corners[:, :2]).all()) and float(np.abs(corners).max(initial=0)) <= _SHARES
    return {"head": "ssd", **record} if ordered and float(np.ptp(corners)) > 0.5 else None


def _after_nms(path: Path, model: bytes, outputs: Outputs) -> dict[str, Any] | None:
    boxes = [name for name, value in outputs.items() if value.ndim == 3 and value.shape[2] == 4]
    number = [name for name, value in outputs.items() if value.size == 1]
    flat = [name for name, value in outputs.items() if value.ndim == 2 and value.size > 1]
    if len(boxes) != 1 or len(number) != 1 or len(flat) != 2:
        return None
    order = _postprocess_outputs(model) if path.suffix == ".tflite" else None
    if order is None or set(order) != set(outputs):
        classes = [name for name in flat if "class" in name.lower()]
        if len(classes) != 1:
            return None
        scores = next(name for name in flat if name != classes[0])
        order = [boxes[0], classes[0], scores, number[0]]
    return {
        "head": "ssd-nms", "classes": _numbered(91), "outputs": order, "resize": "squash", "normalization": _HALF,
        "boxes": "shares",
    }  # fmt: skip


def _postprocess_outputs(model: bytes) -> list[str] | None:
    """The outputs of TFLite_Detection_PostProcess in its own order: boxes, classes, scores, number (detection_postprocess.cc)."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:  # tflite-runtime has no schema; names tell then
        return None
    with contextlib.suppress(Exception):  # a damaged file was loaded before; whatever its tables hold, names are left
        parsed = schema.Model.GetRootAsModel(model, 0)
        graph = parsed.Subgraphs(0)
        for index in range(graph.OperatorsLength()):
            operator = graph.Operators(index)
            code = parsed.OperatorCodes(operator.OpcodeIndex()).CustomCode()
            if code == b"TFLite_Detection_PostProcess":
                return [graph.Tensors(operator.Outputs(place)).Name().decode() for place in range(4)]
    return None


def _is_probable(scores: NDArray[np.float32]) -> bool:
    """Whether these can be probabilities, a little rounding aside."""
    return bool(np.isfinite(scores).all()) and float(scores.min()) >= -1e-3 and float(scores.max()) <= 1.001


def _numbered(count: int) -> list[str]:
    """Names for classes whose names no tensor tells."""
    return [str(number) for number in range(count)]
