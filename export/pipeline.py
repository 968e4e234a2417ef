"""The export: source → photos → float file → recipes, each held against the source → files, cards and the report."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..edge.encoders.card import Format
from ..edge.encoders.encoder import Encoder
from ..edge.progress import Progress
from . import tflite_graph
from .attempts import Attempt, ExportReport
from .device_files import card_bytes, card_for, encoder_for, json_bytes, latencies_ms
from .doubts import doubts
from .encoders import FORMATS, Projection, SourceEncoder, Vectors, fit_projection
from .errors import ExportError, GateNotMet, MissingPackage
from .gate import MIN_OVERLAP, Gate, NoDirection, Score, embed_all
from .onnx_recipes import OnnxBench, calibration_input
from .photos import CALIBRATION_PHOTOS, Photos, check_labels, read_gate_queries, read_photos
from .processors import CHECKED_PHOTOS, check
from .recipes import PROBE_PHOTOS, RECIPES, Bench, Candidate, automatic, check_recipes, layer_losses
from .report import report_page
from .source_options import SourceOptions
from .sources import open_source
from .staging import publish, staging
from .tflite_recipes import TfliteBench
from .tools import quiet, versions

MIN_PARITY = 0.9999
"""Of a float file to its source, for each photo: sound conversions gave .999999 and more, wrong ones up to .97."""
_LONGEST_NAME = 200
"""Bytes: file systems take 255, and "-int8-dynamic.tflite.recipe.json" comes behind. Said before the work and not after it."""
_SLOWER = 1.1
"""Above this ratio to fp32 a file is called slower; below lies what two runs of the same file differ by."""

Progresses = Callable[[str], Progress]


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How to export. `calibration`: photos of the shop, a folder of folders named by SKU or a CSV; the gate is measured on
    them too, unless `gate_queries` names a CSV of its own. `gate_points`: how far recall@1 may fall, in points of 100.
    `dimension`: project to so many numbers. `layers`: measure what each layer loses, for the report. `keep_float`: layers, named
    as the report names them, that int8 recipes leave in float; a format's files have the names of their own graph."""

    calibration: str | os.PathLike[str]
    to: tuple[Format, ...] = FORMATS
    recipes: tuple[str, ...] = ("auto",)
    gate_points: float = 0.5
    gate_queries: str | os.PathLike[str] | None = None
    dimension: int | None = None
    name: str | None = None
    layers: bool = True
    keep_float: tuple[str, ...] = ()
    source: SourceOptions = field(default_factory=SourceOptions)

    def check(self) -> None:
        """Raises ExportError for what can't be asked for."""
        unknown = [name for name in self.to if name not in FORMATS]
        if unknown or not self.to:
            raise ExportError(
                f"unknown format {unknown[0] if unknown else ''!r}; expected some of {', '.join(FORMATS)}"
            )
        check_recipes(self.recipes)
        if not 0 <= self.gate_points <= 100:
            raise ExportError(f"--gate {self.gate_points:g} arrived; expected 0 to 100 points of recall@1, like 0.5")
        _check_name(self.name or "", "--name")
        if self.dimension is not None and self.dimension < 1:
            raise ExportError(f"--dim {self.dimension} arrived; expected a whole number from 1")


def _check_name(name: str, what: str) -> None:
    """Raises ExportError for a name that no file's name can begin with."""
    long = len(name.encode(errors="replace"))
    if long > _LONGEST_NAME:
        raise ExportError(
            f"{what} of {long} bytes arrived; expected at most {_LONGEST_NAME}, since file names begin so: "
            "say a shorter one with --name"
        )


def export_model(
    model: Any,
    destination: str | os.PathLike[str],
    settings: ExportSettings,
    progress: Progresses = lambda description: lambda stream, total: stream,
) -> ExportReport:
    """Export a trained encoder to `destination`: device files, their cards, recipes and the report.

    `model`: "timm:NAME", "hf:FOLDER", a .onnx, .tflite or .keras file, or a torch.nn.Module. Raises GateNotMet where a
    file no longer finds the same products, another ShelfmatchError for wrong input; then nothing is left in `destination`
    that wasn't there before.
    """
    settings.check()
    started = time.monotonic()
    target = Path(destination)
    with staging(target) as work:
        source = open_source(model, settings.source)
        if settings.name:
            source = replace(source, name=settings.name)
        _check_name(source.name, "a model's name")
        export = _Export(source, settings, work, progress)
        report = export.run(model if isinstance(model, str) else source.name)
        report.seconds = time.monotonic() - started
        (work / "report.json").write_bytes(json_bytes(report.to_dict()))
        (work / "report.html").write_bytes(report_page(report))
        publish(work, target)
    return report


