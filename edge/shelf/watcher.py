"""The watcher of one shelf: frames in, events out. A function of the frames and of what was seen before, nothing else.

Per frame: find the shelf (`align`), compare it with what is known of it (`compare`), leave out what somebody stands before, cut and
encode only facings that show something else (`judge`), and let a change count after several frames that say the same.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ..camera.frame import Frame
from ..errors import ShelfError
from ..events.event import Event
from . import compare
from .align import ENOUGH, IDENTITY, Aligner, Alignment, Matrix
from .camera_state import CameraWatch, edges_of
from .cells import Cells, cells_of
from .closer import CloserLook
from .crops import Box, box_around, corners_in, cuts
from .emptiness import walls_of
from .incidents import Incidents, SlotView, view_of
from .judge import BEHIND, ENOUGH_LOOKS, Judge, Label, Seen
from .planogram import Planogram, scaled
from .somebody import Somebody

if TYPE_CHECKING:
    from ..imaging.image import Pixels
    from ..matching.snapshot import Snapshot

logger = logging.getLogger(__name__)

AFTER_FRAMES: Final = 3
"""A change counts after so many frames that show the same; Frigate waits for as many equal states before it publishes."""
LOOK_AT: Final = 0.15
"""Share of a facing's blocks that must differ before it is looked at: noise, JPEG and a pixel of misalignment leave 0.1."""
STILL: Final = 0.75
"""Share of a facing's blocks that must be as in the frame before for both to show one thing."""
ALIKE: Final = 0.85
"""Cosine of a look to the looks before: below, it is another thing."""
UNKNOWN_FRAMES: Final = 5
"""An unknown product counts after more frames: people and their bags are unknown, too."""
MOST_LOOKS: Final = 32
"""Facings that are encoded in one frame, those that wait longest first: the work for a frame is bounded on any board, and a shelf
of 60 that changes at once is seen in two frames."""
MOST_CLOSER: Final = 4
"""Facings at which a closer look is taken in one frame; each costs as much as three others, and the rest can wait."""
MOST_KEPT: Final = 12
"""Looks that are averaged, the latest."""
NO_PRODUCT: Final = 60
"""What is unknown and may be no product counts after so many frames: a coat, or goods in a cart of wire, stays seldom longer."""
_LATER: Final = 1.5
"""Where a closer look saw no product's bounds, the next one is taken after so many times the frames."""
_LEARN_EVERY, _LEARN_RATE = 16, 0.3
"""Slow light goes into what is known: of every 16th frame three tenths, where nothing else differs."""
_RAIL_FRAMES: Final = 40
"""A rail that shows something else for so long without hiding a facing has a new price tag."""
_RELEARN_EVERY: Final = 20
_HOLD: Final = 2
"""So many times as long as a change needs to count, a slot waits for its other facings: who stands there is seldom there longer."""
_CLOCK_STEP_S: Final = 5.0


@dataclass(slots=True)
class CellState:
    """One facing: what it was last known to show, and the looks that may say otherwise. `frames`: how many there have been of one
    thing, those that aren't kept any more included; `closer_from`: of how many on a closer look is worth while."""

    label: Label
    looks: list[Seen] = field(default_factory=list)
    waits: int = 0
    frames: int = 0
    closer_from: float = 0.0


