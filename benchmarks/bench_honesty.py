"""Whether `shelfmatch bench` can be believed: differences that aren't there, one that is, and what its clocks cost.

    python benchmarks/bench_honesty.py                 # the short plan, about a quarter of an hour
    python benchmarks/bench_honesty.py --plan quick    # as bench --quick, an hour
    python benchmarks/bench_honesty.py --runs 5 --models v1 v2

The same thing is measured again and again, in turns with a copy that is made slower: after each match, the copy spins for a part
of the CPU time that the match took. Each run is compared with the one before it ("no difference" is right) and each slowed run
with the plain one before it ("slower" is right). Stages against the wall clock, and the encode stage against the network alone, are
taken from the plain runs of each model.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import reporting
import shops

from shelfmatch.edge import Matcher, MatchResult
from shelfmatch.edge.bench.comparing import compare_results
from shelfmatch.edge.bench.runner import FULL, QUICK, Plan, run_bench
from shelfmatch.edge.bench.scenarios import single_stream
from shelfmatch.edge.bench.target import folder_photos, open_target, rendered_photos
from shelfmatch.edge.encoders.registry import DEFAULT_ENCODER

PLANS = {
    "short": Plan(10, 0.2, 0.6, 0.25, 0.0, 0.1, 0.0, 0, 0.5),
    "quick": QUICK,
    "full": FULL,
}
_SLOWED = """
import time
begun = time.perf_counter()
from shelfmatch.edge.matching.matcher import Matcher
plain = Matcher.match
def slowed(self, *arguments, **options):
    start = time.thread_time()
    result = plain(self, *arguments, **options)
    until = time.thread_time() + {share} * (time.thread_time() - start)
    while time.thread_time() < until:
        pass
    return result
