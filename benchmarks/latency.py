"""Photo → products against MediaPipe's ImageEmbedder alone, on the same .tflite file, request by request in one run.

    python benchmarks/latency.py
    python benchmarks/latency.py --cases 640x480 array --encoders v1 --repetitions 300 --json latency.json

Ours goes further: from the file to the five best products of a shop of 10,000 references, on one thread. MediaPipe
ends at the embedding. Ours runs twice, with Pillow alone and, where they are installed, with what `shelfmatch[fast]`
brings. Each sits in a process of its own and stays warm; each repetition asks all for the same photo, in random order.
V1 is the uint8 MobileNetV1 extractor, V2 the int8 MobileNetV2. Ours takes V2 cut at its pooled feature; MediaPipe,
which refuses int8 outputs, takes the file as it came, its last layer included. Photos are grocery photos resized by
Lanczos, JPEG of quality 90; "array" is the RGB array of a 640×480 one. The last table is how far the embedding moves
between a photo at 640×480 and the same photo at 12 megapixels. `--peer tasklib` puts the TFLite Task Library in
MediaPipe's place, without bars.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
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
"""Of ours with what is installed: Pillow alone where `shelfmatch[fast]` isn't."""
FAST_MODULES = ("cv2", "simplejpeg")
SAME_PHOTO_BAR = 0.997
PEERS = {"mediapipe": "MediaPipe", "tasklib": "Task Library"}
WARM_UP = 10


@dataclass(slots=True)
class Requests:
    """Wall and processor milliseconds of one participant's requests, and of ours each stage."""

    ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)


def stage_medians(stages: list[dict[str, float]]) -> dict[str, float]:
    """Median milliseconds of each stage of our answers."""
    return {name: median(stage[name] for stage in stages) for name in stages[0]}


def measure(
    workers: Mapping[str, peers.Worker], operation: str, inputs: list[Path], repetitions: int, random: Random
) -> dict[str, Requests]:
    """Ask all for the same input, one after the other, in an order by chance."""
    for path in (inputs * WARM_UP)[:WARM_UP]:
        for worker in workers.values():
            worker.ask(operation, path=str(path))
    found = {who: Requests() for who in workers}
    for repetition in range(repetitions):
        wanted = str(inputs[repetition % len(inputs)])
        for who in random.sample(list(workers), len(workers)):
            reply = workers[who].ask(operation, path=wanted)
            found[who].ms.append(reply["ms"])
            found[who].cpu_ms.append(reply["cpu_ms"])
            found[who].stages.append(reply.get("stages_ms", {}))
    return found


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
    hidden = {"Pillow": FAST_MODULES, "[fast]": ()}
    if any(find_spec(module) is None for module in FAST_MODULES):
        del hidden["[fast]"]
    *_, installed = hidden
    with ExitStack() as stack:
        workers = {
            who: stack.enter_context(peers.Worker(None, "shelfmatch_matcher.py", bundle, *modules, core=arguments.core))
            for who, modules in hidden.items()
        }
        peer_worker = peers.Worker(arguments.peer, f"{arguments.peer}_embedder.py", peer_model, core=arguments.core)
        workers["peer"] = stack.enter_context(peer_worker)
        for case in arguments.cases:
            width, height = (int(side) for side in ("640x480" if case == "array" else case).split("x"))
            photos = shops.sized_photos(work, width, height, arguments.photos)
            inputs = shops.decoded_arrays(photos) if case == "array" else photos
            operation = "array" if case == "array" else "photo"
            found = measure(workers, operation, inputs, arguments.repetitions, random)
            theirs = found.pop("peer")
            results[case] = {"peer_ms": theirs.ms, "peer_cpu_ms": theirs.cpu_ms}
            for who, ours in found.items():
                ratio = reporting.ratio_of_medians(ours.ms, theirs.ms)
                bar = f"≤ {BARS[name][case]}" if arguments.peer == "mediapipe" and who == installed else ""
                if bar:
                    report.bar(f"{name} {case}: ours / MediaPipe", ratio.value, BARS[name][case])
                cpu = f"{median(ours.cpu_ms):.1f} / {median(theirs.cpu_ms):.1f}"
                rows.append((case, who, f"{median(ours.ms):.2f}", f"{median(theirs.ms):.2f}", cpu, ratio, bar))
                stages = stage_medians(ours.stages)
                stage_rows.append((case, who, *(f"{value:.2f}" for value in stages.values())))
                results[case][who] = {
                    "ours_ms": ours.ms,
                    "ours_cpu_ms": ours.cpu_ms,
                    "ours_stages_ms": stages,
                    "ratio": [ratio.value, ratio.low, ratio.high],
                }
        header = ("input", "ours with", "ours ms", f"{PEERS[arguments.peer]} ms", "processor ms", "ratio (95 %)", "bar")
        title = (
            f"{name.upper()}: to products of {arguments.references:,} references, medians of {arguments.repetitions}"
        )
        reporting.print_table(title, header, rows)
        reporting.print_table(f"{name.upper()}: our stages, ms", ("input", "ours with", *stages), stage_rows)
        if not arguments.no_cosines:
            results["same_photo_cosine"] = compare_sizes(
                name, workers[installed], workers["peer"], arguments, work, report
            )
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
