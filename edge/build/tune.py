"""Another threshold for a bundle, without building it again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from .. import arguments
from ..bundle.writer import BundleWriter
from ..fitting.calibration import tuned
from ..scoring.decision import Decision


@dataclass(frozen=True, slots=True)
class TuneReport:
    """The decisions `before` and `after`, and the bundle's `generation` now."""

    before: Decision
    after: Decision
    generation: int

    def to_dict(self) -> dict[str, Any]:
        """The document of `tune --json`."""
        return {
            "generation": self.generation,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }


def tune_bundle(bundle: str | os.PathLike[str], false_accept: float) -> TuneReport:
    """Set a bundle's threshold for another rate of false accepts (above 0 and below 1), from how sure it was of its own held-out
    and left-out photos when it was built; nothing else changes.

    Raises BundleError where the bundle doesn't keep that (built by an earlier version, or too small to calibrate), BundleLocked,
    CatalogError for a rate that is none.
    """
    rate = arguments.share("false_accept", false_accept)
    with BundleWriter(bundle, existing=True) as writer:
        manifest = writer.opened().manifest
        after = tuned(manifest.decision, rate)
        writer.drop_work()
        committed = writer.commit(
            manifest.branches,
            products=manifest.products,
            decision=after,
            resizer=manifest.resizer,
            cascade=manifest.cascade,
            fit=manifest.fit,
        )
    return TuneReport(manifest.decision, after, committed.manifest.generation)
