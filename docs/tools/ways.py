"""Follow one photo through `match`, one source through `build` and one query through `eval`, and write down the rooms they enter.

    python docs/tools/ways.py        # writes docs/tools/ways.json, which the architecture page shows and pictures.py draws

The calls are real ones: a profiler notes every call that goes from one room of `edge` into another. The base row (errors, files,
terminal, threads, progress, metrics), which every room may use, is left out.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import shelfmatch.edge
from shelfmatch.edge import Matcher, build_bundle
from shelfmatch.edge.evaluation.evaluate import evaluate
from shelfmatch.edge.synthetic.products import make_shop, render_view

EDGE: Final = Path(shelfmatch.edge.__file__).resolve().parent
TARGET: Final = Path(__file__).with_name("ways.json")
BASE: Final = {
    "errors",
    "files",
    "terminal",
    "threads",
    "progress",
    "metrics",
    "arguments",
    "forking",
    "memory_short",
    "records",
    "_version",
    "__init__",
}
PRODUCTS: Final = 12


def room_of(frame: FrameType | None) -> str | None:
    """The room of `edge` in which a frame's code stands; None outside of it."""
    if frame is None:
        return None
    path = Path(frame.f_code.co_filename)
    if EDGE not in path.parents:
        return None
    first = path.relative_to(EDGE).parts[0]
    return first if (EDGE / first).is_dir() else Path(first).stem


class Follower:
    """Notes the first call from each room into each other one, in order."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], tuple[str, str]] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or frame.f_code.co_name.startswith("<"):
            return
        entered = room_of(frame)
        if entered is None or entered in BASE:
            return
        caller = frame.f_back
        while caller is not None and (room_of(caller) is None or room_of(caller) in BASE):
            caller = caller.f_back
        left = room_of(caller)
        if caller is None or left is None or left == entered:
            return
        self.calls.setdefault((left, entered), (caller.f_code.co_qualname, frame.f_code.co_qualname))

    def follow(self, run: Callable[[], object]) -> list[list[str]]:
        """[from room, from function, into room, into function], in the order of the first such calls."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            run()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
        return [
            [left, _plain(caller), entered, _plain(called)]
            for (left, entered), (caller, called) in self.calls.items()
        ]  # fmt: skip


def _plain(name: str) -> str:
    """A function's name without those that it is defined in."""
    return name.replace(".__init__", "").split(".<locals>")[0]


def _rendered(folder: Path) -> tuple[Path, Path]:
    """A folder with three photos of each product, and a photo that isn't in it."""
    photos = folder / "photos"
    for product in make_shop(PRODUCTS):
        (photos / product.sku).mkdir(parents=True)
        for view in range(3):
            render_view(product, view).save(photos / product.sku / f"{view}.jpg")
    query = folder / "query.jpg"
    render_view(make_shop(PRODUCTS)[0], 7).save(query)
    return photos, query


def ways(folder: Path) -> dict[str, list[list[str]]]:
    """The three ways, through a rendered shop in this folder."""
    photos, query = _rendered(folder)
    bundle = folder / "shop.bundle"
    build_bundle(photos, bundle, workers=1)
    csv = folder / "queries.csv"
    csv.write_text(f"image,sku\nquery.jpg,{make_shop(PRODUCTS)[0].sku}\n", encoding="utf-8")
    with Matcher.open(bundle, look_again=False) as matcher:
        matcher.match(query)  # what is loaded once is loaded
        return {
            "match": Follower().follow(lambda: matcher.match(query)),
            "build": Follower().follow(lambda: build_bundle(photos, folder / "again.bundle", workers=1)),
            "eval": Follower().follow(lambda: evaluate(matcher, csv, workers=1)),
        }


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="shelfmatch-ways-") as folder:
        found = ways(Path(folder))
    TARGET.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, calls in found.items():
        print(f"{name}: {len({room for left, _, entered, _ in calls for room in (left, entered)})} rooms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
