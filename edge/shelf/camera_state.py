"""What a camera can do: see the shelf, or be covered, dark, frozen, moved or gone. These are never states of slots."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from .align import ENOUGH, Alignment, Floats, displacement

CameraState = Literal["ok", "covered", "dark", "frozen", "moved", "gone"]

DARK_LEVEL: Final = 12.0
"""Mean grey level below which nothing is judged: a shop's night lights leave 20 or more."""
FLAT_SHARE: Final = 0.3
"""Of the reference's edges: a lens that is covered or fogged shows fewer, the same shelf in any light more, gain taken out."""
MOST_SHIFT: Final = 0.14
"""Of the frame's width, at its middle: up to there slots follow. Beyond, so many of them have left the frame that somebody must
look; a nudge by a tenth of the width and of the height at once is 0.125."""
FROZEN_FRAMES, FROZEN_SECONDS = 20, 60.0
"""Frames without one different pixel, and for how long: a sensor's noise differs in each."""
CONFIRM: Final = 3
"""Frames in a row before a state counts, either way."""
_LOST: Final = 5
"""Frames since the shelf was last found in which an unmoving picture with edges isn't it: the camera looks elsewhere."""
_UNMOVING: Final = 6.0
"""Grey levels that half of the pixels differ by at most between two frames of one scene, gain taken out; somebody who fills the
frame and walks makes more."""


@dataclass(slots=True)
class CameraWatch:
    """Decides over frames in which state a camera is. `edges`: the mean gradient of the reference, over its mean level."""

    edges: float
    state: CameraState = "ok"
    pending: CameraState = "ok"
    count: int = 0
    lost: int = 0
    same: int = 0
    same_since: float = 0.0
    checksum: int = 0

    def see(self, luma: Floats, aligned: Alignment, before: Floats | None, time: float) -> CameraState:
        """Take a frame's small grey picture, its alignment and the picture before; the state after it."""
        now = self._now(luma, aligned, before, time)
        if now == self.state:
            self.pending, self.count = now, 0
        elif now == self.pending:
            self.count += 1
        else:
            self.pending, self.count = now, 1
        # A frozen picture and a turned camera have been watched for frames already.
        if now != self.state and (self.count >= CONFIRM or now == "frozen"):
            self.state, self.count = now, 0
        return self.state

    def gone(self) -> None:
        """No frames come: at once, whoever calls this has waited."""
        self.state = self.pending = "gone"
        self.count = 0

    @property
    def is_clear(self) -> bool:
        """Whether this frame may be judged: the state is ok and nothing speaks against it."""
        return self.state == "ok" and self.pending == "ok"

    def _now(self, luma: Floats, aligned: Alignment, before: Floats | None, time: float) -> CameraState:
        if self._is_frozen(luma, time):
            return "frozen"
        level = float(luma.mean())
        if level < DARK_LEVEL:
            self.lost = 0
            return "dark"
        if aligned.agreement >= ENOUGH:
            self.lost = 0
            return "moved" if displacement(aligned.matrix, luma.shape[1], luma.shape[0]) > MOST_SHIFT else "ok"
        if edges_of(luma) < FLAT_SHARE * self.edges:
            self.lost = 0
            return "covered"
        self.lost += before is None or _is_unmoving(luma, before)
        return "moved" if self.lost >= _LOST or self.state == "moved" else self.state

    def _is_frozen(self, luma: Floats, time: float) -> bool:
        checksum = zlib.crc32(luma.tobytes())
        if checksum != self.checksum:
            self.checksum, self.same, self.same_since = checksum, 0, time
            return False
        self.same += 1
        self.same_since = min(self.same_since, time)  # of a clock that went back
        return self.same >= FROZEN_FRAMES and time - self.same_since >= FROZEN_SECONDS

    def to_dict(self) -> dict[str, Any]:
        """What a restart needs."""
        return {"state": self.state}


def edges_of(luma: Floats) -> float:
    """The mean gradient over the mean level, at a quarter of the size, where noise is less: the same in any light."""
    height, width = (side - side % 4 for side in luma.shape)
    rows = luma[0:height:4, :width] + luma[1:height:4, :width] + luma[2:height:4, :width] + luma[3:height:4, :width]
    coarse = (rows[:, 0::4] + rows[:, 1::4] + rows[:, 2::4] + rows[:, 3::4]) / 16
    rough = np.abs(np.diff(coarse, axis=1)).mean() + np.abs(np.diff(coarse, axis=0)).mean()
    return float(rough) / (float(coarse.mean()) + 5.0)


def _is_unmoving(luma: Floats, before: Floats) -> bool:
    scale = (float(before.mean()) + 1) / (float(luma.mean()) + 1)
    return float(np.median(np.abs(luma[::4, ::4] * scale - before[::4, ::4]))) < _UNMOVING
