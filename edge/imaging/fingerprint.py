"""What a picture looks like in 200 bytes: enough to find the same picture again, in another size or saved anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .image import Pixels
from .quality import DARK, LOW_CONTRAST, Luma, luma

HASH_BYTES: Final = 8
_SIDE: Final = 32
_CELLS: Final = 8
FINGERPRINT_BYTES: Final = HASH_BYTES + 3 * _CELLS**2
_STEP: Final = 3
"""Grey levels that count as darker: without, JPEG's noise would write the hash of a white background."""
_MOST_BITS: Final = 4
_MEAN_LEVELS: Final = 2.5
_MOST_LEVELS: Final = 16
"""By how much the same picture may differ: in bits of the hash, and in grey levels of the cells, on average and at most. All 81
packshots and 156 train photos of the Grocery Store Dataset, saved as JPEG and WebP at quality 60 and in half the size: at most 3
bits, 1.3 levels on average and 12 at most; no two different ones of them were taken for the same. Two flavours of one design differ
by more where their colour is."""
BLANK_LEVELS: Final = 3.0
"""Standard deviation of the grey levels of a picture that shows nothing: an empty page with JPEG's noise has under 2."""

Fault: TypeAlias = Literal["dark", "blank"]


@dataclass(frozen=True, slots=True)
class Look:
    """`fingerprint`: 8 bytes of difference hash, then 8x8 cells of RGB; `fault`: "dark" or "blank" where a picture shows too little
    to tell a product by."""

    fingerprint: bytes
    fault: Fault | None = None


def look_of(pixels: Pixels) -> Look:
    """Look at a picture: (H, W, 3) uint8 RGB, at least 9x8. About 1 ms at 224x224.

    The hash is of N. Krawetz 2013, "Kind of like that" (dHash): whether each of 9x8 grey cells is darker than the next.
    """
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = np.asarray(small.convert("L").resize((_CELLS + 1, _CELLS), Image.Resampling.BOX), np.int16)
    bits = np.packbits(grey[:, 1:] > grey[:, :-1] + _STEP)
    cells = np.asarray(small.resize((_CELLS, _CELLS), Image.Resampling.BOX), np.uint8)
    return Look(bits.tobytes() + cells.tobytes(), _fault(luma(np.asarray(small))))


def _fault(grey: Luma) -> Fault | None:
    """`quality`'s limits for what look-again should mend; dark counts only where the contrast is low as well: a black product on
    black may be well lit."""
    if float(grey.std()) < BLANK_LEVELS:
        return "blank"
    low, high = np.percentile(grey, [1, 99])
    return "dark" if float(grey.mean()) < DARK and float(high - low) < LOW_CONTRAST else None


def words_of(fingerprints: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """(N, 200) fingerprints → (N, 4), their hashes in words: of two that differ in at most three bits, one word at least is the
    same."""
    return np.ascontiguousarray(fingerprints[:, :HASH_BYTES]).view(np.uint16)


def are_same_pictures(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(N,): whether two fingerprints, each (N, 200), are of one picture, perhaps in two sizes or saved twice."""
    bits = np.unpackbits(one[:, :HASH_BYTES] ^ other[:, :HASH_BYTES], axis=1).sum(axis=1)
    same: NDArray[np.bool_] = bits <= _MOST_BITS
    near = np.flatnonzero(same)
    apart = np.abs(one[near, HASH_BYTES:].astype(np.int16) - other[near, HASH_BYTES:])
    same[near] = (apart.mean(axis=1) <= _MEAN_LEVELS) & (apart.max(axis=1) <= _MOST_LEVELS)
    return same


def is_same_picture(one: bytes, other: bytes) -> bool:
    """`are_same_pictures` of two."""
    rows = [np.frombuffer(fingerprint, np.uint8)[np.newaxis] for fingerprint in (one, other)]
    return bool(are_same_pictures(rows[0], rows[1])[0])
