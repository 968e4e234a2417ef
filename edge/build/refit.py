"""A bundle's fit made again, adapter, threshold and local matching, from the photos' embeddings that it keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..bundle.manifest import Manifest
from ..errors import BundleError
from ..fitting.prior import Prior
from ..scoring.cascade import Cascade
from ..scoring.decision import Decision
from .draft import BranchDraft, compose_each, decide_pair, decided_by_vectors
from .localize import localized

if TYPE_CHECKING:
    from pathlib import Path

    from ..progress import Progress
    from .draft import Adapt


def check_keeps_embeddings(manifest: Manifest, bundle: Path) -> None:
    """Before any work. Raises BundleError."""
    if not manifest.keeps_embeddings:
        raise BundleError(
            f"{bundle} doesn't keep its photos' embeddings, so it can't be fitted again without the photos; build it again from "
            "all photos, with --keep-embeddings to have it done without them from then on"
        )


def refitted(
    branches: list[BranchDraft], manifest: Manifest, prior: Prior, progress: Progress | None = None
) -> tuple[list[BranchDraft], Cascade | None, Decision, str]:
    """The branches as a build of the same photos would have fitted them, when the second one runs, the decision, and why there is
    local matching or not. `manifest`: of the bundle, whose settings stay; `prior`: of its first encoder."""
    kept = [branch.kept for branch in branches if branch.kept is not None]
    every = [one.enrolled() for one in kept]
    rate = manifest.final_decision.target_false_accept_rate
    record = manifest.index
    made, keep, _ = compose_each(every, _adapt_of(manifest), 0, record.kind, record.dtype, progress)
    for branch, own in zip(made, kept, strict=True):
        branch.kept = own
    made[0].blank = branches[0].blank  # of the shop's pictures as a whole, which it has room for
    if len(made) > 1:
        cascade, decision = decide_pair(every, made, rate, progress)
        return made, cascade, decision, ""
    first = made[0]
    decision = decided_by_vectors(first, rate, prior)
    head, why = kept[0].local_head, ""
    before = branches[0].local
    if head is not None and (kept[0].has_all_cells or every[0].has_second_photos):
        first.local, why = localized(every[0], keep, head, first.adaptation, decision, prior)
    elif before is not None:
        first.local, why = before, "views' cells weren't kept; it stays as it was fitted"
    return made, None, _seen_by_camera(first, branches[0], decision), why


def _seen_by_camera(branch: BranchDraft, before: BranchDraft, decision: Decision) -> Decision:
    """The search's decision, when what photos of the shop's own camera changed of the branch `before` has been done to this one."""
    if before.camera is None:
        return decision
    branch.camera, branch.adapter = before.camera.refitted(before.adapter, branch.adapter)
    if branch.local is None:
        return branch.camera.decided(decision)
    if branch.local is not before.local:  # that one has it already
        record = branch.local.record
        branch.local = replace(branch.local, record=replace(record, decision=branch.camera.decided(record.decision)))
    return decision


def _adapt_of(manifest: Manifest) -> Adapt:
    """What the build was asked for, as far as its record says: an adapter that lost on held-out photos was forced."""
    adaptation = manifest.adaptation
    if adaptation.reason == "switched off":
        return "off"
    lost = (adaptation.recall_with or 0.0) < (adaptation.recall_without or 0.0)
    return "on" if adaptation.method == "lda" and lost else "auto"
