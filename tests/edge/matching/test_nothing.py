"""A photo that shows nothing is no product, in any shop."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

import shelfmatch.models
from shelfmatch.edge import (
    Bundle,
    Matcher,
    MatchResult,
    add_to_bundle,
    build_bundle,
    remove_from_bundle,
    tune_bundle,
)
from shelfmatch.edge.build.blanks import _shipped
from shelfmatch.edge.encoders.registry import read_card
from shelfmatch.edge.imaging.decode import decode
from shelfmatch.edge.matching.look_again import rank_variants
from shelfmatch.edge.matching.opinions import FLAT
from shelfmatch.edge.scoring.evidence import Evidence
from shelfmatch.edge.synthetic.nothing import nothing_pictures
from shelfmatch.edge.synthetic.products import make_shop, render_background, render_plain, render_view
from tests.conftest import tile_photo

NOISE = np.random.default_rng(3)


def flat(level: int, size: tuple[int, int] = (640, 480), noise: float = 0.0) -> Any:
    """A photo of one colour, (H, W, 3) uint8 RGB, with sensor noise."""
    pixels = np.full((size[1], size[0], 3), float(level)) + NOISE.normal(0, noise or 1e-9, (size[1], size[0], 3))
    return pixels.round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A black, a white and a grey product among tiles: what nothing is most like."""
    folder = tmp_path_factory.mktemp("nothing")
    for number in range(6):
        (folder / "photos" / f"tile-{number}").mkdir(parents=True)
        for view in range(3):
            tile_photo(number, view).save(folder / "photos" / f"tile-{number}" / f"{view}.png")
    for name, level in (("black", 6), ("white", 250), ("grey", 128)):
        (folder / "photos" / name).mkdir()
        for view in range(3):
            picture = Image.fromarray(flat(level, (96, 96), 1.0))
            picture.paste(Image.fromarray(flat(min(255, level + 40), (30, 20), 3.0)), (20 + view, 30))
            picture.save(folder / "photos" / name / f"{view}.png")
    build_bundle(folder / "photos", folder / "shop.bundle")
    return folder / "shop.bundle"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rendered products, a clean picture each."""
    folder = tmp_path_factory.mktemp("few")
    for product in make_shop(4, 41):
        (folder / "photos" / product.sku).mkdir(parents=True)
        render_plain(product, 200).save(folder / "photos" / product.sku / "0.png")
    build_bundle(folder / "photos", folder / "shop.bundle")
    return folder / "shop.bundle"


def test_bare_shelves_and_hands_are_no_match_in_a_shop_of_four(few: Path) -> None:
    """By the threshold alone some were: in a shop of few, each is as near to a product as a hard photo of it."""
    scenes = [np.asarray(render_background(seed, (320, 240))) for seed in range(40)]
    with Matcher.open(few) as matcher:
        found = list(matcher.match_many(scenes))
        blank = [matcher.snapshot.is_blank(row) for row in matcher.encoder.embed(*scenes)]
    assert sum(blank) >= 38
    assert [one.decision for one in found if isinstance(one, MatchResult)] == ["unknown"] * len(scenes)
    told = [one for one, is_one in zip(found, blank, strict=True) if is_one and isinstance(one, MatchResult)]
    assert all(one.confidence < one.threshold for one in told)


def test_variants_of_a_bare_shelf_say_nothing_either(few: Path) -> None:
    scene = np.asarray(render_background(3, (320, 240)))
    with Matcher.open(few, locate="off") as matcher:
        assert matcher.snapshot.is_blank(matcher.encoder.embed(scene)[0])
        found = matcher.match(scene)
    assert found.decision == "unknown" and found.look_again is not None
    assert found.look_again.tried == () and found.look_again.problem == "nothing to see"


@pytest.mark.parametrize(("blur", "light", "looks"), [(9, 1.0, 0), (9, 0.06, 1), (0, 1.0, 5)])
def test_nothing_out_of_focus_is_not_sharpened(few: Path, blur: float, light: float, looks: int) -> None:
    """Turned, or in more light, goods may come to light; of a lens out of focus a sharpener makes what was never there."""
    picture = render_plain(make_shop(1, 41)[0], 240).filter(ImageFilter.GaussianBlur(blur))
    scene, looked = (np.asarray(picture) * light).astype(np.uint8), []
    with Matcher.open(few) as matcher:
        encoder = matcher.encoder

        def rank(pixels: Any) -> Evidence:
            looked.append(pixels)
            return Evidence.of_search([(1, 0.5), (2, 0.4)])

        for blank in (False, True):
            looked.clear()
            rank_variants(decode(scene, encoder.card), encoder.card, encoder.resizer, rank, blank=blank)
            assert len(looked) >= (looks if blank else 1)
    assert looks or not looked


def test_goods_in_hard_views_are_something(few: Path) -> None:
    views = [np.asarray(render_view(product, 2, (320, 240), 0.6)) for product in make_shop(30, 41)]
    with Matcher.open(few) as matcher:
        assert sum(matcher.snapshot.is_blank(row) for row in matcher.encoder.embed(*views)) <= 1


def test_frames_of_nothing_take_the_product_away(few: Path) -> None:
    """They aren't passed over: a tracker would go on naming what was carried off."""
    product = make_shop(4, 41)[1]
    with Matcher.open(few) as matcher:
        tracker = matcher.track(locate="off")
        for _ in range(4):
            sold = tracker.add(np.asarray(render_plain(product, 240)))
        for _ in range(6):
            gone = tracker.add(np.asarray(render_background(3, (320, 240))))
    assert sold.sku == product.sku
    assert gone.decision == "unknown" and gone.confidence == 0.0 and gone.unreadable == 0


