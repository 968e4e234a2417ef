"""Draw the pictures of the documents: diagrams, and plots of what a rendered shop gives.

python docs/tools/pictures.py            # all, into docs/pictures; the plots need matplotlib and a minute
python docs/tools/pictures.py --diagrams # the diagrams only
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from diagrams import Box, Drawing, down_to, right_to

HERE: Final = Path(__file__).resolve().parent
TARGET: Final = HERE.parent / "pictures"
ROWS: Final = {
    "cli": 1, "demo": 2, "bench": 2, "doctor": 2, "pages": 3, "evaluation": 4, "matching": 5, "build": 5, "fitting": 6,
    "detection": 6, "bundle": 7, "scoring": 8, "device": 8, "encoders": 9, "index": 9, "catalog": 9, "imaging": 10, "synthetic": 10,
    "machine": 10,
}  # fmt: skip
"""The rows of the house: an arrow may only go to a lower one."""
ENTRIES: Final = {"match": "Matcher.match", "build": "build_bundle", "eval": "evaluate"}
BLUE, GREY, AMBER = "#2e6bff", "#98a2b3", "#c67c00"
STYLE: Final = {"svg.hashsalt": "shelfmatch", "svg.fonttype": "path", "font.size": 10}


def overview() -> Drawing:
    """Build above, match below."""
    drawing = Drawing(860, 250, "Photos become a bundle; a bundle answers")
    drawing.text(20, 32, "once, on any machine", size=13, bold=True, anchor="start")
    photos = drawing.box(Box(20, 45, 190, 62, "photos/SKU/*.jpg", ("or a CSV",), "grey"))
    build = drawing.box(Box(310, 45, 190, 62, "shelfmatch build", ("embed, tune, calibrate",)))
    bundle = drawing.box(Box(600, 45, 240, 62, "shop.bundle", ("encoder, vectors, catalogue",), "green"))
    drawing.text(20, 152, "on the device, offline", size=13, bold=True, anchor="start")
    query = drawing.box(Box(20, 165, 190, 62, "a photo", ("of a kiosk or camera",), "grey"))
    match = drawing.box(Box(310, 165, 190, 62, "shelfmatch match", ("embed, search, decide",)))
    answer = drawing.box(Box(600, 165, 240, 62, "SKU and confidence", ("or “unknown”",), "amber"))
    for start, end in ((photos, build), (build, bundle), (query, match), (match, answer)):
        drawing.arrow(right_to(start, end))
    drawing.arrow([(bundle.middle[0], 107), (bundle.middle[0], 136), (match.middle[0], 136), (match.middle[0], 163)])
    return drawing


def pipeline() -> Drawing:
    """One photo, step by step, with the shapes."""
    drawing = Drawing(980, 250, "What happens to one photo")
    steps = (
        ("decode, resize", ("upright, RGB", "152 × 152 × 3"), "grey"),
        ("encode", ("neural network", "256 numbers"), "blue"),
        ("adapt", ("the shop's map", "≤ 128 numbers"), "blue"),
        ("search", ("cosine with all", "nearest products"), "green"),
        ("decide", ("score, margin →", "confidence"), "amber"),
    )
    boxes = [
        drawing.box(Box(20 + 190 * place, 30, 160, 84, title, lines, colour))
        for place, (title, lines, colour) in enumerate(steps)
    ]
    for start, end in itertools.pairwise(boxes):
        drawing.arrow(right_to(start, end))
    answer = drawing.box(Box(780, 170, 160, 56, "SKU", ("accepted",), "green"))
    drawing.box(Box(400, 170, 160, 56, "look-again pass", ("corrected photo",), "grey"))
    drawing.arrow(down_to(boxes[4], answer), "≥ threshold", at=(905, 146))
    drawing.arrow([(800, 114), (800, 140), (480, 140), (480, 168)], "below: unknown, so far", at=(660, 134))
    drawing.arrow([(400, 198), (290, 198), (290, 116)], "once", at=(345, 190))
    return drawing


def two_encoders() -> Drawing:
    """When the second one is asked."""
    drawing = Drawing(890, 230, "Two encoders in one bundle")
    photo = drawing.box(Box(20, 35, 110, 56, "photo", (), "grey"))
    first = drawing.box(Box(190, 35, 170, 56, "first encoder", ("every photo",)))
    sure = drawing.box(Box(430, 35, 150, 56, "sure enough?", ("confidence ≥ limit",), "amber"))
    answer = drawing.box(Box(670, 35, 200, 56, "its answer", (), "green"))
    second = drawing.box(Box(430, 150, 150, 56, "second encoder", ("same photo",)))
    both = drawing.box(Box(670, 150, 200, 56, "both scores, weighted", ("one answer",), "green"))
    drawing.arrow(right_to(photo, first))
    drawing.arrow(right_to(first, sure))
    drawing.arrow(right_to(sure, answer), "yes")
    drawing.arrow(down_to(sure, second), "no", at=(492, 125))
    drawing.arrow(right_to(second, both))
    return drawing


def exact_search() -> Drawing:
    """8 bits for all, 4 more for the few that the bound can't rule out."""
    drawing = Drawing(980, 220, "How the exact search works")
    query = drawing.box(Box(20, 30, 130, 70, "query", ("8 bits",), "grey"))
    scan = drawing.box(Box(200, 30, 190, 70, "scan all vectors", ("8 bits a component,", "integer dot products")))
    bound = drawing.box(
        Box(450, 30, 220, 70, "keep what can still win", ("score + largest error", "≥ the k-th best − error"), "amber")
    )
    rank = drawing.box(Box(730, 30, 220, 70, "rank those exactly", ("4 more bits,", "12 bits a component"), "green"))
    for start, end in ((query, scan), (scan, bound), (bound, rank)):
        drawing.arrow(right_to(start, end))
    drawing.text(295, 135, "10,000 vectors", size=12, colour="#6b7280")
    drawing.text(560, 135, "few of them", size=12, colour="#6b7280")
    drawing.text(840, 135, "the k best, always", size=12, colour="#6b7280")
    drawing.text(
        490,
        180,
        "The error of rounding to 8 bits is bounded for every vector, so nothing that could win is thrown away.",
        size=13,
    )
    return drawing


