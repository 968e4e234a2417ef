"""Fits what tells an empty facing from a strange product where no photo of the empty shelf is taught (`shelf/emptiness.py`).

    python benchmarks/shelf_fit.py --cache DIR

Facings of `shelf_walls` and `shelf_life` shelves, in the light, noise and JPEG of a day, cut a little beside their places: the
right product in front, a row behind or put back askew, another product, a strange one, none.
"""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import reporting
import shelf_life
import shelf_walls
from numpy.typing import NDArray
from reporting import Bar, Report

from shelfmatch.edge.encoders.encoder import Encoder
from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.shelf import compare
from shelfmatch.edge.shelf.align import IDENTITY
from shelfmatch.edge.shelf.bare import roughness
from shelfmatch.edge.shelf.cells import cells_of
from shelfmatch.edge.shelf.crops import cuts
from shelfmatch.edge.shelf.emptiness import PRIOR, Witness, closeness, coarse, evidence, off_wall, walls_of
from shelfmatch.edge.shelf.planogram import planogram_of

KINDS = ("right", "behind", "turned", "empty", "other", "unknown")
SHARES = (0.05, 0.15, 0.2, 0.25, 0.15, 0.2)


@dataclass(slots=True)
class Sample:
    """A facing of a frame: what stands there, and what the rules see."""

    seed: int
    cell: int
    kind: str
    pixels: Pixels
    vector: NDArray[np.float32]
    gains: NDArray[np.float32]


@dataclass(slots=True)
class Shelf:
    """A shelf as it was taught, and its samples."""

    seed: int
    wall: str
    plan: Any
    full: Pixels
    taught: list[Pixels]
    vectors: NDArray[np.float32]
    skus: list[str]
    samples: list[Sample]


def _vector(encoder: Encoder, pixels: Any) -> NDArray[np.float32]:
    return encoder.embed_timed(np.ascontiguousarray(pixels)).vector


