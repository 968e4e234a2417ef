"""A model's own preprocessing, asked instead of read: what it does to flat colours and to ramps says its normalization and its
geometry, whatever its configuration's keys mean in which version; and ten photos say whether the device does the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..edge.errors import ImageError
from ..edge.imaging.decode import decode
from ..edge.imaging.image import Pixels
from ..edge.imaging.resize import fit
from .encoders import OwnProcessor
from .errors import SourceError
from .preprocessing import Preprocessing, Resize, triple
from .tools import need

MAX_DIFFERENCE = 0.1
"""Mean absolute difference of the normalized pixels of a photo, in standard deviations. The device resizes with a triangle filter;
bicubic differs little from it on photos of things, another cut or another mean much (benchmarks/processors.py)."""
CHECKED_PHOTOS = 10

_LOW, _HIGH = 16, 239
_PROBES = ((480, 320), (320, 480))
"""(width, height) of the ramps."""


def transformers_processor(transformers: Any, folder: str) -> OwnProcessor | None:
    """The image processor of a Hugging Face model, without torchvision; None where transformers can't tell which one it is."""
    try:
        made = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    except Exception:  # an old configuration without a type, or a class of its own code: its JSON is read instead
        return None

    def own(photo: Image.Image) -> NDArray[np.float32]:
        pixels = np.asarray(made(images=photo, return_tensors="np")["pixel_values"], np.float32)
        if pixels.ndim != 4 or pixels.shape[:2] != (1, 3):
            raise SourceError(
                f"{type(made).__name__} gives {list(pixels.shape)} for a photo; expected [1, 3, height, width]. Say how photos are "
                "prepared: --size, --mean, --std"
            )
        first: NDArray[np.float32] = pixels[0]
        return first

    return own


def timm_processor(config: Any) -> OwnProcessor | None:
    """timm's transform for evaluation; None where torchvision is missing."""
    try:
        data = need("timm.data", "asking timm")
        transform = data.create_transform(**data.resolve_data_config(pretrained_cfg=dict(config)))
    except Exception:
        return None

    def own(photo: Image.Image) -> NDArray[np.float32]:
        made: NDArray[np.float32] = transform(photo).numpy()
        return made

    return own


def asked(own: OwnProcessor, name: str) -> Preprocessing:
    """What a processor does, by what it does to flat colours and to ramps. Raises SourceError for what no device file does."""
    mean, std, order = _normalization(own, name)
    boxes, sides = [], set()
    for wide, high in _PROBES:
        made = own(_ramps(wide, high)).astype(np.float64)
        sides.add(made.shape[1:])
        real = made * np.array(std).reshape(3, 1, 1) + np.array(mean).reshape(3, 1, 1)
        boxes.append((_covered(real[0].mean(axis=0), wide), _covered(real[1].mean(axis=1), high), real))
    if len(sides) > 1:
        listed = " and ".join(f"{high}x{wide}" for high, wide in sorted(sides))
        raise SourceError(
            f"{name} gives photos of different shapes ({listed}), and a device file takes one; say it: --size 224 --resize crop"
        )
    ((height, width),) = sides
    if order == "BGR":
        mean, std = mean[::-1], std[::-1]
    found = Preprocessing(
        width, height, triple(mean), triple(std), read_from=name, color_order="BGR" if order == "BGR" else "RGB"
    )
    if mean == [0.0] * 3 and std == [1.0] * 3:  # it leaves pixels as they are
        found = replace(found, mean=None, std=None)
    candidates = list(_geometries(found, [(across, down) for across, down, _ in boxes]))
    if order == "BGR":
        boxes = [(across, down, real[::-1]) for across, down, real in boxes]
    candidates.append(replace(found, resize="pad", padding=_corner(boxes[0][2])))
    for candidate in candidates:
        worst = max(difference(own, candidate, _ramps(*probe)) for probe in _PROBES)
        if worst < MAX_DIFFERENCE / 2:
            return candidate
    across, down, _ = boxes[0]
    raise SourceError(
        f"{name} shows {across[0]:.0%} to {across[1]:.0%} of a {_PROBES[0][0]}x{_PROBES[0][1]} photo's width and {down[0]:.0%} to "
        f"{down[1]:.0%} of its height; a device squashes, crops the centre or pads: say which with --size and --resize"
    )


def _normalization(own: OwnProcessor, name: str) -> tuple[list[float], list[float], str]:
    """Mean and std a plane of the result, in units of 0 to 255, and which colour is first."""
    black, grey, white, red = (
        own(Image.new("RGB", (320, 320), color)).mean(axis=(1, 2), dtype=np.float64)
        for color in ((0, 0, 0), (128, 128, 128), (255, 255, 255), (255, 0, 0))
    )
    if (white - black <= 1e-6).any() or np.abs(grey - black - (white - black) * 128 / 255).max() > 0.02 * (
        white - black
    ).max():
        raise SourceError(f"{name} doesn't normalize pixels by a mean and a std; say it: --size, --mean, --std")
    std = 255 / (white - black)
    parts = (red - black) / (white - black)
    order = "BGR" if parts[2] > 0.9 and parts[0] < 0.1 else "RGB"
    if order == "RGB" and not (parts[0] > 0.9 and parts[2] < 0.1):
        raise SourceError(f"{name} mixes the colours of photos; a device file takes them as they are")
    return [round(float(v), 4) + 0.0 for v in -black * std], [round(float(v), 4) for v in std], order


