"""Scenes and the camera of the rendered views: grounds, shelves, hands, light, lens, sensor.

Every function takes a numpy Generator and works on RGB images; `level` is the difficulty 0..1.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .design import RGB, VARIANTS, design_of, mix
from .shape import Pose, place

_PROP_FAMILY = 7_000_000_000  # families of the neighbours on shelves, far above any shop's
_PROPS = 48


def _noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int], spread: float) -> Image.Image:
    """Smooth grey noise (L) about 128."""
    coarse = np.clip(rng.normal(128, spread, (cells[1], cells[0])), 0, 255).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def _tinted(grey: Image.Image, dark: RGB, light: RGB) -> Image.Image:
    """Map grey values to a ramp between two colours."""
    ramps = [[int(dark[c] + (light[c] - dark[c]) * v / 255) for v in range(256)] for c in range(3)]
    return Image.merge("RGB", [grey.point(ramp) for ramp in ramps])


def _muted(rng: np.random.Generator, low: int = 40, high: int = 230) -> RGB:
    level = int(rng.integers(low, high))
    red, green, blue = (int(np.clip(level + rng.integers(-30, 31), 0, 255)) for _ in range(3))
    return red, green, blue


@lru_cache(maxsize=2 * _PROPS)
def _prop(number: int, height: int) -> Image.Image:
    """One neighbour package, cut out (RGBA), `height` pixels tall."""
    design = design_of((_PROP_FAMILY + number // 2) * VARIANTS + number % 2)
    rng = np.random.default_rng([number, 77])
    pose = Pose(yaw=float(rng.uniform(-0.3, 0.3)), pitch=0.08, light=float(rng.uniform(-0.6, 0.6)))
    room = (int(height * (design.aspect + 0.6)), int(height * 1.3))
    layer = place(design, "2000000000008", room, (room[0] / 2, room[1] / 2), height, pose)
    return layer.crop(layer.getbbox())


def _wood(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    dark = mix((70, 44, 24), (150, 120, 90), float(rng.random()))
    grain = ImageChops.add(
        _noise(rng, size, (3, size[1] // 3), 34), _noise(rng, size, (size[0] // 10, size[1]), 12), 1, -128
    )
    board = _tinted(grain, dark, mix(dark, (250, 225, 180), 0.6))
    draw, step = ImageDraw.Draw(board), int(rng.integers(size[1] // 6 + 4, size[1] // 2 + 8))
    for y in range(int(rng.integers(step)), size[1], step):
        draw.line((0, y, size[0], y), fill=mix(dark, (0, 0, 0), 0.4), width=2)
    return board.rotate(90, expand=True).resize(size) if rng.random() < 0.4 else board


def _plain(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    cells = int(rng.integers(2, 9))
    grain = ImageChops.add(
        _noise(rng, size, (cells, cells), 40), _noise(rng, size, (size[0] // 2, size[1] // 2), 14), 1, -128
    )
    colour = _muted(rng)
    return _tinted(grain, mix(colour, (0, 0, 0), 0.35), mix(colour, (255, 255, 255), 0.35))


def _counter(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    scene = _room(rng, size)
    edge = int(size[1] * rng.uniform(0.2, 0.65))
    top = (_wood if rng.random() < 0.5 else _plain)(rng, (size[0], size[1] - edge))
    scene.paste(top, (0, edge))
    ImageDraw.Draw(scene).line((0, edge, size[0], edge), fill=_muted(rng), width=max(1, size[1] // 80))
    return scene


def _tiles(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    scene, step, line = _plain(rng, size), int(rng.integers(size[1] // 8 + 3, size[1] // 2)), _muted(rng, 90, 240)
    draw = ImageDraw.Draw(scene)
    for at in range(int(rng.integers(step)), max(size) + step, step):
        draw.line((at, 0, at, size[1]), fill=line, width=2)
        draw.line((0, at, size[0], at), fill=line, width=2)
    return scene


def _room(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """An out-of-focus interior: blocks, lamps, people-like columns."""
    small = (max(16, size[0] // 3), max(16, size[1] // 3))
    scene = _plain(rng, small)
    draw = ImageDraw.Draw(scene)
    for _ in range(int(rng.integers(4, 16))):
        x, y = int(rng.integers(-10, small[0])), int(rng.integers(-10, small[1]))
        w, h = int(rng.integers(4, small[0] // 2)), int(rng.integers(4, small[1] // 2))
        colour: RGB = (
            (int(rng.integers(256)), int(rng.integers(256)), int(rng.integers(256)))
            if rng.random() < 0.4
            else _muted(rng)
        )
        if rng.random() < 0.25:
            draw.ellipse((x, y, x + h // 2, y + h // 2), fill=mix(colour, (255, 255, 240), 0.7))
        else:
            draw.rectangle((x, y, x + w, y + h), fill=colour)
    return scene.filter(ImageFilter.BoxBlur(float(rng.uniform(0.6, 4)))).resize(size, Image.Resampling.BICUBIC)


def _shelf(rng: np.random.Generator, size: tuple[int, int], empty: bool) -> Image.Image:
    back = _muted(rng, 30, 200)
    scene = _tinted(_noise(rng, size, (5, 3), 30), mix(back, (0, 0, 0), 0.5), mix(back, (255, 255, 255), 0.2))
    draw = ImageDraw.Draw(scene)
    board = mix(_muted(rng, 120, 240), (255, 255, 255), 0.2)
    tall = int(size[1] * rng.uniform(0.45, 0.95))
    lip = max(3, size[1] // int(rng.integers(12, 28)))
    floor = int(size[1] * rng.uniform(0.55, 1.1))
    while floor > 0:
        if not empty:
            x = int(rng.integers(-tall // 3, 1))
            while x < size[0]:
                number = int(rng.integers(_PROPS))
                facings = int(rng.integers(1, 4))
                prop = _prop(number, max(24, int(tall * (0.62 + 0.25 * ((number * 7) % 10) / 10)) // 40 * 40))
                for _ in range(facings):
                    if -prop.width < x < size[0] and rng.random() > 0.07:
                        scene.paste(prop, (x, floor - prop.height), prop)
                    x += prop.width + int(rng.integers(1, 4))
        draw.rectangle((0, floor, size[0], floor + lip), fill=board)
        draw.line((0, floor + lip, size[0], floor + lip), fill=mix(board, (0, 0, 0), 0.5), width=max(1, lip // 4))
        tag = int(rng.integers(0, size[0] // 3 + 1))
        while tag < size[0]:
            draw.rectangle((tag, floor + lip // 6, tag + lip * 2, floor + lip - lip // 6), fill=(250, 248, 236))
            draw.line(
                (tag + lip // 3, floor + lip // 2, tag + lip, floor + lip // 2),
                fill=(30, 30, 30),
                width=max(1, lip // 4),
            )
            tag += int(rng.integers(size[0] // 5 + 1, size[0] // 2 + 2))
        floor -= tall
    return scene


def background(rng: np.random.Generator, size: tuple[int, int], level: float, empty: bool = False) -> Image.Image:
    """A scene (RGB, `size`) without the product; `empty` leaves the neighbour packages out."""
    half = (max(32, size[0] // 2), max(32, size[1] // 2))
    pick = float(rng.random())
    if pick < 0.22 + 0.3 * level:
        scene = _shelf(rng, half, empty)
    elif pick < 0.62 + 0.15 * level:
        scene = _counter(rng, half)
    else:
        scene = (_wood, _plain, _tiles, _room)[int(rng.integers(4))](rng, half)
    if rng.random() < 0.6:
        scene = scene.filter(ImageFilter.BoxBlur(float(rng.uniform(0.2, 0.4 + half[1] / 120))))
    return scene.resize(size, Image.Resampling.BILINEAR)


def _capsule(
    draw: ImageDraw.ImageDraw, start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], width: float, colour: RGB
) -> None:
    draw.line((*start, *end), fill=colour, width=max(1, int(width)))
    for point in (start, end):
        draw.ellipse((*(point - width / 2), *(point + width / 2)), fill=colour)


def hand(
    rng: np.random.Generator, size: tuple[int, int], box: tuple[int, int, int, int], reach: float
) -> tuple[Image.Image, Image.Image]:
    """A hand that holds whatever is in `box`: the layer behind it (palm, arm) and the layer before it (fingertips).

    `reach` is how far the fingers come over the product, as a share of its width. Both RGBA.
    """
    small = (max(2, size[0] // 2), max(2, size[1] // 2))
    behind, front = Image.new("RGBA", small), Image.new("RGBA", small)
    skin = mix(mix((92, 58, 42), (238, 196, 166), float(rng.random())), (200, 120, 100), 0.15)
    x0, y0, x1, y1 = (v / 2 for v in box)
    thick = max(4.0, 0.13 * (y1 - y0) * float(rng.uniform(0.8, 1.2)))
    from_right = rng.random() < 0.5
    edge, inward = (x1, -1.0) if from_right else (x0, 1.0)
    base_y = y0 + (y1 - y0) * float(rng.uniform(0.35, 0.75))
    palm = np.array([edge - inward * thick * 1.3, base_y + thick * 1.5])
    arm_end = palm + np.array([-inward * small[0] * 0.3, small[1] * float(rng.uniform(0.3, 0.9))])
    back = ImageDraw.Draw(behind)
    _capsule(back, palm, arm_end, thick * 3.4, mix(skin, (0, 0, 0), 0.25))
    _capsule(
        back,
        palm - np.array([0, thick]),
        palm + np.array([inward * thick, thick]),
        thick * 3.2,
        mix(skin, (0, 0, 0), 0.12),
    )
    fore = ImageDraw.Draw(front)
    for finger in range(int(rng.integers(2, 5))):
        start = np.array([edge - inward * thick * 1.2, base_y + (finger - 0.5) * thick * 1.06])
        length = reach * (x1 - x0) * float(rng.uniform(0.55, 1.0)) * (1.0, 1.1, 1.0, 0.8)[finger]
        tip = start + np.array([inward * (length + thick), float(rng.uniform(-0.3, 0.3)) * thick])
        _capsule(fore, start, tip, thick * 1.06, mix(skin, (40, 10, 0), 0.35))
        _capsule(fore, start - [0, thick * 0.06], tip - [0, thick * 0.06], thick * 0.86, skin)
        _capsule(fore, start - [0, thick * 0.24], tip - [0, thick * 0.24], thick * 0.3, mix(skin, (255, 235, 220), 0.2))
        nail = tip + np.array([inward * thick * 0.12, -thick * 0.1])
        fore.ellipse((*(nail - thick * 0.26), *(nail + thick * 0.26)), fill=mix(skin, (255, 225, 220), 0.45))
    soft = ImageFilter.BoxBlur(0.7)
    return tuple(layer.filter(soft).resize(size, Image.Resampling.BILINEAR) for layer in (behind, front))  # type: ignore[return-value]


def shadow(scene: Image.Image, alpha: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The scene darkened where the product's coverage (L), shifted and blurred, falls."""
    small = alpha.reduce(4)
    reach = small.height * 0.05
    moved = ImageChops.offset(small, int(rng.uniform(-1, 1) * reach), int(rng.uniform(0.1, 1) * reach))
    strength = float(rng.uniform(0.35, 0.75))
    soft = moved.filter(ImageFilter.BoxBlur(float(rng.uniform(0.4, 1.2)) * reach)).point(
        [255 - int(v * strength) for v in range(256)]
    )
    dark = soft.resize(scene.size, Image.Resampling.BILINEAR)
    return ImageChops.multiply(scene, Image.merge("RGB", (dark, dark, dark)))


