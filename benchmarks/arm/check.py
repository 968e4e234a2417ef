"""The emulated Cortex-A53, A72 and A76: a chosen part of the tests, embeddings and top-10 against x86-64, and instruction budgets.

    python benchmarks/arm/check.py                    # exit 1 if anything is off; the emulation goes into a temporary folder
    python benchmarks/arm/check.py --folder DIR       # keeps it there for the next time
    python benchmarks/arm/check.py --write-budgets    # after a wanted change, or for a new encoder

Every .tflite encoder of the package is run over the same rendered photos against a shop of 10,000 references. Instructions per
photo and stage must stay within 1 % of budgets.json (or 10,000, if that is more), in both directions: what got faster gets a new
budget. They repeat to 0.03 % between runs and don't depend on how busy this machine is; they are not time, since caches and
memory aren't modelled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reporting  # noqa: E402
import shops  # noqa: E402
from emulation import CHECKOUT, PROCESSORS, Emulation, set_up, unavailable  # noqa: E402

from shelfmatch.edge import Encoder  # noqa: E402
from shelfmatch.edge.encoders.golden import embedded_cards  # noqa: E402
from shelfmatch.edge.encoders.registry import read_card  # noqa: E402
from shelfmatch.edge.synthetic.products import VARIANTS, make_shop, render_view  # noqa: E402

BUDGETS = HERE / "budgets.json"
TOLERANCE = 0.01
SLACK = 10_000
"""What no stage is blamed for: 0.02 % of a photo. The decision takes 160,000, and 1 % of that is a string hashed or not."""
STAGES = ("decode", "preprocess", "encode", "search", "decide", "local")
"""Local matching where the shop has it: those of the budgets have none."""
PHOTOS, REFERENCES = 6, 10_000
LEAST_COSINE, LEAST_OVERLAP = 0.999, 9
"""Between an embedding there and here, and of the ten best products. Ours are the same to the digit; a softmax in int8
rounded differently there, which is why the exporter leaves it in float."""

EVERYWHERE = (
    "tests/edge/doctor/test_doctor.py::test_known_embeddings_belong_to_the_encoders",
    "tests/edge/index/test_scan.py::test_numpy_scans_like_numkong",
    "tests/edge/imaging/test_resize.py::test_golden_values",
)
ON_THE_SMALLEST = (
    "tests/edge/index/test_vector_index.py::test_exact_misses_nothing_of_hostile_data",
    "tests/edge/index/test_vector_index.py::test_a_graph_whose_nearest_are_gone_finds_the_next[i8]",
    "tests/edge/imaging/test_resize.py::test_under_four_times_the_size_it_is_a_full_decode_and_a_bilinear_resize",
    "tests/edge/imaging/test_image.py::test_cmyk_jpeg_has_the_colours_that_were_saved",
    "tests/edge/matching/test_matcher.py::test_names_the_product_on_an_unseen_photo",
    "tests/edge/matching/test_matcher.py::test_many_go_on_past_a_bad_one",
)
"""Tests that start no process and take seconds there; a million of its instructions take about 5 ms here."""

Counts = dict[str, dict[str, dict[str, int]]]
"""Processor → encoder → stage → instructions per photo."""


@dataclass(frozen=True, slots=True)
class Shop:
    """One encoder's bundle."""

    encoder: str
    bundle: Path


