"""Packs for the judging generator: their shapes, colours, patterns and type are its own, none is drawn as the training's are."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

Sprite = NDArray[np.uint8]
"""(H, W, 4): RGB and how opaque."""
TALL: Final = 320
"""Pixels of a pack's longer side, before it is placed."""
SHAPES: Final = ("carton", "pouch", "jar", "bottle", "tin", "tub", "card")
_ASPECT: Final = {"carton": 0.72, "pouch": 0.78, "jar": 0.7, "bottle": 0.42, "tin": 0.8, "tub": 1.15, "card": 0.85}
"""Width over height."""
_PATTERNS: Final = ("bands", "rings", "dots", "waves", "halves", "rays", "plain", "tiles")
_FONTS: Final = (
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
    cv2.FONT_HERSHEY_SIMPLEX,
)
_STARTS: Final = (
    "Bor",
    "Kel",
    "Nim",
    "Tas",
    "Ruv",
    "Ola",
    "Pex",
    "Gri",
    "Sul",
    "Va",
    "Ime",
    "Dro",
    "Hup",
    "Lyt",
    "Cem",
)
_ENDS: Final = ("ka", "nor", "tino", "bel", "ax", "umi", "sen", "ola", "rit", "doo", "wey", "fa")
_KINDS: Final = (
    "OATS",
    "TEA",
    "RICE",
    "SOAP",
    "CHIPS",
    "BEANS",
    "JUICE",
    "CREAM",
    "PASTA",
    "COCOA",
    "HONEY",
    "FLOUR",
    "MINTS",
)
_FLAVOURS: Final = ("Lemon", "Berry", "Plain", "Mint", "Hot", "Herbs", "Dark", "Vanilla", "Salt", "Plum")


@dataclass(frozen=True, slots=True)
class Pack:
    """A product. Two with the same `design` and another `flavour` are variants: one layout, other colours and words."""

    sku: str
    name: str
    shape: str
    design: int
    flavour: int
    sprite: Sprite

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.sprite.shape[1] / self.sprite.shape[0]


def make_pack(sku: str, design: int, flavour: int) -> Pack:
    """The pack of a design and a flavour, always the same."""
    rng = np.random.default_rng((7919, design))
    shape = str(rng.choice(SHAPES))
    aspect = _ASPECT[shape] * rng.uniform(0.88, 1.14)
    height = TALL if aspect <= 1 else round(TALL / aspect)
    width = round(height * aspect)
    name = rng.choice(_STARTS) + rng.choice(_ENDS)
    kind = str(rng.choice(_KINDS))
    colours = _palette(rng, np.random.default_rng((104729, design, flavour)), flavour)
    picture = _pattern(str(rng.choice(_PATTERNS)), rng, width, height, colours)
    word = _FLAVOURS[(design * 3 + flavour) % len(_FLAVOURS)]
    _print_on(picture, rng, name, kind, word, colours)
    alpha = _outline(shape, width, height)
    _shade(picture, shape, alpha, rng)
    return Pack(sku, f"{name} {kind.title()} {word}", shape, design, flavour, np.dstack([picture, alpha]))


def _palette(rng: np.random.Generator, variant: np.random.Generator, flavour: int) -> list[tuple[int, int, int]]:
    hue = rng.uniform()
    turn = 0.0 if flavour == 0 else variant.uniform(0.12, 0.88)
    light = rng.uniform(0.55, 0.98)
    tones = [
        (hue + turn, rng.uniform(0.45, 0.95), light),
        (hue + turn + rng.choice([0.08, 0.33, 0.5, 0.66]), rng.uniform(0.3, 0.95), rng.uniform(0.3, 1.0)),
        (rng.uniform(), rng.uniform(0.0, 0.25), rng.choice([0.1, 0.97])),
        (hue, rng.uniform(0.5, 1.0), rng.uniform(0.2, 0.6)),
    ]
    return [tuple(int(255 * c) for c in colorsys.hsv_to_rgb(h % 1, s, v)) for h, s, v in tones]  # type: ignore[misc]


