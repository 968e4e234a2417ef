"""The best settings for this machine: every combination measured in turns, the best tail latency under a memory limit chosen, and
written to device.toml."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import device
from ..bundle.bundle import MANIFEST, Bundle
from ..encoders.encoder import Encoder
from ..encoders.registry import DEFAULT_ENCODER, find_encoder, known_encoders
from ..encoders.runtimes import RUNTIMES
from ..errors import BenchError, DeviceError, EncoderError, ShelfmatchError
from ..files import check_output, shown_name
from ..machine.board import describe_board
from ..machine.cpu import usable_cores
from ..machine.sysfs import ROOT
from ..progress import Progress
from . import summary
from .runner import (
    DEFAULT_FPS,
    SCENARIOS,
    Job,
    Plan,
    Settings,
    check_scenarios,
    choose_photos,
    run_bench,
    run_round,
)
from .statistics import difference
from .target import Photos, Target, check_references, find_one, made_up_shop, open_target, sources

AXES = ("runtime", "threads", "precision", "index")
_INDEXES = ("exact", "hnsw")
_MIN_COSINE = 0.9
"""Below, a file beside the encoder is another encoder and not this one in another precision: int8 files keep 0.97 and more."""
_CLOSE = 1.1
"""So far from the best a lighter setting may be, at most, and not told from it."""
_ALPHA = 0.05
_QUICK = Plan(6, 0.2, 0.7, 0.0, 0.0, 0.0, 0.0, 0, 0.5)
_FULL = Plan(8, 0.5, 3.0, 0.0, 0.0, 0.0, 0.0, 256, 0.5)


@dataclass(slots=True)
class Point:
    """One combination, and what its rounds measured."""

    encoder: str
    runtime: str
    threads: int
    index: str
    target: Target
    source: str
    cosine: float | None = None
    requested: str | None = None
    """The runtime that was requested, where it isn't `runtime`: "auto" finds one for each of a bundle's encoders."""
    rounds: list[dict[str, Any]] = field(default_factory=list)
    excluded: str | None = None
    chosen: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        return {"encoder": self.encoder, "runtime": self.runtime, "threads": self.threads, "index": self.index}

    def middle(self, key: str) -> float | None:
        """The median of a figure over the rounds."""
        values = [one[key] for one in self.rounds if one[key] is not None]
        return median(values) if values else None

    def to_dict(self) -> dict[str, Any]:
        peak = self.middle("peak_bytes")
        return {
            "settings": self.settings,
            "p50_ms": self.middle("p50_ms"),
            "p90_ms": self.middle("p90_ms"),
            "peak_bytes": None if peak is None else int(peak),
            "cosine": self.cosine,
            "rounds": self.rounds,
            "chosen": self.chosen,
            "excluded": self.excluded,
        }


def run_sweep(
    target: str | os.PathLike[str] = DEFAULT_ENCODER,
    axes: Sequence[str] = AXES,
    *,
    photos: str | os.PathLike[str] | None = None,
    camera: str | None = None,
    quick: bool = False,
    settings: Settings | None = None,
    references: int | None = None,
    memory_limit_bytes: int | None = None,
    device_file: str | os.PathLike[str] | None = None,
    plan: Plan | None = None,
    bench_plan: Plan | None = None,
    progress: Progress | None = None,
    scenarios: Sequence[str] = SCENARIOS,
    fps: float = DEFAULT_FPS,
) -> dict[str, Any]:
    """Find the best settings, write them to `device_file` (default: the user's), and measure the target with them.

    `axes`: of runtime, threads, precision (files beside the encoder), index. `memory_limit_bytes`: of a process that matches
    (default: half of this machine's). `plan` and `bench_plan`: of the sweep, and of what follows. Everything else as for
    `run_bench`, whose document this returns, every measured point under "sweep". Raises BenchError if an axis makes no sense for
    the target, or no setting keeps the limit.
    """
    settings = settings or Settings()
    _check_axes(target, axes, settings)
    check_scenarios(scenarios, fps)
    references = check_references(target, references)
    path = _device_path(device_file)
    limit = memory_limit_bytes or int((describe_board(ROOT)["memory_bytes"] or 1 << 34) // 2)
    with tempfile.TemporaryDirectory(prefix="shelfmatch-sweep-") as name:
        folder = Path(name)
        visible = choose_photos(folder, photos, camera)
        points = _points(target, axes, visible, folder, references, settings)
        _measure(points, visible, settings, plan or (_QUICK if quick else _FULL), progress)
        best = choose(points, limit)
        tuned = _with_earlier(path, _device_of(best, axes), best.target.name)
        p90 = best.middle("p90_ms")
        device.write(path, tuned, {"target": best.target.name, "machine": _machine(), "p90_ms": round(p90 or 0.0, 3)})
        result = run_bench(
            best.target.bundle,
            photos=visible,
            quick=quick,
            settings=replace(settings, threads=best.threads, runtime=best.requested or best.runtime),
            progress=progress,
            plan=bench_plan,
            scenarios=scenarios,
            fps=fps,
        )
    result["target"] |= {"name": best.target.name, "kind": best.target.kind}
    result["sweep"] = {
        "axes": list(axes),
        "memory_limit_bytes": limit,
        "device_file_written": True,
        "chosen": best.settings,
        "points": [point.to_dict() for point in points],
    }
    return result


def _device_path(device_file: str | os.PathLike[str] | None) -> Path:
    """Where the settings are written, tried before anything is measured. Raises BenchError, OSError."""
    if device_file is None and os.environ.get(device.VARIABLE) == "":
        raise BenchError(
            f"{device.VARIABLE} is empty, so this machine's settings are read from no file; name one with --device-file, "
            f"or unset {device.VARIABLE}"
        )
    try:
        given = device.user_path() if device_file is None else device_file
    except RuntimeError as error:
        raise BenchError(f"this user has no home for device.toml ({error}); name it with --device-file") from error
    path = Path(given)
    if os.fspath(given):
        path.parent.mkdir(parents=True, exist_ok=True)
    check_output(given, "settings")
    return path


def _check_axes(target: str | os.PathLike[str], axes: Sequence[str], settings: Settings) -> None:
    wrong = [axis for axis in axes if axis not in AXES]
    if wrong or not axes:
        raise BenchError(f"--sweep {wrong[0] if wrong else ''!r} arrived; expected some of {', '.join(AXES)}")
    for axis, given in (("threads", settings.threads), ("runtime", settings.runtime)):
        if axis in axes and given not in (None, "auto"):
            raise BenchError(f"--{axis} {given} arrived with --sweep {axis}, which tries all; leave out one of them")
    if "precision" in axes and os.fspath(target) != shown_name(os.fspath(target)):
        raise BenchError(
            f"{os.fspath(target)!r} is no name in UTF-8, which device.toml could not hold; rename the file, or leave precision out"
        )
    if "precision" in axes and Path(target).is_dir():
        raise BenchError(
            "--sweep precision arrived for a bundle, whose vectors belong to its encoder; give the encoder's file"
        )


def _points(
    target: str | os.PathLike[str],
    axes: Sequence[str],
    visible: Photos,
    folder: Path,
    references: int,
    settings: Settings,
) -> list[Point]:
    """All combinations; those that can't be are left out, those that fail are kept and say why."""
    threads = (
        sorted({1, 2, usable_cores()} & set(range(1, usable_cores() + 1)))
        if "threads" in axes
        else [settings.threads or 1]
    )
    points = []
    reference: NDArray[np.float32] | None = None
    for name, source in _variants(target, axes):
        if Path(source).is_dir():
            manifest = Bundle.open(source).manifest
            card, cosine = manifest.encoder, None
            formats = dict.fromkeys(branch.encoder.format for branch in manifest.branches)
            if "runtime" in axes and len(formats) > 1:
                raise BenchError(
                    f"--sweep runtime arrived for {source}, whose encoders are {' and '.join(formats)}, which no runtime "
                    "takes both; leave runtime out"
                )
        else:
            card, _ = find_encoder(source)
            vectors = Encoder.load(source).embed(*sources(visible))
            reference = vectors if reference is None else reference
            cosine = float(np.median((vectors * reference).sum(axis=1)))
        fitting = [row.name for row in RUNTIMES.values() if row.format == card.format and row.is_installed()]
        runtimes, requested = fitting or ["auto"], None
        if "runtime" not in axes:
            requested = settings.runtime
            runtimes = (fitting[:1] or ["auto"]) if requested == "auto" else [requested]
        for index in _INDEXES if "index" in axes else ("as it is",):
            opened = _variant_target(source, name, index, visible, folder, references)
            for runtime, count in itertools.product(runtimes, threads):
                kind = str(opened.record["index"])
                point = Point(shown_name(name), runtime, count, kind, opened, source, cosine, requested)
                if cosine is not None and cosine < _MIN_COSINE:
                    point.excluded = f"another encoder: cosine {cosine:.2f} to the target's embeddings"
                points.append(point)
    return points


def _variants(target: str | os.PathLike[str], axes: Sequence[str]) -> list[tuple[str, str]]:
    """(name, file, name of an encoder or bundle): the target first, then files beside it that may be the same encoder."""
    path = Path(target)
    if path.is_dir():
        return [(Bundle.open(path).manifest.encoder.name if (path / MANIFEST).is_file() else path.name, str(path))]
    card, own = find_one(target)
    found = [(card.name, os.fspath(target))]
    if not {"precision", "runtime"} & set(axes) or os.fspath(target) in known_encoders():
        return found
    for other in sorted([*own.parent.glob("*.tflite"), *own.parent.glob("*.onnx")]):
        if other == own or ("precision" not in axes and other.stem != own.stem):
            continue
        try:
            beside, _ = find_encoder(other)
        except EncoderError:
            continue  # some other file that isn't asked about
        same = (beside.dimension, beside.width, beside.height) == (card.dimension, card.width, card.height)
        if same and any(row.format == beside.format and row.is_installed() for row in RUNTIMES.values()):
            found.append((other.name, str(other)))
    return found


def _variant_target(source: str, name: str, index: str, visible: Photos, folder: Path, references: int) -> Target:
    place = folder / f"{len(list(folder.iterdir()))}"
    place.mkdir()
    opened = open_target(source, visible, place, references)
    if index in ("as it is", opened.record["index"]):
        return opened
    if opened.kind == "encoder":
        built = made_up_shop(place / f"{index}.bundle", Encoder.load(source), visible, references, index=index)
    else:
        built = _with_index(opened.bundle, place / opened.name, index)
    return replace(opened, bundle=built, record={**opened.record, "index": index})


def _with_index(bundle: Path, copy: Path, kind: str) -> Path:
    """A copy of a bundle whose references are searched in another way."""
    from ..build.change import reindex

    shutil.copytree(bundle, copy)
    reindex(copy, kind)
    return copy


def _measure(
    points: Sequence[Point], visible: Photos, settings: Settings, plan: Plan, progress: Progress | None
) -> None:
    """In turns, a round of every point after the other: what the machine does meanwhile meets them all alike."""
    turns: Any = [(number, point) for number in range(plan.rounds) for point in points]
    for number, point in progress(turns, len(turns)) if progress is not None else turns:
        if point.excluded is not None:
            continue
        own = replace(settings, threads=point.threads, runtime=point.requested or point.runtime)
        job = Job(point.target, visible, own, ("single-stream",), 1.0)
        try:
            record = run_round(job, plan, number)
        except ShelfmatchError as error:
            point.excluded = shown_name(str(error))
            continue
        figures = summary.round_figures(record["slices"][0])
        point.rounds.append(
            {
                "p50_ms": figures["quiet_p50_ms"],
                "p90_ms": figures["quiet_p90_ms"],
                "p50_yards": figures["quiet_p50_yards"],
                "p90_yards": figures["quiet_p90_yards"],
                "peak_bytes": record["memory"]["single-stream"]["peak"],
            }
        )


def choose(points: Sequence[Point], memory_limit_bytes: int) -> Point:
    """The lightest point (fewest threads, an index that is exact, least memory) among those whose 90th percentile isn't told
    from the best one's. Raises BenchError if none keeps the limit."""
    for point in points:
        peak = point.middle("peak_bytes")
        if point.excluded is None and peak is not None and peak > memory_limit_bytes:
            point.excluded = f"{peak / 1e6:.0f} MB, over the limit of {memory_limit_bytes / 1e6:.0f}"
    allowed = [point for point in points if point.excluded is None and point.rounds]
    if not allowed:
        raise BenchError(
            f"no setting can be used; the first: {points[0].excluded}; raise --memory-limit or mend the runtime"
        )

    def tail(point: Point) -> float:
        return point.middle("p90_yards") or float("inf")

    best = min(allowed, key=tail)

    def as_good(point: Point) -> bool:
        if tail(point) > _CLOSE * tail(best):
            return False
        found = difference(*([one["p90_yards"] for one in of.rounds] for of in (best, point)), alpha=_ALPHA)
        return found.verdict != "slower"

    chosen = min(
        filter(as_good, allowed),
        key=lambda point: (point.threads, point.index != "exact", point.middle("peak_bytes") or 0, tail(point)),
    )
    chosen = _exact_unless_slower(chosen, allowed)
    chosen.chosen = True
    return chosen


def _exact_unless_slower(chosen: Point, allowed: Sequence[Point]) -> Point:
    """A graph misses neighbours: it must be told to be faster than the scan, not only have had the better luck."""
    if chosen.index == "exact":
        return chosen
    alike = (chosen.encoder, chosen.runtime, chosen.threads)
    for point in allowed:
        if point.index == "exact" and (point.encoder, point.runtime, point.threads) == alike:
            found = difference(*([one["p90_yards"] for one in of.rounds] for of in (chosen, point)), alpha=_ALPHA)
            return chosen if found.verdict == "slower" else point
    return chosen


def _with_earlier(path: Path, tuned: device.Device, target: str) -> device.Device:
    """What an earlier sweep of the same target found on this machine stays where this one didn't look."""
    try:
        earlier, measured = device.read(path)
    except DeviceError:  # none there, or one to write anew
        return tuned
    is_same = measured.get("target") == target and measured.get("machine", _machine()) == _machine()
    return device.over(tuned, earlier) if is_same else tuned


def _machine() -> str:
    """What tells this machine from another that a file was copied from."""
    board = describe_board(ROOT)
    return f"{board['model'] or board['cpu']}, {board['cores']} cores"


def _device_of(best: Point, axes: Sequence[str]) -> device.Device:
    """Only what was swept is written down."""
    encoder = None
    if "precision" in axes:
        encoder = best.source if best.source in known_encoders() else str(Path(best.source).absolute())
    return device.Device(
        threads=best.threads if "threads" in axes else None,
        runtimes=((RUNTIMES[best.runtime].format, best.runtime),) if "runtime" in axes else (),
        index=best.index if "index" in axes else None,
        encoder=encoder,
    )
