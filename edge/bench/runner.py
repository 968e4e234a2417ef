"""One benchmark from end to end: rounds in fresh processes, the sensors beside them, and the result they come to."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import device
from ..encoders.registry import DEFAULT_ENCODER
from ..errors import BenchError
from ..machine.board import describe_board
from ..machine.cpu import usable_cores
from ..machine.sensors import Recorder, Sensors
from ..machine.sysfs import ROOT
from ..progress import Progress
from . import summary
from .target import (
    Photos,
    Target,
    camera_photos,
    check_references,
    folder_photos,
    open_target,
    rendered_photos,
)
from .worker import COMMAND

SCENARIOS = ("single-stream", "steady-rate", "offline")
DEFAULT_FPS = 15.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, in seconds a round, and how many rounds. Of `samples` each round takes its share, however long that takes."""

    rounds: int
    warm_up_s: float
    single_stream_s: float
    offline_s: float
    steady_rate_s: float
    bare_s: float
    idle_s: float
    samples: int
    sensors_s: float


FULL = Plan(10, 1.0, 6.1, 6.1, 6.1, 1.0, 10.0, 1024, 0.5)
"""MLPerf's single stream: at least 1,024 samples and 60 s (mobile inference rules); the same for the other scenarios."""
QUICK = Plan(10, 0.3, 1.3, 0.6, 0.9, 0.2, 2.0, 0, 0.25)
"""Ten rounds: with eight, one bad one would hide a difference."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the matcher is opened; None: as this machine's device.toml says, or else the default."""

    threads: int | None = None
    runtime: str = "auto"
    resizer: str = "auto"
    look_again: bool = False
    locate: str = "off"

    def opened(self) -> dict[str, Any]:
        """The arguments of Matcher.open."""
        return asdict(self)


def run_bench(
    target: str | os.PathLike[str] = DEFAULT_ENCODER,
    *,
    photos: str | os.PathLike[str] | Photos | None = None,
    camera: str | None = None,
    scenarios: Sequence[str] = SCENARIOS,
    fps: float = DEFAULT_FPS,
    quick: bool = False,
    settings: Settings | None = None,
    references: int | None = None,
    plan: Plan | None = None,
    sensors: Sensors | None = None,
    root: Path = ROOT,
    worker: Sequence[str] = COMMAND,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a bundle, or an encoder in a made-up shop of `references` (1,000), on this machine; the document of a result file.

    `photos`: a folder; `camera`: a number or device; neither: rendered ones. `plan` replaces what `quick` chooses. `root`,
    `sensors` and `worker` are for tests: where /sys and /proc are, what is read there, and the command of a round. Raises
    BenchError, and whatever opening the target raises.
    """
    check_scenarios(scenarios, fps)
    references = check_references(target, references)
    settings = settings or Settings()
    plan = plan or (QUICK if quick else FULL)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shelfmatch-bench-")))
        visible = choose_photos(folder, photos, camera)
        opened = open_target(target, visible, folder, references)
        job = Job(opened, visible, settings, tuple(scenarios), fps)
        board = describe_board(root)
        started, start = datetime.now(UTC), time.perf_counter()
        recorder = stack.enter_context(Recorder(sensors or Sensors(root), plan.sensors_s))
        numbers: Any = range(plan.rounds)
        rounds = [
            run_round(job, plan, number, worker)
            for number in (progress(numbers, plan.rounds) if progress is not None else numbers)
        ]
        recorder.stop()
        return {
            **summary.header(started, time.perf_counter() - start, quick, board),
            "target": {"name": opened.name, "kind": opened.kind, **opened.record},
            "photos": visible.to_dict(),
            "settings": _settings_record(settings, rounds[0], job),
            **summary.summarize(rounds, recorder, board, start),
            "sweep": None,
        }


def check_scenarios(scenarios: Sequence[str], fps: float) -> None:
    """Raises BenchError for names and rates that don't exist."""
    wrong = [name for name in scenarios if name not in SCENARIOS]
    if wrong or not scenarios:
        raise BenchError(f"scenario {wrong[0] if wrong else ''!r} arrived; expected {', '.join(SCENARIOS)}")
    if not 0.1 <= fps <= 1000:
        raise BenchError(f"{fps:g} frames a second arrived; expected 0.1 to 1000")


def choose_photos(folder: Path, photos: str | os.PathLike[str] | Photos | None, camera: str | None) -> Photos:
    """Of a folder, a camera, or rendered; or those that were chosen before. Raises BenchError."""
    if photos is not None and camera is not None:
        raise BenchError("--photos and --camera arrived; expected one of them, or neither for rendered photos")
    if isinstance(photos, Photos):
        return photos
    if photos is not None:
        return folder_photos(Path(photos))
    return camera_photos(folder, camera) if camera is not None else rendered_photos(folder / "photos")


@dataclass(frozen=True, slots=True)
class Job:
    """What every round does."""

    target: Target
    photos: Photos
    settings: Settings
    scenarios: tuple[str, ...]
    fps: float

    def with_settings(self, **changes: Any) -> Job:
        return replace(self, settings=replace(self.settings, **changes))


def run_round(job: Job, plan: Plan, number: int, worker: Sequence[str] = COMMAND) -> dict[str, Any]:
    """One round in a fresh process; what it measured, with `cold_s` and `interpreter_s`. Raises BenchError if it fails."""
    least = -(-plan.samples // plan.rounds)
    seconds = {
        "single-stream": plan.single_stream_s,
        "offline": plan.offline_s,
        "steady-rate": plan.steady_rate_s,
    }
    task = {
        "bundle": str(job.target.bundle),
        "photos": job.photos.paths,
        "frames": job.photos.frames,
        "settings": job.settings.opened(),
        "warm_up_s": plan.warm_up_s,
        "bare_s": plan.bare_s,
        "idle_s": plan.idle_s if number == plan.rounds - 1 else 0.0,
        "slices": [
            {"scenario": name, "seconds": seconds[name], "samples": least, "workers": usable_cores(), "fps": job.fps}
            for name in SCENARIOS
            if name in job.scenarios
        ],
    }
    start = time.perf_counter()
    record = _answer_of(worker, json.dumps(task).encode())
    clock = record["clock_s"]
    record["cold_s"] = clock["answered"] - start
    record["interpreter_s"] = clock["begun"] - start
    return record


def _answer_of(worker: Sequence[str], task: bytes) -> dict[str, Any]:
    process = subprocess.Popen(list(worker), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(task)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    last = (err.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1][:300]
    if process.returncode:
        how = f"died with signal {-process.returncode}" if process.returncode < 0 else f"failed: {last}"
        raise BenchError(f"a round of the benchmark {how}; shelfmatch doctor tells whether this machine can run it")
    try:
        record: Mapping[str, Any] = json.loads(out)
    except ValueError as error:
        raise BenchError(f"a round of the benchmark gave no result ({last}); run it again") from error
    if "error" in record:
        raise BenchError(str(record["error"]))
    return dict(record)


def _settings_record(settings: Settings, first: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """What was in force, not only what was asked for."""
    tuned = device.load()
    threads = settings.threads or (tuned.threads if tuned is not None else None) or 1
    return {
        "threads": threads,
        "runtime": first["runtime"],
        "resizer": first["resizer"],
        "look_again": settings.look_again,
        **({} if settings.locate == "off" else {"locate": settings.locate}),
        "workers": usable_cores(),
        "fps": job.fps if "steady-rate" in job.scenarios else None,
        "device_file": tuned is not None,
    }
