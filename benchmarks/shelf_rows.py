"""Rows: how many boards `count` finds goods on, and which goods it takes for neighbours, on rendered shelves of new designs.

    python benchmarks/shelf_rows.py --faces FACES

FACES is what `models/detection/faces.py` makes of a stock of typefaces (or SHELFMATCH_FACES says where it is). The boards are the
renderer's; a find stands on that of the true box which it overlaps most, finds of nothing on none. "true boxes" leaves out the
detector, "one row a layer" is what a row was before stacks were joined: neighbours that overlap in height.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import reporting
from numpy.typing import NDArray

from shelfmatch.edge.detection.detection import Box
from shelfmatch.edge.detection.detector import Detector
from shelfmatch.edge.matching import rows as joined

SIDES: Final = (960, 1280)
ROW_PX: Final = (60.0, 260.0)
"""Heights of rows, from shelves of 300 facings to those of a dozen."""
Rows = Callable[[Sequence[Box]], list[list[int]]]


def shelves(faces: Path, count: int, detector: Detector) -> list[dict[str, tuple[list[Box], list[int]]]]:
    """Of each shelf, by whose boxes: the boxes, and the board of each, -1 for none."""
    from shelfmatch.models.detection import faces as stored
    from shelfmatch.models.detection.camera import photographed
    from shelfmatch.models.detection.precision import overlaps
    from shelfmatch.models.detection.shelves import Layout, Shelf

    products, rng = stored.read(faces, "new"), np.random.default_rng(2410)
    made = []
    for number in range(count):
        tilt, gaps = float(rng.choice([0.0, 0.08, 0.15])), float(rng.choice([0.1, 0.4, 1.0]))
        shelf = Shelf(products, rng, SIDES[number % 2], Layout(float(rng.uniform(*ROW_PX)), tilt, gaps))
        scene = shelf.canvas.scene(hidden=False)
        true = scene.boxes[scene.kinds == 0]
        boards = _boards(shelf, true)
        found = [one.box for one in detector.detect(photographed(scene.pixels, rng), kinds=("product",))]
        shared = overlaps(np.array(found, np.float32).reshape(-1, 4), true)
        own = [boards[int(one.argmax())] if len(one) and one.max() >= 0.4 else -1 for one in shared]
        made.append({"true boxes": ([tuple(box) for box in true.tolist()], boards), "found": (found, own)})
    return made


def _boards(shelf: Any, boxes: NDArray[np.float32]) -> list[int]:
    """On which of a shelf's boards each box's middle is, seen from its front."""
    middles = np.stack([boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3], np.full(len(boxes), 2.0)])
    flat = np.linalg.inv(shelf.homography) @ (middles / 2)
    heights = flat[1] / flat[2]
    return [
        next((row for row, (top, clear) in enumerate(shelf.rows) if top <= y <= top + 1.02 * clear), -1)
        for y in heights.tolist()
    ]


def layers(boxes: Sequence[Box]) -> list[list[int]]:
    """Rows before they are joined."""
    if not boxes:
        return []
    numbers = joined._chained(np.array(boxes, np.float64))
    return [np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers)]


def score(made: list[dict[str, tuple[list[Box], list[int]]]], whose: str, rows_of: Rows) -> dict[str, float]:
    """Of shelves with goods: how many rows too many or too few, in the mean; on how many shelves none; of the pairs that are said
    to share a row those that do, and of those that do those that are said to."""
    off, said, right, truly = [], 0, 0, 0
    for shelf in made:
        boxes, boards = shelf[whose]
        board = np.array(boards)
        row = np.full(len(boxes), -1)
        for number, places in enumerate(rows_of(boxes)):
            row[places] = number
        known = board >= 0
        if not known.any():
            continue
        off.append(abs(len(set(row.tolist())) - len(set(board[known].tolist()))))  # rows of finds of nothing, too
        pair = np.triu(known[:, None] & known[None, :], 1)
        same_row, same_board = (row[:, None] == row[None, :]) & pair, (board[:, None] == board[None, :]) & pair
        said, truly, right = said + same_row.sum(), truly + same_board.sum(), right + (same_row & same_board).sum()
    return {
        "shelves": len(off), "rows_off": float(np.mean(off)), "all_rows_right": float(np.mean(np.array(off) == 0)),
        "neighbours_right": float(right / max(said, 1)), "neighbours_found": float(right / max(truly, 1)),
    }  # fmt: skip


def main() -> int:
    """The command line; see the first lines."""
    parser = reporting.argument_parser(__doc__)
    known = os.environ.get("SHELFMATCH_FACES")
    parser.add_argument("--faces", type=Path, metavar="DIR", default=Path(known) if known else None)
    parser.add_argument("--detector", default="shelfmatch-detect", help="a name, a file or a card")
    parser.add_argument("--shelves", type=int, default=60, metavar="N", help="rendered shelves (default: 60)")
    parser.add_argument(
        "--touching", type=float, default=joined.TOUCHING, metavar="SHARE", help="instead of edge/matching/rows.py's"
    )
    options = parser.parse_args()
    if options.faces is None:
        parser.error("--faces is missing; expected what models/detection/faces.py made")
    joined.TOUCHING = options.touching  # type: ignore[misc]
    detector = Detector.open(options.detector)
    report = reporting.Report.start(
        "shelf_rows", detector=detector.card.name, shelves=options.shelves, touching=options.touching
    )
    made = shelves(options.faces, options.shelves, detector)
    ways: dict[str, Rows] = {"one row a layer": layers, "rows": joined.rows_of}
    for whose in ("true boxes", "found"):
        for name, way in ways.items():
            report.results[f"{whose}, {name}"] = score(made, whose, way)
    header = ("", "shelves", "rows off by", "all rows right", "neighbours right", "neighbours found")
    reporting.print_table(
        "Rows",
        header,
        [
            (name, one["shelves"], f"{one['rows_off']:.1f}", *(f"{one[key]:.1%}" for key in
             ("all_rows_right", "neighbours_right", "neighbours_found")))
            for name, one in report.results.items()
        ],
    )  # fmt: skip
    return report.finish(options)


if __name__ == "__main__":
    sys.exit(main())
