"""Photo → products against MediaPipe's ImageEmbedder alone, on the same .tflite file, request by request in one run.

    python benchmarks/latency.py
    python benchmarks/latency.py --cases 640x480 array --encoders v1 --repetitions 300 --json latency.json

Ours goes further: from the file to the five best products of a shop of 10,000 references, on one thread. MediaPipe
ends at the embedding. Both sit in a process of their own and stay warm; each repetition asks both for the same photo,
in random order. V1 is the uint8 MobileNetV1 extractor, V2 the int8 MobileNetV2. Ours takes V2 cut at its pooled
feature; MediaPipe, which refuses int8 outputs, takes the file as it came, its last layer included. Photos are grocery
photos resized by Lanczos, JPEG of quality 90; "array" is the RGB array of a 640×480 one. The last table is how far
the embedding moves between a photo at 640×480 and the same photo at 12 megapixels. `--peer tasklib` puts the TFLite
Task Library in MediaPipe's place, without bars.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import numpy as np
import peers
import reporting
import shops

BARS = {
    "v1": {"640x480": 0.97, "1920x1080": 0.68, "4032x3024": 0.36, "array": 1.0},
    "v2": {"640x480": 0.82, "1920x1080": 0.52, "4032x3024": 0.36, "array": 0.95},
}
SAME_PHOTO_BAR = 0.997
PEERS = {"mediapipe": "MediaPipe", "tasklib": "Task Library"}
WARM_UP = 10


@dataclass(slots=True)
class Pairs:
    """Wall and processor milliseconds of requests that were made side by side."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    ours_cpu: list[float] = field(default_factory=list)
    theirs_cpu: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "ours_ms": self.ours,
            "peer_ms": self.theirs,
            "ours_cpu_ms": median(self.ours_cpu),
            "peer_cpu_ms": median(self.theirs_cpu),
            "ours_stages_ms": stage_medians(self.stages),
        }


def stage_medians(stages: list[dict[str, float]]) -> dict[str, float]:
    """Median milliseconds of each stage of our answers."""
    return {name: median(stage[name] for stage in stages) for name in stages[0]}


def measure(
    ours: peers.Worker, theirs: peers.Worker, operation: str, inputs: list[Path], repetitions: int, random: Random
) -> Pairs:
    """Ask both for the same input, one after the other, the first of the two by chance."""
    for path in (inputs * WARM_UP)[:WARM_UP]:
        for worker in (ours, theirs):
            worker.ask(operation, path=str(path))
    pairs = Pairs()
    for repetition in range(repetitions):
        wanted = str(inputs[repetition % len(inputs)])
        replies = {}
        for who in random.sample(("ours", "theirs"), 2):
            replies[who] = (ours if who == "ours" else theirs).ask(operation, path=wanted)
        pairs.ours.append(replies["ours"]["ms"])
        pairs.theirs.append(replies["theirs"]["ms"])
        pairs.ours_cpu.append(replies["ours"]["cpu_ms"])
        pairs.theirs_cpu.append(replies["theirs"]["cpu_ms"])
        pairs.stages.append(replies["ours"]["stages_ms"])
    return pairs


def same_photo_cosines(worker: peers.Worker, small: list[Path], large: list[Path]) -> list[float]:
    """Cosine between the embeddings of each photo at two sizes."""
    rows = [
        np.array([worker.ask("photo", path=str(path), embedding=True)["embedding"] for path in paths])
        for paths in (small, large)
    ]
    return [float(cosine) for cosine in reporting.cosines(*rows)]


