"""The product detector's scenes, losses and network, its measure, and that its device files can be made again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.edge.synthetic import products as rendered  # noqa: E402
from shelfmatch.models.detection import losses, network, precision, rooms  # noqa: E402
from shelfmatch.models.detection.camera import photographed  # noqa: E402
from shelfmatch.models.detection.canvas import GAP, PRODUCT, UNSURE, Canvas, rectangle  # noqa: E402
from shelfmatch.models.detection.faces import Faces, gathered  # noqa: E402
from shelfmatch.models.detection.scenes import Source  # noqa: E402
from shelfmatch.models.detection.shelves import Layout, shelf  # noqa: E402
from shelfmatch.models.networks import from_onnx  # noqa: E402
from shelfmatch.models.printer.package import CANVAS, FLAT, Printed  # noqa: E402

MODELS = Path(__file__).resolve().parents[2] / "models"
NAME = "shelfmatch-detect"
SIDE = network.SIDE
RED = np.dstack([np.full((40, 20), value, np.uint8) for value in (200, 20, 20, 255)])
BLUE = np.ascontiguousarray(RED[..., [1, 2, 0, 3]])


@pytest.fixture(scope="module")
def goods() -> Faces:
    """Twelve rendered packages."""
    found = []
    for product in rendered.make_shop(12, 3):
        picture = rendered.render_plain(product, CANVAS).convert("RGB").crop((40, 20, CANVAS - 40, CANVAS - 20))
        face = np.zeros((CANVAS, CANVAS, 4), np.uint8)
        face[20 : CANVAS - 20, 40 : CANVAS - 40, :3] = np.asarray(picture)
        face[20 : CANVAS - 20, 40 : CANVAS - 40, 3] = 255
        size = ((CANVAS - 80) / CANVAS, (CANVAS - 40) / CANVAS)
        found.append(Printed(face, face, size, size, FLAT, product.seed, 0))
    return gathered(found)


def blank(side: int = 100) -> Canvas:
    return Canvas(np.full((side, side, 3), 128, np.uint8))


def test_a_painted_thing_is_boxed_where_its_colours_are() -> None:
    canvas = blank()
    canvas.paint(RED, rectangle(30, 20, 20, 40))
    scene = canvas.scene(hidden=True)
    red = scene.pixels[..., 0] > 180
    rows, columns = np.where(red.any(axis=1))[0], np.where(red.any(axis=0))[0]
    assert scene.boxes.tolist() == [[30, 20, 50, 60]] and scene.kinds.tolist() == [PRODUCT]
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (30, 20, 50, 60)


def test_what_is_hidden_or_cut_off_is_neither_asked_for_nor_denied() -> None:
    canvas = blank()
    canvas.paint(RED, rectangle(10, 10, 20, 40))
    canvas.paint(BLUE, rectangle(10, 10, 20, 36))
    canvas.paint(RED, rectangle(95, 40, 20, 40))
    hidden, before, cut = canvas.scene(hidden=True).kinds.tolist()
    assert (hidden, before, cut) == (UNSURE, PRODUCT, UNSURE)


def test_a_shelf_has_its_products_and_its_empty_places_apart(goods: Faces) -> None:
    rng = np.random.default_rng(4)
    scenes = [shelf(goods, rng, SIDE, Layout(60.0, 0.25, 0.4)) for _ in range(6)]
    assert sum(int((scene.kinds == GAP).sum()) for scene in scenes) >= 6
    for scene in scenes:
        assert scene.pixels.shape == (SIDE, SIDE, 3) and scene.pixels.dtype == np.uint8
        assert (scene.boxes >= 0).all() and (scene.boxes <= SIDE).all()
        products, places = (scene.boxes[scene.kinds == kind] for kind in (PRODUCT, GAP))
        assert len(products) >= 10
        assert not len(places) or precision.overlaps(places, products).max() < 0.5


def test_scenes_repeat_and_differ(goods: Faces) -> None:
    def seen(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return photographed(rooms.held(goods, rng, 160, None).pixels, rng)

    assert np.array_equal(seen(1), seen(1)) and not np.array_equal(seen(1), seen(2))
    assert len(rooms.nothing(np.random.default_rng(1), 160, None).boxes) == 0
    assert len(rooms.heap(goods, np.random.default_rng(1), 160, None).boxes) >= 1


def answers_for(box: list[float], side: int) -> torch.Tensor:
    """What a network that sees exactly one product would say in all cells, (1, A, 6)."""
    centres, strides = losses.cells(side)
    away = torch.cat([centres - torch.tensor(box[:2]), torch.tensor(box[2:]) - centres], dim=1) / strides[:, None]
    raw = torch.log(torch.expm1(away.clamp(min=0.01)))
    inside = (away > 0).all(dim=1)
    score = torch.where(inside, 8.0, -8.0)
    return torch.cat([score[:, None], torch.full_like(score, -8.0)[:, None], raw], dim=1)[None]


def test_boxes_come_back_from_cells() -> None:
    box = [40.0, 60.0, 100.0, 140.0]
    answers = answers_for(box, 256)[0]
    found = losses.boxes_of(answers, *losses.cells(256))[answers[:, 0] > 0]
    assert len(found) > 10 and np.allclose(found.numpy(), box, atol=0.1)


def test_cells_that_answer_lie_in_the_box_and_the_others_are_told_no() -> None:
    box = torch.tensor([[40.0, 60.0, 100.0, 140.0], [150.0, 10.0, 200.0, 60.0]])
    answers = answers_for(box[0].tolist(), 256)[0]
    found = losses.boxes_of(answers, *losses.cells(256))
    asked = losses.assigned(answers[:, :2].sigmoid(), found, box, torch.tensor([PRODUCT, UNSURE]), True, 256)
    centres = losses.cells(256)[0][asked.answering]
    assert 1 <= len(centres) <= losses.ANSWERING and ((centres > box[0, :2]) & (centres < box[0, 2:])).all()
    assert asked.scores[:, PRODUCT].max() > 0.9 and asked.scores[:, GAP].max() == 0
    unsure = ((losses.cells(256)[0] > box[1, :2]) & (losses.cells(256)[0] < box[1, 2:])).all(dim=1)
    assert (asked.weights[unsure] == 0).all() and (asked.weights[~unsure] == 1).all()
    incomplete = losses.assigned(answers[:, :2].sigmoid(), found, box[:1], torch.tensor([PRODUCT]), False, 256)
    assert (incomplete.weights[:, 0] > 0).sum() == len(incomplete.answering)


def test_the_right_answer_costs_less_than_a_wrong_one() -> None:
    def cost(box: list[float]) -> float:
        right = [40.0, 60.0, 100.0, 140.0]
        flat, maps, first = answers_for(box, 256)[0], [], 0
        for stride in network.STRIDES:
            count = 256 // stride
            maps.append(flat[first : first + count**2].T.reshape(1, 6, count, count))
            first += count**2
        return float(losses.loss(maps, [(torch.tensor([right]), torch.tensor([PRODUCT]), True)], 256)[0])

    assert cost([40, 60, 100, 140]) < cost([48, 66, 104, 150]) < cost([160, 60, 220, 140])


def test_the_network_begins_with_the_encoder(goods: Faces) -> None:
    """A thinned backbone still tells what the encoder's own blocks tell: less than half of the variance is lost."""
    rng = np.random.default_rng(8)
    seen = np.stack([shelf(goods, rng, 160, Layout(50.0, 0.1, 0.4)).pixels for _ in range(6)])
    pictures = torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 127.5 - 1
    encoder = from_onnx("shelfmatch-cnn", MODELS / "shelfmatch-cnn-fp32.onnx")
    net = network.Detector().eval()
    network.begin(net, lambda number: encoder.blocks[number], encoder.stem, pictures)
    with torch.no_grad():
        ours = net.blocks["1"].layers[2](net.early(pictures))
        theirs = encoder.stem(pictures)
        for number in range(3):
            theirs = encoder.blocks[number](theirs)
        assert float((ours - theirs).square().mean() / theirs.var()) < 0.5
        shapes = [tuple(found.shape) for found in net(pictures)]
        before = net.early(pictures)
        network.folded_backbone(net)
        assert torch.allclose(net.early(pictures), before, atol=1e-3)
    assert shapes == [(6, 6, 20, 20), (6, 6, 10, 10), (6, 6, 5, 5)]