def _ramps(wide: int, high: int) -> Image.Image:
    """Red and blue grow to the right and green downwards, so that each place tells where it comes from, in either order."""
    dither = np.random.default_rng(0).random(
        (high, wide)
    )  # without it, the steps of whole numbers move with the filter
    across = np.broadcast_to(_LOW + (_HIGH - _LOW) * (np.arange(wide) + 0.5) / wide, (high, wide))
    down = np.broadcast_to((_LOW + (_HIGH - _LOW) * (np.arange(high) + 0.5) / high)[:, np.newaxis], (high, wide))
    return Image.fromarray(
        np.floor(np.stack([across, down, across], axis=2) + dither[..., np.newaxis]).astype(np.uint8)
    )


def _covered(line: NDArray[np.float64], side: int) -> tuple[float, float]:
    """From where to where a line of the result reaches in the photo, as shares of its side; the ends, which filters bend, aside."""
    shares = (line - _LOW) / (_HIGH - _LOW)
    count = len(line)
    inner = slice(count // 10, count - count // 10)
    slope, start = np.polyfit(np.arange(count)[inner] + 0.5, shares[inner], 1)
    return float(start), float(start + slope * count)


def _geometries(
    found: Preprocessing, boxes: Iterable[tuple[tuple[float, float], tuple[float, float]]]
) -> Iterable[Preprocessing]:
    """The cuts that would show these parts of the ramps."""
    fractions: dict[Resize, list[float]] = {"crop": [], "squash-crop": []}
    for (wide, high), (across, down) in zip(_PROBES, boxes, strict=True):
        parts = (across[1] - across[0], down[1] - down[0])
        fractions["squash-crop"] += parts
        scale = min(wide / found.width, high / found.height)
        fractions["crop"] += (parts[0] * wide / (found.width * scale), parts[1] * high / (found.height * scale))
    for how, values in fractions.items():
        fraction = _rational(float(np.median(values)), min(found.width, found.height))
        if how == "squash-crop" and fraction == 1:
            yield found
        else:
            yield replace(found, resize=how, crop_fraction=fraction)


def _rational(fraction: float, side: int) -> float:
    """The share that is meant: processors resize to whole pixels and cut `side` of them out."""
    if fraction > 1 - 0.5 / side:
        return 1.0
    return side / max(side, round(side / max(fraction, 1e-3)))


def _corner(real: NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = (int(np.clip(np.rint(value), 0, 255)) for value in real[:, 0, 0])
    return red, green, blue


def difference(own: OwnProcessor, preprocessing: Preprocessing, photo: Image.Image) -> float:
    """Mean absolute difference between a photo prepared by the model's processor and by the device, in standard deviations."""
    theirs = own(photo)
    ours = preprocessing.normalized(_by_the_device(photo, preprocessing)).transpose(2, 0, 1)
    if theirs.shape != ours.shape:
        return float("inf")
    return float(np.abs(theirs.astype(np.float64) - ours).mean())


def _by_the_device(photo: Image.Image, preprocessing: Preprocessing) -> Pixels:
    return fit(decode(photo, preprocessing), preprocessing)


def check(own: OwnProcessor, preprocessing: Preprocessing, photos: Iterable[Path]) -> float:
    """The mean difference over the photos. Raises SourceError where one of them is further apart than MAX_DIFFERENCE.

    It names the photo and the reason.
    """
    found: dict[str, float] = {}
    for path in photos:
        try:
            decoded = decode(path)
        except ImageError:
            continue
        found[path.name] = difference(own, preprocessing, Image.fromarray(np.asarray(decoded.pixels)))
    if not found:
        return 0.0
    mean, worst = float(np.mean(list(found.values()))), max(found, key=lambda name: found[name])
    if found[worst] > MAX_DIFFERENCE:
        raise SourceError(
            f"the model's own preprocessing gives other pixels than the device's: {found[worst]:.2f} standard deviations apart for "
            f"{worst}, at most {MAX_DIFFERENCE:g} expected, {mean:.2f} on average ({_reason(own, preprocessing)}); to go on say "
            f"it: --size {preprocessing.height}x{preprocessing.width} --resize {preprocessing.resize}"
        )
    return mean


def _reason(own: OwnProcessor, preprocessing: Preprocessing) -> str:
    """What differs, by flat colours and ramps."""
    flat = max(
        difference(own, preprocessing, Image.new("RGB", (320, 320), color)) for color in ("white", "black", "red")
    )
    if flat > MAX_DIFFERENCE / 2:
        return f"mean, std or the order of colours: {flat:.2f} on flat colours"
    ramps = max(difference(own, preprocessing, _ramps(*probe)) for probe in _PROBES)
    if ramps > MAX_DIFFERENCE / 2:
        return f"another part of the photo: {ramps:.2f} on ramps"
    return "another filter: its resample is sharper or coarser than the device's, or half a pixel beside it"
