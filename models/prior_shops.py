"""Shops drawn from a pool of pictures: what their held-out queries scored, and what real ones did.

    python models/prior_shops.py POOL.npz ENCODER SHOPS.pkl --count 600 --seed 1

POOL.npz is what `prior_pool.py` embedded with ENCODER. A shop takes some products of one kind, one to ten pictures each; its
queries
are other pictures of them, and of the products it doesn't have. The adapter is chosen, photos are held out and compared part by
part by the code of a build; only how many queries are looked at is less.
"""

from __future__ import annotations

import argparse
import pickle
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shelfmatch.edge.encoders.local import LocalHead, find_local
from shelfmatch.edge.encoders.registry import find_encoders
from shelfmatch.edge.fitting.adapter_fit import fit
from shelfmatch.edge.fitting.calibration import Samples
from shelfmatch.edge.fitting.discriminant import reduced
from shelfmatch.edge.fitting.held_out import Choice, Mask, rounds, scores_under
from shelfmatch.edge.fitting.local_fit import VIEW_WEIGHT, Described, Round, asked_round
from shelfmatch.edge.fitting.pictures import Pictures, has_second_photos
from shelfmatch.edge.fitting.prior import Facts
from shelfmatch.edge.imaging.views import PHOTO_VIEWS, views_per_photo
from shelfmatch.edge.scoring.local import undescribed

KINDS: Final = {"rendered": 0.35, "printed": 0.33, "box": 0.16, "grocery": 0.11, "phone": 0.05}
"""Of which goods how many shops are made. Photos that the encoders trained on are too easy for them: they are fewer."""
PHOTOS: Final = {"rendered": (1, 1, 1, 2, 3, 4), "printed": (1, 1, 1, 2, 3, 4), "box": (1,),
                 "grocery": (1, 2, 3, 4, 6, 10), "phone": (1, 2, 3, 4, 6, 10)}  # fmt: skip
CAMERAS: Final = ((1, 2), (2, 3), (3, 4), (1, 2, 3, 4))
"""Places of the pool, in the order of their difficulty, that a shop's queries of rendered and printed goods are taken from. A shop
has one camera: were its queries of all difficulties, the easiest of the unknown ones would set the threshold."""
WHOLE_FAMILIES = 0.5
"""Of the shops that lack whole product lines. In the others lines are torn apart: unknown products are variants of those in the
catalogue, which little tells from them (printed goods: AUROC .65), and the shops of such a kind set the threshold of all."""
FEWEST, MOST = 2, 300
MOST_QUERIES, MOST_A_ROUND = 60, 20
WITHOUT_ADAPTER = 0.15
"""Of the shops that are built with `--adapt off`."""


@dataclass(frozen=True)
class Drawn:
    """A shop: `facts`, and under "search" and "local" (where the encoder has a head) the (known, unknown) samples of its held-out
    queries and of real ones."""

    kind: str
    facts: Facts
    held: dict[str, tuple[Samples, Samples]]
    real: dict[str, tuple[Samples, Samples]]


