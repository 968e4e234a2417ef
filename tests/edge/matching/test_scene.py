"""Scenes: every product found and named, a product found on a messy photo, a shelf counted, a box followed.

The detectors are real files of constant answers: where things are is what a test says.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shelfmatch.edge import (
    Detection,
    Detector,
    DetectorError,
    ImageError,
    Matcher,
    count_facings,
    remove_from_bundle,
)
from shelfmatch.edge.detection import prominence
from shelfmatch.edge.detection.crops import Photo
from shelfmatch.edge.detection.detection import Box
from shelfmatch.edge.detection.prominence import is_filled, most_product_like
from shelfmatch.edge.detection.tiles import Tile, detect_in_tiles, tiles_of
from shelfmatch.edge.imaging.image import DEFAULT_LIMITS, Decoded, Limits
from shelfmatch.edge.matching import locate
from shelfmatch.edge.matching.facings import counted, write_counts
from shelfmatch.edge.matching.finder import Mode
from shelfmatch.edge.matching.following import Follower
from shelfmatch.edge.matching.look_again import less_sure
from shelfmatch.edge.matching.pipeline import match
from shelfmatch.edge.matching.scene import Scene, SceneProduct
from shelfmatch.edge.matching.snapshot import Snapshot
from tests.conftest import tile_photo
from tests.support.detectors import own_detector

ONE = (1.0, 1.0, 1.0, 1.0)
NOTHING = own_detector({})
PLACES = [(1, 1), (1, 3), (1, 5), (4, 1), (4, 3), (4, 5)]
"""Cells of a 64x64 input: boxes of 16 pixels around (12, 12), (28, 12), …"""


def shelf(products: list[int], side: int = 8) -> NDArray[np.uint8]:
    """Tiles where a detector that finds `PLACES` sees them, `side` pixels of the photo for one of the input."""
    random = np.random.default_rng(5)
    photo = random.integers(100, 140, (64 * side, 64 * side, 3)).astype(np.uint8)
    for product, (row, column) in zip(products, PLACES, strict=False):
        tile = tile_photo(product, 7).resize((14 * side, 14 * side), Image.Resampling.NEAREST)
        left, top = (8 * column + 4 - 7) * side, (8 * row + 4 - 7) * side
        photo[top : top + 14 * side, left : left + 14 * side] = np.asarray(tile)
    return photo


def finding(*places: tuple[int, int], gaps: tuple[tuple[int, int], ...] = ()) -> Detector:
    """Finds boxes of 14 by 14 pixels (of 64) around these cells."""
    reach = (7 / 8,) * 4
    found: dict[tuple[int, int], Any] = dict.fromkeys(places, (4.0, -9.0, reach))
    return own_detector({**found, **dict.fromkeys(gaps, (-9.0, 3.0, reach))})


def test_each_product_is_named_with_its_box(tile_bundle: Path) -> None:
    photo = shelf([3, 4, 5, 6, 7, 8])
    with Matcher.open(tile_bundle, detector=finding(*PLACES)) as matcher:
        scene = matcher.match_scene(photo)
        assert [one.candidates[0].sku for one in scene.products] == [f"sku-{n:03d}" for n in (3, 4, 5, 6, 7, 8)]
        assert [round(edge) for edge in scene.products[0].box] == [40, 40, 152, 152]
        assert scene.size == (512, 512) and set(scene.latency_ms) == {"decode", "detect", "match", "total"}
        alone = matcher.match(Photo(photo, DEFAULT_LIMITS).part(scene.products[2].box), locate="off")
        assert scene.products[2].confidence == pytest.approx(alone.confidence)
        assert matcher.match_scene(photo, workers=1).products == scene.products or [
            one.sku for one in matcher.match_scene(photo, workers=1).products
        ] == [one.sku for one in scene.products]


def test_parts_are_cut_from_all_of_the_photos_pixels(tile_bundle: Path, tmp_path: Path) -> None:
    """A JPEG of which the detector sees a sixteenth: the part has the pixels of the whole."""
    Image.fromarray(shelf([3, 4, 5, 6, 7, 8], side=32)).save(tmp_path / "large.jpg", quality=92)
    photo = Photo(str(tmp_path / "large.jpg"), DEFAULT_LIMITS, finding().card)
    assert photo.size == (2048, 2048) and photo.decoded.upright_size[0] < 1000
    with Matcher.open(tile_bundle, detector=finding(*PLACES)) as matcher:
        photo.prepare([(160.0, 160.0, 608.0, 608.0)], matcher.encoder.card)
        part = photo.part((160.0, 160.0, 608.0, 608.0), border=0.0)
        assert part.shape[0] >= 2 * matcher.encoder.card.height
        scene = matcher.match_scene(str(tmp_path / "large.jpg"))
        assert [one.candidates[0].sku for one in scene.products] == [f"sku-{n:03d}" for n in (3, 4, 5, 6, 7, 8)]
        assert scene.to_dict()["size"] == [2048, 2048]


def test_a_turned_photo_gives_boxes_of_the_upright_one(tile_bundle: Path, tmp_path: Path) -> None:
    upright = Image.fromarray(shelf([3, 4, 5]))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    with Matcher.open(tile_bundle, detector=finding((1, 3))) as matcher:
        (one,) = matcher.match_scene(tmp_path / "turned.png").products
        assert one.candidates[0].sku == "sku-004" and [round(edge) for edge in one.box] == [168, 40, 280, 152]


def test_a_part_that_shows_nothing_is_still_there(tile_bundle: Path) -> None:
    photo = np.full((512, 512, 3), 128, np.uint8)
    with Matcher.open(tile_bundle, detector=finding((1, 1), (4, 4))) as matcher:
        scene = matcher.match_scene(photo)
        assert [one.decision for one in scene.products] == ["unknown", "unknown"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 30_000), (30_000, 1), (640, 480)])
def test_hostile_photos_are_scenes_too(tile_bundle: Path, shape: tuple[int, int]) -> None:
    with Matcher.open(tile_bundle, detector=finding(*PLACES)) as matcher:
        for pixels in (
            np.zeros((*shape, 3), np.uint8),
            np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8),
        ):
            for one in matcher.match_scene(pixels).products:
                assert one.box[0] < one.box[2] <= shape[1] and one.box[1] < one.box[3] <= shape[0]
        with pytest.raises(ImageError):
            matcher.match_scene(b"no photo")


# Located


def messy(product: int) -> NDArray[np.uint8]:
    """A product in the middle of other patterns."""
    random = np.random.default_rng(product)
    photo = np.kron(random.integers(0, 256, (16, 16, 3)), np.ones((32, 32, 1))).astype(np.uint8)
    photo[200:312, 200:312] = np.asarray(tile_photo(product, 9).resize((112, 112), Image.Resampling.NEAREST))
    return photo


MIDDLE = own_detector({(4, 4): (3.0, -9.0, (11 / 8, 11 / 8, 3 / 8, 3 / 8))})
"""Finds a box of 14 by 14 pixels (of 64) around the middle: from (25, 25) to (39, 39)."""


def test_a_product_is_found_where_the_whole_photo_is_not_sure(tile_bundle: Path) -> None:
    photo = messy(5)
    with Matcher.open(tile_bundle, detector=MIDDLE) as matcher:
        blind = matcher.match(photo, locate="off")
        assert blind.located is None and blind.candidates[0].sku != "sku-005"
        found = matcher.match(photo)
        assert found.candidates[0].sku == "sku-005" and found.confidence > blind.confidence
        assert found.located is not None and [round(edge) for edge in found.located.box] == [200, 200, 312, 312]
        assert found.to_dict()["located"]["box"] == [200.0, 200.0, 312.0, 312.0]
        assert "locate" in found.latency_ms


@pytest.mark.parametrize(
    ("share", "mode", "odds", "located"),
    [(1, "auto", 1e30, False), (1, "auto", 1.0, True), (1, "always", 1e30, True), (0.99, "auto", 1e30, True)],
)
def test_a_part_of_a_small_photo_is_the_answer_only_if_it_is_accepted(
    tile_bundle: Path, monkeypatch: pytest.MonkeyPatch, share: float, mode: Mode, odds: float, located: bool
) -> None:
    """Small photos are often cut to their product already; frames of a small camera aren't."""
    photo = messy(5)
    monkeypatch.setattr(locate, "ODDS", odds)
    with Matcher.open(tile_bundle, detector=MIDDLE) as matcher:
        monkeypatch.setattr(locate, "SMALL", share * photo.shape[0] / matcher.snapshot.encoder.card.width)
        found = match(matcher.snapshot, photo, look_again=False, locate=matcher._finder.locator(mode))
    assert (found.located is not None) == located and (found.sku == "sku-005") == (odds == 1.0)


