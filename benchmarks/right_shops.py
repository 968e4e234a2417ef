"""Shops that issue bars of "right answers" are measured on: built and asked as a shop's owner would, at several rates.

Used by `right_answers.py`. What a bundle answered is kept as confidences, so that one build serves every rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import goods
import numpy as np
from PIL import Image, ImageEnhance
from real_goods import Answers, _judged, catalogue_csv

BINS = 15
UNKNOWN_SHARE = 0.03


def built(shop: goods.Shop, encoder: Path, bundle: Path, **settings: Any) -> Any:
    """Build the shop's bundle; the report."""
    from shelfmatch.edge import build_bundle

    bundle.parent.mkdir(parents=True, exist_ok=True)
    return build_bundle(catalogue_csv(shop, bundle.parent), bundle, encoder=encoder, **settings)


def asked(shop: goods.Shop, bundle: Path, *, local: bool = True) -> Answers:
    """All its queries, asked."""
    from shelfmatch.edge import Matcher

    with Matcher.open(bundle, local=local) as matcher:
        return _judged(shop, list(matcher.match_many([path for path, _ in shop.queries], top_k=2)))


def at_rates(shop: goods.Shop, encoder: Path, bundle: Path, rates: Sequence[float]) -> dict[float, Answers]:
    """What the shop answers at each rate of false accepts; built once, then tuned."""
    from shelfmatch.edge import tune_bundle

    built(shop, encoder, bundle, false_accept=rates[0])
    found = {}
    for rate in rates:
        if rate != rates[0]:
            tune_bundle(bundle, rate)
        found[rate] = asked(shop, bundle)
    return found


def with_pictures(shop: goods.Shop, count: int, random: np.random.Generator) -> goods.Shop:
    """The shop with so many catalogue pictures a product (0: all)."""
    if not count:
        return shop
    kept = []
    for sku in shop.skus:
        own = [one for one in shop.catalogue if one[1] == sku]
        kept += [own[place] for place in sorted(random.permutation(len(own))[:count].tolist())]
    return dataclasses.replace(shop, kind=f"{shop.kind}, {count} a product", catalogue=tuple(kept))


def part_of(shop: goods.Shop, products: int, queries: int, random: np.random.Generator) -> goods.Shop:
    """A shop of fewer products, where it has more, and at most so many queries (0: all of both)."""
    skus = list(shop.skus)
    if products and products < len(skus):
        skus = sorted(random.choice(skus, products, replace=False).tolist())
    chosen = set(skus)
    asked_of = [one for one in shop.queries if one[1] in chosen]
    if queries and queries < len(asked_of):
        asked_of = [asked_of[place] for place in sorted(random.permutation(len(asked_of))[:queries].tolist())]
    catalogue = tuple(one for one in shop.catalogue if one[1] in chosen)
    return dataclasses.replace(shop, catalogue=catalogue, queries=tuple(asked_of))


def draws(shop: goods.Shop, count: int, seed: int) -> Iterator[goods.Shop]:
    """Draws with a quarter of the products left out; their queries stay, as unknown ones."""
    for gone in goods.quarters(shop, count, seed):
        yield shop.without(gone)


def darkened(shop: goods.Shop, work: Path) -> goods.Shop:
    """The same shop, its queries as a camera in a dark corner gives them: a quarter of the light, with the noise of it."""
    folder, queries = work / "dark", []
    folder.mkdir(exist_ok=True)
    for number, (path, sku) in enumerate(shop.queries):
        place = folder / f"{path.parent.name}-{path.stem}.jpg"
        if not place.exists():
            with Image.open(path) as image:
                dim = np.asarray(ImageEnhance.Brightness(image.convert("RGB")).enhance(0.25), float)
            noise = np.random.default_rng([18, number]).normal(0, 4, (*dim.shape[:2], 1))
            Image.fromarray((dim + noise).clip(0, 255).astype(np.uint8)).save(place, quality=88)
        queries.append((place, sku))
    return dataclasses.replace(shop, kind=f"{shop.kind}, dark", queries=tuple(queries))


def calibration_error(answers: Sequence[Answers]) -> tuple[float, int]:
    """Expected calibration error in BINS bins of one width, with UNKNOWN_SHARE of the weight on unknown queries (M. Naeini et al.
    2015, "Obtaining well calibrated probabilities using Bayesian binning"); and how many known queries it rests on."""
    confidence = np.concatenate([one.confidence for one in answers])
    known = np.concatenate([one.known for one in answers])
    right = np.concatenate([one.right & one.known for one in answers])
    shares = np.where(known, (1 - UNKNOWN_SHARE) / max(1, known.sum()), UNKNOWN_SHARE / max(1, (~known).sum()))
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    error = sum(abs(float((shares * (confidence - right))[bins == number].sum())) for number in range(BINS))
    return error, int(known.sum())