def _lighting(image: Image.Image, rng: np.random.Generator, level: float) -> Image.Image:
    """Uneven light and its colour cast, exposure, then glare."""
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 16), np.linspace(-1, 1, 12)), axis=-1)
    angle = float(rng.uniform(0, 2 * np.pi))
    ramp = 1 + (0.08 + 0.32 * level) * float(rng.random()) * (grid @ np.array([np.cos(angle), np.sin(angle)]))
    ramp -= 0.25 * level * float(rng.random()) * (grid**2).sum(axis=-1) / 2
    cast = 1 + (0.05 + 0.13 * level) * np.clip(rng.normal(0, 0.7, 3), -1.4, 1.4)
    exposure = float(np.exp(rng.normal(-0.05, 0.08 + 0.2 * level)))
    field = np.clip(ramp[..., None] * cast * exposure * 128, 0, 255).astype(np.uint8)
    light = Image.fromarray(field).resize(image.size, Image.Resampling.BILINEAR)
    # multiply keeps x·y/255; halving the light above and doubling here leaves room to brighten
    lit = ImageChops.add(*(2 * (ImageChops.multiply(image, light),)), scale=1)
    if rng.random() < 0.15 + 0.5 * level:
        spot = Image.new("L", (80, 60))
        draw = ImageDraw.Draw(spot)
        power = int(rng.uniform(60, 110 + 130 * level))
        x, y = float(rng.uniform(15, 65)), float(rng.uniform(10, 50))
        w, h = float(rng.uniform(2, 5 + 9 * level)), float(rng.uniform(4, 8 + 18 * level))
        if rng.random() < 0.6:
            draw.ellipse((x - w, y - h, x + w, y + h), fill=power)
        else:
            slant = float(rng.uniform(-12, 12))
            draw.polygon(
                [
                    (x - w / 2, y - h * 2),
                    (x + w / 2, y - h * 2),
                    (x + w / 2 + slant, y + h * 2),
                    (x - w / 2 + slant, y + h * 2),
                ],
                fill=power,
            )
        spot = spot.filter(ImageFilter.BoxBlur(float(rng.uniform(1, 3.5)))).resize(
            image.size, Image.Resampling.BILINEAR
        )
        lit = ImageChops.screen(lit, Image.merge("RGB", (spot, spot, spot)))
    return lit