class Pool:
    """The pool's arrays, and the encoder's local head."""

    def __init__(self, file: Path, encoder: str) -> None:
        self.arrays: dict[str, Any] = dict(np.load(file))
        ((card, model),) = find_encoders(encoder, None, "auto")
        self.head: LocalHead | None = find_local(model, card.sha256) if "cells" in self.arrays else None

    def draw(
        self, random: np.random.Generator, kind: str, products: int, photos: int
    ) -> tuple[list[NDArray[np.intp]], NDArray[np.intp], NDArray[np.intp]]:
        """Rows of each product's catalogue photos, of the queries that show one of them, and of those that don't."""
        names, places = self.arrays["products"], self.arrays["places"]
        own = np.flatnonzero(self.arrays["kinds"] == kind)
        listed = np.unique(names[own])
        chosen = _chosen(random, listed, min(products, int(len(listed) * 0.75)))
        plain_first = kind in ("rendered", "printed", "box") or (photos == 1 and random.random() < 0.5)
        catalogue, known, unknown = [], [], []
        seen = places > 0
        if kind in ("rendered", "printed"):
            seen = np.isin(places, CAMERAS[random.integers(len(CAMERAS))])
        for name in listed:
            rows = random.permutation(own[names[own] == name])
            if name not in chosen:
                unknown.append(rows[seen[rows]])
                continue
            if plain_first:
                rows = rows[np.argsort(places[rows] > 0, kind="stable")]
            catalogue.append(rows[:photos])
            known.append(rows[photos:][seen[rows[photos:]]])
        return catalogue, np.concatenate(known), np.concatenate(unknown)

    def pictures(self, catalogue: list[NDArray[np.intp]], views: int) -> tuple[Pictures, Described | None]:
        """As `Enrolled.pictures` gives them, and their cells."""
        rows = np.concatenate(catalogue)
        counts = [len(own) for own in catalogue]
        products = np.repeat(np.arange(len(catalogue)), counts)
        stored = self.arrays["vectors"][rows][:, : 1 + views].astype(np.float32)
        photos = np.arange(len(rows))
        stacked = np.concatenate([stored[:, 0], stored[:, 1:].reshape(len(rows) * views, stored.shape[2])])
        pictures = Pictures(
            stacked / np.linalg.norm(stacked, axis=1, keepdims=True),
            np.concatenate([products, np.repeat(products, views)]),
            np.concatenate([photos, np.repeat(photos, views)]),
            np.repeat([False, True], [len(rows), len(rows) * views]),
            np.concatenate([self.arrays["is_packshot"][rows], np.zeros(len(rows) * views, bool)]),
        )
        if self.head is None:
            return pictures, None
        cells = self.arrays["cells"][rows][:, : 1 + views]
        flat = np.concatenate([cells[:, 0], cells[:, 1:].reshape(len(rows) * views, cells.shape[2])])
        ids = (products.astype(np.uint32) << 12) | np.concatenate([np.arange(n) for n in counts]).astype(np.uint32)
        return pictures, _described(
            ids[pictures.photos].astype(np.uint32), *undescribed(flat, self.head.card.cell_numbers)
        )

    def shop(self, random: np.random.Generator, kind: str, products: int, photos: int, adapt: bool) -> Drawn | None:
        """A shop and its queries, None where there are too few of them."""
        catalogue, known, unknown = self.draw(random, kind, products, photos)
        if min(len(known), len(unknown)) < 3:
            return None
        count, rows = sum(map(len, catalogue)), np.concatenate(catalogue)
        views = views_per_photo(count, len(catalogue)) if adapt or count < 2 * len(catalogue) else 0
        if (self.arrays["places"][rows] > 0).any():
            views = min(views, PHOTO_VIEWS)  # more weren't made of them
        pictures, described = self.pictures(catalogue, views)
        choice: Choice = (None, "max")
        if adapt:
            chosen = fit(pictures).adaptation
            choice = (chosen.shrinkage if chosen.method == "lda" else None, chosen.scoring)
        by_photo = has_second_photos(pictures)
        facts = Facts(len(catalogue), by_photo, float(pictures.is_packshot[~pictures.is_view].mean()), choice[0])
        space = reduced(pictures)
        held = [
            self._asked(pictures, described, space, choice, gallery, _some(random, queried, out), out)
            for gallery, queried, out in (
                rounds(pictures, space, by_photo) if len(catalogue) > 1 and count + views > 1 else ()
            )
            if len(np.unique(pictures.products[gallery & ~pictures.is_view])) > 1
        ]
        asked = np.concatenate([_few(random, known), _few(random, unknown)])
        names = {self.arrays["products"][own[0]]: place for place, own in enumerate(catalogue)}
        truth = np.array([names.get(name, -1) for name in self.arrays["products"][asked]])
        joined, cells = self._beside(pictures, described, asked, truth)
        queried = np.arange(len(joined)) >= len(pictures)
        real = self._asked(
            joined, cells, _space_of(pictures, joined), choice, ~queried, queried, queried & (joined.products < 0)
        )
        return Drawn(kind, facts, _samples(held, self.head), _samples([real], self.head))

    def _beside(
        self, pictures: Pictures, described: Described | None, rows: NDArray[np.intp], truth: NDArray[Any]
    ) -> tuple[Pictures, Described | None]:
        """The shop's pictures with the queries behind them, which count as views: no gallery takes them."""
        vectors = self.arrays["vectors"][rows, 0].astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        made = np.ones(len(rows), bool)
        places = np.full(len(rows), -1)
        more = (vectors, truth, places, made, ~made)
        names = ("vectors", "products", "photos", "is_view", "is_packshot")
        columns: list[Any] = [
            np.concatenate([getattr(pictures, name), added]) for name, added in zip(names, more, strict=True)
        ]
        joined = Pictures(*columns)
        joined = replace(
            joined,
            references={
                -1: 0,
                **{int(p): int(pictures.references_of(np.array([p]))[0]) for p in np.unique(pictures.products)},
            },
        )
        if described is None or self.head is None:
            return joined, None
        theirs = undescribed(np.ascontiguousarray(self.arrays["cells"][rows, 0]), self.head.card.cell_numbers)
        ids = np.concatenate([described.ids, np.zeros(len(rows), np.uint32)])
        own = described.of(np.arange(len(pictures)))
        both: list[Any] = [np.concatenate([mine, their]) for mine, their in zip(own, theirs, strict=True)]
        return joined, _described(ids, *both)

    def _asked(
        self,
        pictures: Pictures,
        described: Described | None,
        space: Any,
        choice: Choice,
        gallery: Mask,
        queried: Mask,
        out: Mask,
    ) -> Round:
        """Queries against a gallery, by the search and part by part."""
        if described is not None and self.head is not None:
            return asked_round(pictures, described, self.head, space, choice, gallery, queried, out)
        labels, scores = scores_under(pictures, space, choice, gallery, queried)
        counts = pictures.references_of(labels)
        return Round(labels, counts, scores, np.zeros_like(scores), pictures.products[queried], out[queried])


