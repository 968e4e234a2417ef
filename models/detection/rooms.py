"""Rendered scenes that are no shelves: a product in a hand or on a table, heaps in baskets and fridges, and scenes with nothing."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfmatch.models.detection.canvas import Canvas, Pixels, Points, Scene
from shelfmatch.models.detection.faces import Faces
from shelfmatch.models.printer.package import BOX, SOFT, TURNED

SKIN: Final = ((78, 48, 36), (240, 200, 172))
"""The darkest and the palest hand; others lie between."""


def _noise(rng: np.random.Generator, side: int, cells: int, smooth: bool) -> NDArray[np.float32]:
    coarse = rng.random((cells, cells, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST))


def texture(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """A surface: plain, cloth, wood, tiles, leaves, pebbles; 0 to 255."""
    colour = rng.uniform(10, 245) + rng.normal(0, 22, 3)
    image = np.empty((side, side, 3), np.float32)
    image[:] = colour
    kind = rng.random()
    if kind < 0.2:
        image += (_noise(rng, side, int(rng.integers(2, 6)), True) - 0.5) * rng.uniform(20, 120)
    elif kind < 0.35:
        stretched = rng.normal(0, 1, (int(rng.integers(20, 80)), 3, 1)).astype(np.float32)
        grain = cv2.resize(stretched, (side, side), interpolation=cv2.INTER_CUBIC)[..., None]
        image += (grain if rng.random() < 0.5 else grain.transpose(1, 0, 2)) * rng.uniform(5, 30)
    elif kind < 0.5:
        pitch, line = int(rng.integers(10, 90)), float(rng.uniform(0.4, 1.4))
        image[::pitch] *= line
        image[:, ::pitch] *= line
    elif kind < 0.75:
        cells = int(rng.integers(15, 110))
        image += (_noise(rng, side, cells, rng.random() < 0.7).mean(axis=2, keepdims=True) - 0.5) * rng.uniform(20, 260)
        image += (_noise(rng, side, 4, True) - 0.5) * 40
    return np.asarray(image)


def _clutter(rng: np.random.Generator, image: Pixels, count: int) -> None:
    """Plain things: furniture, cables, plates, hands' shadows, doors, plants; nothing that is printed."""
    side = image.shape[0]
    for _ in range(count):
        colour = tuple(int(v) for v in (rng.uniform(5, 250) + rng.normal(0, 35, 3)).clip(0, 255))
        x, y = (int(v) for v in rng.uniform(-0.1, 1.1, 2) * side)
        size = int(np.exp(rng.uniform(np.log(8), np.log(0.7 * side))))
        kind = rng.random()
        if kind < 0.3:
            points = rectangle_about(x, y, size, size * rng.uniform(0.1, 1.5), rng.normal(0, 0.3))
            cv2.fillPoly(image, [points.astype(np.int32)], colour, cv2.LINE_AA)
            if rng.random() < 0.5:
                cv2.polylines(
                    image,
                    [points.astype(np.int32)],
                    True,
                    tuple(v // 2 for v in colour),
                    max(1, size // 30),
                    cv2.LINE_AA,
                )
        elif kind < 0.5:
            axes = (max(2, size // 2), max(2, int(size * rng.uniform(0.15, 0.5))))
            cv2.ellipse(image, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        elif kind < 0.85:
            steps = rng.normal(0, size / 3, (int(rng.integers(2, 9)), 2))
            points = (np.cumsum(steps, axis=0) + np.array([x, y])).astype(np.int32)
            cv2.polylines(image, [points], False, colour, int(rng.integers(1, 2 + size // 10)), cv2.LINE_AA)
        else:
            points = (rng.normal(0, size / 3, (int(rng.integers(3, 7)), 2)) + np.array([x, y])).astype(np.int32)
            cv2.fillPoly(image, [points], colour, cv2.LINE_AA)


def rectangle_about(x: float, y: float, wide: float, high: float, angle: float) -> Points:
    """Corners of a turned rectangle around its centre, from the upper left one, clockwise."""
    flat = np.array([[-wide, -high], [wide, -high], [wide, high], [-wide, high]], np.float32) / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    return np.asarray(flat @ turn.T + np.array([x, y], np.float32), np.float32)


def _room(rng: np.random.Generator, side: int) -> Pixels:
    """A wall and perhaps a table, with plain things."""
    image = texture(rng, side)
    if rng.random() < 0.6:
        edge = int(rng.uniform(0.2, 0.85) * side)
        image[edge:] = texture(rng, side)[edge:] * np.linspace(0.8, 1.1, side - edge, dtype=np.float32)[:, None, None]
    pixels = image.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.75:
        _clutter(rng, pixels, int(rng.integers(1, 14)))
    if rng.random() < 0.4:
        pixels = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.5, 5)))
    return np.asarray(pixels)


def background(rng: np.random.Generator, side: int, grounds: NDArray[np.uint8] | None) -> Pixels:
    """A place without products: a part of a real photo in three of five, or a rendered room."""
    if grounds is None or not len(grounds) or rng.random() < 0.4:
        return _room(rng, side)
    whole = grounds[rng.integers(len(grounds))]
    share = rng.uniform(0.4, 1.0)
    size = int(whole.shape[0] * share)
    y, x = rng.integers(0, whole.shape[0] - size + 1, 2)
    part = np.ascontiguousarray(whole[y : y + size, x : x + size, ::1])
    if rng.random() < 0.5:
        part = np.ascontiguousarray(part[:, ::-1])
    found = np.asarray(
        cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA if size > side else cv2.INTER_LINEAR)
    )
    if rng.random() < 0.25:
        _clutter(rng, found, int(rng.integers(1, 5)))
    return found


def _rotation(rng: np.random.Generator, upright: float) -> NDArray[np.float64]:
    """Yaw, pitch and roll; `upright` 1 stands, 0 lies in any direction."""
    yaw, pitch = rng.normal(0, 0.45), rng.normal(0.1, 0.3)
    roll = rng.normal(0, 0.12) if rng.random() < upright else rng.uniform(-np.pi, np.pi)
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1.0]])
    return np.asarray(about_z @ about_x @ about_y)


def set_down(
    canvas: Canvas,
    faces: Faces,
    rng: np.random.Generator,
    number: int,
    place: tuple[float, float, float],
    upright: float,
) -> None:
    """A product at x, y with a longer side of `place[2]` pixels; cartons show a side panel, others their front alone."""
    kind, (x, y, size) = int(faces.kinds[number]), place
    turned_away = kind in (TURNED, SOFT, BOX) and rng.random() < 0.25
    front = faces.cut(number, side=turned_away)
    wide, high = front.shape[1], front.shape[0]
    scale = size / max(wide, high)
    wide, high = wide * scale, high * scale
    turn = _rotation(rng, upright)
    deep = min(0.6 * size, faces.sizes[number, 2] * scale) if kind == BOX and not turned_away else 0.0
    distance = size * rng.uniform(2.5, 7)

    def seen(points: list[list[float]]) -> Points:
        turned = np.array(points) @ turn.T
        near = distance / (distance - turned[:, 2:])
        return np.asarray(turned[:, :2] * near + [x, y], np.float32)

    w, h, d = wide / 2, high / 2, deep
    light = float(rng.normal(1, 0.12))
    _shadow(canvas, rng, x, y, size)
    quad = seen([[-w, -h, 0], [w, -h, 0], [w, h, 0], [-w, h, 0]])
    before = len(canvas.full)
    canvas.paint(front, quad, light)
    if deep > 2 and len(canvas.full) > before:
        side_quad = seen([[w, -h, 0], [w, -h, -d], [w, h, -d], [w, h, 0]])
        other = seen([[-w, -h, -d], [-w, -h, 0], [-w, h, 0], [-w, h, -d]])
        panel = faces.cut(number, side=True)
        for candidate in (side_quad, other):
            if _faces_us(candidate):
                _same(canvas, panel, candidate, light * rng.uniform(0.55, 0.95))
        top = seen([[-w, -h, -d], [w, -h, -d], [w, -h, 0], [-w, -h, 0]])
        if _faces_us(top):
            _same(canvas, _plain(front), top, light * rng.uniform(0.7, 1.1))


def _plain(face: Pixels) -> Pixels:
    """The colour of a face's middle."""
    found = np.empty((4, 4, 4), np.uint8)
    found[:] = face[face.shape[0] // 4 : face.shape[0] // 2].reshape(-1, 4).mean(axis=0)
    found[..., 3] = 255
    return found


def _faces_us(quad: Points) -> bool:
    a, b = quad[1] - quad[0], quad[3] - quad[0]
    return bool(a[0] * b[1] - a[1] * b[0] > 4)


def _same(canvas: Canvas, face: Pixels, quad: Points, light: float) -> None:
    """A further face of the thing painted last."""
    number = len(canvas.full) - 1
    before = canvas.owner.copy()
    canvas.paint(face, quad, light, None)
    canvas.owner[(canvas.owner != before)] = number
    inside = np.zeros(canvas.owner.shape, np.uint8)
    cv2.fillConvexPoly(inside, quad.round().astype(np.int32), 1)
    canvas.owner[inside > 0] = number
    canvas.also(quad)


def _shadow(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    if rng.random() < 0.4:
        return
    mask = np.zeros(canvas.pixels.shape[:2], np.uint8)
    axes = (max(2, int(size * rng.uniform(0.25, 0.5))), max(2, int(size * rng.uniform(0.15, 0.5))))
    cv2.ellipse(
        mask, (int(x + rng.normal(0, 0.12) * size), int(y + rng.uniform(0, 0.4) * size)), axes, 0, 0, 360, 255, -1
    )
    soft = cv2.blur(cv2.blur(mask, (k := max(3, int(size * 0.15)), k)), (k, k)).astype(np.float32) / 255
    canvas.pixels[:] = (canvas.pixels * (1 - rng.uniform(0.1, 0.6) * soft[..., None])).astype(np.uint8)


def _skin(rng: np.random.Generator) -> NDArray[np.float64]:
    dark, pale = np.array(SKIN, np.float64)
    return rng.uniform(20, 240, 3) if rng.random() < 0.06 else dark + (pale - dark) * rng.random()


def _arm(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float, skin: NDArray[np.float64]) -> float:
    """An arm and a hand behind the product; its direction."""
    angle = rng.uniform(-0.4, np.pi + 0.4)
    start = np.array([x, y]) + np.array([np.cos(angle), np.sin(angle)]) * canvas.side * 1.5
    layer = canvas.pixels.copy()
    thick = max(3, int(size * rng.uniform(0.25, 0.6)))
    for step, shade in ((1.0, 0.75), (0.75, 0.92), (0.45, 1.05)):
        colour = tuple(int(v) for v in (skin * shade).clip(0, 255))
        cv2.line(
            layer, (int(start[0]), int(start[1])), (int(x), int(y)), colour, max(2, int(thick * step)), cv2.LINE_AA
        )
    if rng.random() < 0.5:  # a sleeve
        cuff = np.array([x, y]) + np.array([np.cos(angle), np.sin(angle)]) * size * rng.uniform(0.8, 2)
        cloth = tuple(int(v) for v in rng.uniform(0, 250, 3))
        cv2.line(
            layer, (int(start[0]), int(start[1])), (int(cuff[0]), int(cuff[1])), cloth, int(thick * 1.4), cv2.LINE_AA
        )
    palm = (int(size * rng.uniform(0.2, 0.42)), int(size * rng.uniform(0.2, 0.42)))
    cv2.ellipse(
        layer, (int(x), int(y)), palm, 0, 0, 360, tuple(int(v) for v in (skin * 0.9).clip(0, 255)), -1, cv2.LINE_AA
    )
    canvas.pixels[:] = cv2.GaussianBlur(layer, (0, 0), 0.7 + size / 300)
    return float(angle)


def _person(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float, skin: NDArray[np.float64]
) -> None:
    """Who holds the product: a body in plain clothes and perhaps a head, behind the arm."""
    wide, cloth = size * rng.uniform(2.2, 5.0), rng.uniform(0, 250, 3)
    middle, neck = x + rng.normal(0, 0.5) * wide, y - size * rng.uniform(0.3, 2.5)
    shoulders, hips = wide * rng.uniform(0.45, 0.6), wide * rng.uniform(0.35, 0.6)
    layer = canvas.pixels.copy()
    body = np.array(
        [
            [middle - shoulders, neck],
            [middle + shoulders, neck],
            [middle + hips, canvas.side],
            [middle - hips, canvas.side],
        ]
    )
    cv2.fillPoly(layer, [body.astype(np.int32)], tuple(int(v) for v in cloth), cv2.LINE_AA)
    for _ in range(int(rng.integers(1, 6))):  # folds
        ends = (rng.uniform(-1, 1, (2, 2)) * [shoulders, 0.5 * wide] + [middle, neck + 0.6 * wide]).astype(int).tolist()
        shade = tuple(int(v) for v in (cloth * rng.uniform(0.6, 1.2)).clip(0, 255))
        cv2.line(layer, tuple(ends[0]), tuple(ends[1]), shade, max(1, int(0.03 * wide)), cv2.LINE_AA)
    head = (max(2, int(0.24 * wide)), max(2, int(0.33 * wide)))
    tone = tuple(int(v) for v in (skin * rng.uniform(0.8, 1.0)).clip(0, 255))
    cv2.ellipse(layer, (int(middle), int(neck - 0.25 * wide)), head, 0, 0, 360, tone, -1, cv2.LINE_AA)
    cover = cv2.GaussianBlur((layer != canvas.pixels).any(axis=2).astype(np.float32), (0, 0), 0.8 + size / 200)[
        ..., None
    ]
    canvas.pixels[:] = (canvas.pixels * (1 - cover) + layer * cover).astype(np.uint8)


def _fingers(
    canvas: Canvas, rng: np.random.Generator, box: tuple[float, float, float, float], skin: NDArray[np.float64]
) -> None:
    """One to four fingertips over an edge of the product."""
    x0, y0, x1, y1 = box
    size = max(x1 - x0, y1 - y0)
    edge, thick = rng.choice(["left", "right", "below"]), max(2, int(size * rng.uniform(0.07, 0.14)))
    reach = size * rng.uniform(0.05, 0.28)
    base = rng.uniform(0.2, 0.7)
    layer, mask = canvas.pixels, np.zeros(canvas.pixels.shape[:2], np.uint8)
    for number in range(int(rng.integers(1, 5))):
        if edge == "below":
            x = x0 + base * (x1 - x0) + number * thick * 1.1
            ends = ((x, y1 + 0.3 * size), (x + rng.normal(0, 3), y1 - reach))
        else:
            y = y0 + base * (y1 - y0) + number * thick * 1.1
            near, away = (x0 + reach, x0 - 0.3 * size) if edge == "left" else (x1 - reach, x1 + 0.3 * size)
            ends = ((away, y), (near, y + rng.normal(0, 3)))
        points = [tuple(int(v) for v in end) for end in ends]
        for step, shade in ((1.0, 0.7), (0.8, 0.95), (0.4, 1.08)):
            cv2.line(
                layer,
                points[0],
                points[1],
                tuple(int(v) for v in (skin * shade).clip(0, 255)),
                max(1, int(thick * step)),
                cv2.LINE_AA,
            )
        cv2.line(mask, points[0], points[1], 1, thick)
    canvas.owner[mask > 0] = -1


def held(faces: Faces, rng: np.random.Generator, side: int, grounds: NDArray[np.uint8] | None) -> Scene:
    """One product, now and then two, in a hand or standing about."""
    canvas = Canvas(background(rng, side, grounds).copy())
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        number = int(rng.integers(len(faces)))
        size = float(np.exp(rng.uniform(np.log(0.09), np.log(0.95)))) * side
        x, y = rng.uniform(0.5 * min(size, side), side - 0.5 * min(size, side) + 1, 2)
        in_hand = rng.random() < 0.55
        skin = _skin(rng)
        if in_hand and size < 0.4 * side and rng.random() < 0.5:
            _person(canvas, rng, x, y, size, skin)
        if in_hand:
            _arm(canvas, rng, x, y, size, skin)
        before = len(canvas.full)
        set_down(canvas, faces, rng, number, (x, y, size), 0.65)
        if in_hand and len(canvas.full) > before and rng.random() < 0.8:
            _fingers(canvas, rng, canvas.full[-1], skin)
    return canvas.scene(hidden=True)


def heap(faces: Faces, rng: np.random.Generator, side: int, grounds: NDArray[np.uint8] | None) -> Scene:
    """Several products that stand or lie about, over one another: a counter, a basket, a fridge."""
    canvas = Canvas(background(rng, side, grounds).copy())
    if rng.random() < 0.35:  # the wires or the boards of a basket, a fridge
        pitch, colour = int(rng.integers(12, 70)), tuple(int(v) for v in rng.uniform(40, 240) + rng.normal(0, 8, 3))
        for at in range(0, side, pitch):
            cv2.line(canvas.pixels, (0, at), (side, at), colour, int(rng.integers(1, 4)))
            if pitch < 40:
                cv2.line(canvas.pixels, (at, 0), (at, side), colour, int(rng.integers(1, 3)))
    size = float(np.exp(rng.uniform(np.log(0.08), np.log(0.45)))) * side
    count = int(min(40, rng.uniform(0.15, 0.8) * (side / size) ** 2)) + 1
    upright = float(rng.choice([0.0, 0.5, 1.0]))
    assortment = rng.integers(0, len(faces), max(2, count // 2))
    for _ in range(count):
        x, y = rng.uniform(0, side, 2)
        set_down(canvas, faces, rng, int(rng.choice(assortment)), (x, y, size * rng.uniform(0.6, 1.4)), upright)
    return canvas.scene(hidden=True)


def group(faces: Faces, rng: np.random.Generator, side: int, grounds: NDArray[np.uint8] | None) -> Scene:
    """Some products side by side and on one another, as people put them down to look at: often the same one, close together."""
    canvas = Canvas(background(rng, side, grounds).copy())
    columns, first = int(rng.integers(2, 6)), int(rng.integers(len(faces)))
    size = float(np.exp(rng.uniform(np.log(0.1), np.log(0.75)))) * side / (0.4 + 0.35 * columns)
    alike, apart = rng.random() < 0.6, float(rng.choice([-0.06, 0.0, 0.02, 0.3]))
    x, ground = rng.uniform(-0.1, 0.5) * side, rng.uniform(0.35, 1.0) * side
    slope = rng.normal(0, 0.08)
    for _ in range(columns):
        number = first if alike and rng.random() < 0.8 else int(rng.integers(len(faces)))
        shape = faces.cut(number).shape
        longer = size * float(rng.uniform(0.7, 1.2) if rng.random() < 0.4 else 1.0)
        wide, high = (longer * shape[axis] / max(shape[:2]) for axis in (1, 0))
        foot = ground + slope * (x - 0.5 * side) + rng.normal(0, 0.04) * size
        for level in range(int(rng.choice([1, 1, 2, 3])) if high < 1.5 * wide else 1):
            place = (x + wide / 2 + rng.normal(0, 0.04) * wide, foot - (level + 0.5) * high, longer)
            set_down(canvas, faces, rng, number, place, 1.0)
        x += wide * (1 + apart)
    return canvas.scene(hidden=True)


def nothing(rng: np.random.Generator, side: int, grounds: NDArray[np.uint8] | None) -> Scene:
    """A place where no product is; an arm now and then."""
    canvas = Canvas(background(rng, side, grounds).copy())
    if rng.random() < 0.3:
        x, y = rng.uniform(0.1, 0.9, 2) * side
        _arm(canvas, rng, x, y, float(rng.uniform(0.1, 0.5)) * side, _skin(rng))
    return canvas.scene(hidden=False)
