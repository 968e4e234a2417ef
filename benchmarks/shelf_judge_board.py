"""The shelf of the judging generator without its goods: slots and packs, wall, boards, rails, and the camera's view."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from shelf_judge_packs import make_pack
from shelf_judge_stock import Place

Picture = NDArray[np.uint8]
WIDTH, HEIGHT = 1280, 960
AROUND: Final = 200
"""Pixels of the drawn shelf beyond each side of the frame, for a camera that is turned."""


def make_places(rng: np.random.Generator, slots: int) -> list[Place]:
    """Rows of slots of unlike widths; every fifth product is a variant of its neighbour."""
    rows = max(1, round(math.sqrt(slots * 0.62)))
    across = [slots // rows + (row < slots % rows) for row in range(rows)]
    left, right, top, low = AROUND + 120, AROUND + WIDTH - 120, AROUND + 70, AROUND + HEIGHT - 60
    heights = rng.uniform(0.85, 1.15, rows)
    edges = top + np.concatenate([[0], np.cumsum(heights / heights.sum())]) * (low - top)
    found: list[Place] = []
    for row, count in enumerate(across):
        widths = rng.uniform(0.65, 1.5, count)
        xs = left + np.concatenate([[0], np.cumsum(widths / widths.sum())]) * (right - left)
        for column in range(count):
            number = len(found)
            before = found[-1].pack if found else None
            if before is not None and rng.uniform() < 0.2:
                pack = make_pack(f"J-{number:03}", before.design, before.flavour + 1)
            else:
                pack = make_pack(f"J-{number:03}", int(rng.integers(0, 4000)), 0)
            box = (round(xs[column]) + 3, round(edges[row]) + 6, round(xs[column + 1]) - 3, round(edges[row + 1]) - 24)
            side = 0.88 * (box[3] - box[1]) * pack.aspect
            facings = max(1, min(4, round((box[2] - box[0]) / side)))
            found.append(Place(f"r{row + 1}c{column + 1:02}", pack, facings, int(rng.integers(1, facings + 1)), box))
    return found


def make_board(rng: np.random.Generator, places: list[Place]) -> Picture:
    """The shelf without goods: wall, back panels, boards, rails with tags that don't change."""
    height, width = HEIGHT + 2 * AROUND, WIDTH + 2 * AROUND
    rough = rng.uniform(0.85, 1.12, (height // 40, width // 40, 3)).astype(np.float32)
    wall = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC) * rng.uniform(90, 200, 3)
    board = np.clip(wall, 0, 255).astype(np.uint8)
    for _ in range(26):  # posters, a pillar, the next shelf: something to hold on to
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        cv2.rectangle(
            board,
            (x, y),
            (x + int(rng.integers(20, 240)), y + int(rng.integers(20, 200))),
            tuple(int(v) for v in rng.integers(20, 240, 3)),
            -1,
        )
    back, rail = (
        rng.uniform(70, 225, 3) * [1, rng.uniform(0.9, 1.05), rng.uniform(0.85, 1.1)],
        tuple(int(v) for v in rng.integers(60, 250, 3)),
    )
    x0, x1 = min(p.box[0] for p in places) - 14, max(p.box[2] for p in places) + 14
    y0, y1 = min(p.box[1] for p in places) - 20, max(p.box[3] for p in places) + 34
    board[y0:y1, x0:x1] = np.clip(back, 0, 255).astype(np.uint8)
    panel, step = int(rng.integers(0, 3)), int(rng.integers(12, 26))
    if panel == 0:
        for y in range(y0, y1, step):
            for x in range(x0, x1, step):
                cv2.circle(board, (x, y), max(2, step // 7), tuple(int(v * 0.5) for v in back), -1)
    elif panel == 1:
        for x in range(x0, x1, step * 3):
            cv2.line(board, (x, y0), (x, y1), tuple(int(v * 0.8) for v in back), 2)
    for one in places:
        left, top, right, low = one.box
        part = board[top:low, left:right]
        part[:] = np.clip(part * np.linspace(0.5, 0.95, low - top)[:, None, None], 0, 255).astype(np.uint8)
        board[low - 14 : low + 2, left - 3 : right + 3] = np.clip(np.array(rail) * 0.72, 0, 255).astype(np.uint8)
        board[low + 2 : low + 24, left - 3 : right + 3] = rail
        cv2.rectangle(board, (left + 6, low + 4), (left + 52, low + 21), (248, 248, 240), -1)
        price = f"{rng.integers(0, 9)}.{rng.integers(10, 99)}"
        cv2.putText(board, price, (left + 8, low + 18), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
    return board


def make_view(rng: np.random.Generator) -> NDArray[np.float64]:
    """From the drawn shelf to the reference photo: a camera somewhat aside and above."""
    source = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], np.float32) + AROUND
    aside, above = rng.uniform(-0.05, 0.05), rng.uniform(-0.03, 0.04)
    target = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], np.float32)
    target += (
        np.array([[aside, aside / 2], [aside, -aside / 2], [-above, -aside / 2], [above, aside / 2]], np.float32)
        * WIDTH
    )
    return np.asarray(cv2.getPerspectiveTransform(source, target), np.float64)