def _chosen(random: np.random.Generator, listed: NDArray[Any], count: int) -> set[str]:
    """Names of the products of a shop: any, or whole families of them (the last one cut to the count)."""
    if random.random() >= WHOLE_FAMILIES:
        return set(random.choice(listed, count, replace=False).tolist())
    families = np.array([family_of(name) for name in listed.tolist()])
    order = random.permutation(np.unique(families))
    rank = {family: place for place, family in enumerate(order.tolist())}
    sorted_by_family = listed[np.argsort([rank[family] for family in families.tolist()], kind="stable")]
    return set(sorted_by_family[:count].tolist())


def family_of(name: str) -> str:
    """The product line of a pool's product: of printed goods what stands before the variant, of rendered ones their seed in eights
    (`synthetic.products.make_product`); other products have none."""
    line, _, number = name.rpartition("-")
    if not line or not number.isdigit():
        return name
    return line if line.isdigit() else f"{line}-{int(number) // 8}"


def _described(ids: NDArray[np.uint32], vectors: NDArray[np.int8], lengths: NDArray[np.float16]) -> Described:
    return Described(ids, lambda places: (vectors[places], lengths[places]))


def _space_of(pictures: Pictures, joined: Pictures) -> Any:
    """All rows of `joined` in the components of `pictures`, which are its first ones."""
    from shelfmatch.edge.fitting.discriminant import centers, principal

    mean, packshot_mean = centers(pictures)
    rows = pictures.vectors - np.where(pictures.is_packshot[:, np.newaxis], packshot_mean, mean)
    everything = joined.vectors - np.where(joined.is_packshot[:, np.newaxis], packshot_mean, mean)
    return everything @ principal(rows)


def _samples(held: list[Round], head: LocalHead | None) -> dict[str, tuple[Samples, Samples]]:
    stages = {"search": 0.0} if head is None else {"search": 0.0, "local": VIEW_WEIGHT}
    empty = (Samples.empty(), Samples.empty())
    found = {}
    for stage, weight in stages.items():
        parts = [one.samples(weight) for one in held] or [empty]
        found[stage] = (Samples.joined([part[0] for part in parts]), Samples.joined([part[1] for part in parts]))
    return found


def _some(random: np.random.Generator, queried: Mask, out: Mask) -> Mask:
    """At most MOST_A_ROUND of the known queries and of the unknown ones."""
    chosen = np.zeros(len(queried), bool)
    for kind in (queried & ~out, queried & out):
        rows = np.flatnonzero(kind)
        chosen[random.choice(rows, min(MOST_A_ROUND, len(rows)), replace=False)] = True
    return chosen


def _few(random: np.random.Generator, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return random.choice(rows, min(MOST_QUERIES, len(rows)), replace=False)


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Draw shops from a pool of pictures.")
    parser.add_argument("pool", type=Path)
    parser.add_argument("encoder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=MOST, help="products of a shop")
    options = parser.parse_args()
    pool, random, started = Pool(options.pool, options.encoder), np.random.default_rng(options.seed), time.monotonic()
    shops: list[Drawn] = []
    while len(shops) < options.count:
        kind = str(random.choice(list(KINDS), p=list(KINDS.values())))
        products = round(float(np.exp(random.uniform(np.log(FEWEST), np.log(options.most)))))
        photos = int(random.choice(PHOTOS[kind]))
        found = pool.shop(
            random,
            kind,
            min(products, 4) if kind == "phone" else products,
            photos,
            bool(random.random() > WITHOUT_ADAPTER),
        )
        if found is not None:
            shops.append(found)
            if len(shops) % 20 == 0:
                print(len(shops), f"{time.monotonic() - started:.0f} s", flush=True)
                options.out.write_bytes(pickle.dumps(shops))
    options.out.write_bytes(pickle.dumps(shops))


if __name__ == "__main__":
    main()
