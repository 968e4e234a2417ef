"""Empty places without a photo of the empty shelf, on walls that aren't bare: told from strange goods, learnt from each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shelfmatch.edge.shelf import compare
from shelfmatch.edge.shelf.align import IDENTITY
from shelfmatch.edge.shelf.cells import cells_of
from shelfmatch.edge.shelf.crops import cuts
from shelfmatch.edge.shelf.emptiness import PRIOR, WEIGHTS, Witness, coarse, evidence, off_wall, walls_of
from shelfmatch.edge.shelf.keeping import digest_of, kept, restore
from shelfmatch.edge.shelf.planogram import planogram_of
from shelfmatch.edge.shelf.watcher import ShelfWatcher
from shelfmatch.edge.synthetic.shelf_scene import Bay
from tests.support.shelf import ACROSS, ROWS, SEED, STRANGE, Camera, SmallShelf, document


class WireBay(Bay):
    """The small shelf before a wall of wire: as many edges as on a package."""

    def _furniture(self, rows: int) -> Image.Image:
        plain = super()._furniture(rows)
        wired = plain.copy()
        pen = ImageDraw.Draw(wired)
        for x in range(0, plain.width, 14):
            pen.line((x, 0, x, plain.height), fill=(40, 42, 46), width=3)
        for y in range(0, plain.height, 22):
            pen.line((0, y, plain.width, y), fill=(40, 42, 46), width=3)
        for floor in self._boards:  # boards and rails lie before it
            box = (0, int(floor), plain.width, int(floor + 0.2 * plain.height / rows))
            wired.paste(plain.crop(box), box[:2])
        return wired


def wire_bay() -> WireBay:
    return WireBay(SEED, ROWS, ACROSS)


@pytest.fixture
def watcher(shelf: SmallShelf) -> ShelfWatcher:
    """A watcher that was taught the full shelf before wire, and no empty one."""
    return ShelfWatcher(shelf.plan, shelf.matcher.snapshot, np.asarray(wire_bay().picture))


def states(watcher: ShelfWatcher, camera: Camera, picture: Any, count: int) -> list[tuple[str | None, str]]:
    return [
        (event.slot, str(event.after["state"])) for _ in range(count) for event in watcher.see(camera.frame(picture))
    ]


def single_slots(shelf: SmallShelf) -> list[str]:
    return [slot.id for slot in shelf.plan.slots if slot.facings == 1]


def test_an_empty_place_before_wire_is_empty_and_a_strange_product_unknown(
    shelf: SmallShelf, watcher: ShelfWatcher
) -> None:
    camera, bay = Camera(), wire_bay()
    states(watcher, camera, bay.picture, 4)
    first, second = single_slots(shelf)[:2]
    bay.put(first, 0, [])
    assert states(watcher, camera, bay.picture, 4) == [(first, "empty")]
    bay.put(second, 0, [STRANGE])
    # What has no product's bounds, or is most like the right product, waits for sixty frames: it may be that, behind somebody.
    assert states(watcher, camera, bay.picture, 64) == [(second, "unknown")]
    home = next(one.product for one in bay.places if one.id == first)
    bay.put(first, 0, [home] * 3)
    assert states(watcher, camera, bay.picture, 4) == [(first, "full")]


def test_an_empty_place_teaches_the_others_also_after_a_restart(shelf: SmallShelf, watcher: ShelfWatcher) -> None:
    camera, bay = Camera(), wire_bay()
    states(watcher, camera, bay.picture, 4)
    first, second = single_slots(shelf)[:2]
    assert len(watcher.judge.learnt) == 0
    bay.put(first, 0, [])
    states(watcher, camera, bay.picture, 4)
    assert len(watcher.judge.learnt) == 1
    bay.put(second, 0, [])
    cells = watcher.cells_of_slot([slot.id for slot in shelf.plan.slots].index(second))
    (look,) = watcher.judge.look(cuts(np.asarray(bay.picture), IDENTITY, [watcher.cells.cells[cells[0]].quad], 4))
    assert float(watcher.judge.learnt[0] @ look.vector) > 0.5

    taught = digest_of(np.asarray(wire_bay().picture))
    again = ShelfWatcher(shelf.plan, shelf.matcher.snapshot, np.asarray(wire_bay().picture))
    restore(again, kept(watcher, taught), taught)
    np.testing.assert_allclose(again.judge.learnt, watcher.judge.learnt, atol=1e-6)


def test_what_only_empty_places_speak_for_teaches_none(shelf: SmallShelf, watcher: ShelfWatcher) -> None:
    judge, light = watcher.judge, np.ones(3, np.float32)
    (strange,) = judge.look([np.asarray(shelf.full)[100:400, 200:420]], light)
    judge.learn_empty(0, [strange])
    assert len(judge.learnt) == 0
    judge.take_over(strange.vector[None])  # as if it had been taken for one before
    judge.learn_empty(0, [strange])
    assert len(judge.learnt) == 1


@pytest.mark.parametrize("gain", [0.6, 1.0, 1.3])
def test_colours_of_the_wall_are_told_from_those_of_goods(shelf: SmallShelf, gain: float) -> None:
    full, bay = np.asarray(wire_bay().picture), wire_bay()
    for one in bay.places:
        for facing in range(one.facings):
            bay.put(one.id, facing, [])
    factor = compare.factor_of(full.shape[1])
    small = compare.reduced(full, factor).astype(np.float32)
    cells = cells_of(shelf.plan, factor, small.shape[:2])
    quads = [cell.quad for cell in cells.cells]
    lit = (np.asarray(bay.picture) * gain).clip(0, 255).astype(np.uint8)
    walls = walls_of(small, cells, factor)
    assert all(wall is not None for wall in walls)

    def distances(picture: Any, gain: float) -> list[float]:
        pairs = zip(cuts(picture, IDENTITY, quads, factor), walls, strict=True)
        return [off_wall(coarse(cut), wall, np.full(3, gain, np.float32)) for cut, wall in pairs if wall is not None]

    empty, goods = distances(lit, gain), distances(full, 1.0)
    assert np.median(empty) < 0.2 < np.median(goods) and np.median(goods) > 2 * np.median(empty)


def test_a_shelf_without_a_visible_wall_has_none(shelf: SmallShelf) -> None:
    """A slot that fills the photo."""
    position = {"id": "a", "productId": "S1", "polygon": [[0, 0], [320, 0], [320, 240], [0, 240]]}
    plan = planogram_of(document(positions=[position]))
    small = np.full((240, 320, 3), 90, np.float32)
    assert walls_of(small, cells_of(plan, 1, (240, 320)), 1) == [None]


def test_the_bundles_scores_are_not_held_against_the_taught_photo(shelf: SmallShelf, watcher: ShelfWatcher) -> None:
    """With an adapter, the wall of wire has nearly the score of a product to the bundle, and is like none that was taught."""
    assert shelf.matcher.snapshot.gallery.adapter is not None
    bay = wire_bay()
    for one in bay.places:
        for facing in range(one.facings):
            bay.put(one.id, facing, [])
    judge = watcher.judge
    looks = judge.look(cuts(np.asarray(bay.picture), IDENTITY, [cell.quad for cell in watcher.cells.cells], 4))
    assert max(judge._asked(look.vector)[0][1] for look in looks) > 0.7
    for cell, look in enumerate(looks):
        right, rival, _ = judge._scores(look.vector, (shelf.plan.slots[watcher.cells.cells[cell].slot].sku,))
        assert max(right, rival) < 0.6
        label = judge.label(cell, [look, look, look])
        assert label is not None and label.kind == "empty"


def test_each_witness_speaks_in_its_direction() -> None:
    for wall in (None, 0.1):
        for bare in (None, 0.5):
            middle = Witness(0.5, -0.5, wall, bare)
            assert evidence(Witness(0.6, -0.5, wall, bare)) < evidence(middle)
            assert evidence(Witness(0.5, 0.0, wall, bare)) < evidence(middle)
            if wall is not None:
                assert evidence(Witness(0.5, -0.5, 0.4, bare)) < evidence(middle)
            if bare is not None:
                assert evidence(Witness(0.5, -0.5, wall, 0.9)) > evidence(middle)
    assert set(WEIGHTS) == {(False, False), (False, True), (True, False), (True, True)} and PRIOR > 0


def test_a_facing_that_changes_does_not_hide_itself(shelf: SmallShelf) -> None:
    """What says that somebody stands there are blocks whose windows of 3x3 hold nothing of a facing."""
    cells = cells_of(shelf.plan, 4, (240, 320))
    owner = np.pad(cells.owner.reshape(cells.shape), 1)
    touched = owner[1:-1, 1:-1] | owner[:-2, 1:-1] | owner[2:, 1:-1] | owner[1:-1, :-2] | owner[1:-1, 2:]
    assert (cells.before.sum(axis=1) > 0.99).all()
    assert not (cells.before[:, touched.reshape(-1)] > 0).any()
