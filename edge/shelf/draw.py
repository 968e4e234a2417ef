"""The plan over a photo: outlines, ids, and states where they are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from ..imaging import typefaces
from ..imaging.image import Pixels
from . import geometry
from .planogram import Planogram

COLOURS: Final[Mapping[str, tuple[int, int, int]]] = {
    "full": (38, 140, 60),
    "low": (196, 140, 0),
    "empty": (200, 30, 30),
    "misplaced": (150, 40, 190),
    "unknown": (20, 100, 200),
    "hidden": (110, 110, 110),
    "no view": (60, 60, 60),
    "": (0, 110, 140),
}
"""State → colour, each dark enough under white letters (WCAG 2.2, 4.5 to 1 for all but low's 3)."""


def drawn(plan: Planogram, photo: Pixels, states: Mapping[str, str] | None = None) -> Image.Image:
    """The photo with each slot's outline, facings, id and, from `states` (slot id → state), its colour."""
    picture = Image.fromarray(np.ascontiguousarray(photo)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    line = max(2, picture.width // 500)
    size = max(11, picture.width // 90)
    for slot in plan.slots:
        if slot.polygon is None:
            continue
        state = (states or {}).get(slot.id, "")
        colour = COLOURS.get(state, COLOURS[""])
        for facing in geometry.columns(slot.polygon, slot.facings):
            pen.line([*facing, facing[0]], fill=colour, width=max(1, line // 2))
        pen.line([*slot.polygon, slot.polygon[0]], fill=colour, width=line, joint="curve")
        text = f"{slot.id} {state}".strip()
        x, y = slot.polygon[0]
        wide = typefaces.length(text, size)
        pen.rectangle((x, y, x + wide + 8, y + size + 6), fill=colour)
        typefaces.write(pen, (x + 4, y + 2), text, size, (255, 255, 255), anchor="lt")
    return picture
