"""What an export tried and what came of it: the records behind report.json and report.html."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..edge.encoders.card import Format
from ..edge.terminal import shown
from .gate import Score

Verdict = Literal["kept", "passed", "refused", "failed", "reference"]


@dataclass(slots=True)
class Attempt:
    """One recipe in one format. `reason` says why it was refused or failed; `file` is "" where nothing was kept."""

    format: Format
    recipe: str
    verdict: Verdict
    reason: str = ""
    file: str = ""
    sha256: str = ""
    size_bytes: int = 0
    score: Score | None = None
    latency_ms: float | None = None
    fp32_latency_ms: float | None = None
    base: str = ""
    kept_in_float: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        score = self.score
        return {
            "format": self.format,
            "recipe": self.recipe,
            "verdict": self.verdict,
            "reason": self.reason,
            "file": self.file or None,
            "sha256": self.sha256 or None,
            "size_bytes": self.size_bytes,
            "recall_at_1": None if score is None else score.recall_at_1,
            "recall_loss_points": None if score is None else round(score.recall_loss_points, 6),
            "overlap_at_5": None if score is None else score.overlap_at_5,
            "cosine_mean": None if score is None else _number(score.cosine_mean),
            "cosine_min": None if score is None else _number(score.cosine_min),
            "max_abs_difference": None if score is None else _number(score.max_abs_difference),
            "latency_ms": self.latency_ms,
            "fp32_latency_ms": self.fp32_latency_ms,
            "base": self.base or None,
            "kept_in_float": list(self.kept_in_float),
        }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


@dataclass(slots=True)
class ExportReport:
    """An export's outcome. `files` are the names in the destination; the report itself lies beside them.
    `notes`: what was assumed of the source, and what casts doubt on it."""

    model: str
    source: Mapping[str, Any]
    calibration: Mapping[str, Any]
    gate: Mapping[str, Any]
    versions: Mapping[str, str]
    attempts: list[Attempt] = field(default_factory=list)
    layer_losses: dict[Format, Mapping[str, float]] = field(default_factory=dict)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def kept(self) -> Sequence[Attempt]:
        """The attempts whose files were kept."""
        return [attempt for attempt in self.attempts if attempt.verdict == "kept"]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "model": self.model,
            "source": dict(self.source),
            "calibration": dict(self.calibration),
            "gate": dict(self.gate),
            "files": [attempt.file for attempt in self.kept],
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "layer_losses": {
                name: dict(sorted(losses.items(), key=lambda item: -item[1]))
                for name, losses in self.layer_losses.items()
            },
            "notes": list(self.notes),
            "versions": dict(self.versions),
            "seconds": round(self.seconds, 1),
        }

    def table(self) -> str:
        """For people."""
        lines = [
            f"{'file':<44} {'MB':>6} {'recall@1':>8} {'loss':>6} {'top-5':>6} {'cosine':>7} {'min':>7} {'ms':>6} {'fp32':>6}"
        ]
        for attempt in self.kept:
            score = attempt.score
            assert score is not None, "a kept file was measured"
            lines.append(
                f"{attempt.file:<44} {attempt.size_bytes / 1e6:>6.2f} {score.recall_at_1:>8.1%} {score.recall_loss_points:>6.2f} "
                f"{score.overlap_at_5:>6.1%} {score.cosine_mean:>7.4f} {score.cosine_min:>7.4f} "
                f"{attempt.latency_ms or 0:>6.2f} {attempt.fp32_latency_ms or 0:>6.2f}"
            )
        lines += [
            f"{attempt.format} {attempt.recipe}: {attempt.verdict}, {attempt.reason}"
            for attempt in self.attempts
            if attempt.reason
        ]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(map(shown, lines))  # names of files come from anybody