@lru_cache(maxsize=1)
def _grain() -> npt.NDArray[np.uint8]:
    """A fixed field of sensor noise about 128, cropped at random places."""
    return np.clip(np.random.default_rng(5).normal(128, 32, (1400, 1400, 3)), 0, 255).astype(np.uint8)


def camera(image: Image.Image, rng: np.random.Generator, level: float) -> Image.Image:
    """Light, lens and sensor: lighting, contrast, defocus or shake, noise, JPEG."""
    image = _lighting(image, rng, level)
    gain, lift = float(rng.normal(1, 0.03 + 0.12 * level)), float(rng.normal(0, 3 + 10 * level))
    image = image.point([min(255, max(0, int((v - 128) * gain + 128 + lift))) for v in range(256)] * 3)
    short = min(image.size)
    radius = float(rng.random()) ** 1.5 * (0.0006 + 0.0065 * level) * short
    if radius > 0.15:
        if rng.random() < 0.35:
            dx, dy = radius * 1.6 * rng.uniform(-1, 1), radius * 1.6 * rng.uniform(-1, 1)
            shifted = image.transform(
                image.size, Image.Transform.AFFINE, (1, 0, dx, 0, 1, dy), Image.Resampling.BILINEAR
            )
            image = Image.blend(image, shifted, 0.5).filter(ImageFilter.BoxBlur(radius * 0.3))
        else:
            image = image.filter(ImageFilter.BoxBlur(radius))
    strength = float(rng.random()) * (0.04 + 0.3 * level)
    if strength > 0.03 and max(image.size) <= 1300:
        x, y = int(rng.integers(0, 1400 - image.width + 1)), int(rng.integers(0, 1400 - image.height + 1))
        grain = Image.fromarray(_grain()[y : y + image.height, x : x + image.width])
        grain = grain.point([int(128 + (v - 128) * strength) for v in range(256)] * 3)
        image = ImageChops.add(image, grain, 1, -128)
    store = io.BytesIO()
    image.save(store, "JPEG", quality=int(rng.integers(int(88 - 48 * level), 96)))
    return Image.open(store).convert("RGB")
