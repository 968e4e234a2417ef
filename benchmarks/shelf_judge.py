"""Days of shelf life for judging only: another shop than `shelf_life`'s, with other packs, people, light and motions.

    python benchmarks/shelf_judge.py --strip OUT.jpg --seed 3      # a strip of pictures

Nothing is ever tuned on it. The protocol is in `shelf_truth.py`; `shelf_judge_*.py` draw the packs, the people and the light.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from shelf_judge_board import HEIGHT, WIDTH, Picture, make_board, make_places, make_view
from shelf_judge_light import Lens, Light
from shelf_judge_packs import make_pack, photo_of
from shelf_judge_people import Visit, make_covers, put_before
from shelf_judge_stock import Facing, Move, Place, Timetable, truth_of
from shelf_truth import CameraState, SlotTruth, Truth

from shelfmatch.edge.camera.frame import Frame

_FIRST: Final = 12
"""Frames in which all is as in the reference."""
_START_HOUR: Final = 7.0
_START: Final = 1_771_570_800.0
"""20 February 2026, 7:00 UTC."""
_MASK: Final = (160, 120)
_HIDDEN_FROM: Final = 0.25
_PHOTOS: Final = 5

cv2.setNumThreads(1)


class JudgeLife:
    """A life of the protocol; see `shelf_truth.Life`."""

    def __init__(self, seed: int, hours: float, slots: int, events: int, step_seconds: float, uneventful: bool) -> None:
        rng = np.random.default_rng((31_337, seed))
        self._step_s, self._count = step_seconds, max(_FIRST + 1, round(hours * 3600 / step_seconds))
        self._uneventful = uneventful
        self._places = make_places(rng, slots)
        extra = [make_pack(f"J-X{number:02}", 5000 + seed * 100 + number, 0) for number in range(6)]
        self._spare = extra
        self._strange = [make_pack(f"unknown-{number}", 9000 + seed * 100 + number, 0) for number in range(6)]
        self._catalogue = frozenset(one.sku for one in (*(place.pack for place in self._places), *extra))
        self._board = make_board(rng, self._places)
        self._seed = int(rng.integers(2**32))
        self._view = make_view(rng)
        self._light = Light(rng, self._count, step_seconds, _START_HOUR, (WIDTH, HEIGHT))
        self._lens = Lens(rng, self._count, (WIDTH, HEIGHT))
        self._covers = make_covers(rng)
        self._states = self._camera_states(rng)
        open_frames = [n for n in range(_FIRST + 4, self._count - 20) if 7 <= self._light.hour(n) < 22]
        timetable = Timetable(rng, self._places, self._strange, extra, open_frames)
        self._first = {number: timetable._now[number] for number in range(len(self._places))}
        self._moves = [] if uneventful else timetable.moves(events)
        self._visits = self._make_visits(rng, open_frames)
        self._poses = self._make_poses(rng)
        self._dropped = (
            set() if self._count < 200 else set(rng.integers(_FIRST + 1, self._count, self._count // 150).tolist())
        )
        self._all_corners = np.array([self._corners(one) for one in self._places])
        self.plan = self._make_plan()
        self.full = self._reference(self._first, rng)
        nothing: dict[int, tuple[Facing, ...]] = {n: (None,) * p.facings for n, p in enumerate(self._places)}
        self.empty = self._reference(nothing, rng) if seed % 2 == 0 else None

    # -- what happens when

    def _camera_states(self, rng: np.random.Generator) -> dict[int, CameraState]:
        """Of frames in which the camera isn't ok."""
        found: dict[int, CameraState] = {n: "dark" for n in range(self._count) if self._light.is_dark(n)}
        if self._uneventful or self._count < 1500:
            return found
        kinds: tuple[tuple[CameraState, int, int], ...] = (("covered", 12, 60), ("moved", 25, 90), ("frozen", 25, 80))
        for number, (state, least, most) in enumerate(kinds):
            first = int(self._count * (0.12 + 0.13 * number) + rng.integers(0, self._count // 20))
            for frame in range(first, first + int(rng.integers(least, most))):
                found.setdefault(frame, state)
        return found

    def _make_visits(self, rng: np.random.Generator, open_frames: list[int]) -> list[Visit]:
        """Shoppers through the day, and whoever takes or brings something: mostly there in the frame in which a move is made."""
        found = []
        for first in sorted(rng.choice(open_frames, len(open_frames) // 22).tolist() if open_frames else []):
            kind = str(rng.choice(["walk", "stand", "trolley", "container"], p=[0.5, 0.34, 0.13, 0.03]))
            length = {
                "walk": 2,
                "stand": 2 + int(rng.exponential(7)),
                "trolley": 3 + int(rng.exponential(9)),
                "container": 45,
            }[kind]
            found.append(self._visit(rng, kind, int(first), min(length, 70), float(rng.uniform(-60, WIDTH + 60))))
        for move in self._moves:
            if rng.uniform() < 0.85:
                x = np.mean([corner[0] for corner in self._corners(self._places[move.slot])])
                y = np.mean([corner[1] for corner in self._corners(self._places[move.slot])])
                kind = "reach" if rng.uniform() < 0.7 else "stand"
                length = 1 + int(rng.exponential(1.2)) if move.is_event else 1
                found.append(self._visit(rng, kind, move.frame - length // 2, length, float(x), float(y)))
        return sorted((one for one in found if one.first > _FIRST), key=lambda one: one.first)

    def _visit(self, rng: np.random.Generator, kind: str, first: int, frames: int, x: float, y: float = 0.0) -> Visit:
        covers = self._covers[kind]
        cover = int(rng.integers(0, len(covers)))
        speed = rng.choice([-1, 1]) * rng.uniform(220, 520) if kind == "walk" else 0.0
        if kind != "reach":
            y = HEIGHT + rng.uniform(-0.05, 0.3) * HEIGHT - covers[cover].mask.shape[0] / 2
        return Visit(kind, first, first + frames - 1, x, y, float(speed), cover, int(rng.integers(2**31)))

    def _make_poses(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """(frames, 3): shift in x and y, pixels, and turn, radians, at each frame: sag, nudges, and a turned camera."""
        poses = np.zeros((self._count, 3))
        most = 0.1 if self._uneventful else 0.03
        hours = self._count * self._step_s / 3600
        now = np.zeros(3)
        nudges = rng.integers(_FIRST + 1, self._count, max(1, round(hours / 24 * (14 if self._uneventful else 6))))
        for frame in range(_FIRST, self._count):
            for _ in range(int((nudges == frame).sum())):
                angle, size = rng.uniform(0, 2 * math.pi), most * rng.uniform(0.1, 1.0)
                turn = rng.uniform(-0.012, 0.012) * (2 if self._uneventful else 1)
                now = np.array([WIDTH * size * math.cos(angle), HEIGHT * size * math.sin(angle), turn])
            poses[frame] = now
        sag = rng.uniform(3, 14) * np.clip(np.arange(self._count) - _FIRST, 0, None) * self._step_s / 86_400
        poses[:, 1] += sag
        away = np.array(
            [
                WIDTH * rng.choice([-1, 1]) * rng.uniform(0.2, 0.32),
                HEIGHT * rng.uniform(-0.2, 0.2),
                rng.uniform(-0.06, 0.06),
            ]
        )
        for frame, state in self._states.items():
            if state == "moved":
                poses[frame] += away
        poses[:, :2] = poses[:, :2].round(1)
        return poses

    # -- the shelf

    def _corners(self, one: Place) -> list[list[float]]:
        """A slot's corners in the reference photo, from the top left clockwise."""
        x0, y0, x1, y1 = one.box
        points = np.array([[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]], np.float32)
        return [[round(float(x), 2), round(float(y), 2)] for x, y in cv2.perspectiveTransform(points, self._view)[0]]

    def _make_plan(self) -> dict[str, Any]:
        packs = [place.pack for place in self._places]
        return {
            "version": 1,
            "name": "judge",
            "photo": {"width": WIDTH, "height": HEIGHT},
            "planogram": {
                "width": 100,
                "height": 75,
                "products": [{"id": pack.sku, "name": pack.name, "w": 0, "h": 0} for pack in packs],
                "fixtures": [],
                "positions": [
                    {
                        "id": place.id,
                        "productId": place.pack.sku,
                        "facings": place.facings,
                        "minStock": place.min_stock,
                        "polygon": self._corners(place),
                    }
                    for place in self._places
                ],
            },
        }

    def catalogue(self, folder: Path) -> None:
        """Write photos as `build_bundle` takes them: `folder/<sku>/*.png`."""
        for pack in (*(place.pack for place in self._places), *self._spare):
            rng = np.random.default_rng((2903, pack.design, pack.flavour))
            (folder / pack.sku).mkdir(parents=True, exist_ok=True)
            for number in range(_PHOTOS):
                cv2.imwrite(str(folder / pack.sku / f"{number}.png"), photo_of(pack, rng)[..., ::-1])

    def _drawn(self, stock: dict[int, tuple[Facing, ...]]) -> Picture:
        board = self._board.copy()
        for number, facings in stock.items():
            self._draw_slot(board, number, facings)
        return board

    def _draw_slot(self, board: Picture, number: int, facings: tuple[Facing, ...]) -> None:
        """A slot's facings before its back wall, in place. What stands further back is smaller, higher and darker."""
        x0, y0, x1, y1 = self._places[number].box
        board[y0:y1, x0:x1] = self._board[y0:y1, x0:x1]
        wide = (x1 - x0) / len(facings)
        for index, one in enumerate(facings):
            if one is None:
                continue
            pack, depth = one
            rng = np.random.default_rng((self._seed, number, index, depth, pack.design, pack.flavour))
            back = DEPTH_STEP * (4 - depth)
            room_x, room_y = (
                wide * rng.uniform(0.9, 0.98) * (1 - back),
                (y1 - y0) * rng.uniform(0.86, 0.94) * (1 - back),
            )
            scale = min(room_x / pack.aspect, room_y)
            if room_y > scale * 1.12:  # packs are made for their shelf: a little stretch, no more
                scale = min(room_y, scale * 1.25)
            size = max(8, round(min(room_x, scale * pack.aspect))), max(8, round(scale))
            small = cv2.resize(pack.sprite, size, interpolation=cv2.INTER_AREA)
            left = round(x0 + wide * index + (wide - size[0]) / 2 + rng.uniform(-0.03, 0.03) * wide)
            top = round(y1 - 2 - size[1] - back * (y1 - y0) * 0.35)
            left, top = max(x0, min(left, x1 - size[0])), max(y0, top)
            part = board[top : top + size[1], left : left + size[0]]
            cover = small[..., 3:].astype(np.float32) / 255
            shade = rng.uniform(0.92, 1.04) * (1 - 1.1 * back)
            part[:] = np.clip(part * (1 - cover) + small[..., :3] * cover * shade, 0, 255).astype(np.uint8)

    def _seen(self, board: Picture, pose: NDArray[np.float64]) -> Picture:
        x, y, turn = pose
        middle = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), math.degrees(turn), 1.0)
        middle[:, 2] += (x, y)
        matrix = np.vstack([middle, [0, 0, 1]]) @ self._view
        return cv2.warpPerspective(
            board, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )

    def _reference(self, stock: dict[int, tuple[Facing, ...]], rng: np.random.Generator) -> Picture:
        del rng
        return _jpeg(self._light.apply(self._seen(self._drawn(stock), np.zeros(3)), 0, plain=True), 92)

    # -- frames

    def frames(self) -> Iterator[tuple[Frame, Truth]]:
        """The frames with what is true at each."""
        rng = np.random.default_rng((self._seed, 5))
        stock, board = dict(self._first), self._drawn(self._first)
        truths = {p.id: truth_of(p, stock[n], self._catalogue) for n, p in enumerate(self._places)}
        moves, number, last_pose, base, last = list(self._moves), 0, None, None, None
        for frame in range(self._count):
            while moves and moves[0].frame <= frame:
                truths = self._make_move(moves.pop(0), stock, board, truths)
                base = None
            if frame in self._dropped:
                continue
            if base is None or last_pose is None or not np.array_equal(self._poses[frame], last_pose):
                last_pose = self._poses[frame]
                base, boxes = self._seen(board, last_pose), self._boxes(last_pose)
            state = self._states.get(frame, "ok")
            if state != "frozen" or last is None:
                pixels, hidden = self._frame(frame, base, state, rng)
                last = pixels
                covered = self._covered(hidden, boxes) if state == "ok" else frozenset()
            yield Frame(last, _START + frame * self._step_s, number, "judge"), Truth(truths, covered, state)
            number += 1

    def _make_move(
        self, move: Move, stock: dict[int, tuple[Facing, ...]], board: Picture, truths: dict[str, SlotTruth]
    ) -> dict[str, SlotTruth]:
        stock[move.slot] = move.facings
        self._draw_slot(board, move.slot, move.facings)
        one = self._places[move.slot]
        return {**truths, one.id: truth_of(one, move.facings, self._catalogue)}

    def _frame(self, frame: int, base: Picture, state: str, rng: np.random.Generator) -> tuple[Picture, Picture]:
        hidden = np.zeros((HEIGHT, WIDTH), np.uint8)
        scene = base
        visits = [one for one in self._visits if one.first <= frame <= one.last]
        if visits or state == "covered":
            scene = base.copy()
        for one in visits:
            self._draw_visit(scene, hidden, one, frame)
        if state == "covered":
            scene[:] = cv2.resize(
                np.random.default_rng((self._seed, 9)).integers(20, 60, (6, 8, 3)).astype(np.uint8), (WIDTH, HEIGHT)
            )
        lit = self._light.apply(scene, frame, plain=frame < _FIRST)
        if state == "ok":
            self._lens.apply(lit, frame)
        quality = int(rng.integers(68, 93))
        return _jpeg(lit, quality) if frame % 4 == 0 or frame < _FIRST else lit, hidden

    def _draw_visit(self, scene: Picture, hidden: Picture, one: Visit, frame: int) -> None:
        cover, age = self._covers[one.kind][one.cover], frame - one.first
        sway = np.random.default_rng((one.seed, age)).normal(0, 9 if one.kind == "stand" else 3, 2)
        x, y = one.x + one.speed * age + sway[0], one.y + sway[1] / 3
        height, width = cover.mask.shape
        left, top = (
            (round(x - width / 2), round(y)) if one.kind == "reach" else (round(x - width / 2), round(y - height / 2))
        )
        if one.kind in ("stand", "container"):  # its shadow on the shelf
            x0, x1 = max(0, left - 70), min(WIDTH, left + width + 70)
            if x0 < x1:
                scene[:, x0:x1] = cv2.convertScaleAbs(scene[:, x0:x1], alpha=0.84)
        put_before(scene, hidden, cover, left, top)

    def _boxes(self, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """(slots, 4): where each slot's box is in a frame, in pixels of the mask."""
        turn, centre = pose[2], np.array([WIDTH / 2, HEIGHT / 2])
        spin = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        spun = (self._all_corners - centre) @ spin + centre
        shape = (spun + pose[:2]) * [_MASK[0] / WIDTH, _MASK[1] / HEIGHT]
        return np.concatenate([shape.min(1), shape.max(1)], 1)

    def _covered(self, hidden: Picture, boxes: NDArray[np.float64]) -> frozenset[str]:
        """The slots of which a quarter is under something or outside of the frame."""
        whole = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        most = np.array([*_MASK, *_MASK], float)
        inner = np.clip(boxes, 0, most)
        inside = (inner[:, 2] - inner[:, 0]) * (inner[:, 3] - inner[:, 1])
        share = np.zeros(len(boxes))
        if hidden.any():
            small = cv2.resize(hidden, _MASK, interpolation=cv2.INTER_AREA)
            sums = cv2.integral(small).astype(float) / 255
            x0, y0, x1, y1 = inner.round().astype(int).T
            area = np.maximum(1, (x1 - x0) * (y1 - y0))
            share = (sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]) / area * inside
        return frozenset(self._places[n].id for n in np.flatnonzero((whole - inside + share) / whole >= _HIDDEN_FROM))


DEPTH_STEP: Final = 0.05
"""How much smaller a pack is for each that was sold before it."""


def _jpeg(picture: Picture, quality: int) -> Picture:
    """Through JPEG and back, as a camera's stream comes."""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), np.uint8)


def life(
    *,
    seed: int = 0,
    hours: float = 24.0,
    slots: int = 40,
    events: int = 300,
    step_seconds: float = 10.0,
    uneventful: bool = False,
) -> JudgeLife:
    """A seeded life; `events`: changes of state in all its hours; `uneventful`: only light, shoppers, noise and nudges."""
    return JudgeLife(seed, hours, slots, events, step_seconds, uneventful)


def _strip(path: Path, seed: int, uneventful: bool, count: int) -> None:
    """Some frames of a day, four a row."""
    one = life(seed=seed, uneventful=uneventful)
    wanted = set(np.linspace(0, one._count * 0.62, count).astype(int).tolist())
    begun, seen, cells = time.process_time(), 0, []
    for frame, _ in one.frames():
        seen += 1
        if frame.number in wanted:
            cells.append(cv2.resize(frame.pixels, (480, 360), interpolation=cv2.INTER_AREA))
        if frame.number > max(wanted):
            break
    print(f"{(time.process_time() - begun) / seen * 1000:.1f} ms of processor time a frame, {len(one._moves)} moves")
    cells += [np.zeros_like(cells[0])] * (-len(cells) % 4)
    rows = [np.hstack(cells[i : i + 4]) for i in range(0, len(cells), 4)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strip", type=Path, required=True, help="where the pictures go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--uneventful", action="store_true")
    options = parser.parse_args()
    _strip(options.strip, options.seed, options.uneventful, options.count)