Matcher.match = slowed
from shelfmatch.edge.bench.worker import main
main(begun)
"""
_SCENARIOS = ("single-stream", "offline")


class _Nothing:
    """Answers at once with an answer that was given before: what is left of the timed loop is the loop."""

    def __init__(self, result: MatchResult) -> None:
        self._result = result

    def match(self, photo: object) -> MatchResult:
        return self._result


def clocks_cost(photos: list[str], matcher: Matcher, turns: int) -> dict[str, float]:
    """CPU µs a photo: of our timed loop around a match (`loop_us`), of the clocks and the record of stages inside one
    (`inside_us`); and `match_ms`, what a match takes without either. Medians over turns."""
    result = matcher.match(photos[0])
    loop, inside, bare = [], [], []
    for _ in range(turns):
        start = time.process_time()
        for photo in photos:
            matcher.match(photo)
        bare.append((time.process_time() - start) / len(photos))
        (block,) = single_stream(_Nothing(result), photos, 0.0, 1, lambda: (1.0, 1.0))["blocks"][:1]
        loop.append(block["cpu_s"] / block["photos"])
        start = time.process_time()
        for _ in range(1000):
            clocks = [time.perf_counter() for _ in range(9)]
            {stage: (clocks[place + 1] - clocks[place]) * 1e3 for place, stage in enumerate(result.latency_ms)}
        inside.append((time.process_time() - start) / 1000)
    return {
        "loop_us": float(np.median(loop)) * 1e6,
        "inside_us": float(np.median(inside)) * 1e6,
        "match_ms": float(np.median(bare)) * 1e3,
    }


def measure(target: Any, photos: Path, plan: Plan, slowdown: float = 0.0) -> dict[str, Any]:
    """One run of the benchmark."""
    code = _SLOWED.format(share=slowdown)
    worker = {"worker": (sys.executable, "-P", "-c", code)} if slowdown else {}
    return run_bench(target, photos=photos, scenarios=_SCENARIOS, plan=plan, quick=True, **worker)


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="comparisons of each kind (default: 20)")
    parser.add_argument("--slowdown", type=float, default=0.1, metavar="SHARE", help="injected (default: 0.1)")
    parser.add_argument("--plan", choices=tuple(PLANS), default="short", help="how long a run is (default: short)")
    parser.add_argument(
        "--models", nargs="*", choices=("v1", "v2"), default=(), help="trained MobileNets for the stages' bars"
    )
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="what is measured again and again")
    arguments = parser.parse_args()
    report = reporting.Report.start(
        "bench_honesty", runs=arguments.runs, slowdown=arguments.slowdown, plan=arguments.plan
    )
    plan = PLANS[arguments.plan]
    with reporting.work_folder(arguments.work) as folder:
        rendered_photos(folder / "photos")
        plain = compare_runs(report, arguments, folder / "photos", plan)
        stages_and_clocks(report, arguments, folder / "photos", plan, plain)
    return report.finish(arguments)


def compare_runs(report: reporting.Report, arguments: Any, shown: Path, plan: Plan) -> list[dict[str, Any]]:
    """Measure in turns and count; the plain runs."""
    quiet, found, rows = 0, 0, []
    before = measure(arguments.encoder, shown, plan)
    plain = [before]
    for number in range(arguments.runs):
        slowed = measure(arguments.encoder, shown, plan, arguments.slowdown)
        again = measure(arguments.encoder, shown, plan)
        same, slower = compare_results(before, again), compare_results(before, slowed)
        quiet += same.verdict == "no difference"
        found += any(row.name.startswith(("single", "offline")) for row in slower.regressions)
        ratios = [f"{one.rows[0].difference.ratio:.3f}" for one in (same, slower)]
        rows.append((number, ratios[0], same.verdict, ratios[1], slower.verdict))
        print(*rows[-1], sep="  ", flush=True)
        plain.append(again)
        before = again
    report.results["comparisons"] = rows
    title = "Again against before, and slowed against before"
    reporting.print_table(title, ("run", "p50 ratio", "again", "p50 ratio", "slowed"), rows)
    report.bar(
        f"the same again, called no difference, of {arguments.runs}", quiet, 0.95 * arguments.runs, at_least=True
    )
    report.bar(
        f"{arguments.slowdown:.0%} slower, found, of {arguments.runs}", found, 0.95 * arguments.runs, at_least=True
    )
    return plain


def stages_and_clocks(
    report: reporting.Report, arguments: Any, shown: Path, plan: Plan, plain: list[dict[str, Any]]
) -> None:
    """The bars that need no comparison, for the encoder and the trained models."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        targets: dict[str, Any] = {arguments.encoder: arguments.encoder}
        targets |= {"v1": shops.model_file(shops.V1)} if "v1" in arguments.models else {}
        targets |= {"v2": shops.cut_v2(folder)} if "v2" in arguments.models else {}
        for label, target in targets.items():
            runs = plain if target == arguments.encoder else [measure(target, shown, plan)]
            walls = [run["scenarios"]["single-stream"]["stage_sum_of_wall"] for run in runs]
            ratios = [run["encode_loop"]["ratio"] for run in runs]
            report.bar(
                f"{label}: stages against wall, off by", float(np.median([abs(1 - wall) for wall in walls])), 0.02
            )
            report.bar(f"{label}: encode stage against the network alone", float(np.median(ratios)), 1.03)
            place = folder / label
            place.mkdir()
            photos = folder_photos(shown)
            opened = open_target(target, photos, place)
            with Matcher.open(opened.bundle, follow=False, look_again=False) as matcher:
                cost = clocks_cost(list(photos.paths), matcher, 40)
            report.results[f"{label} clocks"] = cost
            added, match_ms = cost["loop_us"] + cost["inside_us"], cost["match_ms"]
            report.bar(
                f"{label}: µs that the clocks add to a match of {match_ms:.2f} ms", added, max(30.0, 5 * match_ms)
            )


if __name__ == "__main__":
    sys.exit(main())