class _Export:
    """One run: the source, its photos, the gate, and what was tried."""

    def __init__(self, source: SourceEncoder, settings: ExportSettings, work: Path, progress: Progresses) -> None:
        self.source, self.settings, self.work, self.progress = source, settings, work, progress
        self.photos, queries = self._read_photos()
        if source.own_processor is not None:
            with quiet("asking the model's own preprocessing"):
                check(source.own_processor, source.preprocessing, self.photos.some_paths(CHECKED_PHOTOS))
        self.reference = reference = self._embed_source(self.photos)
        self.gate = Gate(self.photos, queries, reference, None if queries is None else self._embed_source(queries))
        self.projection: Projection | None = None
        if settings.dimension is not None:
            self.projection = fit_projection(reference, settings.dimension)
        self.losses: dict[Format, Mapping[str, float]] = {}
        self.known_layers: list[str] = []

    def run(self, model: str) -> ExportReport:
        """All formats; raises at the first that can't be made."""
        photos, source = self.photos, self.source
        report = ExportReport(
            model=model,
            source={
                "name": source.name, "provenance": source.provenance, "license": source.license,
                "dimension": source.dimension, "projected_to": self.settings.dimension,
                "preprocessing": source.preprocessing.to_dict(), **source.details,
            },
            calibration={
                "photos": len(photos), "products": len(set(photos.skus)), "sha256": photos.sha256,
                "used_for_ranges": min(CALIBRATION_PHOTOS, len(photos)), "unreadable": list(photos.unreadable),
            },
            gate={
                "points": self.settings.gate_points, "min_overlap": MIN_OVERLAP, "queries": self.gate.count,
                "source_recall_at_1": self.gate.reference.recall_at_1,
            },
            versions=versions(),
        )  # fmt: skip
        for file_format in dict.fromkeys(self.settings.to):
            report.attempts += self._format(file_format)
        report.notes += self.source.notes
        report.notes += doubts(
            source.preprocessing,
            photos.pixels,
            photos.skus,
            self.reference,
            self.gate.reference.recall_at_1,
            self.gate.count,
        )
        for name in self.settings.keep_float:
            if name not in self.known_layers:
                like = difflib.get_close_matches(name, self.known_layers, 3, 0.3) or self.known_layers[:3]
                raise ExportError(f"no layer {name!r} to keep in float; there are {', '.join(like)} …")
        report.layer_losses = dict(self.losses)
        return report

    def _read_photos(self) -> tuple[Photos, Photos | None]:
        settings, preprocessing = self.settings, self.source.preprocessing
        photos = read_photos(Path(settings.calibration), preprocessing, self.progress("photos"))
        if settings.gate_queries is None:
            check_labels(photos, settings.calibration)
            return photos, None
        return photos, read_gate_queries(settings.gate_queries, photos, preprocessing, self.progress("queries"))

    def _embed_source(self, photos: Photos) -> Vectors:
        starts = range(0, len(photos), 16)
        rows = [self.source.embed(photos.pixels[i : i + 16]) for i in self.progress("source")(starts, len(starts))]
        return np.concatenate(rows)

    def _format(self, file_format: Format) -> list[Attempt]:
        if file_format in self.source.finished:
            return [self._as_it_is(file_format)]
        core = self.work / f"core.{file_format}"
        for _ in self.progress(f"convert to {file_format}")([0], 1):
            self.source.writer(file_format)(core, self.projection)
        data = core.read_bytes()
        core.unlink()
        bench = self._bench(file_format, data)
        self.known_layers += bench.layers
        with contextlib.closing(bench):
            return _Format(self, file_format, bench).run()

    def _bench(self, file_format: Format, data: bytes) -> Bench:
        pixels = self.photos.spread(CALIBRATION_PHOTOS)
        if file_format == "onnx":
            ordered = self.source.preprocessing.ordered(pixels)
            return OnnxBench(data, lambda layout: calibration_input(ordered, layout))
        normalized = self.source.takes_normalized
        prepared = self.source.preprocessing
        layout = tflite_graph.input_layout(data)  # a ready file's may be PyTorch's
        inputs = calibration_input(prepared.ordered(pixels), layout)
        if normalized:
            inputs = prepared.normalized(pixels)
            inputs = inputs if layout == "NHWC" else np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
        return TfliteBench(data, inputs, takes_normalized=normalized)

    def _as_it_is(self, file_format: Format) -> Attempt:
        """A file that is quantized already: its card and its figures, its bytes untouched."""
        if self.projection is not None:
            raise ExportError(f"--dim goes with float networks; {self.source.name} is quantized already")
        named = [name for name in self.settings.recipes if name != "auto"]
        if named:
            raise ExportError(
                f"{self.source.name} is quantized already and can't become {named[0]}; leave --recipe out, "
                "or give the float network"
            )
        attempt, encoder = self.made(file_format, "as-it-is", Candidate(self.source.finished[file_format]))
        attempt.score = self.gate.score(encoder)
        attempt.latency_ms = attempt.fp32_latency_ms = latencies_ms([encoder], self.photos.pixels)[0]
        self.keep(attempt, Candidate(self.source.finished[file_format]))
        return attempt

    def made(self, file_format: Format, recipe: str, candidate: Candidate) -> tuple[Attempt, Encoder]:
        """A candidate with the runtime's encoder on it."""
        name = re.sub(r"[^\w.+-]+", "_", f"{self.source.name}-{recipe}.{file_format}")
        card = card_for(candidate.model, name, file_format, self.source, recipe)
        attempt = Attempt(
            file_format, recipe, "passed", file=name, sha256=card.sha256, size_bytes=len(candidate.model),
            base=candidate.base, kept_in_float=candidate.kept_in_float,
        )  # fmt: skip
        return attempt, encoder_for(candidate.model, card)

    def keep(self, attempt: Attempt, candidate: Candidate) -> None:
        """Write the file, its card and its recipe."""
        attempt.verdict = "kept"
        card = card_for(candidate.model, attempt.file, attempt.format, self.source, attempt.recipe)
        (self.work / attempt.file).write_bytes(candidate.model)
        (self.work / f"{attempt.file}.json").write_bytes(card_bytes(card))
        recipe = {
            "recipe": attempt.recipe,
            "summary": RECIPES[attempt.recipe].summary if attempt.recipe in RECIPES else "the file as it came",
            "base": attempt.base or None,
            "kept_in_float": list(attempt.kept_in_float),
            "file": attempt.file,
            "sha256": attempt.sha256,
            "source": {"provenance": self.source.provenance, **self.source.details},
            "projected_to": self.settings.dimension,
            "calibration": {"photos_sha256": self.photos.sha256, "used": min(CALIBRATION_PHOTOS, len(self.photos))},
            "versions": versions(),
        }
        (self.work / f"{attempt.file}.recipe.json").write_bytes(json_bytes(recipe))


