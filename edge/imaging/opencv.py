"""OpenCV as the house uses it for pictures, and the resize rule with it.

Its own bilinear step has no antialiasing, and its area averaging is a box.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import RuntimeUnavailable
from ..forking import call_after_fork

Pixels: TypeAlias = NDArray[np.uint8]

_LINEAR_UP_TO = 6
"""Beyond this ratio to the input (panoramas), linear interpolation to twice its size would read a third of the pixels."""


@functools.cache
def opencv() -> Any:
    """OpenCV, on one thread unless the program brought it itself; None where it isn't installed. Raises RuntimeUnavailable
    where it is and can't be loaded.

    Steps of a tenth of a millisecond take longer in strips on several cores, which are for other photos here.
    """
    theirs = sys.modules.get("cv2") is not None
    if not theirs and importlib.util.find_spec("cv2") is None:
        return None
    try:
        import cv2
    except ImportError as error:
        raise RuntimeUnavailable(
            f"OpenCV is installed and can't be loaded: {error}; pip uninstall opencv-python, pip install opencv-python-headless"
        ) from error

    if not theirs:
        cv2.setNumThreads(1)
    else:
        # The threads of its pool aren't there in a child, which would wait for them. 0: none but the calling one; 1 would end those
        # that aren't there.
        call_after_fork(lambda: cv2.setNumThreads(0))
    return cv2


def resize(array: Pixels, box: tuple[float, float, float, float], size: tuple[int, int], factor: int) -> Pixels:
    """`box` (left, top, right, bottom) of an RGB picture, halved to a `factor`-th, as `size` (width, height).

    Linearly to twice the size, then two to one: [a, 1-2a, a] and the mean of each two are [1, 3, 3, 1] / 8 at a = 1/4, the
    triangle at that ratio. Median cosine with Pillow's embeddings 0.9992 (V1) and 0.997 (V2), a third of its time.
    """
    cv2 = opencv()
    left, top, right, bottom = (round(edge) for edge in box)
    picture = _halved(np.ascontiguousarray(array[top : max(bottom, top + 1), left : max(right, left + 1)]), factor)
    high, wide = picture.shape[:2]
    if (wide, high) == size:
        return picture
    result: Pixels
    if wide <= size[0] and high <= size[1]:  # enlarging, where Pillow's filter is plain interpolation, too
        result = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        return result
    ratios = (wide / size[0], high / size[1])
    doubled = (2 * size[0], 2 * size[1])
    if (wide, high) != doubled:
        skips = max(ratios) > _LINEAR_UP_TO
        picture = cv2.resize(picture, doubled, interpolation=cv2.INTER_AREA if skips else cv2.INTER_LINEAR)
    across, down = (_blur_sigma(ratio) for ratio in ratios)
    picture = cv2.GaussianBlur(picture, (3, 3), across, sigmaY=down, borderType=cv2.BORDER_REPLICATE)
    result = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return result


def _halved(picture: Pixels, factor: int) -> Pixels:
    """Averages of whole blocks: OpenCV averages exact multiples with vector instructions and others far slower."""
    if factor == 1:
        return picture
    # A padded sliver may be thinner than the factor.
    down, across = min(factor, picture.shape[0]), min(factor, picture.shape[1])
    high, wide = picture.shape[0] // down, picture.shape[1] // across
    top, left = (picture.shape[0] - high * down) // 2, (picture.shape[1] - wide * across) // 2
    whole = picture[top : top + high * down, left : left + wide * across]
    cv2 = opencv()
    result: Pixels = cv2.resize(whole, (wide, high), interpolation=cv2.INTER_AREA)
    return result


def _blur_sigma(ratio: float) -> float:
    """The sigma whose three-tap Gaussian is [a, 1-2a, a], the blur that is missing to Pillow's filter at this ratio.

    Variances add up, in squared pixels of the result. Pillow's triangle has 1/6 and its sampling at whole source pixels
    1 / (12 ratio^2); linear interpolation to twice the size has 1 / (6 ratio^2) already (none at exactly two to one), the mean
    of two 1/16, and a is for a/2. At most 1/4: where `ratio` is large, the interpolation skips pixels.
    """
    outer = 0.25 if ratio == 2 else min(0.25, max(0.004, 5 / 24 - 1 / (6 * ratio * ratio)))
    return math.sqrt(-0.5 / math.log(outer / (1 - 2 * outer)))