def test_average_precision_of_known_finds() -> None:
    true = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    none = np.zeros((0, 4), np.float32)

    def of(boxes: list[list[float]], scores: list[float], unsure: np.ndarray = none) -> precision.Found:
        return precision.Found(np.array(boxes, np.float32), np.array(scores, np.float32), true, unsure)

    both = [[0, 0, 10, 10], [20, 0, 30, 10]]
    assert precision.average_precision([of(both, [0.9, 0.8])], 0.5) == 1
    # The false one stands between both: precision is 1, then 2/3.
    between = of([*both, [50, 50, 60, 60]], [0.9, 0.7, 0.8])
    assert precision.average_precision([between], 0.5) == pytest.approx((1 + 2 / 3) / 2)
    assert precision.recall_at([between], 0.0)[0] == 0.5 and precision.recall_at([between], 1.0)[0] == 1
    unsure = of([*both, [50, 50, 60, 60]], [0.9, 0.7, 0.8], np.array([[48, 48, 62, 62]], np.float32))
    assert precision.average_precision([unsure], 0.5) == 1
    # A true box is found once.
    assert precision.average_precision([of([both[0], both[0], both[1]], [0.9, 0.8, 0.7])], 0.5) < 1


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_the_files_and_their_cards(file_format: str) -> None:
    from shelfmatch.edge.detection.registry import read_detector_card

    card, path = read_detector_card(MODELS / f"{NAME}.{file_format}.json")
    assert path.stat().st_size <= 1_500_000 and hashlib.sha256(path.read_bytes()).hexdigest() == card.sha256
    assert (card.name, card.head, card.classes, card.strides) == (NAME, "shelfmatch", ("product", "gap"), (8, 16, 32))
    assert "drug-name-detection v2, CC BY 4.0" in card.provenance and card.license == "Apache-2.0"


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_finds_what_its_recipe_has_on_record(file_format: str) -> None:
    """Another processor may round differently: boxes to three pixels, scores to five hundredths."""
    from shelfmatch.edge.detection.detector import Detector
    from shelfmatch.models.export_detector import golden

    known = json.loads((MODELS / f"{NAME}.{file_format}.recipe.json").read_text())["golden"]
    found = golden(Detector.open(MODELS / f"{NAME}.{file_format}"))
    assert len(known) >= 3
    for one in known:
        if one["score"] >= 0.4:
            near = [max(abs(a - b) for a, b in zip(one["box"], other["box"], strict=True)) for other in found]
            other = found[int(np.argmin(near))]
            assert min(near) <= 3 and other["kind"] == one["kind"] and abs(other["score"] - one["score"]) <= 0.05