def bundle_change() -> Drawing:
    """How a bundle changes in one step."""
    drawing = Drawing(900, 240, "How a bundle changes")
    steps = (
        ("write beside", ("new files, named", "by their content")),
        ("sync", ("all bytes are", "on the disk")),
        ("rename", ("manifest.json,", "in one step")),
        ("sweep", ("files that no", "manifest names")),
    )
    boxes = [
        drawing.box(Box(20 + 220 * n, 40, 180, 80, title, lines, "amber" if n == 2 else "blue"))
        for n, (title, lines) in enumerate(steps)
    ]
    for start, end in itertools.pairwise(boxes):
        drawing.arrow(right_to(start, end))
    drawing.text(220, 165, "killed here: the old generation, whole", size=13, colour="#c93434")
    drawing.text(680, 165, "killed here: the new generation, whole", size=13, colour="#1a8f52")
    drawing.text(
        450,
        205,
        "Readers keep the snapshot that they opened until they take the next one between two answers.",
        size=13,
    )
    return drawing


def way(name: str, calls: list[list[str]]) -> Drawing:
    """The rooms that one photo, source or query enters, as a tree: to the right of a room those that it enters, in the order of
    their first calls, with the function that was called. A room's own calls are drawn where it is entered first."""
    lines: list[tuple[int, str, str, str, int]] = []  # depth, room, function, the room that calls, the caller's line
    drawn: set[str] = set()

    def enter(room: str, function: str, caller: str, depth: int, parent: int) -> None:
        lines.append((depth, room, function, caller, parent))
        own = len(lines) - 1
        if room not in drawn:
            drawn.add(room)
            for left, _, entered, called in calls:
                if left == room:
                    enter(entered, called, room, depth + 1, own)

    enter(calls[0][0], ENTRIES[name], "", 0, 0)
    step, wide, column = 56, 168, 222
    depth = max(line[0] for line in lines)
    drawing = Drawing(
        40 + column * depth + wide + 30, 30 + step * len(lines), f"{ENTRIES[name]} and the rooms that it enters"
    )
    first: set[str] = set()
    for place, (deep, room, function, caller, parent) in enumerate(lines):
        x, y = 20 + column * deep, 18 + step * place
        colour = "green" if not deep else "grey" if room in first else "blue"
        first.add(room)
        if deep:
            parent_x, parent_y = 20 + column * (deep - 1), 18 + step * parent
            upwards = ROWS[room] <= ROWS[caller]
            drawing.arrow(
                [(parent_x + 40, parent_y + 44), (parent_x + 40, y + 22), (x - 2, y + 22)],
                colour="#c93434" if upwards else "#1f2937",
            )
        drawing.box(Box(x, y, wide, 44, f"{room} (row {ROWS[room]})", (function,), colour))
    return drawing


