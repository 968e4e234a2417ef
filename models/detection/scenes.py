"""Scenes without end, rendered and real, in the portions that the detector is trained with."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shelfmatch.models.detection import faces, real, rooms
from shelfmatch.models.detection.camera import photographed
from shelfmatch.models.detection.canvas import Scene
from shelfmatch.models.detection.exchange import exchanged
from shelfmatch.models.detection.faces import Faces
from shelfmatch.models.detection.shelves import shelf

PORTIONS: Final = {
    "shelf": 0.37, "held": 0.14, "heap": 0.06, "group": 0.06, "phone": 0.24, "fridge": 0.08, "nothing": 0.05,
}  # fmt: skip
"""Shares of the scenes' kinds."""
EXCHANGED: Final = 0.6
"""The share of phone photos that show other products in the places of their own."""


@dataclass(frozen=True)
class Source:
    """What scenes are made of."""

    products: Faces
    phone: list[real.Photo]
    fridge: list[real.Photo]
    grounds: NDArray[np.uint8]

    def scene(self, rng: np.random.Generator, side: int, kind: str = "") -> Scene:
        """A scene of a kind, or of one drawn by its share, photographed."""
        kind = kind or str(rng.choice(list(PORTIONS), p=list(PORTIONS.values())))
        if kind == "shelf":
            found = shelf(self.products, rng, side)
        elif kind == "held":
            found = rooms.held(self.products, rng, side, self.grounds)
        elif kind == "heap":
            found = rooms.heap(self.products, rng, side, self.grounds)
        elif kind == "group":
            found = rooms.group(self.products, rng, side, self.grounds)
        elif kind == "nothing":
            found = rooms.nothing(rng, side, self.grounds)
        else:
            photos = self.phone if kind == "phone" else self.fridge
            photo = photos[rng.integers(len(photos))]
            if photo.outlines and rng.random() < EXCHANGED:
                other = exchanged(photo.pixels, list(photo.outlines), self.products, rng)
                photo = dataclasses.replace(photo, pixels=other)
            found = real.seen(photo, rng, side)
        return Scene(photographed(found.pixels, rng), found.boxes, found.kinds, found.complete)


def source_of_photos(data: Path, count: int) -> Source:
    """Scenes whose products are real cut-outs alone, the first ones that train: made of DATA, without a stock of typefaces."""
    phone, fridge = real.photos(data)
    products = faces.gathered(list(itertools.islice(faces.real_faces(data, "train"), count)))
    return Source(products, phone, fridge, real.grounds(phone + fridge, 7))


def source(folder: Path, data: Path, part: str = "train") -> Source:
    """Faces from the folder that `faces` filled; photos that may train."""
    phone, fridge = real.photos(data)
    return Source(faces.read(folder, part), phone, fridge, real.grounds(phone + fridge, 7))