def test_the_rule_outlives_every_change_of_a_bundle(few: Path, tmp_path: Path) -> None:
    """add makes room for what is added; remove, tune and update keep it."""
    bundle = tmp_path / "shop.bundle"
    shutil.copytree(few, bundle)
    photos = tmp_path / "photos" / "bare"
    photos.mkdir(parents=True)
    render_background(7, (320, 240)).save(photos / "0.png")
    before = Bundle.open(bundle).manifest.branches[0].blank
    add_to_bundle(bundle, photos.parent)
    after = Bundle.open(bundle).manifest.branches[0].blank
    assert before is not None and (after is None or after.offset > before.offset)
    remove_from_bundle(bundle, ["bare"])
    tune_bundle(bundle, 0.02)
    assert Bundle.open(bundle).manifest.branches[0].blank == after


@pytest.mark.parametrize("name", ["shelfmatch-cnn", "shelfmatch-nano", "shelfmatch-vit"])
def test_the_embedded_encoders_bring_what_nothing_looks_like(name: str) -> None:
    """Rendering and embedding it would take two seconds of each build; `models/blank.py` writes it when they are trained anew."""
    for kind in ("tflite", "onnx"):
        card, model = read_card(Path(shelfmatch.models.__path__[0]) / f"{name}.{kind}.json")
        found = _shipped(card, model)
        assert found is not None
        assert found[1].shape == (len(nothing_pictures()), card.dimension)


@pytest.mark.parametrize("size", [(640, 480), (300, 900), (200, 200)])
@pytest.mark.parametrize(("level", "noise"), [(0, 0.0), (2, 2.0), (255, 0.0), (250, 2.0), (128, 0.0), (90, 2.0)])
def test_nothing_is_no_match(shop: Path, level: int, noise: float, size: tuple[int, int]) -> None:
    with Matcher.open(shop) as matcher:
        result = matcher.match(flat(level, size, noise))
    assert result.decision == "unknown" and result.sku is None and result.confidence == 0.0 and result.candidates == ()
    assert result.look_again is not None and result.look_again.tried == ()
    assert result.look_again.problem == ("too dark" if level < 7 else "nothing to see")
    assert result.to_dict()["look_again"]["problem"] == result.look_again.problem


def test_a_product_in_the_dark_is_something(shop: Path) -> None:
    """A tile under a twelfth of the light still spreads over more grey levels than the limit: it is ranked."""
    dark = (np.asarray(tile_photo(3, 50)).astype(float) / 12).round().astype(np.uint8)
    with Matcher.open(shop) as matcher:
        assert matcher.encoder.embed_timed(dark).spread > FLAT
        assert matcher.match(dark).candidates


@pytest.mark.parametrize(
    "colours", [((0, 0, 0), (210, 0, 0)), ((0, 0, 190), (220, 0, 0)), ((40, 80, 200), (40, 80, 90))], ids=str
)
def test_colours_that_are_alike_in_green_are_something(shop: Path, colours: tuple[Any, Any]) -> None:
    """Red print on black was taken for a wall."""
    photo = Image.new("RGB", (300, 300), colours[0])
    photo.paste(colours[1], (80, 40, 220, 260))
    with Matcher.open(shop) as matcher:
        assert matcher.encoder.embed_timed(photo).spread > FLAT
        assert matcher.match(photo).candidates


def test_frames_of_nothing_are_no_evidence(shop: Path) -> None:
    with Matcher.open(shop) as matcher:
        tracker = matcher.track()
        tracker.add(np.asarray(tile_photo(3, 50)))
        decision = tracker.add(flat(0))
    assert decision.unreadable == 1 and decision.frames == 1
    assert "shows nothing" in decision.problem


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_a_border_is_not_taken_for_a_picture(tiny_tflite: Path, resize: str, tmp_path: Path) -> None:
    """A tall white photo on a grey border has contrast that isn't its own."""
    import json

    from shelfmatch.edge import Encoder
    from shelfmatch.edge.encoders.infer_card import inspect_encoder

    card = {**inspect_encoder(tiny_tflite).to_dict(), "resize": resize}
    (tmp_path / tiny_tflite.name).write_bytes(tiny_tflite.read_bytes())
    (tmp_path / "card.json").write_text(json.dumps(card))
    encoder = Encoder.load(tmp_path / "card.json")
    assert encoder.embed_timed(flat(255, (100, 400))).spread < 0.5
    half = flat(255, (100, 400))
    half[:200] = 0
    assert encoder.embed_timed(half).spread > 50
