"""Run the benchmarks one after the other and write the tables of the documents, and the plot.

    python benchmarks/run_all.py                     # all of them, some hours on a quiet machine; peers set themselves up
    python benchmarks/run_all.py encoders latency    # some
    python benchmarks/run_all.py --tables            # only write the tables again from benchmarks/results

Each benchmark is a program of its own (its first lines say what it measures) and is run as its page in docs/benchmarks says.
What it found is kept, without the single samples, in benchmarks/results/NAME.json, with the machine it ran on.
The others go on past one that fails; it is named at the end. In a page, a table stands between
`<!-- figures: NAME -->` and `<!-- end of figures -->`. The plot needs the `dev` extra (matplotlib).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from machine_table import kiosk_machine_table, match_machine_table, shelf_machine_table
from right_table import right_answers_table
from tables import (
    NAMES,
    RESULTS,
    Document,
    adaptation_table,
    arm_table,
    bars_table,
    both_table,
    card_table,
    cascade_table,
    cold_start_table,
    conversions_table,
    detection_table,
    encoders_in_full,
    encoders_table,
    export_in_full,
    export_table,
    frames_table,
    kiosk_libraries_table,
    kiosk_table,
    known_print_table,
    latency_table,
    look_again_table,
    readme_table,
    rows_table,
    scenes_table,
    search_table,
    shelf_events_table,
    small_table,
)

from shelfmatch.edge.files import write_atomic

HERE: Final = Path(__file__).resolve().parent
README: Final = HERE.parent / "README.md"
DOCS: Final = HERE.parent / "docs"
PAGES: Final = DOCS / "benchmarks"
KIOSK_PAGE: Final = DOCS / "explanation" / "kiosk.md"
SCENES_PAGE: Final = DOCS / "explanation" / "scenes.md"
CARDS: Final = tuple(HERE.parent / "models" / f"{name}.md" for name in ("shelfmatch-cnn", "shelfmatch-vit"))
DETECTOR_CARD: Final = HERE.parent / "models" / "shelfmatch-detect.md"
PLOT: Final = DOCS / "pictures" / "encoders.svg"
SAMPLES: Final = 20
"""A list of more numbers than this is single measurements, and isn't kept."""


@dataclass(frozen=True)
class Benchmark:
    """A row of the list: a program of this folder."""

    name: str
    minutes: int
    arguments: tuple[str, ...] = ()
    script: str = ""
    uses_reporting: bool = True
    """Whether it takes --json and --work, as those with `reporting`'s arguments do."""
    result: Path | None = None
    """Where its result lies, if not in benchmarks/results/NAME.json."""

    def command(self, work: Path, target: Path) -> list[str]:
        """As one would type it."""
        shared = ["--json", str(target), "--work", str(work)] if self.uses_reporting else []
        return [sys.executable, str(HERE / (self.script or f"{self.name}.py")), *self.arguments, *shared]

    @property
    def kept(self) -> Path:
        """The file of its result."""
        return self.result or RESULTS / f"{self.name}.json"


