"""The second look: which variants, how they are fused, and that a rejected photo is won back."""

from __future__ import annotations

import csv
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Encoder, Matcher, build_bundle
from shelfmatch.edge.errors import VectorError
from shelfmatch.edge.imaging.image import Decoded, Pixels
from shelfmatch.edge.imaging.quality import measure
from shelfmatch.edge.matching import passes, pipeline
from shelfmatch.edge.matching.look_again import (
    AS_IT_CAME,
    LookAgain,
    less_sure,
    problem_of,
    rank_variants,
    variants_of,
)
from shelfmatch.edge.matching.results import Candidate
from shelfmatch.edge.scoring.evidence import Evidence
from shelfmatch.edge.scoring.fusion import DEPTH, Ranked, mean_scores
from shelfmatch.edge.synthetic.products import make_product, render_view
from shelfmatch.export import cut
from tests.conftest import tile_photo, write_tiles
from tests.support.cards import plain_card
from tests.support.grocery import read_split

pytestmark = pytest.mark.xdist_group("grocery")

SHOP = {"0", "3", "10", "19", "28", "43", "49", "56", "62", "71"}
"""Labels of ten products, apples to yoghurts."""


@pytest.fixture(scope="module")
def grocery_shop(grocery: Path, coral_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve train photos of each of the ten, with V2 cut at its pooled feature."""
    folder = tmp_path_factory.mktemp("shop")
    rows: list[tuple[Path, str]] = []
    for path, label in read_split(grocery, "train.txt"):
        if label in SHOP and sum(sku == label for _, sku in rows) < 12:
            rows.append((path, label))
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "sku"), *rows])
    model = cut(coral_models / "tf2_mobilenet_v2_1.0_224_ptq.tflite", "172", folder / "v2.tflite")
    build_bundle(folder / "train.csv", folder / "shop.bundle", encoder=model, resizer="pillow")
    return folder / "shop.bundle"


def plain_photo(side: int = 96) -> Pixels:
    """A rendered photo without faults."""
    return np.asarray(render_view(make_product(16), 0, (side, side), difficulty=0.0))


def names_of(pixels: Pixels) -> list[str]:
    return [variant.name for variant in variants_of(Decoded(pixels), plain_card(48, 48), "pillow")[1]]


def test_a_photo_without_faults_is_turned_and_looked_at_from_nearer() -> None:
    assert names_of(plain_photo()) == [AS_IT_CAME, "rotated 90", "rotated 180", "rotated 270", "closer"]


def test_rotations_are_clockwise_and_exact_for_square_encoders() -> None:
    photo = plain_photo(48)
    variants = {v.name: v.pixels for v in variants_of(Decoded(photo), plain_card(48, 48), "pillow")[1]}
    for turns, name in ((1, "rotated 90"), (2, "rotated 180"), (3, "rotated 270")):
        assert (variants[name] == np.rot90(photo, -turns)).all()


def test_variants_have_the_encoders_size_when_it_is_not_square() -> None:
    card = plain_card(40, 24)
    for _, variants in (variants_of(Decoded(pixels), card, "pillow") for pixels in (plain_photo(), plain_photo() // 8)):
        assert {v.pixels.shape for v in variants} == {(24, 40, 3)}


def test_what_is_mended_is_what_is_wrong() -> None:
    photo = plain_photo()
    noise = np.random.default_rng(0).normal(0, 40, photo.shape)
    assert names_of((photo * 0.15).astype(np.uint8)) == ["auto-levels, denoised"]
    assert names_of((photo + noise).clip(0, 255).astype(np.uint8)) == ["denoised", "smoothed"]
    small = np.full((96, 96, 3), 120, np.uint8)
    small[30:62, 40:72] = plain_photo(32)
    assert "cropped to the product" in names_of(small)


def test_large_photos_are_worked_on_at_under_twice_the_encoders_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    from shelfmatch.edge.imaging import enhance

    whole = enhance.denoise
    monkeypatch.setattr(enhance, "denoise", lambda pixels, sigma: (sizes.append(pixels.shape), whole(pixels, sigma))[1])
    dark = np.kron(plain_photo(), np.ones((8, 8, 1))).astype(np.uint8) // 8
    assert dark.shape[:2] == (768, 768)
    assert names_of(dark) == ["auto-levels, denoised"]
    assert sizes == [(48, 48, 3)]


def test_an_orientation_in_the_file_is_applied_first() -> None:
    photo = plain_photo(48)
    turned = variants_of(Decoded(np.ascontiguousarray(np.rot90(photo)), 6), plain_card(48, 48), "pillow")[1]
    assert (turned[0].pixels == photo).all()


def test_mean_scores_by_hand() -> None:
    looks: list[Ranked] = [[(1, 0.9), (2, 0.5)], [(2, 0.8), (3, 0.4)]]
    fused = mean_scores(looks, [3, 1])
    assert [product for product, _ in fused] == [1, 2, 3]
    assert [round(score, 6) for _, score in fused] == [
        0.775,
        0.575,
        0.475,
    ]  # 1 counts with 0.4 in the second, 3 with 0.5
    assert mean_scores(looks)[1] == (2, pytest.approx(0.65))


def test_longer_rankings_change_nothing_of_the_first() -> None:
    random = np.random.default_rng(4)
    looks: list[Ranked] = [
        [(product, 1 - place / 60) for place, product in enumerate(random.permutation(50).tolist())] for _ in range(3)
    ]
    short = mean_scores([one[:DEPTH] for one in looks], [3, 2, 1])
    long = mean_scores(looks, [3, 2, 1])
    assert long[: len(short)] == short and {product for product, _ in long} == set(range(50))
    assert all(first[1] >= second[1] for first, second in itertools.pairwise(long))


def test_an_answer_does_not_depend_on_how_many_are_listed(tmp_path: Path, tiny_tflite: Path) -> None:
    """The more of the variants' products were asked for, the less sure was the answer: `eval`, which lists a hundred, measured
    another one than `match` gives."""
    photos = write_tiles(tmp_path / "photos", range(40), 1)
    build_bundle(photos, tmp_path / "shop.bundle", encoder=tiny_tflite)
    with Matcher.open(tmp_path / "shop.bundle") as matcher:
        looked = 0
        for product in range(60, 68):
            few, many = (matcher.match(tile_photo(product, 1), top_k=count) for count in (5, 100))
            looked += few.look_again is not None
            assert few.confidence == many.confidence
            assert list(few.candidates) == list(many.candidates[:5])
        assert looked and len(many.candidates) > DEPTH


def test_one_lucky_look_of_many_does_not_make_a_score() -> None:
    """The weighted mean stays below the best look by what the others are worse."""
    answers = iter(
        [[(7, 0.70), (1, 0.1)], [(3, 0.72), (1, 0.1)], [(4, 0.70), (1, 0.1)], [(5, 0.71), (1, 0.1)], [(6, 0.7)]]
    )
    look, found = rank_variants(
        Decoded(plain_photo()), plain_card(48, 48), "pillow", lambda _: Evidence.of_search(next(answers))
    )
    assert look.tried == (AS_IT_CAME, "rotated 90", "rotated 180", "rotated 270", "closer")
    assert found is not None and found.ranked[0][1] < 0.6


def test_a_second_look_must_be_surer() -> None:
    assert less_sure(0.9) == pytest.approx(6 / 7)  # odds of 9 become 6
    assert (less_sure(0.0), less_sure(1.0)) == (0.0, 1.0)


def test_variants_that_say_nothing_are_left_out() -> None:
    calls = []

    def rank(pixels: Pixels) -> Evidence:
        calls.append(pixels)
        if len(calls) == 1:
            raise VectorError("norm 0")
        return Evidence.of_search([(1, 0.5)])

    look, found = rank_variants(Decoded(plain_photo()), plain_card(48, 48), "pillow", rank)
    assert AS_IT_CAME not in look.tried and len(look.tried) == 4
    assert found is not None and found.ranked == [(1, pytest.approx(0.5))]


@pytest.mark.parametrize(
    ("picture", "problem"),
    [
        (np.random.default_rng(0).integers(0, 3, (64, 64, 3)), "too dark"),
        (np.full((64, 64, 3), 128), "nothing to see"),
        (np.linspace(20, 220, 64)[np.newaxis, :, np.newaxis].repeat(64, 0).repeat(3, 2), "too blurred"),
        (plain_photo(64), None),
    ],
    ids=["black", "grey", "ramp", "sharp"],
)
def test_photos_beyond_use_say_so(picture: Pixels, problem: str | None) -> None:
    assert problem_of(measure(picture.astype(np.uint8))) == problem


def test_the_problem_is_in_the_result(tile_bundle: Path) -> None:
    ramp = np.linspace(20, 220, 64)[np.newaxis, :, np.newaxis].repeat(64, 0).repeat(3, 2).astype(np.uint8)
    with Matcher.open(tile_bundle) as matcher:
        answer = matcher.match(ramp)
    assert answer.sku is None and answer.look_again is not None
    assert answer.to_dict()["look_again"]["problem"] == "too blurred"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dark", "noisy"])
def test_ruined_photos_are_won_back(grocery_shop: Path, grocery: Path, how: str) -> None:
    """A few products of the Grocery Store Dataset: more of the ruined photos are right after a second look."""
    queries = [(path, label) for path, label in read_split(grocery, "val.txt") if label in SHOP]

    def ruined(path: Path, seed: int) -> Pixels:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        random = np.random.default_rng(seed)
        gain, noise = (0.2, 4) if how == "dark" else (1.0, 30)
        return (pixels * gain + random.normal(0, noise, pixels.shape)).clip(0, 255).astype(np.uint8)

    right = {}
    for again in (False, True):
        with Matcher.open(grocery_shop, look_again=again) as matcher:
            answers = [matcher.match(ruined(path, seed)) for seed, (path, _) in enumerate(queries)]
        right[again] = sum(a.candidates[0].sku == label for a, (_, label) in zip(answers, queries, strict=True))
    assert right[True] >= right[False] + 0.05 * len(queries)


def test_a_rotated_photo_is_won_back(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        answer = matcher.match(tile_photo(5, 9).transpose(Image.Transpose.ROTATE_90))
    assert answer.sku == "sku-005"
    assert answer.latency_ms["look_again"] > 0
    assert answer.look_again is not None and answer.look_again.variant == "rotated 90"


@pytest.mark.parametrize(("odds", "told"), [(1.4, 1), (1.6, 0)])
def test_a_mended_photo_that_is_not_surer_says_nothing(
    tile_bundle: Path, monkeypatch: pytest.MonkeyPatch, odds: float, told: int
) -> None:
    """Of two looks that both aren't sure, the surer one is told."""

    def mended(*given: Any, **_: Any) -> tuple[LookAgain, tuple[Candidate, ...]]:
        candidates: tuple[Candidate, ...] = given[3]
        quality = measure(plain_photo(), plain_photo())
        other = replace(candidates[1], confidence=less_sure(candidates[0].confidence, odds))
        return LookAgain("denoised", ("denoised", "smoothed"), quality), (other, candidates[0])

    monkeypatch.setattr(passes, "look_again_pass", mended)
    photo = tile_photo(5, 9)
    with Matcher.open(tile_bundle) as matcher:
        snapshot = replace(matcher.snapshot, decision=replace(matcher.snapshot.decision, threshold=1.0))
        first = pipeline.match(snapshot, photo, look_again=False).candidates
        answer = pipeline.match(snapshot, photo)
    assert answer.candidates[0].sku == first[told].sku and answer.look_again is not None
    assert answer.look_again.variant == ("denoised" if told else "")  # what the answer rests on


def test_accepted_photos_get_no_rank_variants(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        answer = matcher.match(tile_photo(4, 9))
    assert answer.sku == "sku-004" and answer.look_again is None
    assert "look_again" not in answer.latency_ms and "look_again" not in answer.to_dict()


def test_batches_are_what_single_pictures_are(tiny_tflite: Path, tiny_onnx: Path) -> None:
    pictures = [np.asarray(tile_photo(product, 0, 32)) for product in range(20)]
    for path in (tiny_tflite, tiny_onnx):
        encoder = Encoder.load(path, resizer="pillow")
        single = np.stack([encoder.embed_pixels(picture) for picture in pictures])
        np.testing.assert_allclose(encoder.embed_batch(pictures), single, atol=1e-6)
    assert encoder.embed_batch([]).shape == (0, 48)
