"""What rendered scenes show: shelves from a camera's place, groups of products, people; and where typefaces come from."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageFont

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.models.detection import feed, rooms, shelves  # noqa: E402
from shelfmatch.models.detection.canvas import GAP, PRODUCT, UNSURE, Canvas, rectangle, shrunk  # noqa: E402
from shelfmatch.models.detection.exchange import exchanged  # noqa: E402
from shelfmatch.models.detection.faces import Faces, gathered  # noqa: E402
from shelfmatch.models.detection.furniture import Board, Eye, floors, price_cards  # noqa: E402
from shelfmatch.models.detection.shelves import Layout, Shelf, _Row, _Stands  # noqa: E402
from shelfmatch.models.printer.package import BOX, CANVAS, Printed  # noqa: E402


@pytest.fixture(scope="module")
def cartons() -> Faces:
    """Eight plain cartons of different colours, 100 by 160 pixels, with a side of 50."""
    found = []
    for number in range(8):
        front, other = np.zeros((2, CANVAS, CANVAS, 4), np.uint8)
        for face, wide in ((front, 100), (other, 50)):
            x, y = (CANVAS - wide) // 2, (CANVAS - 160) // 2
            face[y : y + 160, x : x + wide] = (60 + 20 * number, 255 - 25 * number, 90, 255)
        size, other_size = (100 / CANVAS, 160 / CANVAS), (50 / CANVAS, 160 / CANVAS)
        found.append(Printed(front, other, size, other_size, BOX, number, 0))
    return gathered(found)


def test_the_back_of_a_shelf_is_seen_nearer_to_where_the_camera_looks() -> None:
    eye = Eye(100.0, 50.0, 0.2)
    points = np.array([[0, 0], [100, 50], [200, 150]], np.float32)
    assert np.allclose(eye.behind(points), [[20, 10], [100, 50], [180, 130]])
    assert np.allclose(eye.behind(points, 0.5), [[10, 5], [100, 50], [190, 140]])


def test_a_board_is_seen_from_above_below_the_camera_and_from_below_above_it(cartons: Faces) -> None:
    shelf = Shelf(cartons, np.random.default_rng(0), 320, Layout(80.0, 0.1, 0.1))
    shelf.eye = Eye(200.0, 200.0, 0.2)
    assert shelf._seen_of_boards(300.0, 80.0) == (36, 0)
    assert shelf._seen_of_boards(0.0, 80.0) == (0, 40)
    row = np.zeros((80, 10, 3), np.float32)
    floors(row, Board(np.full(3, 200, np.float32), 0.5, 0.25, 0), 36, 0)
    assert row[:44].max() == 0 and row[44, 0, 0] == 100 and row[79, 0, 0] == 200
    floors(row, Board(np.full(3, 200, np.float32), 0.5, 0.25, 0), 0, 40)
    assert row[0, 0, 0] == 50 and 0 < row[39, 0, 0] < 50


def test_nothing_is_asked_for_beyond_a_shelfs_end(cartons: Faces) -> None:
    """A shelf that ends in the frame has neither goods nor empty places in the room beside it."""
    ended = 0
    for seed in range(60):
        shelf = Shelf(cartons, np.random.default_rng(seed), 320, Layout(80.0, 0.25, 0.0))
        if shelf.to_x >= shelf.reach:
            continue
        ended += 1
        scene = shelf.canvas.scene(hidden=False)
        end = shelf.to_x - shelf.margin
        assert (scene.boxes[scene.kinds != UNSURE, 2] <= end + 0.03 * 320).all()
    assert ended >= 2


def test_hanging_cards_hide_goods_and_are_none(cartons: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs from a rail is painted over the goods, and nothing is asked for there."""

    def rendered(hanging: float, seed: int) -> tuple[Canvas, list[int]]:
        monkeypatch.setattr(shelves, "HANGING", hanging)
        canvas = Shelf(cartons, np.random.default_rng(seed), 320, Layout(80.0, 0.1, 0.1)).canvas
        return canvas, [int((canvas.owner == number).sum()) for number in range(len(canvas.full))]

    hidden = 0
    for seed in range(6):
        (bare, seen), (hung, left) = rendered(0.0, seed), rendered(1.0, seed)
        assert hung.full == bare.full and hung.kinds == bare.kinds
        assert all(now <= before for before, now in zip(seen, left, strict=True))
        assert ((hung.owner != bare.owner) <= (hung.owner == -1)).all()
        hidden += sum(seen) - sum(left)
    assert hidden > 1000