def prepare(work: Path) -> tuple[list[Shop], list[Path]]:
    """A shop for each .tflite encoder of the package, and photos of products that are in it. Of siblings one: between two of them
    `shelfmatch-nano` had .9061 and .9056 of a photo, which tells nothing of a processor."""
    families = {product.seed // VARIANTS: product for product in make_shop(4 * PHOTOS, seed=5)}
    products = list(families.values())[:PHOTOS]
    photos, catalogued = [], []
    for number, product in enumerate(products):
        for view, paths in ((0, catalogued), (1, photos)):
            paths.append(work / f"{number}-{view}.jpg")
            render_view(product, view, difficulty=0.3).save(paths[-1], quality=90)
    found = []
    for name, card_path in embedded_cards().items():
        if read_card(card_path)[0].format == "tflite":
            encoder = Encoder.load(card_path, resizer="pillow")
            # Without an adapter: its fit depends on the linear algebra of this machine, and so would the counts.
            seeds = encoder.embed(*catalogued)
            bundle = shops.write_shop(work / f"{name}.bundle", encoder, seeds, REFERENCES, adapt="off")
            found.append(Shop(name, bundle))
    return found, photos


def encoder_files() -> dict[str, str]:
    """SHA-256 of every .tflite encoder of the package: by them a fast test tells that the budgets were counted with others."""
    cards = [read_card(path)[0] for path in embedded_cards().values()]
    return {card.file: card.sha256 for card in cards if card.format == "tflite"}


def run_stages(command: list[str]) -> tuple[dict[str, Any], dict[str, int]]:
    """stages.py's answer, and the instructions per photo and stage where they were counted. Raises SystemExit if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=CHECKOUT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[-3:])} ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    marks: dict[int, list[int]] = {}
    for line in done.stderr.splitlines():
        if line.startswith("ICOUNT "):
            mark, count = line.split()[1:]
            marks.setdefault(int(mark), []).append(int(count))
    # The first ones are of the warm-up.
    counts = {
        stage: marks[number][-answer["photos"] :] for number, stage in enumerate(STAGES, start=1) if number in marks
    }
    return answer, {stage: round(sum(values) / len(values)) for stage, values in counts.items()}


def stages_command(
    emulation: Emulation | None, processor: str, shop: Shop, photos: list[Path], *more: str
) -> list[str]:
    """stages.py in the emulation, counting, or on this machine."""
    arguments = [str(HERE / "stages.py"), str(shop.bundle), *map(str, photos), *more]
    return [sys.executable, *arguments] if emulation is None else emulation.command(processor, *arguments, count=True)


def differences(
    here: Mapping[str, Any],
    there: Mapping[str, Any],
    least_cosine: float = LEAST_COSINE,
    least_overlap: int = LEAST_OVERLAP,
) -> tuple[list[str], float]:
    """What is off between the answers of two machines to the same photos, and the least cosine."""
    problems, least = [], 1.0
    for number, (ours, theirs) in enumerate(zip(here["answers"], there["answers"], strict=True)):
        cosine = float(reporting.cosines(np.array([ours["embedding"]]), np.array([theirs["embedding"]]))[0])
        overlap = len(set(ours["top_k"]) & set(theirs["top_k"]))
        least = min(least, cosine)
        if not cosine >= least_cosine:
            problems.append(f"photo {number}: cosine {cosine:.5f} with x86-64, expected {least_cosine}")
        if overlap < least_overlap or ours["top_k"][0] != theirs["top_k"][0]:
            problems.append(f"photo {number}: {overlap} of the ten best are x86-64's, first {theirs['top_k'][0]}")
    return problems, least


def over_budget(budgets: Counts, measured: Counts, tolerance: float = TOLERANCE) -> list[str]:
    """One line for each stage outside its budget, for what has none, and for budgets of what is gone."""
    problems = []
    for processor, encoders in measured.items():
        allowed = budgets.get(processor, {})
        problems += [
            f"{processor} {gone}: has a budget but is no longer there" for gone in allowed.keys() - encoders.keys()
        ]
        for encoder, stages in encoders.items():
            for stage, count in stages.items():
                budget = allowed.get(encoder, {}).get(stage)
                if budget is None:
                    problems.append(f"{processor} {encoder} {stage}: {count:,} instructions, has no budget")
                elif abs(count - budget) > max(tolerance * budget, SLACK):
                    problems.append(
                        f"{processor} {encoder} {stage}: {count:,} instructions, budget {budget:,} ({count / budget - 1:+.1%})"
                    )
    return problems


def run_tests(emulation: Emulation, processor: str) -> list[str]:
    """The chosen tests there; what failed."""
    chosen = EVERYWHERE + (ON_THE_SMALLEST if processor == "cortex-a53" else ())
    command = emulation.command(processor, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no_children", *chosen)
    command = [f"{word}:{HERE}" if word.startswith("PYTHONPATH=") else word for word in command]
    return failed_tests(processor, command)


def failed_tests(processor: str, command: list[str]) -> list[str]:
    """Run pytest there by this command and say how it went; what failed."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=CHECKOUT)
    print(f"{processor}: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else 'no tests ran'}", flush=True)
    return [] if done.returncode == 0 else [f"{processor}: tests failed:\n{done.stdout[-3000:]}{done.stderr[-500:]}"]


def measure(
    emulation: Emulation, shops_: list[Shop], photos: list[Path], pool: ThreadPoolExecutor
) -> tuple[Counts, list[str]]:
    """Instructions of every processor and encoder, and what differs from this machine's answers."""
    here = {shop.encoder: run_stages(stages_command(None, "", shop, photos))[0] for shop in shops_}
    cells = [(processor, shop) for processor in PROCESSORS for shop in shops_]
    runs = pool.map(lambda cell: run_stages(stages_command(emulation, *cell, photos)), cells)
    counts: Counts = {processor: {} for processor in PROCESSORS}
    problems = []
    for (processor, shop), (there, stages) in zip(cells, runs, strict=True):
        counts[processor][shop.encoder] = stages
        found, least = differences(here[shop.encoder], there)
        problems += [f"{processor} {shop.encoder}: {problem}" for problem in found]
        told = ", ".join(f"{stage} {count / 1e6:.2f}" for stage, count in stages.items())
        print(
            f"{processor} {shop.encoder}: million instructions a photo: {told}; cosine with x86-64 ≥ {least:.6f}",
            flush=True,
        )
    return counts, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the emulation there")
    parser.add_argument(
        "--write-budgets", action="store_true", help="take what is measured as the budgets; runs no tests"
    )
    arguments = parser.parse_args()
    if (reason := unavailable()) is not None:
        if arguments.write_budgets:
            print(f"no budgets were written: {reason}", file=sys.stderr)
            return 1
        print(f"skipped: {reason}")
        return 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shelfmatch-arm-") as temporary, ThreadPoolExecutor(os.cpu_count()) as pool:
        emulation = set_up(arguments.folder or Path(temporary, "emulation"))
        print(f"emulation set up after {time.monotonic() - start:.0f} s", flush=True)
        work = Path(temporary, "work")
        work.mkdir()
        chosen = () if arguments.write_budgets else PROCESSORS
        tests = [pool.submit(run_tests, emulation, processor) for processor in chosen]
        counts, problems = measure(emulation, *prepare(work), pool)
        problems += [problem for test in tests for problem in test.result()]
        versions = emulation.versions()
    if arguments.write_budgets:
        record = {
            "tolerance": TOLERANCE,
            "slack": SLACK,
            "photos": PHOTOS,
            "references": REFERENCES,
            "versions": versions,
            "encoders": encoder_files(),
            "instructions": counts,
        }
        BUDGETS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {BUDGETS}")
    else:
        problems += held(counts, versions)
    for problem in problems:
        print(f"WRONG  {problem}")
    print(f"{len(problems)} problems, {time.monotonic() - start:.0f} s in all")
    return 1 if problems else 0


def held(counts: Counts, versions: Mapping[str, str]) -> list[str]:
    """What exceeds the committed budgets, and whether other versions may be the reason."""
    record = json.loads(BUDGETS.read_text(encoding="utf-8"))
    problems = over_budget(record["instructions"], counts)
    if problems:
        moved = [
            f"{name} {record['versions'].get(name)} → {now}"
            for name, now in versions.items()
            if record["versions"].get(name) != now
        ]
        because = f"versions moved since ({', '.join(moved)}); " if moved else ""
        problems.append(f"{because}if the change is wanted: python benchmarks/arm/check.py --write-budgets")
    return problems


if __name__ == "__main__":
    sys.exit(main())
