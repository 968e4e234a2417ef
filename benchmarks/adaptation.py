"""What tuning the embedding to a shop brings, and what it makes of strangers: grocery train photos as the shop, val as queries.

    python benchmarks/adaptation.py --work DIR
    python benchmarks/adaptation.py --work DIR --encoders v1 --draws 6

Embedding 2,640 photos with their views takes minutes and is kept in `--work`. Everything after it is what build_bundle does,
on the embeddings: `compose` fits the adapter, `decide` calibrates, a gallery of i8 vectors answers. Nothing was chosen on the
dataset's test split, which isn't used here; the bars are those of that split.

Tables: recall of the whole shop with and without; catalogue pictures alone, and enrolled under an adapter that was fitted on
photos; shops with more photos than a fit looks at; random small shops; products left out as strangers (near), and rendered
pictures, textures and empty frames (far); measured against target rates of false accepts; the calibration of the confidence; the
time and memory of a fit.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import reporting
import shops
from numpy.typing import NDArray

from shelfmatch.edge.build import enroll
from shelfmatch.edge.build.draft import BranchDraft, compose, decide
from shelfmatch.edge.build.embed_photos import Embedded, EmbeddingCache, embed_photos
from shelfmatch.edge.build.enroll import Enrolled, centered_on_packshots
from shelfmatch.edge.build.priors import prior_for
from shelfmatch.edge.catalog.ids import PHOTO_BITS
from shelfmatch.edge.catalog.listing import SourcePhoto
from shelfmatch.edge.encoders.encoder import Encoder
from shelfmatch.edge.fitting.adapter_fit import prototypes
from shelfmatch.edge.fitting.calibration import HELD_OUT_STRETCH, calibrate, leave_one_out
from shelfmatch.edge.fitting.prior import Prior
from shelfmatch.edge.imaging.views import MOST_VIEWS, PHOTO_VIEWS
from shelfmatch.edge.index.vector_index import VectorIndex
from shelfmatch.edge.metrics import auroc
from shelfmatch.edge.scoring.decision import Decision, margin_of
from shelfmatch.edge.scoring.gallery import Gallery
from shelfmatch.edge.synthetic.products import make_shop, render_view

ENCODERS = ("v1", "v2", "shelfmatch-cnn", "shelfmatch-vit", "shelfmatch-nano")
BINS = 15
TARGETS = (0.01, 0.05, 0.10)
STRETCHES = (1.0, HELD_OUT_STRETCH, 1.3)


@dataclass(frozen=True, slots=True)
class Data:
    """Embeddings of one encoder: the shop's photos, its catalogue pictures, the queries, and what no shop sells."""

    train: Enrolled
    iconic: Enrolled
    queries: NDArray[np.float32]
    truth: NDArray[np.int64]
    far: NDArray[np.float32]
    prior: Prior


def model_of(name: str, work: Path) -> str | Path:
    """What `Encoder.load` takes for one of `ENCODERS`."""
    models = {"v1": lambda: shops.model_file(shops.V1), "v2": lambda: shops.cut_v2(work)}
    return models[name]() if name in models else name


def load(name: str, work: Path) -> Data:
    encoder = Encoder.load(model_of(name, work), sessions=2, resizer="pillow")
    cache = EmbeddingCache(work / "adaptation.sqlite", encoder)

    def embedded(paths: Sequence[Path], views: int) -> list[Embedded]:
        photos = [SourcePhoto(str(path), path.name, "any") for path in paths]
        return [one.embedded for one in embed_photos(photos, encoder, cache, 2, views) if one.embedded is not None]

    root = shops.grocery_root()
    with (root / "classes.csv").open(newline="") as file:
        rows = [(int(row["Class ID (int)"]), row["Iconic Image Path (str)"]) for row in csv.DictReader(file)]
    train, val = shops.grocery_photos("train"), shops.grocery_photos("val")
    data = Data(
        enrolled([photo.label for photo in train], embedded([photo.path for photo in train], PHOTO_VIEWS)),
        enrolled([label for label, _ in rows], embedded([root / path.lstrip("/") for _, path in rows], MOST_VIEWS)),
        np.stack([one.vector for one in embedded([photo.path for photo in val], 0)]),
        np.array([photo.label for photo in val]),
        encoder.embed(*strangers()),
        prior_for(encoder),
    )
    cache.close()
    return data


