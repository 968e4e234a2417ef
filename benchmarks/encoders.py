"""What each encoder finds and costs: the table of the documents, and models/measured.json, which `shelfmatch encoders` shows.

    python benchmarks/encoders.py --markdown benchmarks/results/encoders.md --measured models/measured.json
    python benchmarks/encoders.py --encoders shelfmatch-cnn shelfmatch-cnn.onnx --no-arm

Encoders: the embedded ones (NAME: LiteRT's file; NAME.onnx: ONNX Runtime's; NAME-fp32: the source they were quantized from) and
Coral's MobileNetV1 and V2. Everything goes through build_bundle and Matcher. Catalogue: the Grocery Store Dataset's train
photos, or its 81 catalogue pictures; queries: its val photos (1 of 296 is 0.34 points). "unseen": val photos of the 16 products
that were kept out of our training, asked among all train photos. "rendered": 500 rendered products never trained on, one plain
picture each, asked with a hard view on a busy shelf. Instructions: one photo from pixels to embedding on emulated ARM cores
(benchmarks/arm); ms: the same here, medians of rounds in turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import reporting
import shops
from remembered import remembered

OURS: Final = ("shelfmatch-cnn", "shelfmatch-nano", "shelfmatch-vit")
NAMES: Final = ("v1", "v2", *OURS)
VARIANTS: Final = tuple(f"{name}{kind}" for name in OURS for kind in (".onnx", "-fp32"))
KNOWN_AS: Final = {"v1": "coral-mobilenetv1", "v2": "coral-mobilenetv2"}
ROUNDS: Final = 15


def file_of(name: str, work: Path) -> Path:
    """The encoder's card or file."""
    if name == "v1":
        return shops.model_file(shops.V1)
    if name == "v2":
        return shops.cut_v2(work)
    models = Path(__file__).resolve().parents[1] / "models"
    if name.endswith("-fp32"):
        return fp32_card(models / f"{name}.onnx", work)
    return models / f"{name if name.endswith('.onnx') else f'{name}.tflite'}.json"


def fp32_card(model: Path, work: Path) -> Path:
    """The float source with the preprocessing of the device file made from it."""
    from dataclasses import replace

    from shelfmatch.edge.encoders.infer_card import inspect_encoder
    from shelfmatch.edge.encoders.registry import read_card

    card, _ = read_card(model.with_name(f"{model.stem.removesuffix('-fp32')}.onnx.json"))
    target = work / model.name
    target.write_bytes(model.read_bytes())
    inspected = replace(inspect_encoder(target), resize=card.resize, crop_fraction=card.crop_fraction)
    (work / f"{model.name}.json").write_text(json.dumps(inspected.to_dict()))
    return work / f"{model.name}.json"


def iconic_csv(work: Path) -> Path:
    """The 81 catalogue pictures."""
    root = shops.grocery_root()
    target = work / "iconic.csv"
    with (root / "classes.csv").open(newline="") as file, target.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["image", "sku"])
        for row in csv.DictReader(file):
            path = root / row["Iconic Image Path (str)"].lstrip("/")
            rows.writerow([path.resolve(), f"{int(row['Class ID (int)']):03d}"])
    return target