class ShelfWatcher:
    """Watches one shelf by its plan, a bundle's snapshot, and the taught photos of the full and the empty shelf.

    `after_frames`, `after_seconds`: a change counts after so many frames that agree and, where that is given, so many seconds.
    Raises ShelfError where photos and plan don't fit.
    """

    def __init__(
        self,
        plan: Planogram,
        snapshot: Snapshot,
        full: Pixels,
        empty: Pixels | None = None,
        *,
        after_frames: int = AFTER_FRAMES,
        after_seconds: float = 0.0,
    ) -> None:
        height, width = full.shape[:2]
        self.plan = plan = scaled(plan, width, height)
        if empty is not None and empty.shape != full.shape:
            raise ShelfError(f"the photo of the empty shelf has {empty.shape[1]}x{empty.shape[0]} pixels, that of the full one "
                             f"{width}x{height}; take both with the same camera and settings")  # fmt: skip
        self.after_frames, self.after_seconds = after_frames, after_seconds
        self._factor = compare.factor_of(width)
        small = compare.reduced(full, self._factor).astype(np.float32)
        self._frame_size = width, height
        self.cells: Cells = cells_of(plan, self._factor, small.shape[:2])
        quads = [cell.quad for cell in self.cells.cells]
        slot_of = [cell.slot for cell in self.cells.cells]
        taught = [None if photo is None else cuts(photo, IDENTITY, quads, self._factor) for photo in (full, empty)]
        assert taught[0] is not None
        walls = walls_of(small, self.cells, self._factor)
        self.judge = Judge(snapshot, [plan.slots[slot].skus for slot in slot_of], taught[0], taught[1], walls)
        self._closer, self._closer_left = CloserLook(snapshot), 0
        self._known_picture = small
        self._known = compare.blocks(small)
        self._template = self._known.luma.copy()
        self._aligner = Aligner(self._template)
        self._stale_template = False
        self.camera = CameraWatch(edges_of(self._known.luma))
        self.matrix: Matrix = IDENTITY
        self.incidents = Incidents()
        self.states = [CellState(Label("right", plan.slots[cell.slot].skus[0])) for cell in self.cells.cells]
        self._of_slot: list[list[int]] = [[] for _ in plan.slots]
        for number, slot in enumerate(slot_of):
            self._of_slot[slot].append(number)
        self.views = [SlotView("full", slot.facings) for slot in plan.slots]
        self._held = [0] * len(plan.slots)
        self._somebody = Somebody(self.cells)
        self._rail_age = np.zeros(self.cells.owner.shape, np.int32)
        self._before: tuple[compare.Blocks, compare.Floats] | None = None
        self._since: dict[int, float] = {}
        self._count = 0
        self._unsaid = True
        self.looked = 0
        self.time = 0.0

    def see(self, frame: Frame) -> tuple[Event, ...]:
        """Take a frame; what counts from it on. Raises ShelfError for a frame of another shape than the taught photos."""
        self.check(frame)
        self._count += 1
        if frame.time < self.time - _CLOCK_STEP_S:
            logger.warning("the clock went back by %.0f s; times go on from the new one", self.time - frame.time)
            self._since = dict.fromkeys(self._since, frame.time)
        self.time, self.looked = frame.time, 0
        small = compare.reduced(frame.pixels, self._factor)
        grey = compare.grey_of(small)
        aligned = self._aligner.find(grey, self.matrix)
        was = self.camera.state
        before = None if self._before is None else self._before[1]
        now = self.camera.see(grey, aligned, before, frame.time)
        events = [] if now == was else [self._camera_event(was, now)]
        if self.camera.is_clear and aligned.agreement >= ENOUGH:
            self.matrix = aligned.matrix
            events += self._compare(frame, small, grey, aligned)
        else:
            self._before = None if self._before is None else (self._before[0], grey)
            self._somebody.see_nothing()
        return tuple(events)

    def no_frame(self, time: float) -> tuple[Event, ...]:
        """No frames come any more: the camera is gone until one does."""
        if self.camera.state == "gone":
            return ()
        was, self.time = self.camera.state, time
        self.camera.gone()
        self._somebody.see_nothing()
        return (self._camera_event(was, "gone"),)

    def check(self, frame: Frame) -> None:
        """Raise ShelfError for a frame of another size than the taught photos, or of no time."""
        if not 0 <= frame.time < math.inf:
            raise ShelfError(
                f"{frame.source or 'the camera'}: a frame of the time {frame.time} arrived; expected seconds since 1970, "
                "set the clock or the photo's date"
            )
        height, width = frame.pixels.shape[:2]
        if (width, height) != self._frame_size:
            raise ShelfError(
                f"{frame.source or 'the camera'}: a frame of {width}x{height} pixels arrived; the taught photos have "
                f"{self._frame_size[0]}x{self._frame_size[1]}, set the camera to that, or teach again (shelfmatch shelf teach)"
            )

    def _camera_event(self, was: str, now: str) -> Event:
        advice = ""
        if now == "moved":
            advice = (
                "turn the camera back, or run shelfmatch shelf teach with a new photo and move the slots (shelf edit)"
            )
        return self.incidents.camera(was, now, self.time, advice)

    def _compare(self, frame: Frame, small: Pixels, grey: compare.Floats, aligned: Alignment) -> list[Event]:
        """Look for what differs, judge it, and say what counts."""
        picture = compare.moved_back(small, aligned.matrix)
        seen = compare.blocks(picture, grey if picture is small else None)
        differs = compare.difference(seen, self._known)
        visible = self._somebody.place(aligned.matrix)
        things = differs.things.reshape(-1).astype(np.float32)
        changed = self.cells.inside @ things
        to_see = changed > LOOK_AT
        self._somebody.see(differs.any, to_see)
        asking = np.flatnonzero(to_see & ~self._somebody.hidden)
        calm = np.flatnonzero(~to_see & visible)
        for number in calm:
            self.states[number].looks.clear()
            self.states[number].waits = 0
            self._since.pop(int(number), None)
        settled = self._look(frame, seen, asking, differs.gains) if len(asking) else []
        self._learn(picture, differs, settled, changed)
        self._before = seen, grey
        self._unsaid |= bool(settled)
        return self._said() if self._unsaid else []

    def _look(
        self, frame: Frame, seen: compare.Blocks, asking: NDArray[np.intp], gains: NDArray[np.float32]
    ) -> list[int]:
        """Encode the facings that show something else; which of them are settled now."""
        order = sorted(asking.tolist(), key=lambda number: -self.states[number].waits)
        chosen = order[:MOST_LOOKS]
        for number in order[MOST_LOOKS:]:
            self.states[number].waits += 1
        quads = [self.cells.cells[number].quad for number in chosen]
        looks = self.judge.look(cuts(frame.pixels, self.matrix, quads, self._factor), gains)
        self.looked = len(looks)
        still = np.ones(len(self.states), np.float32)
        if self._before is not None and any(self.states[number].looks for number in chosen):
            still = self.cells.inside @ compare.is_still(seen, self._before[0]).reshape(-1).astype(np.float32)
        settled, self._closer_left = [], MOST_CLOSER
        for number, look in zip(chosen, looks, strict=True):
            state = self.states[number]
            state.waits = 0
            if state.looks and (still[number] < STILL or float(look.vector @ state.looks[-1].vector) < ALIKE):
                state.looks.clear()
            if not state.looks:
                self._since[number] = frame.time
                state.frames, state.closer_from = 0, 0.0
            state.looks = [*state.looks, look][-MOST_KEPT:]
            state.frames += 1
            if self._settles(number, frame):
                settled.append(number)
        return settled

    def _settles(self, number: int, frame: Frame) -> bool:
        """Whether a facing's looks are enough to know what it shows; it is known then."""
        state = self.states[number]
        count = len(state.looks)
        label = self.judge.label(number, state.looks) if count >= 2 else None
        if label is None:
            return False
        if label != state.label:
            stays = count >= ENOUGH_LOOKS
            if self._somebody.may_hide(number, label.kind, stays=stays):
                return False
            needs = UNKNOWN_FRAMES if label.kind == "unknown" else self.after_frames
            elapsed = self.time - self._since.get(number, self.time)
            if count < max(2, needs) or elapsed < self.after_seconds:
                return False
            if self._closer.is_there and self.judge.is_doubtful(number, state.looks, label):
                if self._closer_left == 0 or state.frames < state.closer_from:
                    return False
                self._closer_left -= 1
                closer = self._looked_closer(number, label, frame)
                if closer is None:
                    return False
                label = closer
            elif label.kind == "unknown" and self._somebody.is_one_of_many(number) and state.frames < NO_PRODUCT:
                return False
        if label.kind == "empty":
            self.judge.learn_empty(number, state.looks)
        state.label = label
        state.looks.clear()
        self._somebody.is_known(number)
        self._since.pop(number, None)
        return True

    def _looked_closer(self, number: int, label: Label, frame: Frame) -> Label | None:
        """What a facing shows whose `label` is doubtful. None: nobody can say yet. What is unknown and has no product's bounds is
        likely a part of somebody or of a trolley, and what is most like the right product, and not much unlike it, is likely that,
        seen through a cart of wire; after many frames it counts nevertheless."""
        cell, state = self.cells.cells[number], self.states[number]
        name = self._closer(frame.pixels, corners_in(self.matrix, cell.quad, self._factor))
        expected = self.plan.slots[cell.slot].skus
        if name is not None and name.is_sure:
            return Label("right", expected[0]) if name.sku in expected else Label("other", name.sku)
        is_right = name is not None and name.sku in expected and self.judge.likeness(number, state.looks) >= BEHIND
        behind_something = name is None or is_right or self._somebody.is_one_of_many(number)
        if label.kind == "unknown" and behind_something and state.frames < NO_PRODUCT:
            state.closer_from = min(state.frames * _LATER, NO_PRODUCT)
            return None
        return label

    def _said(self) -> list[Event]:
        """Events of the slots that show something else now. One of which another facing is being looked at, or is behind somebody,
        waits for it: what is emptied at once was never low. Not for ever."""
        found: list[Event] = []
        if self._count <= self.after_frames:  # after a restart: what was known before may not be what is taught now
            return found
        self._unsaid = False
        for number, slot in enumerate(self.plan.slots):
            of_slot = [self.states[cell] for cell in self._of_slot[number]]
            view = view_of(slot, [state.label for state in of_slot])
            known = self.views[number]
            if view == known:
                self._held[number] = 0
                continue
            unclear = any(state.looks for state in of_slot) or self._somebody.behind[self._of_slot[number]].any()
            is_other = (view.state, view.by) != (known.state, known.by)
            if is_other and unclear and self._held[number] < _HOLD * self.after_frames:
                self._held[number] += 1
                self._unsaid = True
                continue
            self._held[number] = 0
            event = self.incidents.slot(slot, known, view, self.time)
            self.views[number] = view
            if event is not None:
                found.append(event)
        return found

    def _learn(
        self, picture: Pixels, differs: compare.Difference, settled: Sequence[int], changed: NDArray[np.float32]
    ) -> None:
        """Take settled facings, slow light and new price tags into what is known."""
        fresh = np.zeros(self.cells.owner.shape, bool)
        for number in settled:
            fresh |= self.cells.inside[number] > 0
        other = differs.any.reshape(-1) & ~self.cells.owner & ~self._somebody.out
        self._rail_age = np.where(other, self._rail_age + 1, 0).astype(np.int32)
        if self._count % _LEARN_EVERY == 0:
            hiding = (self.cells.before[changed > 0.5] > 0).any(axis=0) if (changed > 0.5).any() else False
            fresh |= (self._rail_age >= _RAIL_FRAMES) & ~np.asarray(hiding)
        slow = self._count % _LEARN_EVERY == 0
        if not slow and not fresh.any():
            return
        weights = np.zeros(self.cells.shape, np.float32)
        if slow:
            weights[~differs.any] = _LEARN_RATE
        weights[fresh.reshape(self.cells.shape)] = 1.0
        weights[self._somebody.out.reshape(self.cells.shape)] = 0.0
        spread = np.repeat(np.repeat(weights, compare.BLOCK, axis=0), compare.BLOCK, axis=1)[..., None]
        self._known_picture += (picture / differs.gains - self._known_picture) * spread
        self._known = compare.blocks(self._known_picture)
        whole = fresh.reshape(self.cells.shape)
        if whole.any():
            at = np.repeat(np.repeat(whole, compare.BLOCK, axis=0), compare.BLOCK, axis=1)
            self._template[at] = self._known.luma[at]
            self._stale_template = True
        if self._stale_template and self._count % _RELEARN_EVERY == 0:
            self._aligner.relearn(self._template)
            self._stale_template = False

    @property
    def known_picture(self) -> compare.Floats:
        """What is known of the shelf, (h, w, 3), small, lying on the taught photo."""
        return self._known_picture

    @property
    def template(self) -> compare.Floats:
        """What frames are aligned with, (h, w) grey, small."""
        return self._template

    def cells_of_slot(self, number: int) -> list[int]:
        """The numbers of a slot's facings, from the left."""
        return self._of_slot[number]

    def in_sight(self, slot: str, around: float, size: tuple[int, int]) -> Box | None:
        """Where a slot is in the last frame, with so much of its sides around it, in shares of that frame's `size` (width, height).
        None where something stands before it or before what is beside it there, and for a slot that the plan hasn't."""
        polygon = next((one.polygon for one in self.plan.slots if one.id == slot), None)
        if polygon is None or self.camera.state != "ok":
            return None
        box = box_around(corners_in(self.matrix, polygon, self._factor), around, size)
        for cell in np.flatnonzero(self._somebody.covered):
            other = box_around(corners_in(self.matrix, self.cells.cells[cell].quad, self._factor), 0.0, size)
            if other[0] < box[2] and box[0] < other[2] and other[1] < box[3] and box[1] < other[3]:
                return None
        return box

    def take_over(self, known: compare.Floats, template: compare.Floats, matrix: Matrix) -> None:
        """Go on with what an earlier watcher of the same taught photo knew; see `keeping`."""
        self._known_picture, self._template, self.matrix = known, template, matrix
        self._known = compare.blocks(known)
        self._aligner = Aligner(template)

    def stock(self) -> dict[str, int]:
        """SKU → facings that show it, over all slots where it belongs."""
        sums: dict[str, int] = {}
        for slot, view in zip(self.plan.slots, self.views, strict=True):
            sums[slot.sku] = sums.get(slot.sku, 0) + view.facings
        return sums

    def status(self) -> dict[str, Any]:
        """What is known now, as a JSON document: the camera, each slot, and the stock by SKU."""
        slots = []
        for number, (slot, view) in enumerate(zip(self.plan.slots, self.views, strict=True)):
            record = {"id": slot.id} | view.to_dict(slot)
            if self.camera.state != "ok":
                record["view"] = "no view"
            elif self._somebody.hidden[self._of_slot[number]].any():
                record["view"] = "hidden"
            else:
                record["view"] = "clear"
            slots.append(record)
        return {"time": self.time, "camera": self.camera.state, "slots": slots, "stock": self.stock()}
