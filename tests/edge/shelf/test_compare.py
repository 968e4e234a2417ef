"""What differs between two small pictures of a shelf."""

from __future__ import annotations

import numpy as np
import pytest

from shelfmatch.edge.imaging.opencv import opencv
from shelfmatch.edge.shelf import compare


@pytest.mark.parametrize("shape", [(60, 80), (59, 79), (1, 2), (1, 1)])
def test_the_median_is_numpys(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    assert compare._median(values) == pytest.approx(float(np.median(values)), abs=1e-7)


@pytest.mark.parametrize("gain", [(0.6, 0.6, 0.6), (1.1, 1.0, 0.8)])
def test_light_differs_nowhere_and_another_product_where_it_is(gain: tuple[float, ...]) -> None:
    rng = np.random.default_rng(5)
    known = np.kron(rng.integers(40, 200, (30, 40, 3)), np.ones((8, 8, 1))).astype(np.float32)
    seen = known * np.array(gain, np.float32)
    assert not compare.difference(compare.blocks(seen), compare.blocks(known)).any.any()
    seen[80:120, 120:160] = np.kron(rng.integers(40, 200, (5, 5, 3)), np.ones((8, 8, 1))) * np.array(gain)
    found = compare.difference(compare.blocks(seen), compare.blocks(known))
    rows, columns = np.nonzero(found.things)
    # The product covers blocks 20 to 29 and 30 to 39, and windows of three blocks reach one further.
    assert found.things[21:29, 31:39].mean() > 0.9
    assert (rows.min() >= 19 and rows.max() <= 30) and (columns.min() >= 29 and columns.max() <= 40)
    np.testing.assert_allclose(found.gains, gain, rtol=0.06)  # ten grey levels are added before ratios are taken


@pytest.mark.parametrize(
    ("shape", "factor"), [((480, 644, 3), 4), ((481, 643, 3), 2), ((300, 450, 3), 3), ((960, 1280, 3), 4)]
)
def test_a_small_frame_is_the_mean_of_the_rows_that_are_read(shape: tuple[int, int, int], factor: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    small = compare.reduced(pixels, factor)
    high, wide = small.shape[:2]
    step = 2 if factor % 2 == 0 and opencv() is not None else 1
    blocks = pixels[: high * factor, : wide * factor].reshape(high, factor, wide, factor, 3)[:, ::step].astype(float)
    assert np.abs(small - blocks.mean(axis=(1, 3))).max() <= 1