def strangers(count: int = 40) -> list[NDArray[np.uint8]]:
    """Rendered packages, textures, empty frames: nothing that a grocer of this dataset sells."""
    random = np.random.default_rng(0)
    pictures = [np.asarray(render_view(one, 1, difficulty=0.4)) for one in make_shop(count, seed=77)]
    for _ in range(count):
        cells = random.integers(0, 256, (int(random.integers(3, 40)),) * 2 + (3,), dtype=np.uint8)
        pictures.append(np.kron(cells, np.ones((8, 8, 1), np.uint8)))
        light = np.linspace(*random.integers(20, 235, 2), 240)[:, None, None] + random.normal(0, 6, (240, 320, 3))
        pictures.append(light.clip(0, 255).astype(np.uint8))
    return pictures


def enrolled(labels: Sequence[int], embeddings: Sequence[Embedded]) -> Enrolled:
    seen: dict[int, int] = {}
    rows = []
    for label, one in zip(labels, embeddings, strict=True):
        rows.append(((label << PHOTO_BITS) + seen.get(label, 0), one))
        seen[label] = seen.get(label, 0) + 1
    return Enrolled.collect(rows, len(embeddings[0].vector), len(rows), Path(tempfile.gettempdir()))


def some(of: Enrolled, rows: NDArray[Any]) -> Enrolled:
    return Enrolled(of.ids[rows], of.vectors[rows], of.views[rows], of.is_packshot[rows])


def products(of: Enrolled) -> NDArray[np.int64]:
    return (of.ids >> PHOTO_BITS).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Answers:
    """The best product of each query, its score and its confidence, and whether the right one is among the best five."""

    best: NDArray[np.int64]
    scores: NDArray[np.float64]
    confidence: NDArray[np.float64]
    in_five: NDArray[np.bool_]


def answer(
    contents: BranchDraft, decision: Decision, queries: NDArray[np.float32], truth: NDArray[np.int64]
) -> Answers:
    gallery = Gallery(contents.index, contents.adapter, contents.prototypes)
    rows = []
    for query, right in zip(queries, truth.tolist(), strict=True):
        ranked = gallery.rank(gallery.adapted(query), 5)
        (product, score), rival = ranked[0], ranked[1][1] if len(ranked) > 1 else None
        confidence = decision.confidence(score, margin_of(score, rival), gallery.references(product))
        rows.append((product, score, confidence, right in [one for one, _ in ranked]))
    best, scores, confidences, in_five = zip(*rows, strict=True)
    return Answers(np.array(best), np.array(scores), np.array(confidences), np.array(in_five, bool))


def decision_of(contents: BranchDraft, prior: Prior, rate: float = 0.05) -> Decision:
    return decide(contents, rate, prior) or calibrate(*leave_one_out(contents.index), rate, "leave-one-out")


def recalls(
    contents: BranchDraft, prior: Prior, queries: NDArray[np.float32], truth: NDArray[np.int64]
) -> tuple[float, float]:
    found = answer(contents, decision_of(contents, prior), queries, truth)
    return 100 * float((found.best == truth).mean()), 100 * float(found.in_five.mean())