@pytest.mark.parametrize(("side", "filled"), [(0.70, False), (0.72, True)])
def test_a_photo_whose_surest_product_takes_up_half_of_it_is_of_that(side: float, filled: bool) -> None:
    low, high = 50 - 50 * side, 50 + 50 * side
    found = [Detection((low, low, high, high), 0.6, "product"), Detection((40.0, 40.0, 50.0, 50.0), 0.5, "product")]
    assert is_filled([*found, Detection((0.0, 0.0, 9.0, 9.0), 0.9, "gap")], (100, 100)) == filled
    assert not is_filled([found[0], dataclasses.replace(found[1], score=0.7)], (100, 100))  # that one is surer
    assert not is_filled([], (100, 100))


def test_a_filled_small_photo_is_looked_at_in_parts_only_if_asked(
    tile_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is small; a large one shows more of its parts than the encoder sees of the whole."""
    monkeypatch.setattr(prominence, "MOST", 0.01)
    photo = messy(5)
    with Matcher.open(tile_bundle, detector=MIDDLE, look_again=False) as matcher:
        assert matcher.match(photo).located is not None
        monkeypatch.setattr(locate, "SMALL", photo.shape[0] / matcher.snapshot.encoder.card.width)
        assert matcher.match(photo).located is None and matcher.match(photo, locate="always").located is not None


def test_a_sure_photo_loads_no_detector(tile_bundle: Path, tmp_path: Path) -> None:
    """Its file is not even one: who loads it, fails."""
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with Matcher.open(tile_bundle, detector=tmp_path / "broken.onnx") as matcher:
        sure = matcher.match(tile_photo(3, 9))
        assert sure.sku == "sku-003" and "locate" not in sure.latency_ms
        assert not matcher._finder.detector.is_loaded
        with pytest.raises(DetectorError, match="can't load the detector"):
            matcher.match(messy(5))
        with pytest.raises(DetectorError):
            matcher.match(tile_photo(3, 9), locate="always")


def test_where_nothing_is_found_the_whole_photo_decides(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle, detector=NOTHING) as matcher:
        for mode in ("auto", "always"):
            result = matcher.match(messy(5), locate=mode)  # type: ignore[arg-type]
            assert result.located is None
            assert result.confidence == matcher.match(messy(5), locate="off").confidence


def test_always_takes_no_sure_answer_away(tile_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part is surer than the whole, and not sure enough as one of several chances."""
    photo = messy(5)
    with Matcher.open(tile_bundle, detector=MIDDLE) as matcher:
        without_blanks = dataclasses.replace(matcher.snapshot, blanks=None)  # the patterns around it pass for nothing
        whole = match(without_blanks, photo, look_again=False)
        decision = dataclasses.replace(without_blanks.decision, threshold=whole.confidence / 2)
        snapshot = dataclasses.replace(without_blanks, decision=decision)
        always = matcher._finder.locator("always")
        assert match(snapshot, photo, locate=always).located is not None
        monkeypatch.setattr(locate, "ODDS", 1e9)
        found = match(snapshot, photo, look_again=False, locate=always)
        assert found.decision == "match" and found.sku == whole.candidates[0].sku and found.located is None


def test_a_wrong_mode_or_detector_is_refused(tile_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="locate is 'maybe'; expected one of auto, off, always"):
        Matcher.open(tile_bundle, locate="maybe")  # type: ignore[arg-type]
    with pytest.raises(DetectorError, match="does not exist"):
        Matcher.open(tile_bundle, detector=tmp_path / "gone.onnx")
    with pytest.raises(DetectorError, match="unknown detector"):
        Matcher.open(tile_bundle, detector="no-such")
    for arrived in (5, b"x", []):
        with pytest.raises(DetectorError, match="expected a name, a file, a card or a Detector"):
            Matcher.open(tile_bundle, detector=arrived)  # type: ignore[arg-type]
        with pytest.raises(DetectorError, match="expected a name, a file, a card or a Detector"):
            Detector.open(arrived)  # type: ignore[arg-type]
    with Matcher.open(tile_bundle) as matcher, pytest.raises(DetectorError, match="locate is 1"):
        matcher.match(tile_photo(3, 9), locate=1)  # type: ignore[arg-type]


def test_what_fills_the_photo_is_no_part_and_the_middle_comes_first() -> None:
    def at(box: Box, score: float = 0.8) -> Detection:
        return Detection(box, score, "product")

    whole, middle, corner, weak = (
        at((0, 0, 100, 95)),
        at((35, 35, 65, 65)),
        at((0, 0, 30, 30)),
        at((40, 40, 60, 60), 0.3),
    )
    assert most_product_like([whole, corner, weak, middle], (100, 100)) == [middle, weak, corner]
    assert most_product_like([Detection((10, 10, 40, 40), 0.9, "gap")], (100, 100)) == []


def test_the_explanation_shows_the_part_and_draws_its_box(tile_bundle: Path) -> None:
    photo = messy(5)
    with Matcher.open(tile_bundle, detector=MIDDLE) as matcher:
        explanation = matcher.explain(photo, grid=(2, 2))
        assert explanation.result.located is not None
        assert explanation.query.size == (512, 512) and explanation.basis.size == (126, 126)
        assert explanation.picture().size[0] == 1412


# Frames


class Counting:
    """A detector that says how often it looked."""

    def __init__(self, detector: Detector) -> None:
        self.looks = 0
        self._look = detector.detect_once
        detector.detect_once = self._counted  # type: ignore[method-assign]

    def _counted(self, *arguments: Any, **settings: Any) -> Any:
        self.looks += 1
        return self._look(*arguments, **settings)


def test_a_hand_that_holds_still_costs_one_look(tile_bundle: Path) -> None:
    detector = own_detector({(4, 4): (3.0, -9.0, (11 / 8, 11 / 8, 3 / 8, 3 / 8))})
    counting = Counting(detector)
    with Matcher.open(tile_bundle, detector=detector) as matcher:
        tracker = matcher.track()
        random = np.random.default_rng(1)
        for _ in range(5):
            frame = (messy(5).astype(int) + random.integers(-4, 5, (512, 512, 1))).clip(0, 255).astype(np.uint8)
            decision = tracker.add(frame)
        assert counting.looks == 1
        assert decision.candidates[0].sku == "sku-005" and decision.frames == 5
        tracker.reset()
        tracker.add(messy(5))
        assert counting.looks == 2


def test_a_box_is_followed_and_lost() -> None:
    random = np.random.default_rng(2)
    ground = random.integers(90, 160, (400, 600, 3)).astype(np.uint8)
    thing = np.kron(random.integers(0, 256, (10, 10, 3)), np.ones((10, 10, 1))).astype(np.uint8)

    def frame(left: int, top: int) -> NDArray[np.uint8]:
        picture = ground.copy()
        picture[top : top + 100, left : left + 100] = thing
        return picture

    follower = Follower()
    follower.start(frame(200, 120), (200.0, 120.0, 300.0, 220.0))
    for left, top in ((212, 120), (220, 131), (208, 140), (208, 140)):
        box = follower.follow(frame(left, top))
        assert box is not None
        assert box[0] == pytest.approx(left, abs=5) and box[1] == pytest.approx(top, abs=5)
    assert follower.follow(ground) is None and follower.box is None
    follower.start(frame(200, 120), (200.0, 120.0, 300.0, 220.0))
    assert follower.follow(frame(200, 120)[:300]) is None  # another camera


# Counting


def test_a_shelf_is_counted_by_product_row_and_gap(tile_bundle: Path, tmp_path: Path) -> None:
    photo = shelf([3, 3, 4, 5, 3])
    detector = finding(*PLACES[:5], gaps=(PLACES[5],))
    with Matcher.open(tile_bundle, detector=detector) as matcher:
        count = count_facings(photo, matcher=matcher)
    assert count.rows == 2 and count.row_of == (1, 1, 1, 2, 2) and count.gap_rows == (2,)
    named = {one.sku: one for one in count.facings}
    assert named["sku-003"].count == 3 and named["sku-003"].share == pytest.approx(0.6)
    assert sum(one.share_of_width for one in count.facings) == pytest.approx(1.0)
    record = count.to_dict()
    assert [row["products"] for row in record["rows"]] == [3, 2] and [row["gaps"] for row in record["rows"]] == [0, 1]
    assert record["gaps"][0]["row"] == 2 and len(record["products"]) == 5
    write_counts([count], tmp_path / "shelf.csv")
    rows = list(csv.DictReader((tmp_path / "shelf.csv").read_text("utf-8-sig").splitlines()))
    assert len(rows) == 6 and rows[0]["sku"] == "sku-003" and rows[5]["kind"] == "gap"
    assert [row["place"] for row in rows] == ["1", "2", "3", "1", "2", ""]
    assert count.picture(photo).size == (512, 512)
    with pytest.raises(ImageError, match="pixels"):
        count.picture(photo, Limits(pixels=1000))


def test_a_count_with_another_detector_is_the_matchers_otherwise(tile_bundle: Path) -> None:
    """It answered from the generation before, and mended photos of a matcher that was told not to."""
    with Matcher.open(tile_bundle, detector=finding(), look_again=False) as matcher:
        remove_from_bundle(tile_bundle, ["sku-003"])
        count = count_facings(shelf([3, 4]), matcher=matcher, detector=finding(*PLACES[:2]))
    assert [one.sku for one in count.scene.products if one.sku] == ["sku-004"]
    assert all(one.result is not None and one.result.look_again is None for one in count.scene.products)


def test_places_go_from_left_to_right_on_a_shelf_that_is_not_level() -> None:
    places = [(220.0, 10.0, 300.0, 90.0), (20.0, 60.0, 100.0, 140.0), (120.0, 35.0, 200.0, 115.0)]
    found = [SceneProduct(box, 0.9, None) for box in places]
    count = counted(Scene("shelf.jpg", tuple(found), size=(320, 160)))
    assert count.row_of == (1, 1, 1) and [line[3] for line in count.lines()] == [3, 1, 2]


def test_without_a_shop_only_places_are_counted() -> None:
    count = count_facings(shelf([3, 4, 5]), detector=finding(*PLACES[:3]))
    assert count.facings == () and count.rows == 1 and len(count.scene.products) == 3
    assert "sku" not in count.to_dict()["products"][0]
    assert len(count_facings(shelf([3]), detector=finding(gaps=((1, 1),)), gaps=False).scene.gaps) == 0


# Tiles


class Squares:
    """Looks for white squares as a network would: at a picture made small, where those under six pixels can't be seen."""

    card = own_detector({}).card
    kinds = ("product",)
    sessions = 1

    def __init__(self) -> None:
        self.looks = 0

    def detect_once(self, photo: Decoded, *, kinds: Any, floor: float | None) -> tuple[Detection, ...]:
        pixels = np.asarray(photo.pixels)
        self.looks += 1
        high, wide = pixels.shape[:2]
        ratio = max(high, wide) / 320
        small = (
            Image.fromarray(pixels)
            .convert("L")
            .resize((max(1, round(wide / ratio)), max(1, round(high / ratio))), Image.Resampling.BOX)
        )
        white = np.asarray(small) > 128
        found = []
        for x0, y0, x1, y1 in blobs(white):
            if min(x1 - x0, y1 - y0) >= 6:
                found.append(Detection((x0 * ratio, y0 * ratio, x1 * ratio, y1 * ratio), 0.9, "product"))
        return tuple(found)


def blobs(white: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Boxes of what is white and connected by sides."""
    left, found = white.copy(), []
    for y, x in zip(*np.nonzero(white), strict=True):
        if not left[y, x]:
            continue
        stack, cells = [(int(y), int(x))], []
        left[y, x] = False
        while stack:
            row, column = stack.pop()
            cells.append((row, column))
            for r, c in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if 0 <= r < white.shape[0] and 0 <= c < white.shape[1] and left[r, c]:
                    left[r, c] = False
                    stack.append((r, c))
        ys, xs = [y for y, _ in cells], [x for _, x in cells]
        found.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return found


@pytest.mark.parametrize(("offset", "side"), [(0, 56), (37, 40), (61, 56)])
def test_two_hundred_squares_are_each_found_once(offset: int, side: int) -> None:
    """Wherever the seams fall; in one look at the whole photo each has seven pixels."""
    photo = np.zeros((1500, 2000, 3), np.uint8)
    places = [
        (offset + 20 + column * 98, offset + 20 + row * 142) for row in range(10) for column in range(20)
        if offset + 20 + column * 98 + side < 2000 and offset + 20 + row * 142 + side < 1500
    ]  # fmt: skip
    for left, top in places:
        photo[top : top + side, left : left + side] = 255
    squares = Squares()
    found = detect_in_tiles(squares, photo, ("product",), None)  # type: ignore[arg-type]
    assert squares.looks > 1
    assert len(found) == len(places)
    for one in found:
        nearest = min(places, key=lambda place: abs(place[0] - one.box[0]) + abs(place[1] - one.box[1]))
        assert one.box == pytest.approx((*nearest, nearest[0] + side, nearest[1] + side), abs=6)


def test_large_things_need_one_look() -> None:
    photo = np.zeros((1500, 2000, 3), np.uint8)
    for left in (100, 600, 1100, 1600):
        photo[500:900, left : left + 300] = 255
    squares = Squares()
    assert len(detect_in_tiles(squares, photo, ("product",), None)) == 4  # type: ignore[arg-type]
    assert squares.looks == 1


def test_tiles_cover_the_photo_and_overlap() -> None:
    tiles = tiles_of((4000, 3000), 900.0, 180.0)
    covered = np.zeros((3000, 4000), bool)
    for tile in tiles:
        covered[tile.top : tile.bottom, tile.left : tile.right] = True
    assert covered.all() and len(tiles) == 24
    row = [tile for tile in tiles if tile.top == 0]
    assert all(one.right - other.left >= 179 for one, other in itertools.pairwise(row))
    assert tiles_of((300, 200), 900.0, 100.0) == [Tile(0, 0, 300, 200)]
    assert len(tiles_of((30_000, 2_000), 100.0, 30.0)) <= 48


# Around the matcher


def test_eval_counts_what_was_located(tile_bundle: Path, tmp_path: Path) -> None:
    from shelfmatch.edge import Query, evaluate

    Image.fromarray(messy(5)).save(tmp_path / "messy.png")
    tile_photo(3, 60).save(tmp_path / "plain.png")
    queries = [
        Query(tmp_path / "messy.png", "messy.png", "sku-005"),
        Query(tmp_path / "plain.png", "plain.png", "sku-003"),
    ]
    found = {}
    for mode in ("off", "auto"):
        with Matcher.open(tile_bundle, detector=MIDDLE, locate=mode) as matcher:  # type: ignore[arg-type]
            found[mode] = evaluate(matcher, queries)
    assert found["auto"].located == 1 and found["auto"].to_dict()["located"] == 1
    assert found["off"].located == 0 and "located" not in found["off"].to_dict()
    assert found["off"].recall_at_1 == 0.5 and found["auto"].recall_at_1 == 1.0
    assert "locate" in found["auto"].stages_ms


def test_a_bench_can_locate_and_says_so(tile_bundle: Path) -> None:
    from shelfmatch.edge.bench.runner import Settings
    from shelfmatch.edge.bench.scenarios import STAGES

    with Matcher.open(tile_bundle, follow=False, detector=MIDDLE, **Settings(locate="auto").opened()) as matcher:
        assert "locate" in matcher.match(messy(5)).latency_ms and "locate" in STAGES
    with Matcher.open(tile_bundle, follow=False, detector=MIDDLE, **Settings().opened()) as matcher:
        assert "locate" not in matcher.match(messy(5)).latency_ms


def test_a_part_is_a_third_as_sure_and_stays_the_answer_where_a_second_look_is_no_surer(
    tile_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it must be surer by counts against the threshold; against a look-again pass it stands with what that is divided by."""
    assert less_sure(0.9, locate.ODDS) == pytest.approx(0.75)
    photo = messy(5)
    with Matcher.open(tile_bundle, detector=MIDDLE) as matcher:
        monkeypatch.setattr(locate, "ODDS", 1e9)  # a part can't be accepted
        monkeypatch.setattr(Snapshot, "is_blank", lambda *_: False)  # the mended photo has its say
        found = matcher.match(photo)
        assert found.decision == "unknown" and found.look_again is not None
        assert found.located is not None and found.candidates[0].sku == "sku-005"