def diagrams() -> dict[str, str]:
    """Every diagram by its file's name."""
    drawings = {
        "overview": overview(), "pipeline": pipeline(), "two-encoders": two_encoders(), "exact-search": exact_search(),
        "bundle-change": bundle_change(),
    }  # fmt: skip
    for name, calls in json.loads((HERE / "ways.json").read_text(encoding="utf-8")).items():
        drawings[f"way-{name}"] = way(name, calls)
    return {f"{name}.svg": drawing.to_svg() for name, drawing in drawings.items()}


def _save(figure: Any, name: str) -> None:
    figure.savefig(TARGET / name, metadata={"Date": None} if name.endswith("svg") else None, dpi=110)


def adapter_picture(matcher: Any, photos: Path) -> None:
    """Cosines of photos of one product and of two, before and after the adapter."""
    from matplotlib.figure import Figure

    paths = sorted(photos.glob("*/*.jpg"))
    labels = np.array([path.parent.name for path in paths])
    plain = np.concatenate([matcher.encoder.embed(path) for path in paths])
    adapted = matcher.gallery.adapted(plain)
    same = labels[:, None] == labels[None, :]
    pairs = np.triu(np.ones_like(same), 1).astype(bool)
    figure = Figure(figsize=(7.6, 2.9), layout="constrained")
    for axes, vectors, title in zip(
        figure.subplots(1, 2, sharey=True),
        (plain, adapted),
        ("as the encoder gives them", "after the adapter"),
        strict=True,
    ):
        cosines = vectors @ vectors.T
        bins = np.linspace(-0.6, 1, 65)
        axes.hist(cosines[pairs & ~same], bins, density=True, color=GREY, label="two products")
        axes.hist(cosines[pairs & same], bins, density=True, color=BLUE, alpha=0.7, label="one product")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("cosine of two photos")
        axes.set_yticks([])
        axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, "adapter.svg")


def confidence_picture(matcher: Any, queries: Path) -> None:
    """Confidence of known and of unknown queries, and the threshold between them."""
    from matplotlib.figure import Figure

    from shelfmatch.edge.evaluation.evaluate import evaluate

    found = evaluate(matcher, queries)
    known = [answer.confidence for query, answer in found.answers if query.sku]
    unknown = [answer.confidence for query, answer in found.answers if not query.sku]
    threshold = float(matcher._current().decision.threshold)
    figure = Figure(figsize=(7.6, 2.9), layout="constrained")
    axes = figure.subplots()

    def odds(values: list[float]) -> Any:
        clipped = np.clip(values, 1e-4, 1 - 1e-4)
        return np.log10(clipped / (1 - clipped))

    bins = np.linspace(-4, 4, 41)
    axes.hist(odds(unknown), bins, color=GREY, label=f"{len(unknown)} unknown queries")
    axes.hist(odds(known), bins, color=BLUE, alpha=0.7, label=f"{len(known)} known queries")
    axes.axvline(float(odds([threshold])[()][0]), color=AMBER, linewidth=2)
    axes.text(float(odds([threshold])[0]) - 0.08, axes.get_ylim()[1] * 0.5, "threshold", color=AMBER, ha="right")
    ticks = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]
    axes.set_xticks(odds(ticks), [f"{100 * tick:g} %" for tick in ticks])
    axes.set_xlabel("confidence of the best candidate")
    axes.set_ylabel("queries")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper center")
    _save(figure, "confidence.svg")