def whole_shop(name: str, data: Data, report: reporting.Report) -> None:
    rows = []
    for title, shop in (("2,640 train photos", data.train), ("81 catalogue pictures", data.iconic)):
        for adapt in ("off", "auto"):
            contents, _, _ = compose(shop, adapt=adapt)
            first, five = recalls(contents, data.prior, data.queries, data.truth)
            told = contents.adaptation
            rows.append((title, adapt, told.method, told.scoring, told.dimension, f"{first:.1f}", f"{five:.1f}"))
            report.results[f"{name} {title} {adapt}"] = {"recall_at_1": first, "recall_at_5": five, **told.to_dict()}
            if adapt == "auto" and name == "v1" and shop is data.train:
                report.bar("v1 train photos, adapted: recall@1 %", first, 78, at_least=True)
                report.bar("v1 train photos, adapted: dimensions", told.dimension, 80)
            if adapt == "auto" and name == "v2" and shop is data.iconic:
                report.bar("v2 catalogue pictures alone, adapted: recall@1 %", first, 38, at_least=True)
    contents = pictures_under_a_photo_adapter(data)
    first, five = recalls(contents, data.prior, data.queries, data.truth)
    rows.append(
        (
            "photos' adapter, then pictures",
            "auto",
            "lda",
            "prototype",
            contents.index.dimension,
            f"{first:.1f}",
            f"{five:.1f}",
        )
    )
    if name == "v1":
        report.bar("v1 photos' adapter, one picture a product: recall@1 %", first, 50, at_least=True)
    header = ("catalogue", "adapt", "method", "scoring", "dimensions", "recall@1 %", "recall@5 %")
    reporting.print_table(f"{name.upper()}, {len(data.truth)} val photos", header, rows)


def pictures_under_a_photo_adapter(data: Data) -> BranchDraft:
    """What build on the photos and `add --replace` of one picture for each product leave."""
    contents, _, _ = compose(data.train)
    assert contents.adapter is not None
    adapter = centered_on_packshots(contents.adapter, data.iconic)
    labels, rows = prototypes(adapter, data.iconic.pictures())
    index = VectorIndex.build(data.iconic.adapted(adapter), data.iconic.ids)
    means = VectorIndex.build(rows, (labels << PHOTO_BITS).astype(np.uint32))
    return replace(contents, adapter=adapter, index=index, prototypes=means)


def large_shops(name: str, data: Data, report: reporting.Report) -> None:
    """As in a shop with more photos than a fit looks at: fewer of each product, then fewer products; and at last, instead, all
    photos of a part of the products."""
    random = np.random.default_rng(2)
    left_out = random.choice(81, 16, replace=False)
    sold, shop = ~np.isin(data.truth, left_out), some(data.train, ~np.isin(products(data.train), left_out))
    rows, usual = [], (enroll.MAX_PHOTOS, enroll.FEWEST_PHOTOS)
    for most, fewest in (usual, *((most, usual[1]) for most in (1000, 500, 200, 100)), (1000, len(shop.ids))):
        enroll.MAX_PHOTOS, enroll.FEWEST_PHOTOS = most, fewest
        contents, _, _ = compose(shop)
        decision = decision_of(contents, data.prior)
        found = answer(contents, decision, data.queries, data.truth)
        right, accepted = (found.best == data.truth)[sold], found.confidence >= decision.threshold
        one = {
            "photos": int(contents.adaptation.photos),
            "products": len(np.unique(shop.pictures().products)),
            "recall_at_1": 100 * float(right.mean()),
            "calibration_error": calibration_error(found.confidence[sold], right),
            "false_accepts": 100 * float(accepted[~sold].mean()),
            "right_accepts": 100 * float((right & accepted[sold]).mean()),
        }
        rows.append(
            (contents.adaptation.photos, one["products"], *(f"{value:.3g}" for value in list(one.values())[2:]))
        )
        report.results[f"{name} {one['photos']} photos of {one['products']} products looked at"] = one
    enroll.MAX_PHOTOS, enroll.FEWEST_PHOTOS = usual
    header = (
        "photos looked at",
        "of products",
        "recall@1 %",
        "calibration error",
        "passed at 5 %, %",
        "right accepts %",
    )
    reporting.print_table(f"{name.upper()}: large shops; 65 products sold, {len(shop.ids)} photos", header, rows)


