"""Another threshold for a bundle, without building it again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import arguments
from ..bundle.manifest import BranchRecord
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


def tune_bundle(bundle: str | os.PathLike[str], false_accept: float, *, wait_s: float = 0.0) -> TuneReport:
    """Set a bundle's threshold for another rate of false accepts (above 0 and below 1), from how sure it was of its own held-out
    and left-out photos when it was built; nothing else changes. `wait_s`: seconds to wait for another writer.

    Raises BundleError where the bundle doesn't keep that (built by an earlier version, or too small to calibrate), BundleLocked,
    CatalogError for a rate that is none.
    """
    rate = arguments.share("false_accept", false_accept)
    with BundleWriter(bundle, existing=True, wait_s=wait_s) as writer:
        manifest = writer.opened().manifest
        before = manifest.final_decision
        branches = tuple(_tuned_branch(branch, rate) for branch in manifest.branches)
        decision = tuned(manifest.decision, rate)
        writer.drop_work()
        if decision == manifest.decision and _decisions(branches) == _decisions(manifest.branches):
            # Tuned to that rate already: a generation is loaded anew by all who have the bundle open.
            return TuneReport(before, before, manifest.generation)
        committed = writer.recommit(branches=branches, decision=decision)
    return TuneReport(before, committed.manifest.final_decision, committed.manifest.generation)


def _decisions(branches: Sequence[BranchRecord]) -> list[Decision | None]:
    return [None if branch.local is None else branch.local.decision for branch in branches]


def _tuned_branch(branch: BranchRecord, rate: float) -> BranchRecord:
    """A branch whose local matching, if it has any, decides by the new rate."""
    if branch.local is None:
        return branch
    return replace(branch, local=replace(branch.local, decision=tuned(branch.local.decision, rate)))
