"""Synthetic views: other pictures of the same thing, the same ones each time; packshots are told from photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from shelfmatch.edge import Encoder
from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.imaging.views import (
    MOST_VIEWS,
    PHOTO_VIEWS,
    _grown,
    _reached_from_outside,
    packshot_mask,
    packshot_view,
    photo_view,
    view_plan,
    views_of,
    views_per_photo,
)
from tests.conftest import tile_photo


def tile(product: int) -> Pixels:
    return np.asarray(tile_photo(product, 0).resize((32, 32)))


def packshot(background: tuple[int, int, int] = (255, 255, 255), hole: bool = False) -> Pixels:
    """A bottle-like shape with a pattern on it, on a plain ground."""
    image = Image.new("RGB", (96, 96), background)
    draw = ImageDraw.Draw(image)
    draw.rectangle((36, 12, 60, 84), fill=(20, 90, 40))
    draw.rectangle((40, 40, 56, 60), fill=background if hole else (230, 30, 30))
    return np.asarray(image)


def test_a_view_is_another_photo_of_the_same_thing(tiny_encoder: Encoder) -> None:
    pixels = tile(3)
    view = photo_view(pixels, seed=1)
    assert view.shape == pixels.shape and view.dtype == np.uint8 and (view != pixels).mean() > 0.5
    assert (photo_view(pixels, seed=1) == view).all() and (photo_view(pixels, seed=2) != view).any()
    own, other = tiny_encoder.embed_pixels(pixels), tiny_encoder.embed_pixels(tile(4))
    views = [tiny_encoder.embed_pixels(photo_view(pixels, seed)) for seed in range(20)]
    assert np.mean([view @ own > view @ other for view in views]) > 0.9


def test_each_picture_has_its_own_views() -> None:
    """The same turns for all pictures would be learnt as what views have in common."""
    first, again, other = (list(views_of(pixels, None, 3)) for pixels in (tile(1), tile(1), tile(2)))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    turned = [photo_view(tile(2), seed) for seed in range(3)]
    assert not any((a == b).all() for a, b in zip(other, turned, strict=True))


@pytest.mark.parametrize("background", [(255, 255, 255), (40, 40, 40), (180, 200, 220)])
@pytest.mark.parametrize("hole", [False, True])
def test_a_packshot_is_cut_out(background: tuple[int, int, int], hole: bool) -> None:
    mask = packshot_mask(packshot(background, hole))
    assert mask is not None
    expected = np.zeros((96, 96), bool)
    expected[12:85, 36:61] = True  # a label of the background's colour is inside, so it is product
    assert (mask != expected).mean() < 0.02


def test_photos_are_no_packshots(grocery: Path) -> None:
    from tests.support.grocery import read_split

    photos = [
        np.asarray(Image.open(path).convert("RGB").resize((224, 224))) for path, _ in read_split(grocery, "val.txt")
    ]
    iconic = [
        np.asarray(Image.open(path).convert("RGB").resize((224, 224))) for path in sorted(grocery.rglob("*_Iconic.jpg"))
    ]
    assert np.mean([packshot_mask(pixels) is not None for pixels in photos]) < 0.02
    assert np.mean([packshot_mask(pixels) is not None for pixels in iconic]) > 0.95


@pytest.mark.parametrize(
    "pixels", [np.full((32, 32, 3), 255, np.uint8), np.zeros((1, 1, 3), np.uint8), np.zeros((2, 9, 3), np.uint8)]
)
def test_an_empty_picture_is_no_packshot_and_has_views(pixels: Pixels) -> None:
    assert packshot_mask(pixels) is None
    assert [view.shape for view in views_of(pixels, None, 2)] == [pixels.shape] * 2


def test_a_packshot_is_set_down_elsewhere() -> None:
    pixels = packshot()
    mask = packshot_mask(pixels)
    assert mask is not None
    views = [packshot_view(pixels, mask, seed) for seed in range(12)]
    assert all(view.shape == pixels.shape for view in views)
    assert np.mean([packshot_mask(view) is None for view in views]) > 0.7  # hardly any stands on a plain ground again
    reddish = [((view[:, :, 0].astype(int) - view[:, :, 1] > 60) & (view[:, :, 0] > 90)).mean() for view in views]
    assert np.mean([share > 0.002 for share in reddish]) > 0.8  # the label is still there


def test_how_many_views() -> None:
    assert views_per_photo(81, 81) == MOST_VIEWS
    assert views_per_photo(2640, 81) == PHOTO_VIEWS
    assert views_per_photo(100_000, 5_000) == 0
    assert all(views_per_photo(n, p) * n <= 10_000 for n in (1, 7, 900, 4_000, 20_000) for p in (1, n // 2 + 1))


def test_shops_of_one_photo_a_product_get_views_of_a_part() -> None:
    """5,000 pictures took 54 ms of processor time each, three times as much as the embedding."""
    assert view_plan(81, 81) == (MOST_VIEWS, 1) and view_plan(2640, 81) == (PHOTO_VIEWS, 1)
    assert view_plan(2500, 2500) == (4, 1), "all, as long as there are four for each"
    for photos in (2501, 5000, 50_000, 500_000):
        count, every = view_plan(photos, photos)
        made = count * -(-photos // every)
        assert count == 4 and 1_500 <= made <= 2_000 + count


@pytest.mark.parametrize("seed", range(40))
def test_the_mask_is_what_pillows_filters_and_floodfill_make(seed: int) -> None:
    random = np.random.default_rng(seed)
    high, wide = (int(side) for side in random.integers(1, 60, 2))
    mask = random.random((high, wide)) < random.uniform(0.02, 0.6)
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    closed = np.asarray(image.filter(ImageFilter.MaxFilter(5)).filter(ImageFilter.MinFilter(5))) > 0
    assert (~_grown(~_grown(mask)) == closed).all()
    padded = Image.new("L", (wide + 2, high + 2), 0)
    padded.paste(image, (1, 1))
    ImageDraw.floodfill(padded, (0, 0), 128)
    assert (_reached_from_outside(~mask) == (np.asarray(padded)[1:-1, 1:-1] == 128)).all()
