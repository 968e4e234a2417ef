"""Our own head, from raw cells to boxes on a photo; the card; and what detectors refuse."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmatch.edge import Detection, Detector, DetectorCard, DetectorError, ImageError
from shelfmatch.edge.detection.card import HEADS
from shelfmatch.edge.detection.overlap import DOUBT, areas, doubted, merged, shared, surest
from tests.support.detectors import cells, constant_onnx, constant_tflite, own_card, own_detector

PHOTO = np.full((128, 128, 3), 90, np.uint8)
SQUARE = (1.0, 1.0, 1.0, 1.0)


def boxes_of(found: tuple[Detection, ...]) -> list[list[int]]:
    return [[round(edge) for edge in one.box] for one in found]


def test_a_cell_becomes_a_box_around_its_centre_in_pixels_of_the_photo() -> None:
    # Cell (row 2, column 4) looks from (36, 20) of 64; two strides left, one up, half right, one and a half down.
    detector = own_detector({(2, 4): (3.0, -9.0, (2.0, 1.0, 0.5, 1.5))})
    (found,) = detector.detect(PHOTO)
    assert found.box == pytest.approx((40.0, 24.0, 80.0, 64.0))
    assert found.score == pytest.approx(1 / (1 + np.exp(-3.0)), abs=1e-6)
    assert found.kind == "product"


def test_a_tall_photo_lies_between_borders() -> None:
    photo = np.zeros((256, 64, 3), np.uint8)  # 16 of the input's 64 columns, from 24 on
    detector = own_detector({(2, 3): (3.0, -9.0, (1.0, 1.0, 1.0, 1.0)), (5, 7): (4.0, -9.0, SQUARE)})
    # One around (28, 20) of the input: (28 - 24 ± 8) * 4, cut at the photo's left edge; the other lies on the border alone.
    assert boxes_of(detector.detect(photo, tiles="off")) == [[0, 48, 48, 112]]


def test_gaps_are_found_where_they_are_asked_for() -> None:
    detector = own_detector({(1, 1): (3.0, -9.0, SQUARE), (5, 5): (-9.0, 4.0, SQUARE)})
    assert detector.kinds == ("product", "gap")
    assert [one.kind for one in detector.detect(PHOTO)] == ["product"]
    assert [one.kind for one in detector.detect(PHOTO, kinds=("product", "gap"))] == ["gap", "product"]
    assert [one.kind for one in detector.detect(PHOTO, kinds=("gap",))] == ["gap"]


def test_neighbouring_cells_that_see_one_product_report_it_once() -> None:
    detector = own_detector(
        {(2, 2): (2.0, -9.0, SQUARE), (2, 3): (4.0, -9.0, (2.0, 1.0, 0.2, 1.0)), (6, 6): (1.0, -9.0, SQUARE)}
    )
    assert len(detector.detect(PHOTO)) == 2
    assert detector.detect(PHOTO)[0].score > 0.98


def test_the_floor_is_the_cards_or_the_callers() -> None:
    detector = own_detector({(1, 1): (3.0, -9.0, SQUARE), (5, 5): (-0.5, -9.0, SQUARE)}, floor=0.5)
    assert len(detector.detect(PHOTO)) == 1
    assert len(detector.detect(PHOTO, floor=0.3)) == 2


@pytest.mark.parametrize(
    ("distances", "raw", "strides"), [("softplus", 0.0, np.log(2)), ("exp", 0.5, np.exp(0.5)), ("linear", 1.25, 1.25)]
)
def test_raw_distances_become_strides_as_the_card_says(distances: str, raw: float, strides: float) -> None:
    detector = own_detector({(4, 4): (3.0, -9.0, (raw,) * 4)}, distances=distances)
    (found,) = detector.detect(PHOTO, tiles="off")
    assert found.size[0] == pytest.approx(2 * 8 * strides * 2, rel=1e-5)


def test_logits_and_distances_may_be_outputs_of_their_own() -> None:
    grid = cells({(2, 4): (3.0, -9.0, SQUARE)}).reshape(1, 64, 6)
    both = np.concatenate([grid, cells({}, stride=16).reshape(1, 16, 6)], axis=1)
    outputs = {"logits": both[..., :2], "distances": both[..., 2:]}
    model = constant_onnx(outputs)
    apart = Detector(own_card(model, outputs), model).detect(PHOTO)
    outputs = {"all": both}
    model = constant_onnx(outputs)
    assert apart == Detector(own_card(model, outputs), model).detect(PHOTO)
    assert apart == own_detector({(2, 4): (3.0, -9.0, SQUARE)}).detect(PHOTO)


def test_both_runtimes_find_the_same() -> None:
    outputs = {"near": cells({(2, 4): (3.0, -9.0, SQUARE)}), "far": cells({}, stride=16)}
    model = constant_tflite(outputs)
    changes = {"file": "tiny.tflite", "format": "tflite", "input_dtype": "uint8", "layout": "NHWC"}
    lite = Detector(own_card(model, outputs, **changes), model)
    assert lite.detect(PHOTO) == own_detector({(2, 4): (3.0, -9.0, SQUARE)}).detect(PHOTO)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30_000), (30_000, 1), (3, 2), (2000, 40)])
@pytest.mark.parametrize("tiles", ["auto", "off"])
def test_photos_of_any_shape_are_looked_at(shape: tuple[int, int], tiles: Any) -> None:
    detector = own_detector({(row, column): (3.0, -9.0, SQUARE) for row in range(8) for column in range(8)})
    for found in detector.detect(np.zeros((*shape, 3), np.uint8), tiles=tiles):
        x0, y0, x1, y1 = found.box
        assert 0 <= x0 < x1 <= shape[1] and 0 <= y0 < y1 <= shape[0]


def test_numbers_that_are_none_find_nothing() -> None:
    detector = own_detector(
        {(1, 1): (np.nan, np.nan, SQUARE), (3, 3): (3.0, -9.0, (np.nan,) * 4), (5, 5): (9.0, -9.0, (np.inf,) * 4)}
    )
    assert all(np.isfinite(one.box).all() for one in detector.detect(PHOTO))


def test_a_thousand_boxes_are_no_crash() -> None:
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 1000, (1000, 2))
    boxes = np.concatenate([boxes, boxes + rng.uniform(5, 60, (1000, 2))], axis=1).astype(np.float32)
    kept = surest(boxes, rng.uniform(0, 1, 1000).astype(np.float32), 0.5, 1000)
    assert 100 < len(kept) <= 1000


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10_000), st.floats(0.2, 0.8))
def test_what_stays_overlaps_less_than_asked_and_covers_what_went(count: int, seed: int, most: float) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(2, 40, (count, 2))], axis=1).astype(np.float32)
    scores = rng.uniform(0, 1, count).astype(np.float32)
    kept = surest(boxes, scores, most, count)

    def iou(a: int, b: int) -> float:
        both = float(shared(boxes[a], boxes[b : b + 1])[0])
        return both / float(areas(boxes[[a]])[0] + areas(boxes[[b]])[0] - both)

    assert list(scores[kept]) == sorted(scores[kept], reverse=True)
    assert all(iou(a, b) <= most + 1e-6 for a in kept for b in kept if a != b)
    for gone in set(range(count)) - set(kept.tolist()):
        assert any(scores[a] >= scores[gone] and iou(a, gone) > most - 1e-6 for a in kept)


def test_a_box_cut_at_a_seam_gives_way_to_the_whole_one() -> None:
    boxes = np.array([[80, 10, 100, 50], [78, 10, 118, 50], [200, 10, 240, 50]], np.float32)
    scores = np.array([0.9, 0.6, 0.5], np.float32)
    kept = merged(boxes, scores, np.array([1, 2, 2]), np.array([True, False, False]), 0.5)
    assert kept.tolist() == [1, 2]


def test_a_label_and_a_group_are_doubted() -> None:
    bottle, label, weak_label = [10, 10, 40, 100], [12, 40, 38, 70], [14, 42, 36, 66]
    beside, both = [42, 10, 72, 100], [8, 8, 74, 102]
    boxes = np.array([bottle, label, beside, both, weak_label], np.float32)
    scores = np.array([0.9, 0.6, 0.8, 0.5, 0.3], np.float32)
    assert np.allclose(doubted(boxes, scores) / scores, [1, DOUBT, 1, DOUBT, DOUBT])
    # A label that is surer than its bottle leaves the bottle: which of both it is, boxes alone don't tell.
    scores = np.array([0.5, 0.8], np.float32)
    assert np.array_equal(doubted(boxes[:2], scores), scores)


def test_a_card_survives_json() -> None:
    card = own_detector({}).card
    assert DetectorCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    full = dataclasses.replace(
        card, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), padding=(1, 2, 3), products=("product",)
    )
    assert DetectorCard.from_dict(json.loads(json.dumps(full.to_dict()))) == full


def stored(**quantization: Any) -> dict[str, Any]:
    return {"outputs": [{"name": "a", "dtype": "int8", "quantization": {"zero_point": 0, **quantization}}]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"head": "rcnn"}, "head is 'rcnn'; expected one of shelfmatch, yolov5"),
        ({"strides": []}, "head is 'shelfmatch' without strides"),
        ({"strides": [0]}, "strides is (0,)"),
        ({"floor": 0}, "floor is 0; expected a number between 0 and 1"),
        ({"overlap": 1.0}, "overlap is 1.0"),
        ({"classes": []}, "classes has 0 names"),
        ({"classes": "product"}, "classes is 'product'"),
        ({"products": ["bottle"]}, "products has 'bottle'"),
        ({"outputs": []}, "outputs is ()"),
        ({"outputs": [{"name": "a", "dtype": "int8"}]}, "output a is int8; expected its quantization as well"),
        ({"outputs": [{"name": "a", "kind": "x"}]}, "unknown field kind"),
        (stored(scale=float("nan")), "quantization of a: scale is nan; expected a finite number"),
        (stored(scale=0), "quantization of a: scale is 0; expected a positive number"),
        (stored(scale="x"), "quantization of a: scale is 'x'; expected float"),
        (stored(scale=1, zero_point=999), "quantization of a has zero_point 999"),
        (
            {"input_quantization": {"scale": -1.0, "zero_point": 0}},
            "input_quantization: scale is -1.0; expected a positive",
        ),
        ({"resize": "crop"}, "resize is 'crop'; expected one of pad, squash"),
        ({"crop_fraction": 0.5}, "crop_fraction is 0.5"),
        ({"center": 2.0}, "center is 2.0"),
        ({"mean": [1, 2, 3]}, "only one of mean and std is given"),
        ({"sha256": "x"}, "sha256 is 'x'"),
        ({"file": "../a.onnx"}, "file is '../a.onnx'"),
        ({"detector_card_version": 9}, "detector_card_version is 9"),
        ({"strange": 1}, "unknown field strange"),
        ({"distances": "cubic"}, "distances is 'cubic'"),
    ],
)
def test_a_wrong_card_is_one_clear_line(change: dict[str, Any], said: str) -> None:
    record = {**own_detector({}).card.to_dict(), **change}
    with pytest.raises(DetectorError) as caught:
        DetectorCard.from_dict(record)
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("detector card: ")


def test_an_encoders_card_is_told_from_a_detectors() -> None:
    with pytest.raises(DetectorError, match="an encoder's card arrived"):
        DetectorCard.from_dict({"card_version": 1, "name": "x"})


def test_a_file_that_is_not_the_cards_is_refused(tmp_path: Path) -> None:
    outputs = {"near": cells({}), "far": cells({}, stride=16)}
    model = constant_onnx(outputs)
    card = own_card(model, outputs)
    with pytest.raises(DetectorError, match="they don't belong together"):
        Detector(card, model + b" ")
    for change, said in (
        ({"width": 32}, "its card says one input of float32"),
        ({"outputs": [{"name": "middle", "dtype": "float32"}]}, "has no output 'middle'; it has near, far"),
        ({"runtime": "litert"}, "runs .tflite files"),
    ):
        runtime = change.pop("runtime", "auto")
        with pytest.raises(DetectorError, match=said):
            Detector(
                dataclasses.replace(DetectorCard.from_dict({**card.to_dict(), **change})), model, runtime=str(runtime)
            ).prepare()
    strange = DetectorCard.from_dict({**card.to_dict(), "strides": [8]})
    with pytest.raises(DetectorError, match="its card says head shelfmatch, expected 64 cells"):
        Detector(strange, model).detect(PHOTO)


SHAPES: dict[str, dict[str, Any]] = {
    "a number": {"e": np.zeros((), np.float32)},
    "our own cells": {"near": cells({}), "far": cells({}, stride=16)},
    "logits and distances": {"a": np.zeros((1, 80, 2), np.float32), "b": np.zeros((1, 80, 4), np.float32)},
    "boxes and scores": {"a": np.zeros((1, 100, 4), np.float32), "b": np.zeros((1, 100, 3), np.float32)},
    "no boxes": {"boxes": np.zeros((1, 0, 4), np.float32), "scores": np.zeros((1, 0, 3), np.float32)},
    "no numbers": {"a": np.zeros((1, 0), np.float32)},
    "four, empty": {name: np.zeros((1, 0, 4), np.float32) for name in "abcd"},
    "four numbers": {name: np.zeros((), np.float32) for name in "abcd"},
    "an embedding": {"a": np.zeros((1, 256), np.float32)},
}
READ = {
    ("our own cells", "shelfmatch"), ("logits and distances", "shelfmatch"), ("boxes and scores", "ssd"), ("no boxes", "ssd"),
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", SHAPES)
def test_a_head_reads_its_outputs_and_names_others(kind: str, head: str) -> None:
    outputs = SHAPES[kind]
    model = constant_onnx(outputs)
    detector = Detector(own_card(model, outputs, head=head), model)
    if (kind, head) in READ:
        assert isinstance(detector.detect(PHOTO), tuple)
        return
    with pytest.raises(DetectorError) as caught:
        detector.detect(PHOTO)
    message, (name, value) = str(caught.value), next(iter(outputs.items()))
    assert f"detector tiny.onnx gave outputs {name} {list(value.shape)}" in message
    assert f"its card says head {head}, expected " in message and len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("head", "shapes"),
    [
        ("yolo-nms", [(1, 0, 6)]), ("yolov5", [(1, 0, 7)]), ("yolov8", [(1, 6, 0)]), ("ssd", [(1, 0, 4), (1, 0, 3)]),
        ("ssd-nms", [(1, 0, 4), (1, 0), (1, 0), (1,)]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tiles", ["auto", "off"])
def test_a_network_that_found_nothing_gives_no_rows(head: str, shapes: list[tuple[int, ...]], tiles: Any) -> None:
    outputs = {f"o{number}": np.zeros(shape, np.float32) for number, shape in enumerate(shapes)}
    model = constant_onnx(outputs)
    detector = Detector(own_card(model, outputs, head=head), model)
    assert detector.detect(PHOTO, kinds=("product", "gap"), tiles=tiles) == ()


def test_shapes_are_held_against_the_head_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("shelfmatch.edge.detection.detector.check_shapes", lambda card, shapes: asked.append(shapes))
    detector = own_detector({})
    for _ in range(3):
        detector.detect(PHOTO)
    assert asked == [((1, 8, 8, 6), (1, 4, 4, 6))]


@pytest.mark.filterwarnings("error")
def test_infinite_boxes_are_no_warning() -> None:
    outputs = {"output0": np.full((1, 6, 84), np.inf, np.float32)}
    model = constant_onnx(outputs)
    assert Detector(own_card(model, outputs, head="yolov8"), model).detect(PHOTO) == ()


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8), None]
)
def test_other_arrays_are_refused(pixels: Any) -> None:
    with pytest.raises(ImageError, match=r"expected \(H, W, 3\) uint8 RGB"):
        own_detector({}).detect(pixels)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"kinds": "product"}, "kinds is"), ({"kinds": ("cat",)}, "kinds is"), ({"floor": 2}, "floor is 2")],
)
def test_other_questions_are_refused(arguments: Any, said: str) -> None:
    with pytest.raises(DetectorError, match=said):
        own_detector({}).detect(PHOTO, **arguments)
