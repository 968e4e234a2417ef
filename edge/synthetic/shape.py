"""Package shapes: flat art bent round cans, bottles, jars and tubs, puffed into bags, folded into cartons.

Screen y grows downward. A body is drawn upright into an RGBA sprite (revolved packages and bags) or as the visible
faces of a box; `project` then places it under a pinhole camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from .art import back_art, front_art
from .design import FRONT_ARC, RGB, Design, front_aspect_of, mix

Floats = npt.NDArray[np.float32]
LABEL_SPAN: Final = {"can": (0.05, 0.95), "bottle": (0.44, 0.86), "jar": (0.3, 0.88), "tub": (0.14, 0.96)}


@dataclass(frozen=True, slots=True)
class Pose:
    """How a package stands before the camera: angles in radians, distance in package heights, light from -1 to 1."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    distance: float = 4.0
    light: float = -0.4


def _step(height: float) -> int:
    """A texture height at least nearly as large, from a short ladder, so that art is drawn once for many views."""
    return next((step for step in (48, 72, 108, 160, 240, 360) if step >= 0.92 * height), 540)


@lru_cache(maxsize=384)
def _label(design: Design, gtin: str, height: int) -> npt.NDArray[np.uint8]:
    """Label art as an array (h, w, 3): the whole wrap for revolved packages, front for bags."""
    aspect = front_aspect_of(design.kind, design.aspect)
    front = front_art(design, height, aspect)
    if design.kind not in LABEL_SPAN:
        return np.asarray(front)
    around = aspect / FRONT_ARC - aspect
    rest = back_art(design, gtin, height, around * 0.5)
    wrap = Image.new("RGB", (front.width + 2 * rest.width, height))
    wrap.paste(front, (rest.width // 2 + rest.width // 2, 0))
    wrap.paste(rest, (front.width + 2 * (rest.width // 2), 0))
    wrap.paste(rest.resize((2 * (rest.width // 2), height)) if rest.width % 2 else rest, (0, 0))
    return np.asarray(wrap)


@lru_cache(maxsize=192)
def _faces(design: Design, gtin: str, height: int) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Front, side and top of a carton."""
    front = front_art(design, height, design.aspect)
    side = back_art(design, gtin, height, design.aspect * design.depth)
    top = Image.new(
        "RGB", (front.width, max(4, round(front.width * design.depth))), mix(design.base, design.second, 0.25)
    )
    strip = front.crop((0, 0, front.width, max(4, height // 5))).resize((front.width, max(3, top.height * 2 // 3)))
    top.paste(strip, (0, top.height // 6))
    return front, side, top


def _sample(texture: npt.NDArray[np.uint8], x: Floats, y: Floats) -> Floats:
    """Bilinear samples (h, w, 3) float32 of a texture at pixel positions, clamped at the border."""
    high, wide = texture.shape[:2]
    x, y = np.clip(x - 0.5, 0, wide - 1.001), np.clip(y - 0.5, 0, high - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    flat = texture.reshape(-1, 3)
    at = top * wide + left
    corners = [np.take(flat, at + step, axis=0).astype(np.float32) for step in (0, 1, wide, wide + 1)]
    upper = corners[0] + (corners[1] - corners[0]) * fx
    upper += (corners[2] + (corners[3] - corners[2]) * fx - upper) * fy
    return np.asarray(upper, dtype=np.float32)


def _profile(design: Design, t: Floats) -> Floats:
    """Radius (0..1 of half the width) at height t (0 top, 1 bottom) of a revolved package."""
    s = design.shape
    if design.kind == "can":
        drink = 0.08 if design.aspect < 0.62 else 0.02
        rim = 0.97 - drink
        return np.interp(t, [0, 0.015, 0.06, 0.94, 0.985, 1], [rim - 0.01, rim, 1, 1, rim, rim - 0.04]).astype(
            np.float32
        )
    if design.kind == "jar":
        return np.interp(t, [0, 0.17, 0.18, 0.22, 0.3, 0.93, 1], [0.86, 0.86, 0.8, 0.82, 1, 1, 0.9]).astype(np.float32)
    if design.kind == "tub":
        return np.interp(t, [0, 0.09, 0.091, 1], [1, 1, 0.95, 0.72 + 0.2 * s]).astype(np.float32)
    neck = 0.3 + 0.22 * s
    grid = np.array([0, 0.1, 0.105, 0.115, 0.2, 0.3 + 0.05 * s, 0.4, 0.44, 0.86, 0.95, 1], dtype=np.float32)
    waist = 1.0 if s < 0.6 else 0.95
    radius = np.array(
        [neck + 0.02, neck + 0.02, neck + 0.05, neck - 0.02, neck + 0.05, 0.8, 0.98, waist, waist, 1, 0.93]
    )
    return np.asarray(np.interp(t, grid, radius), dtype=np.float32)


def _body_rows(design: Design, t: Floats) -> Floats:
    """Unlit colour (rows, 3) of the body at height t: cap, glass or metal, liquid, rim."""
    s = design.shape
    metal: RGB = (186, 190, 196)
    rows = np.empty((len(t), 3), dtype=np.float32)
    if design.kind == "can":
        rows[:] = metal
    elif design.kind == "jar":
        rows[:] = mix(design.tint, (70, 40, 30), 0.35)
        rows[t < 0.26] = mix((210, 220, 222), design.tint, 0.3)
        rows[t < 0.175] = design.material
    elif design.kind == "tub":
        rows[:] = mix(design.base, (255, 255, 255), 0.2)
        rows[t < 0.09] = design.material
    else:
        glass = mix(design.tint, (60, 40, 20), 0.35) if s < 0.5 else mix(design.base, (255, 255, 255), 0.12)
        rows[:] = glass
        if s < 0.5:
            rows[t < 0.24] = mix(glass, (235, 240, 240), 0.55)
        rows[t < 0.105] = design.material
    return rows


def revolved(design: Design, gtin: str, height: int, pose: Pose) -> Image.Image:
    """An upright can, bottle, jar or tub seen from slightly above or level, RGBA; the label turns with the yaw."""
    width = max(8, round(height * design.aspect))
    k = 0.5 * design.aspect * float(np.sin(max(0.0, pose.pitch)))  # vertical radius of the rim ellipses, in heights
    rows = round(height * (1 + 2 * k))
    y = ((np.arange(rows, dtype=np.float32) + 0.5) / height - k)[:, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1)[None, :]
    radius = _profile(design, np.clip(y[:, 0], 0, 1))[:, None]
    for _ in range(2):  # the rim drops by the local radius: two fixed-point steps settle it
        u = np.clip(x / radius, -1, 1)
        depth = np.sqrt(1 - u * u)
        t = y - k * depth * radius
    lid_radius = float(_profile(design, np.zeros(1, dtype=np.float32))[0])
    lid = (y < k * lid_radius * np.sqrt(np.clip(1 - (x / lid_radius) ** 2, 0, 1))) & (t < 0.02)
    coverage = np.clip((radius - np.abs(x)) * width / 2 + 0.5, 0, 1) * np.clip((1 - t) * height + 0.5, 0, 1)
    on_lid = (np.abs(x) < lid_radius) & (y > -k * lid_radius * np.sqrt(np.clip(1 - (x / lid_radius) ** 2, 0, 1)))
    coverage = np.where(t < 0, np.where(lid & on_lid, 1.0, 0.0), coverage)
    colour = _body_rows(design, np.clip(y[:, 0] - k * 0.7, 0, 1))[:, None, :] * np.ones((1, width, 1), dtype=np.float32)
    start, end = LABEL_SPAN[design.kind]
    texture = _label(design, gtin, _step(height * (end - start)))
    theta = np.arcsin(u)
    tex_x = (theta + pose.yaw) / (2 * np.pi) * texture.shape[1] + texture.shape[1] / 2
    tex_y = (t - start) / (end - start) * texture.shape[0]
    inside = np.clip((t - start) * height + 0.5, 0, 1) * np.clip((end - t) * height + 0.5, 0, 1)
    label = _sample(texture, tex_x.astype(np.float32), tex_y.astype(np.float32))
    colour = np.asarray(colour * (1 - inside[..., None]) + label * inside[..., None], dtype=np.float32)
    light = np.clip(0.42 + 0.62 * np.cos(theta - pose.light), 0, 1.1) ** 1.15
    gloss = 0.5 * np.exp(-(((theta - pose.light * 1.3) / 0.11) ** 2)) + 0.22 * np.exp(-(((theta + 1.1) / 0.08) ** 2))
    shine = 1.1 if design.kind == "can" else 0.55 + 0.5 * design.shape
    metal = design.kind == "can"
    stripes = 1 + (0.25 * np.sin(theta * 7 + 1.2) * (1 - inside) if metal else 0.0)
    colour = np.asarray(
        colour * (light * stripes)[..., None] + 255 * (gloss * shine * 0.55)[..., None], dtype=np.float32
    )
    if k > 0:
        ring = 0.9 + 0.12 * np.sin(14 * np.hypot(x / lid_radius, y / max(k * lid_radius, 1e-4)))
        top = np.array(
            mix(design.material if design.kind != "can" else (196, 198, 202), (255, 255, 255), 0.25), dtype=np.float32
        )
        colour = np.where((lid & on_lid)[..., None], top * ring[..., None], colour)
    rgba = np.dstack([np.clip(colour, 0, 255), coverage * 255]).astype(np.uint8)
    return Image.fromarray(rgba)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Floats:
    """Smooth noise (h, w) of about -1..1 with so many cells down and across."""
    coarse = Image.fromarray(rng.normal(0, 1, cells).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float32)


def puffed(design: Design, gtin: str, height: int, pose: Pose, crumple: int) -> Image.Image:
    """An upright bag or stand-up pouch, RGBA: seals, pinched sides, foil folds from the seed `crumple`."""
    width = max(8, round(height * design.aspect))
    rng = np.random.default_rng([design.style_seed, crumple, 3])
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1)[None, :]
    t = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
    seal = 0.055
    body = np.clip(np.minimum(t - seal, 1 - seal * (1.0 if design.kind == "bag" else 0.1) - t) / (0.5 - seal), 0, 1)
    bulge = np.sqrt(1 - (1 - body) ** 2)
    wave = _smooth_noise(rng, (height, 1), (7, 1)) * 0.018
    edge = 1 - (0.07 if design.kind == "bag" else 0.03) * (bulge if design.kind == "bag" else 1 - t * 0.9) + wave
    if design.kind == "bag":
        saw = 0.008 * (np.abs((x * 24) % 1 - 0.5) * 2)
        vertical = np.clip((t - saw) * height, 0, 1) * np.clip((1 - saw - t) * height, 0, 1)
    else:
        corner = 0.05 * np.clip(np.abs(x) - 0.86, 0, 1) / 0.14
        vertical = np.clip((t - corner) * height, 0, 1) * np.clip((1 + 0.02 - corner - 0.02 * x * x - t) * height, 0, 1)
    coverage = np.clip((edge - np.abs(x)) * width / 2 + 0.5, 0, 1) * vertical
    foil = 0.25 + 0.5 * float(rng.random()) * (0.4 + design.shape)  # paper to crumpled foil
    folds = foil * (_smooth_noise(rng, (height, width), (7, 4)) + 0.45 * _smooth_noise(rng, (height, width), (17, 10)))
    texture = _label(design, gtin, _step(height))
    bend = 0.014 * folds
    tex_x = ((x / np.maximum(edge, 0.5) + bend * 1.2) + 1) / 2 * texture.shape[1]
    tex_y = (t + bend + 0.0 * x) * texture.shape[0]
    colour = _sample(texture, (tex_x + 0 * t).astype(np.float32), tex_y.astype(np.float32))
    slope_y, slope_x = np.gradient(folds * 0.035 * height)
    relief = 1.0 - 0.45 * np.clip(slope_x * (0.5 + pose.light) + slope_y * 0.7, -1, 1)
    side = 1 - 0.42 * np.abs(x / edge) ** 4 - 0.12 * pose.light * -x
    crimp = 1 + 0.16 * np.sin(t * height * 0.9) * (body <= 0)
    shine = 90 * np.clip(folds * 0.8 - 0.45 + 0.3 * (1 - np.abs(x + 0.45)), 0, 1) * (0.4 + 0.8 * design.shape)
    colour = np.asarray(colour * (relief * side * crimp)[..., None] + shine[..., None], dtype=np.float32)
    return Image.fromarray(np.dstack([np.clip(colour, 0, 255), coverage * 255]).astype(np.uint8))


def _homography(source: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """PIL's eight coefficients that take target pixels back to source pixels; both (4, 2)."""
    rows = []
    for (sx, sy), (tx, ty) in zip(source, target, strict=True):
        rows.append([tx, ty, 1, 0, 0, 0, -sx * tx, -sx * ty])
        rows.append([0, 0, 0, tx, ty, 1, -sy * tx, -sy * ty])
    solution = np.linalg.solve(np.array(rows), source.reshape(-1))
    return tuple(float(v) for v in solution)


def _camera(points: npt.NDArray[np.float64], pose: Pose, yaw: float, pitch: float) -> npt.NDArray[np.float64]:
    """Points (n, 3) in package heights, y down, seen from `distance`: screen (n, 2) in package heights."""
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(pose.roll),
        np.sin(pose.roll),
    )
    turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    tilt = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    seen = points @ (tilt @ turn).T
    flat = seen[:, :2] * pose.distance / (pose.distance + seen[:, 2:3])
    return np.asarray(flat @ np.array([[cr, -sr], [sr, cr]]).T)


def _lay(layer: Image.Image, texture: Image.Image, quad: npt.NDArray[np.float64]) -> None:
    """Composite a texture (RGB or RGBA) onto an RGBA layer inside a quad (4, 2; clockwise from the top left)."""
    low = np.floor(quad.min(axis=0)).astype(int) - 1
    high = np.ceil(quad.max(axis=0)).astype(int) + 1
    low, high = np.maximum(low, 0), np.minimum(high, [layer.width, layer.height])
    if (high - low < 2).any():
        return
    framed = Image.new("RGBA", (texture.width + 2, texture.height + 2))
    framed.paste(texture, (1, 1))
    corners = np.array(
        [[0.5, 0.5], [framed.width - 0.5, 0.5], [framed.width - 0.5, framed.height - 0.5], [0.5, framed.height - 0.5]]
    )
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    placed = framed.transform(
        size, Image.Transform.PERSPECTIVE, _homography(corners, quad - low), Image.Resampling.BILINEAR
    )
    layer.alpha_composite(placed, (int(low[0]), int(low[1])))


def place(
    design: Design,
    gtin: str,
    size: tuple[int, int],
    centre: tuple[float, float],
    height: float,
    pose: Pose,
    crumple: int = 0,
    detail: int = 320,
) -> Image.Image:
    """The package alone on a transparent layer of `size` (width, height): `height` pixels tall about `centre`.

    Bodies are drawn at most `detail` pixels tall and enlarged beyond that. `crumple` seeds a bag's folds.
    """
    layer = Image.new("RGBA", size)
    origin = np.array(centre)
    pixels = max(24, min(detail, round(height * 1.05)))
    half_w = design.aspect / 2
    if design.kind == "carton":
        _place_carton(layer, design, gtin, origin, height, pose)
        return layer
    if design.kind in LABEL_SPAN:
        sprite, yaw, pitch = revolved(design, gtin, pixels, pose), 0.0, pose.pitch * 0.25
    else:
        sprite, yaw, pitch = puffed(design, gtin, pixels, pose, crumple), pose.yaw, pose.pitch
    half_h = sprite.height / pixels / 2
    corners = np.array([[-half_w, -half_h, 0], [half_w, -half_h, 0], [half_w, half_h, 0], [-half_w, half_h, 0]])
    _lay(layer, sprite, _camera(corners, pose, yaw, pitch) * height + origin)
    return layer


def _place_carton(
    layer: Image.Image, design: Design, gtin: str, origin: npt.NDArray[np.float64], height: float, pose: Pose
) -> None:
    front, side, top = _faces(design, gtin, _step(height))
    w, d = design.aspect / 2, design.aspect * design.depth / 2
    box = np.array([[x, y, z] for z in (-d, d) for y in (-0.5, 0.5) for x in (-w, w)])
    corner = _camera(box, pose, pose.yaw, pose.pitch) * height + origin
    # corners by index: 0 front top left, 1 front top right, 2 front bottom left, 3 front bottom right, 4-7 the back
    faces = (
        (top, (4, 5, 1, 0), 1.06),
        (side, (1, 5, 7, 3), 0.72 - 0.25 * pose.light),
        (side, (4, 0, 2, 6), 0.72 + 0.25 * pose.light),
        (front, (0, 1, 3, 2), 1.0 - 0.1 * abs(pose.yaw)),
    )
    for texture, order, light in faces:
        quad = corner[list(order)]
        ahead, down = quad[1] - quad[0], quad[3] - quad[0]
        if ahead[0] * down[1] - ahead[1] * down[0] > 1.0:  # turned to the camera
            _lay(layer, texture.point([min(255, int(v * light)) for v in range(256)] * 3), quad)
