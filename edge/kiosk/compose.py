"""A bundle and what staff taught, made one bundle: the function behind every snapshot of a kiosk with a staff mode.

Always made anew from the untouched bundle and all changes, so that there is one way to the result and no order of changes, bundles
and power cuts that leads elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..build.change import commit_change, copied_catalog, load_branches
from ..build.draft import BranchDraft, extend, remove
from ..build.embed_photos import Embedded
from ..build.enroll import Enrolled
from ..build.localize import head_of
from ..bundle.bundle import MANIFEST, Bundle
from ..bundle.manifest import BranchRecord
from ..bundle.writer import BundleWriter
from ..catalog.editor import CatalogEditor
from ..encoders.local import LocalHead
from ..errors import BundleError
from ..files import sync_file, sync_folder, write_atomic
from .overlay import Taught


@dataclass(frozen=True, slots=True)
class Composed:
    """What became of the changes: SKUs of products that staff taught (`taught`), and of those whose photos this bundle's encoder
    can't use (`waiting`): they are to be taught again; `pictured`: those of which a picture could be kept."""

    taught: frozenset[str]
    waiting: tuple[str, ...]
    pictured: frozenset[str] = frozenset()

    def to_dict(self) -> dict[str, list[str]]:
        """As it lies beside the bundle that was made."""
        return {"taught": sorted(self.taught), "waiting": list(self.waiting), "pictured": sorted(self.pictured)}


_COMPOSED = "composed.json"


def read_composed(target: Path) -> Composed | None:
    """What `compose` said when it made this, None where it didn't make it, or not to the end."""
    try:
        record = json.loads((target / _COMPOSED).read_bytes())
        return Composed(frozenset(record["taught"]), tuple(record["waiting"]), frozenset(record["pictured"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def encoder_key(record: BranchRecord, head: LocalHead | None) -> bytes:
    """What embeddings are of: the encoder with its card, and its local head, whatever its file is called in a bundle."""
    card = {**record.encoder.to_dict(), "file": ""}
    made_by = json.dumps(card, sort_keys=True, default=str).encode()
    return hashlib.sha256(made_by + (b"" if head is None else head.digest)).digest()[:16]


def encoder_keys(bundle: Bundle) -> list[bytes]:
    """The key of each encoder of a bundle."""
    return [encoder_key(one, head_of(bundle, number)) for number, one in enumerate(bundle.manifest.branches)]


def copy_bundle(bundle: Bundle, target: Path) -> None:
    """Copy a whole generation, synced; `target` appears at once or not at all. Raises OSError."""
    building = target.with_name(f".copying-{os.urandom(4).hex()}")
    building.mkdir(parents=True)
    try:
        for entry in bundle.manifest.files.values():
            shutil.copyfile(bundle.path / entry.name, building / entry.name)
            sync_file(building / entry.name)
        # The manifest that was read, not the one that may have taken its place meanwhile.
        (building / MANIFEST).write_bytes(bundle.manifest.to_bytes())
        sync_file(building / MANIFEST)
        sync_folder(building)
        building.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def compose(base: Bundle, changes: Sequence[Taught], target: Path) -> Composed:
    """Make `target` of a bundle and the changes over it. Raises BundleError, CatalogError, OSError; then there is no `target`."""
    building = target.with_name(f".building-{os.urandom(4).hex()}")
    copy_bundle(base, building)
    try:
        with BundleWriter(building, existing=True) as writer:
            current = writer.opened()
            branches = load_branches(current)
            keys = encoder_keys(current)
            with contextlib.closing(copied_catalog(writer, current)) as editor:
                composed = _apply(editor, branches, keys, changes)
                if not editor.count():
                    raise BundleError("this would remove the last product; expected a bundle that keeps one")
                commit_change(writer, editor, branches)
        write_atomic(building / _COMPOSED, json.dumps(composed.to_dict()).encode())
        building.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return composed


def _apply(
    editor: CatalogEditor, branches: list[BranchDraft], keys: Sequence[bytes], changes: Sequence[Taught]
) -> Composed:
    """Put the changes into an open catalogue and the vectors beside it."""
    rows: list[tuple[int, list[Embedded]]] = []
    gone: list[int] = []
    waiting: list[str] = []
    taught: set[str] = set()
    known = {(sku, digest) for sku, _, digest in editor.photos()}
    for change in changes:
        product_id = editor.product_id(change.sku)
        if change.is_removed:
            gone += [] if product_id is None else editor.remove_product(product_id)
            continue
        usable = [photo for photo in change.photos if all(key in photo.embedded for key in keys)]
        if product_id is None and not usable:
            waiting.append(change.sku)
            continue
        if len(usable) < len(change.photos):
            waiting.append(change.sku)
        if product_id is None:
            product_id = editor.put_product(change.sku, {k: v for k, v in change.attributes.items() if v})
        else:
            editor.change_attributes(product_id, change.attributes)
        taught.add(change.sku)
        for photo in usable:
            if (change.sku, photo.sha256) not in known:
                number = editor.add_reference(product_id, f"taught/{photo.number}", photo.sha256)
                rows.append((number, [photo.embedded[key] for key in keys]))
    for place, branch in enumerate(branches):
        if gone:
            remove(branch, np.array(gone, np.uint32))
        if rows:
            extend(branch, _enrolled([(number, each[place]) for number, each in rows]), editor.pruned())
    pictured = {one.sku for one in changes if any(photo.picture for photo in one.photos)}
    return Composed(frozenset(taught), tuple(waiting), frozenset(pictured))


def _enrolled(rows: Sequence[tuple[int, Embedded]]) -> Enrolled:
    """Photos of one encoder side by side, each with as many views as all of them have."""
    views = min(len(one.views) for _, one in rows)
    cells = [one.cells[: 1 + views] for _, one in rows if one.cells is not None]
    stacked = np.stack(cells) if len(cells) == len(rows) else None  # (N, 1 + V, bytes): the photo's, then its views'
    return Enrolled(
        np.array([number for number, _ in rows], np.uint32),
        np.stack([one.vector for _, one in rows]),
        np.stack([one.views[:views] for _, one in rows]),
        np.array([one.is_packshot for _, one in rows]),
        None if stacked is None else stacked[:, 0],
        None if stacked is None else stacked[:, 1:],
    )
