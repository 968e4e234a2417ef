"""Local matching in a draft: fitted at a build, and kept right as references come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bundle.bundle import Bundle
from ..bundle.manifest import role_of
from ..bundle.writer import BundleWriter
from ..encoders.card import EncoderCard
from ..encoders.local import LocalHead, find_local, local_file
from ..errors import EncoderError
from ..fitting.local_fit import Described, fit_local
from ..fitting.prior import Prior
from ..machine.blas import one_blas_thread
from ..scoring.adapter import Adaptation
from ..scoring.decision import Decision
from ..scoring.local import Cells, Local, undescribed
from .enroll import Enrolled, counted
from .spool import in_blocks

MOST_REFERENCES = 20_000
"""Of a shop that "auto" gives local matching: 70 MB of cells."""


@dataclass(frozen=True, slots=True)
class LocalDraft:
    """What a bundle holds of local matching: its record, the head, and the references' cells."""

    record: Local
    head: LocalHead
    cells: Cells

    def extended(self, enrolled: Enrolled) -> LocalDraft:
        """With more references."""
        if enrolled.cells is None or not len(enrolled.ids):
            return self
        return replace(self, cells=self.cells.joined(_cells_of(enrolled, self.head, np.ones(len(enrolled.ids), bool))))

    def without(self, ids: NDArray[np.uint32]) -> LocalDraft:
        """With these references gone."""
        return replace(self, cells=self.cells.without(ids))

    def stage(self, writer: BundleWriter, number: int) -> None:
        """Write the files of the branch with this number."""
        writer.stage(role_of("local", number)).write_bytes(self.head.to_bytes())
        self.cells.save(writer.stage(role_of("cells", number)))


def heads_for(wanted: str, encoders: Sequence[tuple[EncoderCard, Path]], photos: int) -> list[LocalHead | None]:
    """The local head that a build of so many photos uses of each encoder, with its file. Raises EncoderError where it is wanted
    ("on") and can't be."""
    if wanted == "on" and len(encoders) > 1:
        raise EncoderError("local=on arrived with two encoders; expected it with one, or leave it out")
    if len(encoders) > 1 or wanted == "off" or (wanted == "auto" and photos > MOST_REFERENCES):
        return [None] * len(encoders)
    card, model = encoders[0]
    head = find_local(model, card.sha256)
    if head is None and wanted == "on":
        raise EncoderError(
            f"local=on arrived, and encoder {card.name} has no local matching; expected one with a file {local_file(model).name} "
            "beside it, or leave it out"
        )
    return [head]


@one_blas_thread()
def localized(
    enrolled: Enrolled,
    keep: NDArray[np.bool_],
    head: LocalHead,
    adaptation: Adaptation,
    decision: Decision,
    prior: Prior,
    *,
    force: bool = False,
) -> tuple[LocalDraft | None, str]:
    """Local matching fitted to a shop, None where it doesn't help; and why. `keep` (N,): the references that stay; `decision`:
    the shop's on the first search alone; `prior`: the encoder's."""
    pictures = enrolled.pictures(references=counted(enrolled.ids[keep]))
    if enrolled.cells is None:
        return None, "the photos' cells weren't kept"
    if not pictures.whole:
        return None, "the shop is too large to fit it on"

    def cells_of(places: NDArray[np.intp]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
        return undescribed(enrolled.cells_of(pictures, places), head.card.cell_numbers)

    described = Described(enrolled.ids[pictures.photos], cells_of)
    record, why = fit_local(pictures, described, head, adaptation, decision, prior, force=force)
    return None if record is None else LocalDraft(record, head, _cells_of(enrolled, head, keep)), why


def load_local(bundle: Bundle, number: int) -> LocalDraft | None:
    """What a bundle has of it for the branch of this number, to be changed. Raises BundleDamaged, EncoderError."""
    record = bundle.manifest.branches[number].local
    if record is None:
        return None
    head = head_of(bundle, number)
    assert head is not None
    return LocalDraft(record, head, Cells.load(bundle.check(role_of("cells", number))))


def head_of(bundle: Bundle, number: int) -> LocalHead | None:
    """The head of a branch of a bundle, None where it has none. Raises BundleDamaged, EncoderError."""
    if bundle.manifest.branches[number].local is None:
        return None
    role = role_of("local", number)
    return LocalHead.from_bytes(bundle.read(role), str(bundle.file(role)))


def _cells_of(enrolled: Enrolled, head: LocalHead, keep: NDArray[np.bool_]) -> Cells:
    assert enrolled.cells is not None
    count = int(keep.sum())
    vectors = np.empty((count, head.card.cells, head.card.cell_numbers), np.int8)
    lengths = np.empty((count, head.card.cells), np.float16)
    for places, rows in in_blocks(enrolled.cells, keep):
        vectors[places], lengths[places] = undescribed(rows, head.card.cell_numbers)
    return Cells.of(enrolled.ids[keep], enrolled.vectors[keep], vectors, lengths)
