"""What casts doubt on a source itself: an export can be faithful to a network that was read wrongly, or that knows nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..edge.imaging.image import Pixels
from .encoders import Vectors
from .preprocessing import Preprocessing

_SPREAD_LEAST = 1e-3
"""1 - mean cosine between photos: below, all photos look the same to the network."""
_MEAN_MOST, _STD_LEAST, _STD_MOST = 3.0, 0.05, 10.0
"""Of normalized pixels. Of photos of things, the usual normalizations give means within 1 and standard deviations of 0.25 to
1.3; networks that take pixels as they are say so (--normalized)."""


def doubts(
    preprocessing: Preprocessing,
    pixels: Pixels,
    skus: Sequence[str],
    vectors: Vectors,
    recall_at_1: float,
    queries: int,
) -> list[str]:
    """What a person should look at before trusting an export of this source."""
    found = [_of_pixels(preprocessing, pixels), _of_vectors(vectors), _of_recall(skus, recall_at_1, queries)]
    return [doubt for doubt in found if doubt]


def _of_pixels(preprocessing: Preprocessing, pixels: Pixels) -> str:
    if preprocessing.mean is None:
        return ""
    values = preprocessing.normalized(pixels[:64]).astype(np.float64)
    mean, std = float(values.mean()), float(values.std())
    if abs(mean) <= _MEAN_MOST and _STD_LEAST <= std <= _STD_MOST:
        return ""
    small = preprocessing.std is not None and max(preprocessing.std) <= 1
    advice = (
        "they look like units of 0 to 1, and units of 0 to 255 are expected (0.5 → 127.5)" if small else "check them"
    )
    return f"with this mean and std the photos' pixels have mean {mean:.3g} and standard deviation {std:.3g}; {advice}"


def _of_vectors(vectors: Vectors) -> str:
    unit = vectors.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-30)
    count = len(unit)
    cosine = (float((unit.sum(axis=0) ** 2).sum()) - count) / max(1, count * (count - 1))
    if 1 - cosine >= _SPREAD_LEAST:
        return ""
    return (
        f"all photos look nearly the same to the source (mean cosine {cosine:.5f}); is it trained, are mean and std right, and is "
        "the right tensor its embedding?"
    )


def _of_recall(skus: Sequence[str], recall_at_1: float, queries: int) -> str:
    """Near chance: within twice what a random order of the photos would find, and two standard errors."""
    counts = np.array(list(Counter(skus).values()), np.float64)
    chance = float((counts * (counts - 1)).sum() / max(1.0, counts[counts > 1].sum()) / max(1, len(skus) - 1))
    if recall_at_1 > 2 * chance + 2 * np.sqrt(chance * (1 - chance) / max(1, queries)):
        return ""
    return (
        f"the source finds the product of {recall_at_1:.1%} of the photos, chance alone of {chance:.1%}; check its weights, its "
        "preprocessing and its output before using the files"
    )