def test_the_device_file_says_what_the_source_says(goods: Faces) -> None:
    from shelfmatch.edge.detection.detector import Detector

    scene = shelf(goods, np.random.default_rng(2), SIDE, Layout(90.0, 0.1, 0.1))
    net = network.ready(network.weights_of(MODELS / f"{NAME}.npz"))
    with torch.no_grad():
        pixels = torch.from_numpy(scene.pixels.transpose(2, 0, 1)[None].copy()).float() / 127.5 - 1
        answers = losses.flattened(net(pixels))[0]
    exact = losses.boxes_of(answers, *losses.cells(SIDE)).numpy()[answers[:, 0].sigmoid().numpy() > 0.5]
    # Above the floor of the source: a score that is just there may be rounded to either side of it.
    seen = Detector.open(MODELS / f"{NAME}.tflite").detect(scene.pixels, floor=0.55, tiles="off")
    boxes = np.array([one.box for one in seen], np.float32)
    assert len(boxes) >= 5 and len(exact) >= len(boxes)
    assert precision.overlaps(boxes, exact).max(axis=1).min() > 0.8


def test_the_mean_of_runs_is_between_them() -> None:
    one, other = ({"w": torch.full((2,), value), "n": torch.tensor(3)} for value in (1.0, 2.0))
    found = network.mean_of([one, other])
    assert found["w"].tolist() == [1.5, 1.5] and int(found["n"]) == 3
    assert network.mean_of([one])["w"].tolist() == [1.0, 1.0]


def test_the_floor_lies_where_right_finds_outweigh_false_ones(goods: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    from shelfmatch.edge.detection.detector import Detector
    from shelfmatch.models.detection import floor

    rng = np.random.default_rng(4)
    seen = [shelf(goods, rng, SIDE, Layout(100.0, 0.1, 0.1)) for _ in range(3)]
    scores = floor.f1(Detector.open(MODELS / f"{NAME}.tflite"), seen)
    assert scores.shape == floor.SCORES.shape and 0.5 < scores.max() <= 1
    nothing = [dataclasses.replace(one, boxes=one.boxes[:0], kinds=one.kinds[:0]) for one in seen]
    assert floor.f1(Detector.open(MODELS / f"{NAME}.tflite"), nothing).max() == 0
    monkeypatch.setattr(floor, "SCENES", {"shelf": 1, "held": 2, "heap": 2})
    parts = Source(goods, [], [], np.zeros((0, 8, 8, 3), np.uint8))
    assert 0.2 <= floor.chosen_floor(Detector.open(MODELS / f"{NAME}.tflite"), parts) <= 0.6


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_made_again_from_the_source(file_format: str, grocery: Path) -> None:
    pytest.importorskip("litert_torch", reason="the converters are not installed: pip install 'shelfmatch[export]'")
    from shelfmatch.edge.detection.detector import Detector
    from shelfmatch.models.export_detector import calibration_pixels, card_of, make_again

    data = grocery.parent
    if not (data / "fridge" / "photos.json").is_file():
        pytest.skip(f"no fridge beside {grocery.name}: shared/data/README.md says what belongs there")
    pixels = calibration_pixels(data)
    made = make_again(file_format, MODELS, pixels)  # type: ignore[arg-type]
    path = MODELS / f"{NAME}.{file_format}"
    if made == path.read_bytes():
        return
    # Another processor rounds some float sums differently while ranges are measured; nothing more may differ.
    again, kept = Detector(card_of(made, file_format, 0.35), made), Detector.open(path)  # type: ignore[arg-type]
    for photo in pixels[:6]:
        first, second = ([one.box for one in each.detect(photo, floor=0.4)] for each in (again, kept))
        assert abs(len(first) - len(second)) <= 1 + 0.1 * len(second)
