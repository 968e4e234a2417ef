"""Several frames: the formula by hand, changes of the product, frames that can't be read, and better answers than one frame's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Matcher, build_bundle
from shelfmatch.edge.imaging.image import DEFAULT_LIMITS, Pixels
from shelfmatch.edge.matching.finder import Finder, Mode
from shelfmatch.edge.matching.following import Follower, alike
from shelfmatch.edge.matching.observing import _DOUBTS, Observer
from shelfmatch.edge.matching.snapshot import Snapshot
from shelfmatch.edge.matching.tracking import (
    CORRELATION,
    MAX_FRAMES,
    NOTHING_FRAMES,
    WINDOW,
    Frame,
    Sameness,
    Tracker,
    judge,
    worth,
)
from shelfmatch.edge.metrics import log_odds
from shelfmatch.edge.scoring.evidence import Evidence
from shelfmatch.edge.synthetic.products import make_shop, render_plain, render_view
from tests.conftest import tile_photo
from tests.edge.matching.test_scene import MIDDLE, messy


def frame(product: int, number: int, noise: float = 45.0) -> Image.Image:
    """A bad frame of a tile product."""
    pixels = np.asarray(tile_photo(product, number)) + np.random.default_rng([product, number, 7]).normal(
        0, noise, (48, 48, 3)
    )
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def test_what_frames_are_worth() -> None:
    assert worth(1) == 1
    assert worth(3, 0.0) == 3
    assert worth(50, 1.0) == 1
    assert worth(4, 0.5) == pytest.approx(1.6)
    assert worth(MAX_FRAMES + 1) - worth(MAX_FRAMES) < 0.02 and worth(10**6) == pytest.approx(1 / CORRELATION, rel=1e-3)


def test_evidence_adds_up_as_documented(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        singles = [matcher.match(frame(3, number), top_k=12).candidates for number in (11, 12)]
        tracker = matcher.track()
        first, second = (tracker.add(frame(3, number)) for number in (11, 12))
        decision = matcher._current().decision
    assert first.confidence == pytest.approx(singles[0][0].confidence)
    means = [
        np.mean([{c.sku: c.score for c in one}[sku] for one in singles])
        for sku in (second.sku, second.candidates[1].sku)
    ]
    odds = log_odds(decision.confidence(float(means[0]), float(means[0] - means[1]), 3))
    assert second.candidates[0].score == pytest.approx(means[0])
    assert log_odds(second.confidence) == pytest.approx(worth(2, tracker._correlation()) * odds, rel=1e-3)


@pytest.mark.parametrize(("alike", "expected"), [(0.4, CORRELATION), (0.6, CORRELATION), (0.7975, 0.875), (1.0, 1.0)])
def test_the_more_alike_frames_are_the_less_they_count(tile_bundle: Path, alike: float, expected: float) -> None:
    """Two frames of that cosine, in a shop whose photos of one product have a cosine of 0.6."""
    turn = math.acos(alike)
    vectors = {
        b"first": np.array([1, 0], np.float32),
        b"second": np.array([math.cos(turn), math.sin(turn)], np.float32),
    }
    with Matcher.open(tile_bundle) as matcher:
        version = matcher._current()
        tracker = Tracker(
            lambda source: Frame(vectors[bytes(source)], Evidence.of_search([(0, 0.5), (1, 0.2)]), version),  # type: ignore[arg-type]
            judge,
            lambda _: Sameness(0.6, 0.0, 10.0),
        )
        tracker.add(b"first")
        assert tracker.add(b"second").frames == 2
    assert tracker._correlation() == pytest.approx(expected, abs=1e-3)


def test_the_same_frame_again_adds_nothing(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        tracker = matcher.track()
        first = tracker.add(frame(3, 11))
        for _ in range(3):
            again = tracker.add(frame(3, 11))
    assert again.frames == 4
    assert again.confidence == pytest.approx(first.confidence, rel=1e-4)


def test_a_product_that_stays_is_sure_soon_and_early(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        tracker = matcher.track(top_k=3)
        decisions = [tracker.add(tile_photo(3, number)) for number in range(10, 14)]
    assert not decisions[0].sure
    assert decisions[1].sure and decisions[1].sku == "sku-003"
    assert all(len(decision.candidates) == 3 for decision in decisions)


def test_another_product_begins_again(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        tracker = matcher.track()
        for number in range(10, 14):
            before = tracker.add(tile_photo(3, number))
        later = [tracker.add(tile_photo(8, number)) for number in range(10, 14)]
    assert before.sku == "sku-003" and before.frames == 4
    assert [decision.changed for decision in later].count(True) == 1
    assert later[-1].sku == "sku-008"
    assert later[-1].frames <= 4


def test_one_odd_frame_in_between_is_no_change_of_mind(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        tracker = matcher.track()
        for number in range(10, 13):
            tracker.add(frame(3, number, noise=20))
        decision = tracker.add(frame(3, 13, noise=90))
    assert not decision.changed and decision.sku == "sku-003"


def test_frames_that_cannot_be_read_change_nothing(tile_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff and no photo")
    with Matcher.open(tile_bundle) as matcher:
        tracker = matcher.track()
        nothing = tracker.add(tmp_path / "absent.jpg")
        one = tracker.add(tile_photo(3, 10))
        same = tracker.add(tmp_path / "broken.jpg")
    assert nothing.sku is None and nothing.frames == 0 and "absent.jpg" in nothing.problem
    assert (same.frames, same.unreadable, same.confidence) == (1, 2, one.confidence)
    assert "broken.jpg" in same.problem and not one.problem


def test_frames_that_show_nothing_end_an_answer(tile_bundle: Path) -> None:
    """Before a white wall, or with a hand on the lens, the product that was there went on being named."""
    flat = Image.new("RGB", (96, 96), (240, 240, 240))
    with Matcher.open(tile_bundle) as matcher:
        tracker = matcher.track()
        for number in range(10, 16):
            named = tracker.add(tile_photo(3, number))
        once = [tracker.add(flat) for _ in range(NOTHING_FRAMES - 1)]
        tracker.add(tile_photo(3, 16))
        decisions = [tracker.add(flat) for _ in range(NOTHING_FRAMES)]
    assert named.sku == "sku-003" and {one.sku for one in (*once, *decisions[:-1])} == {"sku-003"}
    assert (decisions[-1].sku, decisions[-1].frames, decisions[-1].unreadable) == (None, 0, 2 * NOTHING_FRAMES - 1)


def test_a_picture_is_not_like_a_flat_one() -> None:
    picture = np.random.default_rng(1).uniform(0, 255, (64, 64)).astype(np.float32)
    flat = np.full((64, 64), 200, np.float32)
    assert (alike(picture, flat), alike(flat, picture), alike(flat, flat + 20)) == (0.0, 0.0, 1.0)
    assert alike(picture, picture) == pytest.approx(1.0)


def test_a_part_that_is_never_sure_is_not_followed_for_ever(tile_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that slid out left its box on what was behind it, and whole frames were never looked at again."""
    monkeypatch.setattr(Follower, "follow", lambda self, pixels: self.box)
    locator = Finder("auto", MIDDLE, 1).locator(None)
    with Matcher.open(tile_bundle) as matcher:
        observer = Observer(lambda: matcher.snapshot, top_k=5, where=None, limits=DEFAULT_LIMITS, locate=locator)
        while observer._follower is None or observer._follower.box is None:
            observer.observe(messy(5))
        stops: list[int] = []
        monkeypatch.setattr(Follower, "stop", lambda self: stops.append(1))
        for _ in range(2 * _DOUBTS):
            observer.observe(messy(5))
        assert not stops, "it is sure of what it follows"
        monkeypatch.setattr(Snapshot, "accepts", lambda self, candidates: False)
        for _ in range(_DOUBTS - 1):
            observer.observe(messy(5))
        assert not stops
        observer.observe(messy(5))
        assert len(stops) == 1


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_a_found_part_that_shows_nothing_leaves_the_frame_what_it_says(tile_bundle: Path, mode: Mode) -> None:
    """A blank sheet, or a lamp, has a product's bounds, too."""
    photo = messy(5)
    high, wide = photo.shape[:2]
    photo[high // 4 : high - high // 4, wide // 4 : wide - wide // 4] = 200
    with Matcher.open(tile_bundle, detector=MIDDLE) as matcher:
        alone, found = matcher.track(locate="off"), matcher.track(locate=mode)
        for _ in range(NOTHING_FRAMES):
            expected, decision = alone.add(photo), found.add(photo)
    assert (decision.frames, decision.unreadable, decision.problem) == (NOTHING_FRAMES, 0, "")
    assert decision.candidates == expected.candidates


def test_a_camera_that_looks_all_day_remembers_the_last_frames(tile_bundle: Path) -> None:
    """The first frames score high, later ones low: the answer comes to rest on the later ones alone."""
    vector = np.array([1, 0], np.float32)
    with Matcher.open(tile_bundle) as matcher:
        version = matcher._current()
        tracker = Tracker(
            lambda source: Frame(vector, Evidence.of_search([(0, float(bytes(source))), (1, 0.1)]), version),  # type: ignore[arg-type]
            judge,
            lambda _: Sameness(1.0, 0.0, 0.3),
        )
        for _ in range(3 * WINDOW):
            tracker.add(b"0.9")
        for _ in range(WINDOW):
            decision = tracker.add(b"0.3")
    assert decision.frames == WINDOW and decision.candidates[0].score == pytest.approx(0.3)
    assert len(tracker._frames) == WINDOW


def test_reset_forgets(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        tracker = matcher.track()
        tracker.add(tile_photo(3, 10))
        tracker.reset()
        assert tracker.decision.frames == 0
        assert tracker.add(tile_photo(8, 10)).candidates[0].sku == "sku-008"


def test_a_filter_holds_for_frames_too(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        tracker = matcher.track(where={"sku": "sku-005"})
        assert {c.sku for c in tracker.add(tile_photo(3, 10)).candidates} == {"sku-005"}


def test_sameness_is_measured_on_the_shop(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        found = Sameness.of(matcher.index)
    assert found.same_mean > 0.99 > found.other_mean
    assert found.log_ratio_of_change(found.same_mean) < 0 < found.log_ratio_of_change(found.other_mean)
    middle = (found.same_mean + found.other_mean) / 2
    assert math.isclose(found.log_ratio_of_change(middle), 0.0, abs_tol=1e-9)


@pytest.mark.slow
def test_frames_of_rendered_products_are_better_than_one(tmp_path: Path) -> None:
    """The embedded encoder on small and hard views: with five frames more products are right than with one."""
    products = make_shop(24, seed=3)
    for product in products:
        folder = tmp_path / "photos" / product.sku
        folder.mkdir(parents=True)
        render_plain(product, 224).save(folder / "plain.png")
        for view in range(2):
            render_view(product, 100 + view, (224, 224), 0.4).save(folder / f"{view}.png")
    build_bundle(tmp_path / "photos", tmp_path / "shop.bundle", resizer="pillow")
    right = {1: 0, 5: 0}
    with Matcher.open(tmp_path / "shop.bundle") as matcher:
        for product in products:
            tracker = matcher.track()
            for number in range(1, 6):
                view: Pixels = np.asarray(render_view(product, number, (96, 96), 0.8))
                decision = tracker.add(view)
                if number in right:
                    right[number] += decision.candidates[0].sku == product.sku
    assert right[5] > right[1]