def rendered_shop(work: Path) -> tuple[Path, list[tuple[Path, str]]]:
    """A catalogue of plain pictures, and hard views with their SKUs."""
    from shelfmatch.edge.synthetic.products import make_shop, render_plain, render_view
    from shelfmatch.models.pictures import TEST_DIFFICULTY, TEST_PRODUCTS, TEST_SHOP

    folder = work / "rendered"
    queries = []
    for product in make_shop(TEST_PRODUCTS, TEST_SHOP):
        plain, view = folder / product.sku / "plain.png", work / "rendered-views" / f"{product.sku}.png"
        if not view.exists():
            for path, image in (
                (plain, render_plain(product, 480)),
                (view, render_view(product, 0, (640, 480), TEST_DIFFICULTY)),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
        queries.append((view, product.sku))
    return folder, queries


def recall(
    encoder: Path,
    catalogue: Path,
    queries: Sequence[tuple[Path, str]],
    work: Path,
    adapt: str = "off",
    local: bool = True,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(N,) whether the first candidate is right, and whether one of the first five is; `local`: with local matching, where the
    encoder has it."""
    from shelfmatch.edge import Matcher, MatchResult, build_bundle

    bundle = work / f"encoders-{encoder.stem}-{catalogue.stem}-{adapt}.bundle"
    build_bundle(catalogue, bundle, encoder=encoder, adapt=adapt, resizer="pillow")  # type: ignore[arg-type]
    with Matcher.open(bundle, look_again=False, local=local) as matcher:
        results = list(matcher.match_many([path for path, _ in queries], top_k=5, workers=2))
    ranked = [[found.sku for found in result.candidates] for result in results if isinstance(result, MatchResult)]
    wanted = [sku for _, sku in queries]
    first = np.array([bool(skus) and skus[0] == sku for skus, sku in zip(ranked, wanted, strict=True)])
    five = np.array([sku in skus for skus, sku in zip(ranked, wanted, strict=True)])
    return first, five


def found_by(name: str, work: Path) -> dict[str, float]:
    """The recalls of the issue's table, from 0 to 1."""
    from shelfmatch.models.pictures import HELD_OUT

    encoder = file_of(name, work)
    val = shops.grocery_photos("val")
    queries = [(photo.path, f"{photo.label:03d}") for photo in val]
    unseen = np.array([photo.label in HELD_OUT for photo in val])
    train = shops.write_csv(work / "train.csv", shops.grocery_photos("train"))
    plain, plain_five = recall(encoder, train, queries, work)
    adapted, _ = recall(encoder, train, queries, work, adapt="auto")
    iconic, iconic_five = recall(encoder, iconic_csv(work), queries, work)
    catalogue, views = rendered_shop(work)
    hard, _ = recall(encoder, catalogue, views, work)
    return {
        "recall_at_1": float(plain.mean()),
        "recall_at_5": float(plain_five.mean()),
        "recall_at_1_adapted": float(adapted.mean()),
        "iconic_recall_at_1": float(iconic.mean()),
        "iconic_recall_at_5": float(iconic_five.mean()),
        "unseen_recall_at_1": float(plain[unseen].mean()),
        "rendered_recall_at_1": float(hard.mean()),
    }


def latencies_ms(names: Sequence[str], work: Path) -> dict[str, float]:
    """Median milliseconds from pixels to embedding, one thread, in turns."""
    from shelfmatch.edge import Encoder

    encoders = {name: Encoder.load(file_of(name, work), threads=1) for name in names}
    taken: dict[str, list[float]] = {name: [] for name in names}
    for encoder in encoders.values():
        encoder.warm_up()
    rng = np.random.default_rng(0)
    for _ in range(ROUNDS * 10):
        for name, encoder in encoders.items():
            pixels = rng.integers(0, 256, (encoder.card.height, encoder.card.width, 3), dtype=np.uint8)
            start = time.perf_counter()
            encoder.embed_pixels(pixels, check=False)
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: float(np.median(times)) for name, times in taken.items()}


def count_instructions(names: Sequence[str], work: Path) -> dict[str, dict[str, float]]:
    """Million instructions of one inference in LiteRT, by encoder and core; ONNX files are left out."""
    from arm.emulation import set_up

    emulation = set_up(work / "emulation")
    files = {name: _model_path(file_of(name, work)) for name in names}
    counted = {name: path for name, path in files.items() if path.suffix == ".tflite"}
    worker = Path(__file__).resolve().parent / "workers" / "count_invoke.py"
    found: dict[str, dict[str, float]] = {name: {} for name in counted}
    for core in ("a72", "a76"):
        command = emulation.command(f"cortex-{core}", str(worker), *map(str, counted.values()), count=True)
        done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        counts = [int(line.split()[2]) for line in done.stderr.splitlines() if line.startswith("ICOUNT 1 ")]
        for name, count in zip(counted, counts, strict=True):
            found[name][f"instructions_{core}_m"] = count / 1e6
    return found


BARS: Final = {
    "shelfmatch-cnn": {
        "size_mb": 3.0, "instructions_a72_m": 54, "instructions_a76_m": 24.5, "recall_at_1": 0.79, "recall_at_1_adapted": 0.82,
        "iconic_recall_at_1": 0.77, "unseen_recall_at_1": 0.75, "rendered_recall_at_1": 0.88,
    },
    "shelfmatch-nano": {
        "size_mb": 3.0, "instructions_a72_m": 27, "instructions_a76_m": 12, "recall_at_1": 0.72, "recall_at_1_adapted": 0.75,
        "iconic_recall_at_1": 0.68, "unseen_recall_at_1": 0.68, "rendered_recall_at_1": 0.75,
    },
    "shelfmatch-vit": {
        "size_mb": 3.0, "instructions_a72_m": 81, "instructions_a76_m": 47, "recall_at_1": 0.78, "recall_at_1_adapted": 0.81,
        "iconic_recall_at_1": 0.76, "unseen_recall_at_1": 0.74, "rendered_recall_at_1": 0.86,
    },
}  # fmt: skip
INT8_LOSS, RUNTIMES_APART = 0.005, 0.002


def hold_against_bars(report: reporting.Report, measured: dict[str, dict[str, float]]) -> None:
    """The issue's table: fixed numbers, int8 against its source, one runtime against the other."""
    for name in (name for name in BARS if name in measured):
        row = measured[name]
        for key, limit in BARS[name].items():
            if key in row:
                report.bar(f"{name} {key}", row[key], limit, at_least="recall" in key)
        if source := measured.get(f"{name}-fp32"):
            for other in (name, f"{name}.onnx"):
                if other in measured:
                    lost = source["recall_at_1"] - measured[other]["recall_at_1"]
                    report.bar(f"{other} recall@1 lost by int8", lost, INT8_LOSS)
        if onnx := measured.get(f"{name}.onnx"):
            report.bar(f"{name} runtimes apart", abs(row["recall_at_1"] - onnx["recall_at_1"]), RUNTIMES_APART)


COLUMNS: Final = (
    ("MB", "size_mb", "{:.2f}"),
    ("recall@1", "recall_at_1", "{:.1%}"),
    ("adapted", "recall_at_1_adapted", "{:.1%}"),
    ("catalogue pictures @1", "iconic_recall_at_1", "{:.1%}"),
    ("@5", "iconic_recall_at_5", "{:.1%}"),
    ("unseen", "unseen_recall_at_1", "{:.1%}"),
    ("rendered", "rendered_recall_at_1", "{:.1%}"),
    ("A72, M", "instructions_a72_m", "{:.1f}"),
    ("A76, M", "instructions_a76_m", "{:.1f}"),
    ("ms here", "ms", "{:.1f}"),
)


def table(measured: dict[str, dict[str, float]]) -> str:
    """Markdown, one encoder a row."""
    header = ("encoder", *(title for title, _, _ in COLUMNS))
    rows = [
        (KNOWN_AS.get(name, name), *(shape.format(row[key]) if key in row else "" for _, key, shape in COLUMNS))
        for name, row in measured.items()
    ]
    return reporting.markdown_table(header, rows)


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", choices=(*NAMES, *VARIANTS), default=[*NAMES, *VARIANTS])
    parser.add_argument("--no-arm", action="store_true", help="leave the instruction counts out")
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    parser.add_argument("--measured", type=Path, help="write the figures by encoder as JSON, for `shelfmatch encoders`")
    arguments: argparse.Namespace = parser.parse_args()
    report = reporting.Report.start("encoders")
    with reporting.work_folder(arguments.work) as work:
        measured: dict[str, dict[str, float]] = {}
        for name in arguments.encoders:
            size = _model_path(file_of(name, work)).stat().st_size
            # Photos that several catalogues share run through a network once.
            with remembered(work / "encoders.sqlite"):
                measured[name] = {"size_mb": size / 1e6, **found_by(name, work)}
            print(name, {key: round(value, 4) for key, value in measured[name].items()}, flush=True)
        for name, milliseconds in latencies_ms(arguments.encoders, work).items():
            measured[name]["ms"] = milliseconds
        if not arguments.no_arm:
            for name, counts in count_instructions(arguments.encoders, work).items():
                measured[name].update(counts)
    report.results = measured
    hold_against_bars(report, measured)
    print("", table(measured), sep="\n")
    if arguments.markdown:
        here = report.machine
        where = f"{here['cpu']}, {here['cores']} cores, Python {here['python']}, numpy {here['numpy']}"
        text = f"Printed by `python benchmarks/encoders.py`, which says what the columns are; {where}.\n\n{table(measured)}\n"
        arguments.markdown.write_text(text, encoding="utf-8")
    if arguments.measured:
        rounded = {KNOWN_AS.get(k, k): {key: round(v, 4) for key, v in row.items()} for k, row in measured.items()}
        arguments.measured.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
    return report.finish(arguments)


def _model_path(path: Path) -> Path:
    from shelfmatch.edge.encoders.registry import find_encoder

    return find_encoder(path)[1]


if __name__ == "__main__":
    raise SystemExit(main())
