"""Ids of references: the product's id, then the photo's number. The product of a hit needs no look-up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PHOTO_BITS = 12
"""A reference's id is its product's id, then its photo's number in 12 bits: the product of a hit needs no look-up."""
MAX_PHOTOS = 1 << PHOTO_BITS
MAX_PRODUCTS = (1 << (32 - PHOTO_BITS)) - 1
"""One fewer than fit, since the index keeps the last id for itself."""


def product_of(reference_ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Reference ids → product ids."""
    products: NDArray[np.uint32] = reference_ids >> np.uint32(PHOTO_BITS)
    return products
