"""What `joint` learns from: batches of printed packages and of real photos, every product once as a catalogue shows it and once as
it is met."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shelfmatch.models import real
from shelfmatch.models.networks import INPUT_SIDE
from shelfmatch.models.printer import package
from shelfmatch.models.printer.press import Press
from shelfmatch.models.printer.views import PHOTO, Prints, photograph

PRINTED_LABELS: Final = 1 << 40
"""Labels: grocery products from 0, phone classes from 1,000, boxes from 10,000, printed ones from here."""
PHONE_LABELS, BOX_LABELS = 1000, 10_000
PACKAGES: Final = (28, 58)
"""First and last of the grocery dataset's labels that are packages; the others are fruit and vegetables."""
PROXIES: Final = 128


@dataclass(frozen=True)
class Portions:
    """How many products of each kind a batch holds; each gives two pictures."""

    runs: int = 56
    siblings: int = 4
    boxes: int = 56
    grocery: int = 56
    phone: int = 28
    local: int = 192

    def within(self, reals: Reals) -> Portions:
        """These, without the kinds that aren't among the real pictures, and at most as many boxes as there are."""
        there = {min(label // PHONE_LABELS, 2) for label in reals.by_label}
        boxes = min(self.boxes, len(reals.of_kind.get("box", ())))
        return replace(
            self, boxes=boxes, grocery=self.grocery if 0 in there else 0, phone=self.phone if 1 in there else 0
        )

    @property
    def real_pictures(self) -> int:
        """Real ones of a batch, references and queries."""
        return 2 * (self.boxes + self.grocery + self.phone)

    @property
    def pictures(self) -> int:
        """All of a batch."""
        return 2 * self.runs * self.siblings + self.real_pictures


@dataclass
class Batch:
    """Pictures (N, 3, side, side) 0 to 255, their products (N,), and for the last rows, which are real, the rows of
    `Reals`; the first
    half are references, the second queries, in the same order."""

    pixels: Tensor
    labels: Tensor
    rows: Tensor


class Reals:
    """The real pictures as prints on the training device."""

    def __init__(self, path: Path, device: torch.device, most: int | None = None) -> None:
        found: list[Any] = []
        masks, sizes, labels, features, grounds = [], [], [], [], []
        offsets = {"grocery": 0, "iconic": 0, "phone": PHONE_LABELS, "box": BOX_LABELS}
        kinds = []
        for picture, seen in real.read(path):
            if most is not None and len(found) >= most and picture.kind != "ground":
                continue
            if picture.kind == "ground":
                grounds.append(np.asarray(picture.image.resize((real.GROUND_SIDE,) * 2)))
                continue
            canvas = Image.new("RGBA", (package.CANVAS,) * 2)
            image = picture.image
            at = ((package.CANVAS - image.width) // 2, (package.CANVAS - image.height) // 2)
            canvas.paste(image, at)
            cover = Image.new("L", canvas.size)
            mask = Image.new("L", image.size, 255) if picture.mask is None else picture.mask.resize(image.size)
            cover.paste(mask, at)
            found.append(np.asarray(canvas))
            masks.append(np.asarray(cover))
            sizes.append((image.width / package.CANVAS, image.height / package.CANVAS))
            labels.append(offsets[picture.kind] + picture.label)
            kinds.append(picture.kind)
            features.append(seen.astype(np.float32))
        self.pictures = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous().to(device)
        self.masks = torch.from_numpy(np.stack(masks))[:, None].to(device)
        self.sizes = torch.tensor(sizes, device=device)
        self.labels = torch.tensor(labels, device=device)
        self.features = torch.from_numpy(np.stack(features)).to(device)
        self.grounds = torch.from_numpy(np.stack(grounds)).permute(0, 3, 1, 2).contiguous().to(device)
        self.has_mask = self.masks.flatten(1).float().mean(dim=1) < 253 * self.sizes.prod(dim=1)
        names = np.array(kinds)
        self.of_kind = {kind: np.flatnonzero(names == kind) for kind in set(kinds)}
        self.by_label: dict[int, Any] = {}
        for row, label in enumerate(labels):
            self.by_label.setdefault(label, []).append(row)

    def prints(self, rows: Tensor, cut_out: Tensor) -> Prints:
        """The pictures of some rows; where `cut_out` (N,) and a mask is known, without what stood around."""
        cut_out = cut_out & self.has_mask[rows]
        pictures = self.pictures[rows].clone()
        pictures[:, 3:] = torch.where(cut_out[:, None, None, None], self.masks[rows], pictures[:, 3:])
        kind = torch.where(cut_out, 0, PHOTO)
        return Prints(pictures, pictures, self.sizes[rows], self.sizes[rows], kind)


def hardness(n: int, query: bool, like: Tensor) -> Tensor:
    """(n,) how hard a view is, 0 to 1: any for queries; catalogues have clean pictures for the most part, a shop's
    own photos otherwise."""
    draw = torch.rand(n, device=like.device)
    if query:
        return 0.2 + 0.8 * draw
    return torch.where(torch.rand(n, device=like.device) < 0.7, draw * 0.3, 0.25 + draw * 0.5)


class Mixer:
    """Batches of what the press prints and of real photos."""

    def __init__(self, press: Press, reals: Reals, portions: Portions, seed: int) -> None:
        self.press, self.reals, self.portions = press, reals, portions
        self.rng = np.random.default_rng(seed)
        counts = {label: len(rows) for label, rows in reals.by_label.items()}
        self.classes = {
            "grocery": [label for label in counts if label < PHONE_LABELS],
            "phone": [label for label in counts if PHONE_LABELS <= label < BOX_LABELS],
        }
        self.shares = {
            kind: np.array([counts[label] ** 0.5 for label in labels]) for kind, labels in self.classes.items()
        }

    @property
    def printed(self) -> int:
        """Packages printed so far."""
        return self.press.printed

    def close(self) -> None:
        """End the printing."""
        self.press.close()

    def _pairs(self, kind: str, count: int) -> tuple[list[int], list[int]]:
        """Rows of references and of queries, two pictures of a class each."""
        labels, shares = self.classes[kind], self.shares[kind]
        if not labels:
            return [], []
        references, queries = [], []
        iconic = set(self.reals.of_kind.get("iconic", ()))
        for label in self.rng.choice(labels, count, p=shares / shares.sum()):
            rows = self.reals.by_label[int(label)]
            plain = [row for row in rows if row in iconic]
            photos = [row for row in rows if row not in iconic] or rows
            query, other = self.rng.choice(photos, 2, replace=len(photos) < 2)
            queries.append(int(query))
            references.append(plain[0] if plain and self.rng.random() < 0.45 else int(other))
        return references, queries

    def batch(self) -> Batch:
        """One batch."""
        portions, reals = self.portions, self.reals
        printed, products = self.press.draw(portions.runs, portions.siblings)
        grocery, phone = self._pairs("grocery", portions.grocery), self._pairs("phone", portions.phone)
        boxes = reals.of_kind.get("box", np.zeros(0, np.int64))
        box = self.rng.choice(boxes, min(portions.boxes, len(boxes)), replace=False).tolist()
        rows = [
            torch.tensor(box + grocery[side] + phone[side], device=products.device, dtype=torch.long) for side in (0, 1)
        ]
        halves = []
        for query in (False, True):
            n = len(printed)
            like = printed.size
            hard = hardness(n, query, like)
            shown = [photograph(printed, hard, INPUT_SIDE, reals.grounds, printed)]
            chosen = rows[int(query)]
            cut_out = torch.rand(len(chosen), device=like.device) < 0.4
            hard = hardness(len(chosen), query, like) * torch.where(reals.labels[chosen] < PHONE_LABELS, 0.7, 1.0)
            real_prints = reals.prints(chosen, cut_out)
            self._flip(real_prints, chosen)
            shown.append(photograph(real_prints, hard, INPUT_SIDE, reals.grounds, printed))
            halves.append(torch.cat(shown))
        labels = [torch.cat([products + PRINTED_LABELS, reals.labels[chosen]]) for chosen in rows]
        return Batch(torch.cat(halves), torch.cat(labels), torch.cat(rows))

    def _flip(self, prints: Prints, rows: Tensor) -> None:
        """Fruit may be seen mirrored; print is not."""
        label = self.reals.labels[rows]
        fruit = (
            (label < PHONE_LABELS)
            & ((label < PACKAGES[0]) | (label > PACKAGES[1]))
            & (torch.rand(len(rows), device=rows.device) < 0.5)
        )
        prints.front = torch.where(fruit[:, None, None, None], prints.front.flip(3), prints.front)
