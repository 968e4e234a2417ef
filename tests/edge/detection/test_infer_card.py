"""Detectors that people bring: told apart by their outputs, read as their authors meant them, and refused with what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shelfmatch.edge import Detector, DetectorError
from shelfmatch.edge.detection import infer_card
from shelfmatch.edge.detection.heads import ssd_anchors
from shelfmatch.edge.detection.infer_card import inspect_detector
from shelfmatch.edge.encoders.session import TensorInfo
from tests.support.detectors import constant_onnx, constant_tflite

PHOTO = np.full((128, 128, 3), 90, np.uint8)
BOX = (16.0, 32.0, 48.0, 56.0)
"""In an input of 64x64 pixels; twice as much on the photo."""
CELLS = 8 * 8 + 4 * 4 + 2 * 2

Arrays = dict[str, NDArray[Any]]


def yolov5(classes: int = 3, *, shares: bool = False) -> Arrays:
    rows = np.zeros((1, 3 * CELLS, 5 + classes), np.float32)
    rows[0, :, :2] = np.linspace(4, 60, 3 * CELLS)[:, np.newaxis]
    rows[0, 7] = [32, 44, 32, 24, 0.9, *[0.1] * (classes - 1), 0.8]
    if shares:
        rows[..., :4] /= 64
    return {"output0": rows}


def yolov8(classes: int = 3, *, shares: bool = False) -> Arrays:
    table = np.zeros((1, 4 + classes, CELLS), np.float32)
    table[0, :2] = np.linspace(4, 60, CELLS)
    table[0, :, 7] = [32, 44, 32, 24, *[0.1] * (classes - 1), 0.72]
    if shares:
        table[:, :4] /= 64
    return {"output0": table}


def yolo_nms() -> Arrays:
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = [*BOX, 0.72, 2]
    return {"output0": rows}


def nanodet(*, plus: bool = False, classes: int = 3) -> Arrays:
    cells = CELLS + (1 if plus else 0)
    table = np.zeros((1, cells, classes + 32), np.float32)
    table[..., classes:] = np.random.default_rng(0).normal(size=(1, cells, 32))
    # Cell (row 5, column 4) of stride 8: NanoDet looks from (36, 44), Plus from (32, 40).
    x, y = (32, 40) if plus else (36, 44)
    place = 5 * 8 + 4
    table[0, place, classes - 1] = 0.72
    for side, reach in enumerate(((x - BOX[0]) / 8, (y - BOX[1]) / 8, (BOX[2] - x) / 8, (BOX[3] - y) / 8)):
        low = int(reach)
        bins = np.full(8, -60.0)
        bins[low] = np.log(max(1 - (reach - low), 1e-9))
        bins[low + 1] = np.log(max(reach - low, 1e-9))
        table[0, place, classes + 8 * side : classes + 8 * side + 8] = bins
    return {"output": table}


def ssd(count: int = 300) -> Arrays:
    boxes = np.zeros((1, count, 4), np.float32)
    boxes[0, :, 2:] = 1.0
    boxes[0, 5] = np.array(BOX) / 64
    scores = np.zeros((1, count, 4), np.float32)
    scores[0, :, 0] = 1.0
    scores[0, 5] = [0.1, 0.1, 0.08, 0.72]
    return {"scores": scores, "boxes": boxes}


def ssd_raw() -> Arrays:
    anchors = ssd_anchors()
    number = 1000
    y, x, high, wide = anchors[number]
    centre = ((BOX[1] + BOX[3]) / 128, (BOX[0] + BOX[2]) / 128)
    sides = ((BOX[3] - BOX[1]) / 64, (BOX[2] - BOX[0]) / 64)
    boxes = np.zeros((1, 1917, 4), np.float32)
    boxes[0, number] = [
        (centre[0] - y) / high * 10, (centre[1] - x) / wide * 10, np.log(sides[0] / high) * 5, np.log(sides[1] / wide) * 5,
    ]  # fmt: skip
    scores = np.zeros((1, 1917, 4), np.float32)
    scores[0, number, 3] = 0.72
    return {"raw_outputs/box_encodings": boxes, "raw_outputs/class_predictions": scores}


def ssd_nms() -> Arrays:
    boxes = np.zeros((1, 10, 4), np.float32)
    boxes[0, 0] = [BOX[1] / 64, BOX[0] / 64, BOX[3] / 64, BOX[2] / 64]
    boxes[0, 1] = [0, 0, 1, 1]
    scores = np.zeros((1, 10), np.float32)
    scores[0, :2] = [0.72, 0.6]
    return {
        "detection_boxes": boxes,
        "detection_scores": scores,
        "detection_classes": np.full((1, 10), 2, np.float32),
        "num_detections": np.array([1], np.float32),
    }


KINDS: dict[str, tuple[Callable[[], Arrays], str]] = {
    "yolov5": (yolov5, "yolov5"),
    "yolov5 in shares": (lambda: yolov5(shares=True), "yolov5"),
    "yolov5 of one class": (lambda: yolov5(1), "yolov5"),
    "yolov8": (yolov8, "yolov8"),
    "yolov8 in shares": (lambda: yolov8(shares=True), "yolov8"),
    "yolo with nms": (yolo_nms, "yolo-nms"),
    "nanodet": (nanodet, "nanodet"),
    "nanodet of one class": (lambda: nanodet(classes=1), "nanodet"),
    "nanodet-plus": (lambda: nanodet(plus=True), "nanodet"),
    "ssd": (ssd, "ssd"),
    "ssd of tensorflow": (ssd_raw, "ssd-anchors"),
    "ssd with nms": (ssd_nms, "ssd-nms"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_a_detector_is_told_by_its_outputs_and_finds_its_box(tmp_path: Path, kind: str, suffix: str) -> None:
    make, head = KINDS[kind]
    path = tmp_path / f"theirs.{suffix}"
    path.write_bytes(constant_onnx(make()) if suffix == "onnx" else constant_tflite(make(), dtype="float32"))
    detector = Detector.open(path)
    assert detector.card.head == head
    found = detector.detect(PHOTO, tiles="off")
    assert found[0].box == pytest.approx([2 * edge for edge in BOX], abs=0.01)
    assert found[0].score == pytest.approx(0.72, abs=0.02)
    assert len(found) == 1


def test_boxes_after_nms_of_a_file_that_finds_nothing_on_grey(tmp_path: Path) -> None:
    """Their units can't be seen then: a TFLite file's were taken for pixels, and it never found anything."""
    for suffix, make, boxes in (("tflite", constant_tflite, "shares"), ("onnx", constant_onnx, "pixels")):
        path = tmp_path / f"theirs.{suffix}"
        path.write_bytes(make({"output0": np.zeros((1, 300, 6), np.float32)}, dtype="float32"))
        card = inspect_detector(path)
        assert (card.head, card.boxes) == ("yolo-nms", boxes)


def test_what_each_family_is_fed_with(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(constant_onnx(yolov8()))
    card = Detector.open(path).card
    assert (card.resize, card.padding, card.mean, card.std, card.color_order) == (
        "pad",
        (114,) * 3,
        (0.0,) * 3,
        (255.0,) * 3,
        "RGB",
    )
    path.write_bytes(constant_onnx(nanodet(plus=True)))
    card = Detector.open(path).card
    assert (card.resize, card.color_order, card.center, card.strides) == ("squash", "BGR", 0.0, (8, 16, 32, 64))
    path = tmp_path / "b.tflite"
    path.write_bytes(constant_tflite(ssd_nms()))
    card = Detector.open(path).card
    assert card.input_dtype == "uint8" and card.mean == (127.5,) * 3


def test_the_picture_that_tells_units_is_grey_whatever_the_input_takes() -> None:
    """Files with an input of bytes were shown black."""
    asked: list[NDArray[Any]] = []

    class Noting:
        outputs = ()

        def run_for(self, value: NDArray[Any], names: list[str]) -> list[NDArray[Any]]:
            asked.append(value)
            return []

    for dtype in ("float32", "float16", "uint8", "int8"):
        infer_card._run_on_grey(Path("x"), Noting(), TensorInfo("in", (1, 4, 4, 3), dtype), "NHWC", (4, 4))  # type: ignore[arg-type]
    assert [(one.dtype.name, float(one.mean())) for one in asked] == [
        ("float32", 0.5), ("float16", 0.5), ("uint8", 128.0), ("int8", 0.0)
    ]  # fmt: skip


def test_a_card_beside_the_file_says_which_classes_are_products(tmp_path: Path) -> None:
    import json

    path = tmp_path / "theirs.onnx"
    path.write_bytes(constant_onnx(yolov8()))
    card = Detector.open(path).card.to_dict()
    for products, count in ((["bottle"], 1), (["person"], 0)):
        named = {**card, "classes": ["person", "chair", "bottle"], "products": products}
        path.with_suffix(".json").write_text(json.dumps(named))
        assert len([one for one in Detector.open(path).detect(PHOTO) if one.score > 0.5]) == count


def flat(shape: tuple[int, ...]) -> Arrays:
    return {"output": np.zeros(shape, np.float32)}


WHOLE = constant_onnx(yolov8())
UNEQUAL = {"a": np.zeros((1, 300, 4), np.float32), "b": np.zeros((1, 200, 4), np.float32)}
INSIDE_OUT = {"a": -np.eye(4, dtype=np.float32)[np.newaxis], "b": np.zeros((1, 4, 3), np.float32)}
NO_BOXES = {"boxes": np.zeros((1, 0, 4), np.float32), "scores": np.zeros((1, 0, 3), np.float32)}
NO_PICTURE = {"boxes": np.zeros((0, 9, 4), np.float32), "scores": np.zeros((0, 9, 3), np.float32)}
HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "empty onnx": ("onnx", b"", "is empty; expected a .onnx file"),
    "empty tflite": ("tflite", b"", "is empty; expected a .tflite file"),
    "text as onnx": ("onnx", b"not a network\n" * 40, "can't load the detector"),
    "text as tflite": ("tflite", b"not a network\n" * 40, "can't load the detector"),
    "an onnx file cut short": ("onnx", WHOLE[: len(WHOLE) // 2], "can't load the detector"),
    "a tflite file cut short": ("tflite", constant_tflite(yolov8())[:300], "can't load the detector"),
    "an onnx file called tflite": ("tflite", WHOLE, "can't load the detector"),
    "a tflite file called onnx": ("onnx", constant_tflite(yolov8()), "can't load the detector"),
    "zeros": ("onnx", bytes(5000), "can't load the detector"),
    "a picture": ("onnx", b"\x89PNG\r\n\x1a\n" + bytes(200), "can't load the detector"),
    "an embedding": ("onnx", constant_onnx(flat((1, 128))), "gives output float32 [1, 128], which is none of the outputs"),
    "class scores": ("onnx", constant_onnx(flat((1, 1000))), "float32 [1, 1000], which is none"),
    "a map of features": ("onnx", constant_onnx(flat((1, 8, 8, 32))), "float32 [1, 8, 8, 32], which is none"),
    "boxes of a strange number of cells": ("onnx", constant_onnx(flat((1, 85, 777))), "float32 [1, 85, 777], which is none"),
    "a batch of two": ("onnx", constant_onnx(flat((2, CELLS, 85))), "float32 [2, 84, 85], which is none"),
    "scores alone": ("onnx", constant_onnx(UNEQUAL), "which is none"),
    "boxes inside out": ("onnx", constant_onnx(INSIDE_OUT), "which is none"),
    "three outputs": ("onnx", constant_onnx({name: np.zeros((1, 10, 4), np.float32) for name in "abc"}), "which is none"),
    "two that may be boxes": ("onnx", constant_onnx({name: np.zeros((1, 9, 4), np.float32) for name in "ab"}), "which is none"),
    "boxes, but none for a grey picture": ("onnx", constant_onnx(NO_BOXES), "scores float32 [1, 0, 3], which is none"),
    "boxes of no picture": ("onnx", constant_onnx(NO_PICTURE), "which is none"),
    "a number": ("onnx", constant_onnx(flat(())), "gives output float32 [], which is none"),
    "four that aren't named": ("onnx", constant_onnx(dict(zip("abcd", ssd_nms().values(), strict=True))), "which is none"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    suffix, data, said = HOSTILE[kind]
    path = tmp_path / f"hostile.{suffix}"
    path.write_bytes(data)
    with pytest.raises(DetectorError) as caught:
        Detector.open(path)
    message = str(caught.value)
    assert said in message and len(message.splitlines()) == 1 and len(message) < 700 and path.name in message
    assert "encoder" not in message


def test_other_inputs_are_refused_with_what_they_are(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    for shape, dtype, said in (
        ([1, 1, 64, 64], TensorProto.FLOAT, r"takes float32 \[1, 1, 64, 64\]; expected one image input"),
        ([1, 3, "h", "w"], TensorProto.FLOAT, r"takes float32 \[1, 3, -1, -1\]; expected one image input"),
        ([1, 3, 64, 64], TensorProto.DOUBLE, "tensor"),
    ):
        value = helper.make_tensor_value_info("images", dtype, shape)
        end = helper.make_tensor_value_info("output", dtype, None)
        graph = helper.make_graph([helper.make_node("Identity", ["images"], ["output"])], "odd", [value], [end])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path = tmp_path / "odd.onnx"
        onnx.save_model(model, str(path))
        with pytest.raises(DetectorError, match=said):
            Detector.open(path)


def test_names_and_cards_that_arent_there(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    for source, said in (
        (tmp_path / "no.onnx", "does not exist; expected a .tflite or .onnx file"),
        (tmp_path / "no.json", "can't be read"),
        (tmp_path / "folder.onnx", r"folder\.onnx is a folder; expected a \.tflite or \.onnx file"),
        ("no-such-detector", "unknown detector 'no-such-detector'; expected"),
    ):
        with pytest.raises(DetectorError, match=said):
            Detector.open(source)
    (tmp_path / "a.json").write_text("[")
    with pytest.raises(DetectorError, match="can't be read"):
        Detector.open(tmp_path / "a.json")