def run_encoder(name: str, arguments: argparse.Namespace, work: Path, report: reporting.Report) -> None:
    """All cases of one encoder, with a table."""
    peer_model = shops.model_file(shops.V1 if name == "v1" else shops.V2)
    model = peer_model if name == "v1" else shops.cut_v2(work)
    bundle = shops.shop_bundle(work, name, model, arguments.references)
    random = Random(0)
    rows: list[tuple[object, ...]] = []
    stage_rows: list[tuple[object, ...]] = []
    results: dict[str, Any] = {}
    with (
        peers.Worker(None, "shelfmatch_matcher.py", bundle, core=arguments.core) as ours,
        peers.Worker(arguments.peer, f"{arguments.peer}_embedder.py", peer_model, core=arguments.core) as theirs,
    ):
        for case in arguments.cases:
            width, height = (int(side) for side in ("640x480" if case == "array" else case).split("x"))
            photos = shops.sized_photos(work, width, height, arguments.photos)
            inputs = shops.decoded_arrays(photos) if case == "array" else photos
            operation = "array" if case == "array" else "photo"
            pairs = measure(ours, theirs, operation, inputs, arguments.repetitions, random)
            ratio = reporting.ratio_of_medians(pairs.ours, pairs.theirs)
            bar = f"≤ {BARS[name][case]}" if arguments.peer == "mediapipe" else ""
            if bar:
                report.bar(f"{name} {case}: ours / MediaPipe", ratio.value, BARS[name][case])
            cpu = f"{median(pairs.ours_cpu):.1f} / {median(pairs.theirs_cpu):.1f}"
            rows.append((case, f"{median(pairs.ours):.2f}", f"{median(pairs.theirs):.2f}", cpu, ratio, bar))
            results[case] = {**pairs.to_dict(), "ratio": [ratio.value, ratio.low, ratio.high]}
            stage_rows.append((case, *(f"{value:.2f}" for value in stage_medians(pairs.stages).values())))
        header = ("input", "ours ms", f"{PEERS[arguments.peer]} ms", "processor ms", "ratio (95 %)", "bar")
        title = (
            f"{name.upper()}: to products of {arguments.references:,} references, medians of {arguments.repetitions}"
        )
        reporting.print_table(title, header, rows)
        stages = results[arguments.cases[0]]["ours_stages_ms"]
        reporting.print_table(f"{name.upper()}: our stages, ms", ("input", *stages), stage_rows)
        if not arguments.no_cosines:
            results["same_photo_cosine"] = compare_sizes(name, ours, theirs, arguments, work, report)
    report.results[name] = results


def compare_sizes(
    name: str,
    ours: peers.Worker,
    theirs: peers.Worker,
    arguments: argparse.Namespace,
    work: Path,
    report: reporting.Report,
) -> dict[str, list[float]]:
    """The same photos at 640×480 and at 12 megapixels."""
    count, peer = arguments.photos, PEERS[arguments.peer]
    small, large = (shops.sized_photos(work, *size, count) for size in ((640, 480), (4032, 3024)))
    found = {"ours": same_photo_cosines(ours, small, large), peer: same_photo_cosines(theirs, small, large)}
    rows = [(who, f"{median(values):.4f}", f"{min(values):.4f}") for who, values in found.items()]
    title = f"{name.upper()}: {count} photos at 640×480 and at 4032×3024, cosine"
    reporting.print_table(title, ("", "median", "min"), rows)
    report.bar(f"{name} same photo at two sizes: cosine", median(found["ours"]), SAME_PHOTO_BAR, at_least=True)
    return found


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", choices=list(BARS), default=list(BARS))
    parser.add_argument("--cases", nargs="+", choices=list(BARS["v1"]), default=list(BARS["v1"]))
    parser.add_argument("--peer", choices=list(PEERS), default="mediapipe")
    parser.add_argument("--repetitions", type=int, default=150, metavar="N")
    parser.add_argument("--photos", type=int, default=12, metavar="N", help="different photos of each size")
    parser.add_argument("--references", type=int, default=10_000, metavar="N")
    parser.add_argument("--core", type=int, metavar="N", help="hold both processes on this core")
    parser.add_argument("--no-cosines", action="store_true", help="leave out the same-photo table")
    peers.add_arguments(parser)
    arguments = parser.parse_args()
    peers.use(arguments.envs)
    keys = ("peer", "cases", "repetitions", "photos", "references", "core")
    report = reporting.Report.start("latency", **{key: getattr(arguments, key) for key in keys})
    with reporting.work_folder(arguments.work) as work:
        for name in arguments.encoders:
            run_encoder(name, arguments, work, report)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