class _Format:
    """The recipes of one format against the gate."""

    def __init__(self, export: _Export, file_format: Format, bench: Bench) -> None:
        self.export, self.format, self.bench = export, file_format, bench
        self.attempts: list[Attempt] = []
        self.impossible: list[ExportError] = []

    def run(self) -> list[Attempt]:
        """Float first, as the reference; then what was asked for."""
        exact = Candidate(self.bench.fp32())
        reference, self.exact_encoder = self.export.made(self.format, "fp32", exact)
        self.reference = reference
        reference.score, reference.verdict = self.export.gate.score(self.exact_encoder), "reference"
        self._check_parity(reference.score)
        self._check_conversion(reference.score)
        for name in check_recipes(self.export.settings.recipes):
            if name == "auto":
                # What was asked for by name and got here has passed: auto would find the same.
                left = itertools.takewhile(lambda one: not self._is_kept(one), automatic(self.bench))
                self._first_that_passes(tuple(left), keep=True)
            elif not self._is_kept(name):
                self._by_name(name)
        if self.impossible and not any(attempt.verdict == "kept" for attempt in self.attempts):
            raise self.impossible[0]
        self._measure_layers()
        for attempt in self.attempts:
            attempt.file = attempt.file if attempt.verdict == "kept" else ""
        if not any(attempt.recipe == "fp32" for attempt in self.attempts):
            reference.file = ""
            self.attempts.insert(0, reference)
        return self.attempts

    def _by_name(self, name: str) -> None:
        """A recipe that was asked for: one that the gate refuses ends the export, one that can't be made is noted."""
        try:
            passed = self._try(name, keep=True)
        except MissingPackage:
            raise
        except ExportError as error:
            self.impossible.append(error)
            self.attempts.append(Attempt(self.format, name, "failed", str(error)))
            return
        if not passed:
            self._refuse(name)

    def _is_kept(self, name: str) -> bool:
        return any(attempt.recipe == name and attempt.verdict == "kept" for attempt in self.attempts)

    def _check_conversion(self, score: Score) -> None:
        shortfall = score.shortfall(self.export.settings.gate_points)
        if not shortfall:
            return
        if self.export.projection is not None:
            raise GateNotMet(
                f"{self.format}: the projection to {len(self.export.projection.bias)} numbers alone loses too much "
                f"({shortfall}); try a larger --dim"
            )
        raise GateNotMet(
            f"{self.format}: the float file is not the source any more ({shortfall}; cosine {score.cosine_mean:.4f}); "
            "the converter is at fault, try another format"
        )

    def _check_parity(self, score: Score) -> None:
        """A float file is the same network or is none: no gate allows for less."""
        export, least = self.export, score.cosine_min
        if export.projection is not None:
            expected = export.projection.apply(export.reference)
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
            least = float((embed_all(self.exact_encoder, export.photos.pixels) * expected).sum(axis=1).min())
        if least >= MIN_PARITY:
            return
        find = export.source.faulty_operator
        worst = 0 if export.projection is not None else int(np.argmin(score.cosines[: len(export.photos)]))
        culprit = "" if find is None else find(self.format, export.photos.pixels[worst])
        said = f"the converter computes {culprit} otherwise" if culprit else "the converter is at fault"
        raise GateNotMet(
            f"{self.format}: the float file is not the source any more (cosine {least:.4f} for one photo, at least {MIN_PARITY:g} "
            f"is expected whatever --gate says): {said}; try another format"
        )

    def _first_that_passes(self, names: tuple[str, ...], *, keep: bool) -> str:
        """The first recipe that passes, "" where none does; each one's attempt is noted."""
        return next((name for name in names if self._try(name, keep=keep, tolerant=True)), "")

    def _try(self, name: str, *, keep: bool, tolerant: bool = False) -> bool:
        """Make a recipe's candidates until one passes. `tolerant`: a tool that fails is noted, and the next recipe tried."""
        last: Attempt | None = None
        try:
            wanted = tuple(layer for layer in self.export.settings.keep_float if layer in self.bench.layers)
            for candidate in RECIPES[name].make(self.bench, self.losses, wanted):
                last, encoder = self.export.made(self.format, name, candidate)
                try:
                    last.score = self.export.gate.score(encoder)
                    last.reason = last.score.shortfall(self.export.settings.gate_points)
                except NoDirection as error:
                    last.reason = str(error)
                if last.reason:
                    last.verdict = "refused"
                    continue
                pair = latencies_ms([encoder, self.exact_encoder], self.export.photos.pixels)
                last.latency_ms, last.fp32_latency_ms = pair
                self.reference.latency_ms = self.reference.fp32_latency_ms = pair[1]
                if name not in ("fp32", "fp16") and pair[0] > _SLOWER * pair[1]:
                    last.reason = "slower than fp32 on this machine, and only smaller"
                if keep:
                    self.export.keep(last, candidate)
                self.attempts.append(last)
                return True
        except ExportError as error:
            if not tolerant:
                raise
            last = Attempt(self.format, name, "failed", str(error))
        self.attempts.append(last or Attempt(self.format, name, "failed", "there is no layer to keep in float"))
        return False

    def _refuse(self, name: str) -> None:
        """Say what the recipe lost, and which one would not have."""
        reason = self.attempts[-1].reason
        others = tuple(other for other in automatic(self.bench) if other != name)
        passing = self._first_that_passes(others, keep=False)
        advice = f"--recipe {passing} passes" if passing else "no recipe passes"
        raise GateNotMet(f"{self.format} {name} is refused: {reason}; {advice}")

    def losses(self) -> Mapping[str, float]:
        """What quantizing each layer alone costs; measured once."""
        if self.format not in self.export.losses:
            probe = self.export.photos.spread(PROBE_PHOTOS)

            def embed(model: bytes) -> Vectors:
                card = card_for(model, f"probe.{self.format}", self.format, self.export.source, "probe")
                return embed_all(encoder_for(model, card), probe)

            self.export.losses[self.format] = layer_losses(
                self.bench, embed, self.export.progress(f"layers of {self.format}")
            )
        return self.export.losses[self.format]

    def _measure_layers(self) -> None:
        tried_int8 = any(attempt.recipe not in ("fp32", "fp16") for attempt in self.attempts)
        if self.export.settings.layers and tried_int8:
            with contextlib.suppress(ExportError):  # a plot less, no file less
                self.losses()