def _pattern(kind: str, rng: np.random.Generator, width: int, height: int, colours: list[Any]) -> NDArray[np.uint8]:
    """The print under the words."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = colours[0]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = x / width, y / height
    if kind == "bands":
        mask = ((u * rng.uniform(-1, 1) + v) * rng.integers(2, 6) + rng.uniform()) % 1 < rng.uniform(0.2, 0.5)
    elif kind == "rings":
        centre = rng.uniform(0.2, 0.8, 2)
        mask = (np.hypot(u - centre[0], v - centre[1]) * rng.integers(3, 8)) % 1 < 0.4
    elif kind == "dots":
        step = rng.uniform(0.12, 0.3)
        mask = np.hypot(u % step - step / 2, (v * height / width) % step - step / 2) < step * rng.uniform(0.2, 0.42)
    elif kind == "waves":
        mask = v > rng.uniform(0.3, 0.7) + 0.08 * np.sin(u * rng.uniform(5, 20))
    elif kind == "halves":
        mask = u * rng.uniform(0.2, 1) > v - rng.uniform(-0.2, 0.5)
    elif kind == "rays":
        mask = (np.arctan2(v - 0.5, u - 0.5) / np.pi * rng.integers(4, 10)) % 1 < 0.5
    elif kind == "tiles":
        n = int(rng.integers(3, 8))
        mask = ((u * n).astype(int) + (v * n).astype(int)) % 2 == 0
    else:
        mask = v < rng.uniform(0.15, 0.35)
    picture[mask] = colours[1]
    for _ in range(int(rng.integers(0, 4))):  # what is inside, as blobs
        centre = (int(width * rng.uniform(0.15, 0.85)), int(height * rng.uniform(0.55, 0.9)))
        axes = (int(width * rng.uniform(0.08, 0.25)), int(width * rng.uniform(0.06, 0.2)))
        cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, colours[3], -1, cv2.LINE_AA)
    return picture


def _print_on(
    picture: NDArray[np.uint8], rng: np.random.Generator, name: str, kind: str, word: str, colours: list[Any]
) -> None:
    height, width = picture.shape[:2]
    font, label_y = int(rng.choice(_FONTS)), rng.uniform(0.14, 0.4)
    if rng.uniform() < 0.6:
        box = (int(width * 0.07), int(height * (label_y - 0.1))), (int(width * 0.93), int(height * (label_y + 0.16)))
        cv2.rectangle(picture, *box, colours[2], -1)
        ink = (25, 25, 25) if sum(colours[2]) > 380 else (245, 245, 245)
    else:
        ink = colours[2]
    low = int(height * (label_y - 0.09))
    for text, least, share in ((name, 0.0, 0.8), (kind, 0.0, 0.5), (word, rng.uniform(0.55, 0.85), 0.55)):
        size = cv2.getTextSize(text, font, 1.0, 2)[0]
        scale = min(width * share / size[0], height * 0.13 / size[1])
        low = int(max(low + size[1] * scale * 1.25, height * least))
        where = (int((width - size[0] * scale) / 2), low)
        cv2.putText(picture, text, where, font, scale, ink, max(1, round(scale * 2.4)), cv2.LINE_AA)


def _outline(shape: str, width: int, height: int) -> NDArray[np.uint8]:
    """How opaque each pixel is."""
    alpha = np.zeros((height, width), np.uint8)
    right, low = width - 1, height - 1
    if shape == "carton":
        cv2.rectangle(alpha, (0, 0), (right, low), 255, -1)
    elif shape == "card":
        cv2.rectangle(alpha, (2, 2), (right - 2, low - 2), 255, -1)
        cv2.circle(alpha, (width // 2, height // 16), max(3, width // 16), 0, -1)
    elif shape == "pouch":
        bulge = [
            (int(width * (0.06 * abs(np.sin(t * 9)) if t in (0.0, 1.0) else 0.04 * np.sin(t * np.pi))), int(t * low))
            for t in np.linspace(0, 1, 30)
        ]
        points = [(right // 20 + 4 - x // 2, y) for x, y in bulge] + [
            (right - right // 20 - 4 + x // 2, y) for x, y in bulge[::-1]
        ]
        cv2.fillPoly(alpha, [np.array(points, np.int32)], 255, cv2.LINE_AA)
    elif shape == "bottle":
        neck = int(width * 0.34)
        points = [
            (neck, 0),
            (right - neck, 0),
            (right - neck, int(low * 0.16)),
            (right - 3, int(low * 0.36)),
            (right - 3, low),
            (3, low),
            (3, int(low * 0.36)),
            (neck, int(low * 0.16)),
        ]
        cv2.fillPoly(alpha, [np.array(points, np.int32)], 255, cv2.LINE_AA)
    elif shape == "jar":
        cv2.rectangle(alpha, (int(width * 0.08), 0), (int(width * 0.92), int(low * 0.16)), 255, -1)
        cv2.rectangle(alpha, (0, int(low * 0.2)), (right, low), 255, -1)
        cv2.rectangle(alpha, (int(width * 0.12), int(low * 0.1)), (int(width * 0.88), int(low * 0.3)), 255, -1)
    elif shape == "tub":
        points = [(0, 0), (right, 0), (int(right * 0.9), low), (int(right * 0.1), low)]
        cv2.fillPoly(alpha, [np.array(points, np.int32)], 255, cv2.LINE_AA)
    else:  # a tin
        cv2.rectangle(alpha, (0, int(low * 0.03)), (right, int(low * 0.97)), 255, -1)
        cv2.ellipse(alpha, (width // 2, int(low * 0.03)), (width // 2, max(2, low // 36)), 0, 0, 360, 255, -1)
        cv2.ellipse(alpha, (width // 2, int(low * 0.965)), (width // 2, max(2, low // 36)), 0, 0, 360, 255, -1)
    return alpha


def _shade(picture: NDArray[np.uint8], shape: str, alpha: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Light on a round or a flat body, a lid or a rim, in place."""
    height, width = alpha.shape
    u = np.linspace(-1, 1, width, dtype=np.float32)
    if shape in ("jar", "bottle", "tin", "tub"):
        light = 0.62 + 0.5 * np.exp(-(((u + rng.uniform(-0.5, 0.2)) / 0.6) ** 2))
        if shape in ("jar", "bottle"):
            picture[: int(height * 0.16)] = tuple(int(v) for v in rng.integers(30, 230, 3))
        if shape == "tin":
            picture[: int(height * 0.05)] = picture[int(height * 0.95) :][: int(height * 0.05)] = 170
    elif shape == "pouch":
        light = 0.9 + 0.12 * np.sin(u * 4 + rng.uniform(0, 6))
    else:
        light = np.full(width, 1.0, np.float32)
        light[: max(1, width // 40)] = 0.75
    down = np.linspace(1.05, 0.86, height, dtype=np.float32)
    picture[:] = np.clip(picture * (down[:, None] * light[None])[..., None], 0, 255).astype(np.uint8)


def photo_of(pack: Pack, rng: np.random.Generator, side: int = 320) -> NDArray[np.uint8]:
    """A photo for the catalogue, (side, side, 3): the pack from slightly aside before something plain."""
    top, low = rng.integers(90, 245, 3), rng.integers(60, 235, 3)
    down = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    photo = np.broadcast_to(top * (1 - down) + low * down, (side, side, 3)).astype(np.uint8)
    height, width = pack.sprite.shape[:2]
    scale = side * rng.uniform(0.78, 0.92) / max(height, width)
    left, upper = (side - width * scale) / 2, (side - height * scale) / 2
    corners = np.array(
        [
            [left, upper],
            [left + width * scale, upper],
            [left + width * scale, upper + height * scale],
            [left, upper + height * scale],
        ]
    )
    corners = (corners + rng.uniform(-0.035, 0.035, (4, 2)) * side).astype(np.float32)
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    warped = cv2.warpPerspective(
        pack.sprite, cv2.getPerspectiveTransform(source, corners), (side, side), flags=cv2.INTER_AREA
    )
    cover = warped[..., 3:].astype(np.float32) / 255
    mixed = photo * (1 - cover) + warped[..., :3] * cover
    gain = rng.uniform(0.75, 1.15) * rng.uniform(0.94, 1.06, 3)
    noisy = mixed * gain + rng.normal(0, 2.5, mixed.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
