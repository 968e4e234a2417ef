"""Search on one thread: our index against faiss, hnswlib and numpy, microseconds for one query a call.

    python benchmarks/search.py
    python benchmarks/search.py --sizes 10000x128 --queries 500 --json search.json

Clustered unit vectors, 20 views a product, and unseen views as queries. Every engine sits in a process of its own;
they take turns of 50 queries, in random order, each after ten off the clock, until each has answered all queries.
recall@10 is against an exact search in floats. hnswlib stands twice: as it comes (ef 10) and with the smallest ef
that reaches our bar for recall. "floats" is the plain size of the vectors as float32; the file is what each engine
saves. "floor" is one pass over as many bytes as a scan of 8-bit codes must read: what memory (or a cache) allows.
A graph of 100,000 takes about a minute to build, and of a million nobody builds one here; `--work DIR` keeps graphs
and vectors.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import numpy as np
import peers
import reporting
import shops
from numpy.typing import NDArray

K = 10
TURN = 50
WARM_UP = 10
"""Queries off the clock at the start of each turn: the engine before has had the caches to itself."""
GRAPH_RECALL = 0.98
EXPANSIONS = (10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 96, 128)
FLAT_PEERS = ("faiss-flat", "faiss-sq8", "faiss-sqfp16", "numpy")
ENGINES: dict[str, tuple[str, ...]] = {
    "1000x128": ("floor", "shelfmatch-exact", *FLAT_PEERS, "hnswlib"),
    "10000x128": ("floor", "shelfmatch-exact", *FLAT_PEERS, "hnswlib"),
    "10000x1024": ("floor", "shelfmatch-exact", *FLAT_PEERS),
    "100000x128": ("floor", "shelfmatch-hnsw", "shelfmatch-exact", *FLAT_PEERS, "hnswlib"),
    "1000000x128": ("floor", "shelfmatch-exact", *FLAT_PEERS),
}
MOST_QUERIES: dict[str, int] = {"1000000x128": 100}
"""A million take 10 to 100 ms a query; they differ by little."""


@dataclass(slots=True)
class Engine:
    """One engine at work: its process, its file, what it answered and how long that took."""

    name: str
    worker: peers.Worker
    expansion: int | None = None
    build_s: float | None = None
    size_bytes: int = 0
    recall: float = 0.0
    us: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "median_us": median(self.us),
            "p90_us": float(np.percentile(self.us, 90)),
            "recall_at_10": self.recall,
            "file_bytes": self.size_bytes,
            "build_s": self.build_s,
            "us": [round(value, 1) for value in self.us],
        }


def exact_neighbours(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.intp]:
    """(Q, 10): the nearest in float32, unsorted."""
    parts = np.array_split(queries, -(-len(queries) // 100))
    return np.concatenate([np.argpartition(part @ vectors.T, -K, axis=1)[:, -K:] for part in parts])


def recall_at_10(answers: NDArray[Any], truth: NDArray[np.intp]) -> float:
    """The share of the true ten nearest that were found."""
    return float(np.mean([len(set(a.tolist()) & set(t.tolist())) / K for a, t in zip(answers, truth, strict=True)]))


class Inputs:
    """The vectors and queries of one size, in files that every process reads."""

    def __init__(self, size: str, queries: int, work: Path) -> None:
        count, dimension = (int(number) for number in size.split("x"))
        self.size = size
        self.folder = work / f"search-{size}-{queries}"
        self.folder.mkdir(exist_ok=True)
        self.vectors, self.queries = self.folder / "vectors.npy", self.folder / "queries.npy"
        rows, asked = shops.clustered_vectors(count, dimension, queries)
        np.save(self.vectors, rows)
        np.save(self.queries, asked)
        self.count = queries
        self.floats_bytes = rows.nbytes
        self.truth = exact_neighbours(rows, asked)

    def measure_recall(self, engine: Engine) -> float:
        """recall@10 of all queries; it warms the engine up as well."""
        target = self.folder / f"answers-{engine.name}.npy"
        engine.worker.ask("answers", queries=str(self.queries), k=K, file=str(target))
        return recall_at_10(np.load(target), self.truth)


def start_engines(inputs: Inputs, stack: ExitStack) -> list[Engine]:
    """Build (or load) every engine of a size, and measure its recall."""
    engines = []
    for name in ENGINES[inputs.size]:
        peer = None if name.startswith("shelfmatch") else "search"
        worker = stack.enter_context(peers.Worker(peer, "search_engines.py", name))
        file = inputs.folder / (f"{name}-{shops.code_stamp()}.index" if peer is None else f"{name}.index")
        built = worker.ask("build", vectors=str(inputs.vectors), file=str(file))
        engine = Engine(name, worker, build_s=built["seconds"], size_bytes=built["bytes"])
        if name != "floor":
            engine.recall = inputs.measure_recall(engine)
        engines.append(engine)
        if name == "hnswlib":
            engine.expansion = EXPANSIONS[0]
            engines.append(raised_to_the_bar(engine, inputs))
    return engines


def raised_to_the_bar(plain: Engine, inputs: Inputs) -> Engine:
    """hnswlib again, in the same process, with the smallest ef that reaches the bar for recall."""
    engine = Engine("hnswlib", plain.worker, build_s=plain.build_s, size_bytes=plain.size_bytes)
    for expansion in EXPANSIONS:
        engine.expansion = expansion
        plain.worker.ask("tune", expansion=expansion)
        engine.recall = inputs.measure_recall(engine)
        if engine.recall >= GRAPH_RECALL:
            break
    return engine


def take_turns(engines: list[Engine], inputs: Inputs, random: Random) -> None:
    """Ask all engines for all queries, a few at a time."""
    for start in range(0, inputs.count, TURN):
        for engine in random.sample(engines, len(engines)):
            if engine.expansion is not None:
                engine.worker.ask("tune", expansion=engine.expansion)
            reply = engine.worker.ask(
                "times", queries=str(inputs.queries), k=K, start=start, count=TURN, warm_up=WARM_UP
            )
            engine.us += reply["us"]


def labelled(engines: list[Engine]) -> dict[str, Engine]:
    """Engines by the name they have in the table."""
    return {f"{e.name} ef {e.expansion}" if e.expansion is not None else e.name: e for e in engines}


def hold_against_bars(size: str, engines: list[Engine], report: reporting.Report) -> None:
    """The issue's two lines about search."""
    by_name = {engine.name: engine for engine in engines if engine.name != "hnswlib"}
    graphs = [engine for engine in engines if engine.name == "hnswlib"]
    if size == "10000x128":
        ours = by_name["shelfmatch-exact"]
        ratio = reporting.ratio_of_medians(ours.us, by_name["faiss-sqfp16"].us)
        report.bar(f"{size}: time / faiss SQfp16", ratio.value, 1.0)
        report.bar(f"{size}: file, MB", ours.size_bytes / 1e6, 2.0)
        report.bar(f"{size}: recall@10", ours.recall, 0.99, at_least=True)
    if size == "100000x128":
        ours = by_name["shelfmatch-hnsw"]
        for graph in graphs:
            ratio = reporting.ratio_of_medians(ours.us, graph.us)
            report.bar(f"{size}: time / hnswlib of ef {graph.expansion}, recall {graph.recall:.3f}", ratio.value, 1.3)
        report.bar(f"{size}: file / hnswlib's", ours.size_bytes / graphs[0].size_bytes, 0.45)
        report.bar(f"{size}: recall@10 of the graph", ours.recall, GRAPH_RECALL, at_least=True)