@pytest.mark.parametrize("ratio", [0.6, 1.0, 2.4])
def test_price_labels_have_their_shape_and_print(ratio: float) -> None:
    cards = price_cards(np.random.default_rng(3), ratio)
    assert all(card.shape[1] / card.shape[0] == pytest.approx(ratio, abs=0.05) for card in cards)
    assert all(len(np.unique(card.reshape(-1, 3), axis=0)) > 20 for card in cards)


def test_sides_belong_to_the_goods_and_not_to_the_empty_place(cartons: Faces) -> None:
    """An empty place is seen between the sides of what stands next to it."""
    shelf = Shelf(cartons, np.random.default_rng(0), 320, Layout(110.0, 0.0, 0.0))
    shelf.homography, shelf.eye = np.eye(3), Eye(160.0, 0.0, 0.2)
    shelf.canvas = Canvas(np.zeros((320, 320, 3), np.uint8))
    row, (front, side) = _Row(shelf, 60.0, 110.0), shelf.face(0)
    row.stands = _Stands(50.0, 80.0, side, 0.0, row._facing(0, 50.0, 80.0, 1, front, side, 0.0))
    assert row._nothing(50.0, 60.0, 80.0, 1) == 110
    goods, place = shelf.canvas.full
    assert (
        goods[0] == pytest.approx(0, abs=3)
        and 58 < goods[2] <= 73
        and place[0] == pytest.approx(goods[2])
        and place[2] == 110
    )
    assert shelf.canvas.pixels[130, 52 : int(goods[2]) - 1].max(axis=1).min() > 10  # the side
    assert shelf.canvas.pixels[130, int(goods[2]) + 2 : 110].max() == 0
    row._ended_by(100.0)
    assert shelf.canvas.full[1] == pytest.approx((goods[2], 90, 100, 170)) and shelf.canvas.kinds[1] == GAP
    row._ended_by(75.0)
    assert shelf.canvas.kinds[1] == UNSURE


def test_a_product_outside_the_frame_leaves_the_one_before_as_it_was(cartons: Faces) -> None:
    canvas = Canvas(np.full((200, 200, 3), 128, np.uint8))
    canvas.paint(cartons.cut(0), rectangle(60, 60, 50, 80))
    before = canvas.full[:]
    for seed in range(40):  # some turn a side panel into the frame
        rooms.set_down(canvas, cartons, np.random.default_rng(seed), 1, (-45.0, 100.0, 80.0), 1.0)
        assert canvas.full[0] == before[0]
        del canvas.full[1:], canvas.kinds[1:], canvas.areas[1:]


def test_a_group_stands_together(cartons: Faces) -> None:
    for seed in range(8):
        scene = rooms.group(cartons, np.random.default_rng(seed), 320, None)
        assert scene.pixels.shape == (320, 320, 3) and set(scene.kinds) <= {PRODUCT, UNSURE}
    counts = [len(rooms.group(cartons, np.random.default_rng(seed), 320, None).boxes) for seed in range(30)]
    assert max(counts) >= 4 and np.mean(counts) >= 2


def _photo() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A grey room, lit from the left, in which a hand's finger covers a part of a white carton that leans; and its outline."""
    photo = np.full((200, 240, 3), 120, np.uint8)
    outline = np.array([[100, 40], [160, 50], [145, 150], [115, 145], [115, 100], [90, 95]], np.float32)
    cv2.fillPoly(photo, [outline.astype(np.int32)], (240, 240, 240))
    photo[:, 130:] = photo[:, 130:] // 2
    return photo, outline