def small_shops(name: str, data: Data, draws: int, report: reporting.Report) -> None:
    random = np.random.default_rng(3)
    labels = np.unique(data.truth)
    groups: dict[str, list[tuple[float, float]]] = {"1 photo": [], "2 photos": [], "3 and more": []}
    for _ in range(draws):
        sold = random.choice(labels, int(random.integers(5, 41)), replace=False)
        photos = int(random.integers(1, 11))
        rows = np.concatenate(
            [random.permutation(np.flatnonzero(products(data.train) == label))[:photos] for label in sold]
        )
        asked = np.isin(data.truth, sold)
        found = [
            recalls(
                compose(some(data.train, np.sort(rows)), adapt=adapt)[0],
                data.prior,
                data.queries[asked],
                data.truth[asked],
            )[0]
            for adapt in ("off", "auto")
        ]
        groups["1 photo" if photos == 1 else "2 photos" if photos == 2 else "3 and more"].append((found[0], found[1]))
    table = []
    for group, pairs in groups.items():
        if pairs:
            without, adapted = mean(pair[0] for pair in pairs), mean(pair[1] for pair in pairs)
            worst = min(pair[1] - pair[0] for pair in pairs)
            table.append((group, len(pairs), f"{without:.1f}", f"{adapted:.1f}", f"{worst:+.1f}"))
            report.results[f"{name} small shops, {group}"] = {
                "shops": len(pairs), "without": without, "auto": adapted, "worst_won": worst
            }  # fmt: skip
            bar = 5.0 if group == "3 and more" else -0.5
            report.bar(f"{name} small shops, {group}: points won", adapted - without, bar, at_least=True)
    header = ("photos a product", "shops", "without, recall@1 %", "auto, recall@1 %", "worst shop")
    reporting.print_table(f"{name.upper()}: {draws} random shops of 5 to 40 products", header, table)


def unknowns(name: str, data: Data, draws: int, seed: int, report: reporting.Report) -> None:
    """Products left out of the shop: 16 to see how well they are told apart, 20 to hold rates against their targets."""
    random = np.random.default_rng(seed)
    near, far, errors = [], [], []
    rates: dict[float, list[float]] = {target: [] for target in TARGETS}
    accepts: dict[float, list[float]] = {target: [] for target in TARGETS}
    stretched: dict[float, list[list[float]]] = {stretch: [] for stretch in STRETCHES}
    for draw in range(2 * draws):
        left_out = random.choice(81, 16 if draw < draws else 20, replace=False)
        contents, _, _ = compose(some(data.train, ~np.isin(products(data.train), left_out)))
        found = answer(contents, decision_of(contents, data.prior), data.queries, data.truth)
        sold, right = ~np.isin(data.truth, left_out), found.best == data.truth
        if draw < draws:
            outside = answer(contents, decision_of(contents, data.prior), data.far, np.full(len(data.far), -1))
            cut = float(np.quantile(found.confidence[~sold], 0.95))
            near.append((auroc(found.confidence[sold].tolist(), found.confidence[~sold].tolist()) or 0.0,
                         float((right & (found.confidence > cut))[sold].mean())))  # fmt: skip
            far.append(auroc(found.confidence[sold].tolist(), outside.confidence.tolist()) or 0.0)
            errors.append(calibration_error(found.confidence, right & sold))
            continue
        for target in TARGETS:
            threshold = decision_of(contents, data.prior, target).threshold
            rates[target].append(float((found.confidence >= threshold)[~sold].mean()))
            accepts[target].append(float((right & (found.confidence >= threshold))[sold].mean()))
        if contents.fit is not None:
            for stretch, passed in stretched.items():
                thresholds = [
                    calibrate(contents.fit.known, contents.fit.unknown, target, "held-out", stretch=stretch).threshold
                    for target in TARGETS
                ]
                passed.append([float((found.confidence >= one)[~sold].mean()) for one in thresholds])
    report.bar(f"{name} near strangers: AUROC", mean(one for one, _ in near), 0.77, at_least=True)
    report.bar(f"{name} near strangers: right accepts at 5 %", mean(one for _, one in near), 0.32, at_least=True)
    report.bar(f"{name} far strangers: AUROC", mean(far), 0.95, at_least=True)
    rows = []
    for target in TARGETS:
        shown = mean(rates[target])
        rows.append((f"{target:.0%}", f"{shown:.1%}", f"{max(rates[target]):.1%}", f"{mean(accepts[target]):.1%}"))
        report.bar(f"{name} target {target:.0%}: off by, points", 100 * abs(shown - target), 2)
        report.bar(f"{name} target {target:.0%}: worst draw / target", max(rates[target]) / target, 3)
    header = ("target", "measured", "worst draw", "right accepts")
    reporting.print_table(f"{name.upper()}: 20 products left out, {draws} draws", header, rows)
    by_stretch = {stretch: np.mean(passed, axis=0).tolist() for stretch, passed in stretched.items() if passed}
    for stretch, passed in by_stretch.items():
        print(f"  with a stretch of {stretch}: " + ", ".join(f"{share:.1%}" for share in passed))
    contents, _, _ = compose(data.train)
    found = answer(contents, decision_of(contents, data.prior), data.queries, data.truth)
    known = calibration_error(found.confidence, found.best == data.truth)
    print(f"\n  calibration error, {BINS} bins: {known:.3f} all products sold, {mean(errors):.3f} with 16 left out")
    report.bar(f"{name} calibration error", known, 0.05)
    report.results[f"{name} strangers"] = {
        "near_auroc": mean(one for one, _ in near),
        "near_right_accepts": mean(one for _, one in near),
        "far_auroc": mean(far),
        "false_accepts": {str(target): mean(found) for target, found in rates.items()},
        "calibration_error": known,
        "false_accepts_by_stretch": {str(stretch): passed for stretch, passed in by_stretch.items()},
    }


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599)."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    here = [bins == number for number in range(BINS)]
    return float(sum(abs(confidence[one].mean() - right[one].mean()) * one.mean() for one in here if one.any()))


