"""From the start of a process to its first answer: ours, `python -c "import numpy"`, and the TFLite Task Library.

    python benchmarks/coldstart.py
    python benchmarks/coldstart.py --repetitions 40 --json coldstart.json

Fresh processes, in random order within each round. Ours opens a bundle of 10,000 references (1,024 numbers each,
MobileNetV1) and names the product on a photo; the Task Library opens the same .tflite and embeds the same photo,
without any index. The bars are on Pillow's resizer, which is what the plain install has; where OpenCV is installed, a
second row is the same with it: importing it takes longer than it saves for one photo. "answer" is the time until the
process has said its answer, "whole" until it is gone; the bars hold whole against whole. Peak memory is read by the
process itself from /proc after its answer, in runs apart; wait4's ru_maxrss is no use here, since Linux lets a process
begin with the size of the one that started it. MB are 1,048,576 bytes here, as in most tools.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import peers
import reporting
import shops

NUMPY_BAR = 1.9
TASKLIB_BAR = 0.6
MEMORY_BAR_MB = 75.0

NUMPY = "import numpy; print('ready', flush=True)"
OURS = """\
import sys
from shelfmatch.edge import Matcher
matcher = Matcher.open(sys.argv[1], threads=1, resizer=sys.argv[3])
print(matcher.match(sys.argv[2], top_k=5).candidates[0].sku, flush=True)
"""
TASKLIB = """\
import sys
from tflite_support.task import core, processor, vision
options = vision.ImageEmbedderOptions(
    base_options=core.BaseOptions(file_name=sys.argv[1], num_threads=1),
    embedding_options=processor.EmbeddingOptions(l2_normalize=True, quantize=False),
)
embedder = vision.ImageEmbedder.create_from_options(options)
result = embedder.embed(vision.TensorImage.create_from_file(sys.argv[2]))
print(len(result.embeddings[0].feature_vector.value), flush=True)
"""
PEAK = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), flush=True)\n"
MEMORY_RUNS = 3


@dataclass(slots=True)
class Starts:
    """What the starts of one program took: `python -c code arguments`."""

    python: str
    code: str
    arguments: list[str]
    answer_ms: list[float] = field(default_factory=list)
    whole_ms: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {"answer_ms": self.answer_ms, "whole_ms": self.whole_ms, "peak_mb": self.peak_mb}


def run_once(starts: Starts, errors: Any, more_code: str = "") -> tuple[float, float, str]:
    """(answer ms, whole ms, the last line it printed) of one process."""
    command = [starts.python, "-c", starts.code + more_code, *starts.arguments]
    variables = {**os.environ, **peers.ONE_THREAD}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=variables, text=True
    )
    assert process.stdout is not None
    answer = process.stdout.readline()
    answered = time.perf_counter()
    rest = process.stdout.read()
    code = process.wait()
    ended = time.perf_counter()
    process.stdout.close()
    if code or not answer:
        errors.seek(0)
        raise SystemExit(f"{starts.python} exited {code}: {errors.read().decode(errors='replace')[-400:]}")
    return (answered - start) * 1e3, (ended - start) * 1e3, (rest or answer).splitlines()[-1]


def start_all(programs: dict[str, Starts], repetitions: int, work: Path) -> None:
    """Memory first, which brings the files into the page cache, then the clock: all programs, round by round."""
    random = Random(0)
    with (work / "coldstart.errors").open("w+b") as errors:
        for starts in programs.values():
            starts.peak_mb += [int(run_once(starts, errors, PEAK)[2]) / 1024 for _ in range(MEMORY_RUNS)]
        for _ in range(repetitions):
            for starts in random.sample(list(programs.values()), len(programs)):
                answer, whole, _ = run_once(starts, errors)
                starts.answer_ms.append(answer)
                starts.whole_ms.append(whole)


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=25, metavar="N")
    parser.add_argument("--references", type=int, default=10_000, metavar="N")
    peers.add_arguments(parser)
    arguments: argparse.Namespace = parser.parse_args()
    peers.use(arguments.envs)
    report = reporting.Report.start("coldstart", repetitions=arguments.repetitions, references=arguments.references)
    with reporting.work_folder(arguments.work) as work:
        model = shops.model_file(shops.V1)
        bundle = shops.shop_bundle(work, "v1", model, arguments.references)
        photo = shops.sized_photos(work, 640, 480, 1)[0]
        tasklib = str(peers.environment("tasklib"))
        programs = {
            "import numpy": Starts(sys.executable, NUMPY, []),
            "shelfmatch": Starts(sys.executable, OURS, [str(bundle), str(photo), "pillow"]),
            "Task Library": Starts(tasklib, TASKLIB, [str(model), str(photo)]),
        }
        if find_spec("cv2") is not None:
            programs["shelfmatch[fast]"] = Starts(sys.executable, OURS, [str(bundle), str(photo), "opencv"])
        start_all(programs, arguments.repetitions, work)
    ours = programs["shelfmatch"]
    rows: list[tuple[object, ...]] = []
    for name, starts in programs.items():
        figures = [f"{median(values):.0f}" for values in (starts.answer_ms, starts.whole_ms, starts.peak_mb)]
        ratio = "" if starts is ours else str(reporting.ratio_of_medians(ours.whole_ms, starts.whole_ms))
        rows.append((name, *figures, ratio))
        report.results[name] = starts.to_dict()
    header = ("process", "answer ms", "whole ms", "peak MB", "ours / it (95 %)")
    reporting.print_table(f"Medians of {arguments.repetitions} fresh processes", header, rows)
    for name, bar in (("import numpy", NUMPY_BAR), ("Task Library", TASKLIB_BAR)):
        report.bar(f"ours / {name}", reporting.ratio_of_medians(ours.whole_ms, programs[name].whole_ms).value, bar)
    report.bar("peak resident memory, MB", median(ours.peak_mb), MEMORY_BAR_MB)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
