"""What a generator of shelf life gives, and what its events are held against: the protocol between generators and `shelf.py`.

A generator is a function `life(*, seed, hours, slots, events, step_seconds, uneventful) -> Life`, named on the command line as
`module:function`; every argument has a default. `frames()` gives the same frames each time it is called, one after another, so
that memory stays flat. It begins with at least 5 frames in which the shelf is as in `full` and nobody stands before it.

What is true at a frame is what stands on the shelf at that moment, also where somebody hides it. A slot's state:

    "full"       at least `min_stock` of its facings show its product (any of its SKUs)
    "low"        some do, fewer than that
    "empty"      none of its facings has anything
    "misplaced"  a facing has another product of the catalogue, `by` says which
    "unknown"    a facing has a product that the catalogue doesn't have (and none has a misplaced one)

`hidden`: the slots of which at least a quarter is covered in this frame (by people, trolleys, hands, a covered lens).
The camera's state is "ok", "moved" (by more than a tenth of the frame), "covered", "dark", "frozen" or "gone" (no frames come;
dropped single frames are no state).

What a true event is: a slot's state (or what it is misplaced by) differs from the one before and stays so for at least
`SHORTEST` frames in which it isn't hidden and the camera is ok. Shorter ones are neither asked for nor held against the watcher.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from shelfmatch.edge.camera.frame import Frame
from shelfmatch.edge.imaging.image import Pixels

SHORTEST = 6
"""Frames; twice the three in a row that a change counts after."""

State = Literal["full", "low", "empty", "misplaced", "unknown"]
CameraState = Literal["ok", "moved", "covered", "dark", "frozen", "gone"]


@dataclass(frozen=True, slots=True)
class SlotTruth:
    """`facings`: how many show the slot's product; `by`: the SKU that is misplaced there, "" for none."""

    state: State
    facings: int
    by: str = ""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true at one frame; `slots` has each slot of the plan by its id."""

    slots: Mapping[str, SlotTruth]
    hidden: frozenset[str] = field(default_factory=frozenset)
    camera: CameraState = "ok"


class Life(Protocol):
    """Days of a shelf. `plan`: its planogram, as the JSON document that `shelf watch` reads; `full` and `empty`: the reference
    photos for `shelf teach`, (H, W, 3) uint8 RGB, of the size of the frames (`empty` None: this shop has none)."""

    plan: Mapping[str, Any]
    full: Pixels
    empty: Pixels | None

    def catalogue(self, folder: Path) -> None:
        """Write photos as `build_bundle` takes them: `folder/<sku>/*.png`."""

    def frames(self) -> Iterator[tuple[Frame, Truth]]:
        """The frames with what is true at each."""
