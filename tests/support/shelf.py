"""A small rendered shelf with its shop, plan and taught photos, for the tests of shelf cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import Matcher, ShelfError, build_bundle
from shelfmatch.edge.camera.frame import Frame
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.shelf.planogram import Planogram
from shelfmatch.edge.shelf.simulate import Simulation
from shelfmatch.edge.shelf.teach import photos_of
from shelfmatch.edge.shelf.watcher import ShelfWatcher
from shelfmatch.edge.synthetic.products import Product, make_shop
from shelfmatch.edge.synthetic.shelf_scene import Bay

SEED, ROWS, ACROSS = 5, 2, 4
STRANGE: Product = make_shop(1, 997)[0]


def document(**changes: Any) -> dict[str, Any]:
    """A sound plan of two slots, with fields of the document, of the planogram or of the first position replaced."""
    positions: list[dict[str, Any]] = [
        {"id": "a", "productId": "S1", "facings": 2, "polygon": [[10, 10], [110, 10], [110, 90], [10, 90]]},
        {"id": "b", "productId": "S2", "polygon": [[120, 10], [200, 10], [200, 90], [120, 90]]},
    ]
    body: dict[str, Any] = {"width": 1, "height": 1, "products": [], "fixtures": [], "positions": positions}
    whole: dict[str, Any] = {"version": 1, "name": "bay", "photo": {"width": 320, "height": 240}, "planogram": body}
    for name, value in changes.items():
        target = (
            whole
            if name in ("version", "name", "photo", "planogram", "colour")
            else body
            if name in body
            else positions[0]
        )
        target[name] = value
    return whole


class SmallShelf:
    """The shelf of a seed: `plan`, `full` and `empty` photos, and a bay to change. One for a test session's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, simulation = folder, Simulation(SEED, ROWS, ACROSS)
        self.bundle, self.plan_path = folder / "shop.bundle", folder / "plan.json"
        simulation.write_catalogue(folder / "catalogue")
        build_bundle(folder / "catalogue", self.bundle, adapt="on")
        self.plan: Planogram = simulation.write_plan(self.plan_path)
        self.full, self.empty = photos_of(self.plan)
        self.matcher = Matcher.open(self.bundle, sessions=1)

    def bay(self) -> Bay:
        """A full shelf to take from."""
        return Bay(SEED, ROWS, ACROSS)

    def watcher(self, **options: Any) -> ShelfWatcher:
        """A watcher that has seen nothing yet."""
        return ShelfWatcher(self.plan, self.matcher.snapshot, self.full, options.pop("empty", self.empty), **options)


class Camera:
    """Frames a minute apart, with a sensor's noise; `gain` is the light."""

    def __init__(self) -> None:
        self._rng, self.number, self.time = np.random.default_rng(3), 0, 1_000_000.0

    def frame(self, picture: Any, gain: float = 1.0) -> Frame:
        """The next frame of a picture."""
        pixels = np.asarray(picture).astype(np.float32) * gain
        noise = self._rng.normal(0, 3, pixels.shape[:2])[..., None]
        seen: Pixels = (pixels + noise).clip(0, 255).astype(np.uint8)
        self.number, self.time = self.number + 1, self.time + 60
        return Frame(seen, self.time, self.number - 1, "test")


def line_of(error: pytest.ExceptionInfo[ShelfError]) -> str:
    """A refusal, which is one line."""
    text = str(error.value)
    assert len(text.splitlines()) == 1 and len(text) < 320
    return text


def run(*words: str | Path) -> int:
    """The exit code of `shelfmatch shelf …`."""
    return main(["shelf", *map(str, words)])


def contents(folder: Path) -> dict[str, bytes]:
    """Name → bytes of a folder's files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