FIT = """\
import sys, time
import numpy as np
from shelfmatch.edge.build.enroll import Enrolled
from shelfmatch.edge.fitting.adapter_fit import fit
data = np.load(sys.argv[1])
one = Enrolled(data["ids"], data["vectors"], data["views"][:, : int(sys.argv[2])], data["shots"])
pictures = one.pictures()
del data, one
start = time.perf_counter()
fit(pictures)
taken = time.perf_counter() - start
# Not ru_maxrss: Linux lets a process begin with the size of the one that started it.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(taken, int(peak) / 1024)
"""


def cost(name: str, data: Data, work: Path, report: reporting.Report) -> None:
    """A fit in a process of its own, on one thread."""
    file = work / "fit.npz"
    shop = data.train
    np.savez(file, ids=shop.ids, vectors=shop.vectors, views=shop.views, shots=shop.is_packshot)
    for views in (0, PHOTO_VIEWS):
        done = subprocess.run(
            [sys.executable, "-c", FIT, str(file), str(views)], capture_output=True, text=True, check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        seconds, peak = map(float, done.stdout.split())
        print(f"  {name.upper()}: a fit on 2,640 photos with {views} views each: {seconds:.1f} s, peak {peak:.0f} MB")
        if views == 0:
            report.bar(f"{name} fit: s", seconds, 5)
            report.bar(f"{name} fit: peak MB", peak, 300)


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--draws", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the products that are left out")
    arguments = parser.parse_args()
    report = reporting.Report.start("adaptation", draws=arguments.draws, encoders=arguments.encoders)
    with reporting.work_folder(arguments.work) as work:
        for name in arguments.encoders:
            data = load(name, work)
            whole_shop(name, data, report)
            large_shops(name, data, report)
            small_shops(name, data, arguments.draws, report)
            unknowns(name, data, arguments.draws, arguments.seed, report)
            cost(name, data, work, report)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