def shelf_of(seed: int, encoder: Encoder) -> Shelf:
    """One shelf's taught photo, and facings of some frames."""
    make = shelf_life.life if seed % 3 == 0 and seed < 400 else shelf_walls.life
    slots = 40 if seed < 400 else (12, 24, 40)[seed % 3]
    life = make(seed=seed, hours=24, slots=slots, events=slots)
    rng = np.random.default_rng([seed, 9])
    plan = planogram_of(life.plan)
    factor = compare.factor_of(life.full.shape[1])
    small = compare.reduced(life.full, factor).astype(np.float32)
    cells = cells_of(plan, factor, small.shape[:2])
    quads = [cell.quad for cell in cells.cells]
    taught = cuts(life.full, IDENTITY, quads, factor)
    skus = [plan.slots[cell.slot].sku for cell in cells.cells]
    vectors = np.stack([_vector(encoder, one) for one in taught])
    wall = getattr(life.bay, "kind", "plain")
    shelf = Shelf(seed, wall, plan, life.full, taught, vectors, skus, [])
    known = compare.blocks(small)
    for _ in range(2 * (40 // slots)):
        bay, kinds = life._bay(), {}
        for one in life.places:
            for facing in range(one.facings):
                kinds[one.id, facing] = kind = str(rng.choice(KINDS, p=SHARES))
                if kind == "behind":
                    bay.put(one.id, facing, [one.product] * int(rng.integers(1, bay.depth)))
                elif kind == "turned" and isinstance(bay, shelf_walls.HardBay):
                    bay.turn(one.id, facing)
                elif kind == "empty":
                    bay.put(one.id, facing, [])
                elif kind == "unknown":
                    bay.put(one.id, facing, [life.unknown[int(rng.integers(len(life.unknown)))]] * 2)
                elif kind == "other":
                    others = [p.product for p in life.places if p.product.sku != one.product.sku] + life.extra
                    bay.put(one.id, facing, [others[int(rng.integers(len(others)))]] * 2)
        light = shelf_life._Light(seed, bay.size, life.count, False)
        light.exposure = float(rng.uniform(0.7, 1.35))
        frame = int(rng.integers(life.count))
        pixels, _ = life._seen(light, np.asarray(bay.picture), None, frame, rng, (0.0, 0.0, 0.0), "ok")
        sag = 10 * frame / max(1440, life.count)
        moved = np.array([[1, 0, float(rng.normal(0, 0.3))], [0, 1, sag / factor + float(rng.normal(0, 0.3))]])
        picture = compare.moved_back(compare.reduced(pixels, factor), np.array([[1, 0, 0], [0, 1, sag / factor]]))
        gains = compare.difference(compare.blocks(picture), known).gains
        for cell, part in enumerate(cuts(pixels, moved, quads, factor)):
            place = plan.slots[cells.cells[cell].slot].id
            kind = kinds[place, cells.cells[cell].facing]
            shelf.samples.append(Sample(seed, cell, kind, part, _vector(encoder, part), gains))
    return shelf


def shelves(seeds: Sequence[int], cache: Path | None) -> Iterator[Shelf]:
    """Shelves of seeds, kept in a folder where one is given."""
    encoder = Encoder.load("shelfmatch-cnn", threads=1)
    for seed in seeds:
        path = None if cache is None else cache / f"{seed}.pkl"
        if path is not None and path.exists():
            yield pickle.loads(path.read_bytes())
            continue
        made = shelf_of(seed, encoder)
        if path is not None:
            path.write_bytes(pickle.dumps(made))
        print(seed, made.wall, len(made.samples), flush=True)
        yield made


Rows = list[tuple[str, Witness, float, float]]


def rows_of(shelf: Shelf, rng: np.random.Generator) -> Rows:
    """(kind, witness, cosine to the right product, its lead) of a shelf's samples, each with one to six empty places known, and
    beside one to all other facings taught: shelves are small and large."""
    factor = compare.factor_of(shelf.full.shape[1])
    small = compare.reduced(shelf.full, factor).astype(np.float32)
    cells = cells_of(shelf.plan, factor, small.shape[:2])
    walls = walls_of(small, cells, factor)
    rough = [roughness(one) for one in shelf.taught]
    bare = np.stack([one.vector for one in shelf.samples if one.kind == "empty"])
    skus, found = np.array(shelf.skus), []
    few = np.random.default_rng([shelf.seed, 7])
    for one in shelf.samples:
        scores, own = shelf.vectors @ one.vector, skus == shelf.skus[one.cell]
        right = float(scores[own].max())
        rival = float(scores[~own].max())
        others = np.flatnonzero(~own)
        count = max(1, round(len(others) ** few.uniform()))
        seen = float(scores[few.permutation(others)[:count]].max())
        known = bare[rng.permutation(len(bare))[: int(rng.integers(1, 7))]] @ one.vector
        like = [float(value) for value in known if value < 0.99999]
        wall = walls[one.cell]
        ratio = (roughness(one.pixels) / max(float(one.gains.mean()), 0.05) + 1) / (rough[one.cell] + 1)
        witness = Witness(
            max(right, seen), float(np.log(ratio)), None if wall is None else off_wall(coarse(one.pixels), wall, one.gains),
            max(like, default=-1.0),
        )  # fmt: skip
        found.append((one.kind, witness, right, right - rival))
    return found


def logistic(features: NDArray[np.float64], is_one: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights and constant of a ridge logistic regression in which both classes weigh the same, by Newton's method."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    design = np.c_[(features - mean) / deviation, np.ones(len(features))]
    weights = np.where(is_one, 0.5 / is_one.mean(), 0.5 / (1 - is_one.mean()))
    ridge = np.r_[np.full(features.shape[1], 0.3), 1e-6]
    found = np.zeros(design.shape[1])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-design @ found))
        slope = design.T @ ((chance - is_one) * weights) + ridge * found
        bend = (design * (chance * (1 - chance) * weights)[:, None]).T @ design + np.diag(ridge)
        found -= np.linalg.solve(bend, slope)
    return np.r_[found[:-1] / deviation, found[-1] - (found[:-1] * mean / deviation).sum()]


def columns(rows: Rows, wall: bool, bare: bool) -> NDArray[np.float64]:
    """The witnesses that are known."""
    names = ["like_product", "roughness"] + ["off_wall"] * wall + ["like_empty"] * bare
    found = np.array([[getattr(witness, name) for name in names] for _, witness, _, _ in rows], np.float64)
    if wall:
        found[:, 2] = [closeness(value) for value in found[:, 2]]
    return found


def fitted(rows: Rows) -> tuple[dict[tuple[bool, bool], tuple[float, ...]], tuple[float, ...]]:
    """`emptiness.WEIGHTS` and `judge.RIGHT`."""
    chosen = [row for row in rows if row[0] not in ("right", "behind")]
    weights = {}
    for wall in (False, True):
        for bare in (False, True):
            some = [row for row in chosen if row[1].off_wall is not None or not wall]
            found = logistic(columns(some, wall, bare), np.array([row[0] == "empty" for row in some]))
            spread = [*found[:2], found[2] if wall else 0.0, found[-2] if bare else 0.0, found[-1]]
            weights[wall, bare] = tuple(round(float(value), 2) for value in spread)
    some = [row for row in rows if row[0] in ("right", "behind", "turned", "unknown")]
    right = logistic(np.array([row[2:] for row in some]), np.array([row[0] != "unknown" for row in some]))
    return weights, tuple(round(float(value), 2) for value in right)


def held(report: Report, rows: Rows) -> None:
    """What the weights of the package do on shelves that weren't fitted, one look each."""
    for wall, bare in itertools.product((False, True), repeat=2):
        shares = {}
        for kind in ("empty", "unknown", "other", "turned"):
            sums = [evidence(dataclasses.replace(witness, off_wall=witness.off_wall if wall else None,
                                                 like_empty=witness.like_empty if bare else None)) + PRIOR
                    for name, witness, _, _ in rows if name == kind and (witness.off_wall is not None or not wall)]  # fmt: skip
            shares[kind] = float(np.mean(np.array(sums) > 0))
        name = f"{'wall seen' if wall else 'no wall'}, {'an empty place known' if bare else 'none known'}"
        print(f"{name:40}", "  ".join(f"{kind} {share:.3f}" for kind, share in shares.items()))
        report.results[name] = {"called empty": shares}
        if wall:
            report.bars.append(Bar(f"empty facings called empty; {name}", shares["empty"], 0.97, at_least=True))
            report.bars.append(Bar(f"strange products called empty; {name}", shares["unknown"], 0.2))


def main() -> int:
    """Fit on some seeds, say what the package's weights do on others."""
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[*range(213, 228), *range(401, 409)])
    parser.add_argument("--held-out", nargs="+", type=int, default=[*range(228, 232), *range(409, 414)])
    parser.add_argument("--cache", type=Path, help="a folder for the samples, which take 10 s a shelf")
    options = parser.parse_args()
    report = Report.start("shelf-fit", seeds=options.seeds, held_out=options.held_out)
    rows, others = (
        [row for shelf in shelves(seeds, options.cache) for row in rows_of(shelf, np.random.default_rng(shelf.seed))]
        for seeds in (options.seeds, options.held_out)
    )
    weights, right = fitted(rows)
    print(f"{len(rows)} facings; emptiness.WEIGHTS = {weights}; judge.RIGHT = {right}")
    if others:
        held(report, others)
    return report.finish(options)


if __name__ == "__main__":
    raise SystemExit(main())