BENCHMARKS: Final = (
    Benchmark(
        "encoders", 10, ("--markdown", str(RESULTS / "encoders.md"), "--measured", str(HERE.parent / "models/measured.json"))
    ),
    Benchmark("known_print", 12),
    Benchmark("arm", 4, ("--write-budgets",), script="arm/check.py", uses_reporting=False, result=HERE / "arm/budgets.json"),
    Benchmark("arm_machine", 30, ("--what", "match", "kiosk", "shelf"), script="arm/machine.py"),
    Benchmark("latency", 15),
    Benchmark("search", 30),
    Benchmark("recall", 3),
    Benchmark("runtimes", 3),
    Benchmark("adaptation", 10, ("--draws", "10")),
    Benchmark("around", 10),
    Benchmark("lookagain", 40, ("--encoders", "v1", "v2", "--draws", "6")),
    Benchmark("cascade", 15, ("--draws", "6")),
    Benchmark(
        "cascade_own", 5, ("--draws", "6", "--encoders", "shelfmatch-cnn", "shelfmatch-vit"), script="cascade.py"
    ),
    Benchmark("both", 15),
    Benchmark("scenes", 10),
    Benchmark("held_up", 4),
    Benchmark("detection", 12),
    Benchmark("shelf_rows", 2),
    Benchmark("right_answers", 240),
    Benchmark("shelf_events", 25, ("--parts", "events", "--life", "shelf_judge:life"), script="shelf.py"),
    Benchmark("shelf_calm", 10, ("--parts", "calm", "--life", "shelf_judge:life"), script="shelf.py"),
    Benchmark("shelf_rest", 20, ("--parts", "propose", "gaps", "memory", "cost"), script="shelf.py"),
    Benchmark("shelf_fit", 8),
    Benchmark("shelf_closer", 8),
    Benchmark("shelf_somebody", 8),
    Benchmark("shelf_wire", 2),
    Benchmark("coldstart", 3),
    Benchmark("kiosk", 7),
    Benchmark("cataloguing", 4),
    Benchmark("bench_honesty", 25),
    Benchmark("export_matrix", 60, ("--markdown", str(RESULTS / "export_matrix.md"))),
    Benchmark("export_conversions", 30),
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table between its marks in a page, made of what a benchmark found."""

    name: str
    page: Path
    make: Callable[[Document], str]
    benchmark: str = ""
    """Where it isn't the table's own name."""

    @property
    def source(self) -> Path:
        """The file of the result that it is made of."""
        (found,) = (one for one in BENCHMARKS if one.name == (self.benchmark or self.name))
        return found.kept


TABLES: Final = (
    Table("readme", README, readme_table, "encoders"),
    Table("encoders", PAGES / "encoders.md", encoders_table),
    Table("encoders in full", PAGES / "encoders.md", encoders_in_full, "encoders"),
    Table("known_print", PAGES / "encoders.md", known_print_table),
    Table("latency", PAGES / "speed.md", latency_table),
    Table("coldstart", PAGES / "speed.md", cold_start_table),
    Table("kiosk", KIOSK_PAGE, kiosk_table),
    Table("kiosk_libraries", KIOSK_PAGE, kiosk_libraries_table, "kiosk"),
    Table("adaptation", PAGES / "adapter.md", adaptation_table),
    Table("lookagain", PAGES / "adapter.md", look_again_table),
    Table("frames", PAGES / "adapter.md", frames_table, "lookagain"),
    Table("cascade", PAGES / "adapter.md", cascade_table),
    Table("cascade_own", PAGES / "adapter.md", cascade_table),
    Table("both", PAGES / "adapter.md", both_table),
    Table("scenes", SCENES_PAGE, scenes_table),
    Table("small photos", SCENES_PAGE, small_table, "scenes"),
    Table("held_up", SCENES_PAGE, rows_table),
    Table("detection", DETECTOR_CARD, detection_table),
    Table("right_answers", PAGES / "right-answers.md", right_answers_table),
    Table("shelf_events", PAGES / "shelf.md", shelf_events_table),
    Table("shelf_calm", PAGES / "shelf.md", bars_table),
    Table("shelf_rest", PAGES / "shelf.md", bars_table),
    Table("shelf_fit", PAGES / "shelf.md", bars_table),
    Table("shelf_closer", PAGES / "shelf.md", rows_table),
    Table("shelf_somebody", PAGES / "shelf.md", rows_table),
    Table("shelf_wire", PAGES / "shelf.md", rows_table),
    Table("search", PAGES / "search.md", search_table),
    Table("export_matrix", PAGES / "export.md", export_table),
    Table("export_matrix in full", PAGES / "export.md", export_in_full, "export_matrix"),
    Table("export_conversions", PAGES / "export.md", conversions_table),
    Table("arm", PAGES / "arm.md", arm_table),
    Table("match_machine", PAGES / "arm.md", match_machine_table, "arm_machine"),
    Table("kiosk_machine", KIOSK_PAGE, kiosk_machine_table, "arm_machine"),
    Table("shelf_machine", PAGES / "shelf.md", shelf_machine_table, "arm_machine"),
)


def compact(value: Any) -> Any:
    """A result without its single measurements: of a long list of numbers, the median."""
    if isinstance(value, dict):
        return {key: compact(item) for key, item in value.items()}
    if isinstance(value, list):
        if len(value) > SAMPLES and all(isinstance(item, (int, float)) for item in value):
            return float(f"{median(value):.6g}")
        return [compact(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def run(benchmark: Benchmark, work: Path) -> bool:
    """Run one and keep what it found; whether it ended well."""
    with tempfile.TemporaryDirectory(prefix="shelfmatch-results-") as folder:
        target = Path(folder) / "found.json"
        ended = subprocess.run(benchmark.command(work, target), cwd=HERE.parent, check=False).returncode
        if ended == 0 and benchmark.uses_reporting:
            found = compact(json.loads(target.read_text()))
            write_atomic(benchmark.kept, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    return ended == 0


def with_table(text: str, name: str, table: str) -> str:
    """A page with the table of that name replaced. Raises ValueError where it has no place for one."""
    begin, end = f"<!-- figures: {name} -->\n", "<!-- end of figures -->"
    before, found, rest = text.partition(begin)
    if not found or end not in rest:
        raise ValueError(f"the page has no place for the table {name}; put {begin.strip()} and {end} where it goes")
    return f"{before}{begin}\n{table}\n\n{end}{rest.partition(end)[2]}"


def with_figures() -> dict[Path, str]:
    """Every page that shows figures, as the results in their places say: the README, the site's, and the encoders' own."""
    pages: dict[Path, str] = {}
    for table in TABLES:
        if table.source.exists():
            text = pages.get(table.page) or table.page.read_text(encoding="utf-8")
            made = table.make(json.loads(table.source.read_text(encoding="utf-8")))
            pages[table.page] = with_table(text, table.name, made)
    encoders = RESULTS / "encoders.json"
    for card in CARDS if encoders.exists() else ():
        made = card_table(json.loads(encoders.read_text()), card.stem)
        pages[card] = with_table(card.read_text(encoding="utf-8"), "card", made)
    return pages


def plot_encoders(found: Document, target: Path) -> None:
    """Recall against instructions on a Cortex-A76, plain and tuned to the shop."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "shelfmatch", "svg.fonttype": "path", "font.size": 10}):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for name, row in found["results"].items():
            if "instructions_a76_m" not in row:
                continue
            ours = name.startswith("shelfmatch")
            x, plain, tuned = (row["instructions_a76_m"], 100 * row["recall_at_1"], 100 * row["recall_at_1_adapted"])
            color = "#2e6bff" if ours else "#98a2b3"
            axes.plot([x, x], [plain, tuned], color=color, linewidth=1.5, zorder=1)
            axes.scatter([x], [plain], facecolors="white", edgecolors=color, zorder=2)
            axes.scatter([x], [tuned], color=color, zorder=2)
            # Ours lie side by side: their names stand above them, and not beside.
            place: dict[str, Any] = {"xytext": (0, 7), "ha": "center", "fontsize": 8} if ours else {"xytext": (6, 4)}
            axes.annotate(NAMES.get(name, name), (x, max(plain, tuned)), textcoords="offset points", **place)
        axes.set_xscale("log")
        axes.set_xlim(8, 500)
        axes.set_ylim(50, 85)
        ticks = [10, 20, 50, 100, 200, 400]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("million instructions a photo, Cortex-A76")
        axes.set_ylabel("recall@1, %")
        axes.set_title("Grocery val photos among train photos: plain (ring), tuned to the shop (dot)", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(target, metadata={"Date": None})


def main() -> int:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", help=f"some of {', '.join(names)} (default: all)")
    parser.add_argument("--tables", action="store_true", help="run nothing; write the tables from what is there")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keep shops, photos and vectors there for the next run"
    )
    options = parser.parse_args()
    unknown = set(options.benchmarks) - set(names)
    if unknown:
        parser.error(f"unknown benchmark {min(unknown)}; expected some of {', '.join(names)}")
    chosen = [one for one in BENCHMARKS if not options.benchmarks or one.name in options.benchmarks]
    failed = []
    if not options.tables:
        from tqdm import tqdm

        with tempfile.TemporaryDirectory(prefix="shelfmatch-bench-") as folder:
            work = options.work or Path(folder)
            # In minutes: they take from three to sixty.
            with tqdm(total=sum(one.minutes for one in chosen), unit="min") as bar:
                for benchmark in chosen:
                    bar.set_description(benchmark.name)
                    if not run(benchmark, work):
                        failed.append(benchmark.name)
                    bar.update(benchmark.minutes)
    for page, text in with_figures().items():
        write_atomic(page, text.encode())
    encoders = RESULTS / "encoders.json"
    if encoders.exists():
        plot_encoders(json.loads(encoders.read_text()), PLOT)
    if failed:
        print(f"not finished: {', '.join(failed)}; their tables are as they were", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
