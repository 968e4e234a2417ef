"""The heat map of the evidence (occlusion): parts of the photo are covered one by one, and the matched product's score read.

Occlusion sensitivity (Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2): it asks the
encoder and nothing else, so it works for every network and every runtime.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..catalog.attributes import Where
from ..detection.crops import Photo
from ..errors import CatalogError, ImageError
from ..imaging.decode import decode, read_photo
from ..imaging.image import DEFAULT_LIMITS, Decoded, ImageSource, Limits, Pixels, upright
from ..imaging.resize import fit, placed
from ..scoring.fusion import Allowed
from .look_again import AS_IT_CAME, variants_of
from .passes import allowed_each, pixels_for
from .pipeline import match

if TYPE_CHECKING:
    from ..catalog.product import Reference
    from ..encoders.card import EncoderCard
    from .finder import Locator
    from .results import MatchResult
    from .snapshot import Branch, Snapshot

Heat: TypeAlias = NDArray[np.float32]

GRID = (8, 8)
"""(rows, columns) of patches: 64 runs of the encoder, 0.3 to 0.8 s with a MobileNet on one core."""
PATCH_CELLS = 2
"""A patch's side in cells of the grid. Neighbours overlap by half, so that a detail on a cell's edge is covered whole once."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A match and its heat map. `heat` (rows, columns) float32: how much the matched product's score (a cosine) drops when
    that part of the photo is covered; negative where covering it helps. All zero where the shop has
    nothing to match. It lies on `basis`: the query, or what look-again made of it."""

    result: MatchResult
    heat: Heat
    query: Image.Image = field(repr=False)
    basis: Image.Image = field(repr=False)
    seen: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    reference: Image.Image | None = field(default=None, repr=False)
    reference_label: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The result's document with the heat map's rows under "heat"."""
        rows = [[round(float(value), 4) for value in row] for row in self.heat]
        return {**self.result.to_dict(), "heat": rows, "reference": self.reference_label or None}

    def picture(self) -> Image.Image:
        """Query, heat map and reference side by side, with confidence and runner-up, RGB."""
        from .explanation_card import draw, with_box

        again, located = self.result.look_again, self.result.located
        mended = again.variant if again and located is None and self.basis is not self.query else ""
        return draw(
            self.result,
            query=self.query if located is None else with_box(self.query, located.box),
            heated_picture=(self.basis, self.heat, self.seen),
            mended=mended,
            reference=self.reference,
            reference_label=self.reference_label,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture; the file's ending (.png, .jpg, .webp) is its format. Raises ImageError for another ending, or a place
        where it can't be written."""
        from .explanation_card import write_picture

        write_picture(self.picture(), path)


def explain(
    snapshot: Snapshot,
    image: ImageSource,
    *,
    photos: str | os.PathLike[str] | None = None,
    grid: tuple[int, int] = GRID,
    top_k: int = 5,
    where: Where | None = None,
    labels: Sequence[str] = (),
    limits: Limits = DEFAULT_LIMITS,
    look_again: bool = True,
    locate: Locator | None = None,
) -> Explanation:
    """Match a photo and explain the best candidate, accepted or not, as `Matcher.explain` does. Raises ImageError, CatalogError."""
    result = match(
        snapshot, image, top_k=top_k, where=where, labels=labels, limits=limits, look_again=look_again, locate=locate
    )
    card, resizer = snapshot.encoder.card, snapshot.encoder.resizer
    decoded = decode(image, None, limits)
    whole = query = upright(decoded)
    if result.located is not None:  # the answer rests on that part
        decoded = Decoded(Photo(query, limits).part(result.located.box))
        query = upright(decoded)
    basis, pixels, seen = query, fit(decoded, card, resizer), seen_by(card, query.size)
    if result.located is None and result.look_again is not None and result.look_again.variant:
        # The mended photo gave the match: that is what to cover, and to show.
        named = {variant.name: variant.pixels for variant in variants_of(decoded, card, resizer)[1]}
        if result.look_again.variant != AS_IT_CAME:
            pixels, seen = named[result.look_again.variant], (0.0, 0.0, 1.0, 1.0)
            basis = Image.fromarray(pixels)
    if not result.candidates:
        return Explanation(result, np.zeros(grid, np.float32), whole, basis, seen)
    evidence = _Evidence(snapshot, result)
    heat = occlusion(pixels, evidence.scores_of, grid)
    product_id = snapshot.catalog.product_id(result.candidates[0].sku)
    references = snapshot.catalog.references(product_id) if product_id is not None else []
    places = {number: place for place, number in enumerate(evidence.nearest)}
    found = find_reference_photo(sorted(references, key=lambda one: places.get(one.id, len(places))), photos)
    if found is None:
        return Explanation(result, heat, whole, basis, seen)
    return Explanation(result, heat, whole, basis, seen, upright(decode(found[0], None, limits)), found[1])


class _Evidence:
    """The best product's scores in pictures of the first encoder's size, by the branches that gave a match.

    `nearest`: ids of the product's references, the nearest to the first picture first, once `scores_of` was asked.
    """

    def __init__(self, snapshot: Snapshot, result: MatchResult) -> None:
        self._snapshot = snapshot
        self._own = allowed_each(snapshot, {"sku": result.candidates[0].sku})
        mended = result.look_again is not None and bool(result.look_again.variant)
        self._all_branches = bool(result.second_encoder) or mended
        self.nearest: list[int] = []

    def scores_of(self, pictures: Sequence[Pixels]) -> list[float]:
        """One a picture; 0 for one that says nothing. The first picture is the uncovered one."""
        first, own = self._snapshot.branches[0], self._own[0]
        scores = _scores_by(first, pictures, own)
        if not self.nearest and own is not None:
            embedding = first.encoder.embed_batch(pictures[:1])[0]
            if embedding.any():
                found, _ = first.gallery.index.search(first.gallery.adapted(embedding), int(own.sum()), allowed=own)
                self.nearest.extend(int(number) for number in found[0])
        cascade = self._snapshot.cascade
        if cascade is None or not self._all_branches:
            return scores
        scores = [cascade.weights[0] * score for score in scores]
        others = zip(self._snapshot.branches[1:], self._own[1:], cascade.weights[1:], strict=True)
        for branch, allowed, weight in others:
            seen = [pixels_for(branch.encoder, first.encoder, picture) for picture in pictures]
            more = _scores_by(branch, seen, allowed)
            scores = [score + weight * other for score, other in zip(scores, more, strict=True)]
        return scores


def _scores_by(branch: Branch, pictures: Sequence[Pixels], own: Allowed) -> list[float]:
    """The best score of one product's references, or of its prototype, in each picture; 0 for one that says nothing."""
    return [
        branch.gallery.rank(branch.gallery.adapted(embedding), 1, own)[0][1] if embedding.any() else 0.0
        for embedding in branch.encoder.embed_batch(pictures)
    ]


def seen_by(card: EncoderCard, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of a picture of (width, height) that the encoder's input covers: left, top, right, bottom as shares of the picture,
    beyond 0 and 1 where the input is padded."""
    if card.resize in ("squash", "squash-crop"):
        half = card.crop_fraction / 2 if card.resize == "squash-crop" else 0.5
        return 0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half
    if card.resize == "pad":
        left, top, wide, high = placed(size, card)
        return -left / wide, -top / high, (card.width - left) / wide, (card.height - top) / high
    scale = min(size[0] / card.width, size[1] / card.height) * card.crop_fraction
    across, down = card.width * scale / size[0] / 2, card.height * scale / size[1] / 2
    return 0.5 - across, 0.5 - down, 0.5 + across, 0.5 + down


def occlusion(pixels: Pixels, scores_of: Callable[[Sequence[Pixels]], Sequence[float]], grid: tuple[int, int]) -> Heat:
    """Drop of a score under patches of the picture's mean colour: (rows, columns) float32.

    `pixels`: (H, W, 3) uint8 as the encoder takes them; `scores_of` gives one score a picture. Raises ImageError for a grid
    finer than the pixels.
    """
    rows, columns = grid
    high, wide = pixels.shape[:2]
    if not (1 <= rows <= high and 1 <= columns <= wide):
        raise ImageError(f"a heat map of {rows}x{columns} arrived; expected 1x1 to {high}x{wide}, the encoder's pixels")
    scores = np.asarray(scores_of([pixels, *_covered(pixels, grid)]), np.float32)
    heat: Heat = (scores[0] - scores[1:]).reshape(rows, columns)
    return heat


def _covered(pixels: Pixels, grid: tuple[int, int]) -> Iterator[Pixels]:
    rows, columns = grid
    high, wide = pixels.shape[:2]
    colour = np.rint(pixels.reshape(-1, 3).mean(axis=0)).astype(np.uint8)
    for row in range(rows):
        top, bottom = _span(row, rows, high)
        for column in range(columns):
            left, right = _span(column, columns, wide)
            covered = pixels.copy()
            covered[top:bottom, left:right] = colour
            yield covered


def _span(cell: int, cells: int, length: int) -> tuple[int, int]:
    """From where to where a patch reaches: around the cell's middle, at least one pixel, inside the picture."""
    middle, half = (cell + 0.5) * length / cells, PATCH_CELLS * length / cells / 2
    first = max(0, round(middle - half))
    return first, min(length, max(first + 1, round(middle + half)))


def find_reference_photo(
    references: Sequence[Reference], folder: str | os.PathLike[str] | None
) -> tuple[bytes, str] | None:
    """The first reference whose photo lies in the catalogue's folder with the bytes that were catalogued: (bytes, label).

    None without a folder, or where no photo is there any more. Raises CatalogError if the folder isn't one.
    """
    if folder is None:
        return None
    root = Path(folder)
    listed: dict[str, list[Path]] = {}
    if root.is_file():  # the CSV that the shop was built from, which knows of photos outside its folder
        from ..catalog.source import read_source

        for photo in read_source(root).photos:
            listed.setdefault(photo.label, []).append(photo.path)
        root = root.parent
    if not root.is_dir():
        raise CatalogError(f"{folder} is not a folder; expected the one that the bundle was built from")
    for reference in references:
        for path in listed.get(reference.photo, [root / reference.photo]):
            with contextlib.suppress(ImageError):
                data = read_photo(path)
                if hashlib.sha256(data).digest() == reference.photo_sha256:
                    return data, reference.photo
    return None