def look_again_picture(photo: Path) -> None:
    """A photo, ruined in four ways, and what a look-again pass makes of it."""
    from matplotlib.figure import Figure
    from PIL import Image, ImageFilter

    from shelfmatch.edge.imaging import enhance
    from shelfmatch.edge.imaging.quality import luma, measure, noise_of

    picture = Image.open(photo).convert("RGB").resize((320, 240))
    pixels = np.asarray(picture)
    rng = np.random.default_rng(0)
    dark = (pixels * 0.12 + rng.normal(0, 2, pixels.shape)).clip(0, 255).astype(np.uint8)
    noisy = (pixels + rng.normal(0, 22, pixels.shape)).clip(0, 255).astype(np.uint8)
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(2.2)))
    lit = enhance.auto_levels(dark)
    rows = (
        ("dark", dark, "levels, denoised", enhance.denoise(lit, max(1.0, noise_of(luma(lit))))),
        ("noisy", noisy, "denoised", enhance.denoise(noisy, max(1.0, noise_of(luma(noisy))))),
        ("blurred", blurred, "deblurred", enhance.deblur(blurred, measure(blurred, blurred).blur_px)),
        ("turned", np.rot90(pixels, 2), "rotated 180", pixels),
    )
    figure = Figure(figsize=(8.4, 3.5), layout="constrained")
    axes = figure.subplots(2, 4)
    for column, (fault, before, name, after) in enumerate(rows):
        for row, (shown, title) in enumerate(((before, fault), (after, name))):
            axes[row, column].imshow(shown)
            axes[row, column].set_title(title, fontsize=10)
            axes[row, column].axis("off")
    _save(figure, "look-again.jpg")


def shelf_picture(folder: Path, detector: str | None = None) -> None:
    """A rendered shelf whose facings were found and named."""
    import csv

    from shelfmatch.edge import Matcher, build_bundle, count_facings
    from shelfmatch.edge.synthetic.products import make_shop, render_plain
    from shelfmatch.edge.synthetic.shelf import render_shelf

    products = make_shop(24, 31)
    with (folder / "shelf.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "sku", "name"))
        for product in products:
            render_plain(product, 300).save(folder / f"{product.sku}.png")
            writer.writerow((f"{product.sku}.png", product.sku, product.name))
    build_bundle(folder / "shelf.csv", folder / "shelf.bundle")
    photo = np.asarray(render_shelf(products, 4, 12, (1800, 1100), seed=3, empty=0.1).picture)
    with Matcher.open(folder / "shelf.bundle", detector=detector) as matcher:
        picture = count_facings(photo, matcher=matcher).picture(photo)
    picture.thumbnail((1400, 1400))
    picture.save(TARGET / "shelf.jpg", quality=86, optimize=True)


def plots(folder: Path) -> None:
    """Everything that is drawn from what a rendered shop gives."""
    import matplotlib as mpl

    from shelfmatch.edge import Matcher
    from shelfmatch.edge.demo import run_demo

    done = run_demo(folder / "demo")
    photos, queries = folder / "demo/photos", folder / "demo/queries"
    with mpl.rc_context(STYLE), Matcher.open(done.bundle) as matcher:
        adapter_picture(matcher, photos)
        confidence_picture(matcher, folder / "demo/queries.csv")
        look_again_picture(queries / "known-001.jpg")
        matcher.explain(queries / "known-032.jpg", photos=folder / "demo/catalogue.csv").save(TARGET / "explain.jpg")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--diagrams", action="store_true", help="draw no plots")
    options = parser.parse_args()
    TARGET.mkdir(exist_ok=True)
    for name, svg in diagrams().items():
        (TARGET / name).write_text(svg, encoding="utf-8")
    if not options.diagrams:
        with tempfile.TemporaryDirectory(prefix="shelfmatch-pictures-") as folder:
            plots(Path(folder))
            shelf_picture(Path(folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