def run_size(size: str, queries: int, work: Path, report: reporting.Report) -> None:
    """One size, with its table."""
    inputs = Inputs(size, queries, work)
    with ExitStack() as stack:
        engines = start_engines(inputs, stack)
        take_turns(engines, inputs, Random(0))
    yardstick = next((e for e in engines if e.name == "faiss-sqfp16"), engines[0])
    rows = [
        (
            name,
            f"{median(engine.us):.0f}",
            f"{np.percentile(engine.us, 90):.0f}",
            f"{median(engine.us) / median(yardstick.us):.2f}",
            *(
                ("", "", "")
                if name == "floor"
                else (
                    f"{engine.recall:.4f}",
                    f"{engine.size_bytes / 1e6:.2f}",
                    f"{engine.size_bytes / inputs.floats_bytes:.2f}",
                )
            ),
        )
        for name, engine in labelled(engines).items()
    ]
    header = ("engine", "µs, median", "p90", f"/ {yardstick.name}", f"recall@{K}", "file MB", "/ floats")
    reporting.print_table(f"{size}: {queries} queries, k {K}", header, rows)
    hold_against_bars(size, engines, report)
    report.results[size] = {name: engine.to_dict() for name, engine in labelled(engines).items()}


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--sizes", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--queries", type=int, default=500, metavar="N")
    peers.add_arguments(parser)
    arguments: argparse.Namespace = parser.parse_args()
    peers.use(arguments.envs)
    report = reporting.Report.start("search", queries=arguments.queries, k=K, views=shops.VIEWS)
    with reporting.work_folder(arguments.work) as work:
        for size in arguments.sizes:
            run_size(size, min(arguments.queries, MOST_QUERIES.get(size, arguments.queries)), work, report)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
