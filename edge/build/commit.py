"""Writes a draft down: the files of each branch staged beside the bundle, and then one commit."""

from __future__ import annotations

from ..bundle.bundle import Bundle
from ..bundle.manifest import BranchRecord, IndexRecord, role_of
from ..bundle.writer import BundleWriter
from ..catalog.editor import CatalogEditor
from .draft import Draft


def commit(writer: BundleWriter, editor: CatalogEditor, draft: Draft) -> Bundle:
    """Make the draft and the editor's catalogue the bundle's next generation. Raises BundleError, OSError."""
    products = editor.count()
    editor.finish()
    records = []
    for number, (card, branch) in enumerate(zip(draft.cards, draft.branches, strict=True)):
        branch.index.save(writer.stage(role_of("vectors", number)))
        if branch.adapter is not None:
            writer.stage(role_of("adapter", number)).write_bytes(branch.adapter.to_bytes())
        if branch.prototypes is not None:
            branch.prototypes.save(writer.stage(role_of("prototypes", number)))
        index = branch.index
        record = IndexRecord(index.kind, index.dtype, index.dimension, len(index))
        if branch.local is not None:
            branch.local.stage(writer, number)
        local = None if branch.local is None else branch.local.record
        if branch.kept is not None:
            branch.kept.save(writer.stage(role_of("embeddings", number)))
        kept = branch.kept is not None
        records.append(BranchRecord(card, record, branch.adaptation, local, kept, branch.blank, branch.camera))
    return writer.commit(
        records,
        products=products,
        decision=draft.decision,
        resizer=draft.resizer,
        cascade=draft.cascade,
        fit=draft.fitted_to,
    )