def test_another_product_takes_the_place_of_one_in_a_photo(cartons: Faces) -> None:
    photo, outline = _photo()
    inside = np.zeros(photo.shape[:2], np.uint8)
    cv2.fillPoly(inside, [outline.astype(np.int32)], 1)
    rim = cv2.dilate(inside, np.ones((3, 3), np.uint8), iterations=7)
    kept = photo.copy()
    changed = []
    for seed in range(8):
        found = exchanged(photo, [outline], cartons, np.random.default_rng(seed))
        assert np.array_equal(found[rim == 0], photo[rim == 0])
        if np.array_equal(found, photo):  # a few products stay
            continue
        core = cv2.erode(inside, np.ones((3, 3), np.uint8), iterations=3) > 0
        left, right = (found[core & side] for side in _halves(photo))
        # The cartons are of one colour each, none of them grey: the light is the photo's, the colour the carton's.
        assert left.mean() > 1.2 * right.mean()
        assert np.ptp(left.mean(axis=0)) > 25
        changed.append(tuple(left.mean(axis=0).round()))
    assert len(set(changed)) >= 3
    assert np.array_equal(photo, kept)


def _halves(photo: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    columns = np.arange(photo.shape[1])
    return tuple(np.broadcast_to(side, photo.shape[:2]) for side in (columns < 124, columns > 136))  # type: ignore[return-value]


@pytest.mark.parametrize(
    "outline", [[[1, 1], [4, 1], [4, 4]], [[90, 60], [90, 90], [90, 95]], [[0, 0], [239, 0], [239, 199], [0, 199]]]
)
def test_outlines_at_the_edge_and_tiny_ones_are_taken(cartons: Faces, outline: list[list[int]]) -> None:
    photo, _ = _photo()
    for seed in range(4):
        found = exchanged(photo, [np.array(outline, np.float32)], cartons, np.random.default_rng(seed))
        assert found.shape == photo.shape and found.dtype == np.uint8
        assert np.array_equal(found, photo) or len(outline) == 4


def test_a_shrunk_face_keeps_its_colours() -> None:
    face = np.zeros((161, 97, 4), np.uint8)
    face[..., 3] = 255
    face[:80] = (200, 40, 10, 255)
    small = shrunk(face, 10, 20)
    assert small.shape == (20, 10, 4) and np.abs(small[:9].astype(int) - [200, 40, 10, 255]).max() <= 1
    assert abs(float(small.mean()) - float(face.mean())) < 2
    assert shrunk(face, 97, 161) is face


def test_a_dead_renderer_ends_the_training() -> None:
    """Scenes that are there already would be learnt over and over."""
    source = feed.Feed(Path("nowhere"), Path("nowhere"), 64, 0)
    source._made.value = 500
    source.process.kill()  # a fork may hang where torch has threads by now
    source.process.join(60)
    with pytest.raises(RuntimeError, match="the process that renders scenes has ended"):
        source.batch(np.random.default_rng(0), 4, 64)


def test_typefaces_of_npm_are_gathered_by_alphabet(tmp_path: Path) -> None:
    pytest.importorskip("fontTools", reason="fontTools is not installed: pip install 'shelfmatch[train]'")
    from fontTools.ttLib import TTFont

    from shelfmatch.models.printer.gather import Gathering

    face = ImageFont.load_default(20)
    if not isinstance(face, ImageFont.FreeTypeFont) or not isinstance(face.path, io.BytesIO):
        pytest.skip("this Pillow has no typeface of its own")
    font, woff = TTFont(io.BytesIO(face.path.getvalue())), io.BytesIO()
    font.flavor = "woff"
    font.save(woff)
    files = {"package.json": json.dumps({"name": "@fontsource/some", "license": "OFL-1.1"}).encode()}
    files |= {f"files/some-{part}-normal.woff": woff.getvalue() for part in ("latin-400", "latin-ext-400", "latin-900")}
    with tarfile.open(tmp_path / "some.tgz", "w:gz") as packed:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
    gathering = Gathering(tmp_path / "stock")
    gathering.npm(tmp_path / "some.tgz")
    (only,) = gathering.sources
    assert only["package"] == "@fontsource/some" and only["licences"] == ["OFL-1.1"] and "latin" in only["scripts"]
    kept = ImageFont.truetype(str(tmp_path / "stock" / "fonts" / only["file"]), 20)
    assert kept.getmask("Ab").getbbox() is not None
