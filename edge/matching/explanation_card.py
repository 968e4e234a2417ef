"""The picture of an explanation: query, heat map and reference in a row."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo

from .. import arguments
from ..errors import ImageError
from ..files import MADE_BY, write_atomic
from ..imaging import typefaces
from .results import shortfall, sureness, surenesses

if TYPE_CHECKING:
    from .results import Candidate, MatchResult

Colour: TypeAlias = tuple[int, int, int]

_MARGIN, _GAP, _PANEL = 48, 28, 420
_WIDTH: Final = 2 * _MARGIN + 3 * _PANEL + 2 * _GAP
_TOP, _BOTTOM = 148, 152
PAPER, _INK, SOFT, _LINE, EMPTY = (255, 255, 255), (29, 36, 48), (102, 112, 133), (228, 231, 236), (242, 244, 247)
_GOOD, _OPEN = (6, 118, 71), (181, 71, 8)
_RAMP: Final = np.array(
    [(38, 12, 81), (120, 28, 109), (207, 68, 70), (247, 130, 18), (252, 230, 90)], np.float32
)  # along matplotlib's "inferno", which stays in order for the colour-blind and in grey
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_FLAT = 1e-3
"""A drop of the cosine below this is the noise of an 8-bit network; such a map is shown cold."""


def draw(
    result: MatchResult,
    *,
    query: Image.Image,
    heated_picture: tuple[Image.Image, NDArray[np.float32], tuple[float, float, float, float]],
    mended: str = "",
    reference: Image.Image | None = None,
    reference_label: str = "",
) -> Image.Image:
    """RGB picture, 1412 pixels wide.

    `heated_picture`: the picture under the heat map, the map (rows, columns), and the part of the picture that the encoder saw, as
    for `heated`; `mended`: what the look-again pass made of the photo, if that is it; `reference`: a catalogued photo.
    """
    height = _TOP + _PANEL + _BOTTOM
    card = Image.new("RGB", (_WIDTH, height), PAPER)
    pen = ImageDraw.Draw(card)
    _headline(pen, result)
    lefts = [_MARGIN + place * (_PANEL + _GAP) for place in range(3)]
    _panel(card, lefts[0], query.convert("RGB"), "the photo")
    basis, heat, seen = heated_picture
    caption = f"heat map of the evidence{mended and f' ({mended})'}"
    _panel(card, lefts[1], heated(basis.convert("RGB"), heat, seen), caption)
    best = result.candidates[0] if result.candidates else None
    if reference is not None:
        _panel(card, lefts[2], reference.convert("RGB"), reference_label)
    else:
        _no_reference(card, lefts[2], best)
    _scale(card, lefts[1], _TOP + _PANEL + 48, float(heat.max(initial=0.0)))
    _rivals(pen, result, height - 34)
    return card


def with_box(picture: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """A picture with a box drawn on it, as wide a line in any size."""
    drawn = picture.convert("RGB")
    width = max(2, round(max(picture.size) / 120))
    corners = [min(max(0, round(edge)), length - 1) for edge, length in zip(box, picture.size * 2, strict=True)]
    pen = ImageDraw.Draw(drawn)
    pen.rectangle(corners, outline=PAPER, width=width + 2)
    pen.rectangle(corners, outline=_GOOD, width=width)
    return drawn


def _headline(pen: ImageDraw.ImageDraw, result: MatchResult) -> None:
    best = result.candidates[0] if result.candidates else None
    matched = result.sku is not None and best is not None
    title = _titled(best) if best is not None and matched else "Unknown"
    sure = f"{sureness(result.confidence)} sure" if matched else "not sure enough to answer"
    if best is not None and not matched:
        sure += f": nearest is {_titled(best)}, {shortfall(result.confidence, result.threshold)}"
    pen.rounded_rectangle((_MARGIN, 40, _MARGIN + 8, 108), 4, fill=_GOOD if matched else _OPEN)
    write_line(pen, (_MARGIN + 26, 34), title, 38, _INK, _WIDTH - 2 * _MARGIN - 26)
    write_line(pen, (_MARGIN + 26, 82), sure, 23, _GOOD if matched else _OPEN, _WIDTH - 2 * _MARGIN - 26)


def _titled(candidate: Candidate) -> str:
    return f"{candidate.sku}  {candidate.name}" if candidate.name else candidate.sku


def _panel(card: Image.Image, left: int, picture: Image.Image, caption: str) -> None:
    """A picture fitted into its square, on a quiet ground, and what it is below."""
    pen = ImageDraw.Draw(card)
    pen.rectangle((left, _TOP, left + _PANEL - 1, _TOP + _PANEL - 1), fill=EMPTY)
    ratio = _PANEL / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    resized = picture.resize(size, Image.Resampling.LANCZOS)
    card.paste(resized, (left + (_PANEL - size[0]) // 2, _TOP + (_PANEL - size[1]) // 2))
    write_line(pen, (left, _TOP + _PANEL + 12), caption, 20, SOFT, _PANEL, keep_end=True)


def _no_reference(card: Image.Image, left: int, best: Candidate | None) -> None:
    pen = ImageDraw.Draw(card)
    pen.rectangle((left, _TOP, left + _PANEL - 1, _TOP + _PANEL - 1), fill=EMPTY, outline=_LINE)
    middle = (left + _PANEL / 2, _TOP + _PANEL / 2)
    name = best.sku if best is not None else "no product"
    typefaces.write(pen, (middle[0], middle[1] - 16), _cut(name, 30, _PANEL - 40), 30, _INK, "mm")
    hint = "bundles hold no pictures: --photos FOLDER shows it"
    typefaces.write(pen, (middle[0], middle[1] + 24), hint, 17, SOFT, "mm")
    write_line(pen, (left, _TOP + _PANEL + 12), "the reference", 20, SOFT, _PANEL)


def heated(
    query: Image.Image, heat: NDArray[np.float32], seen: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
) -> Image.Image:
    """The query in grey under the heat map, bright and hot where covering it costs the match most. Same size as the query.

    `heat` (rows, columns); `seen`: the part of the query under it: left, top, right, bottom as shares, beyond 0 and 1 too.
    """
    grey = np.asarray(query.convert("L"), np.float32)[:, :, np.newaxis]
    heat = np.maximum(heat, 0)
    peak = float(heat.max(initial=0.0))
    spread = Image.fromarray((heat / max(peak, _FLAT)).astype(np.float32), "F")
    left, top, right, bottom = seen
    box = (
        round(left * query.width),
        round(top * query.height),
        round(right * query.width),
        round(bottom * query.height),
    )
    size = (max(1, box[2] - box[0]), max(1, box[3] - box[1]))
    over = Image.new("F", query.size, 0.0)
    over.paste(spread.resize(size, Image.Resampling.BICUBIC), box[:2])  # what lies outside the photo is cut off
    warm: NDArray[np.float32] = np.asarray(over, np.float32).clip(0, 1)
    cover = (0.25 + 0.5 * warm)[:, :, np.newaxis]
    mixed = grey * (1 - cover) * (0.75 + 0.25 * warm[:, :, np.newaxis]) + ramp(warm) * cover
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def ramp(
    values: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Colours of values from 0 to 1: (…,) → (…, 3) float32, 0 to 255."""
    places = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(values, places, _RAMP[:, channel]) for channel in range(3)], axis=-1).astype(np.float32)


def _scale(card: Image.Image, left: int, top: int, peak: float) -> None:
    """The colours' legend: by how much the score drops when that part is covered."""
    pen = ImageDraw.Draw(card)
    typefaces.write(pen, (left, top), "covered, the score", 17, SOFT, "lt")
    typefaces.write(pen, (left + _PANEL, top), f"drops by {max(peak, 0.0):.2f}", 17, SOFT, "rt")
    start, end = left + 152, left + _PANEL - 118
    strip = ramp(np.linspace(0, 1, end - start, dtype=np.float32))[np.newaxis].repeat(12, axis=0)
    card.paste(Image.fromarray(strip.astype(np.uint8)), (start, top + 1))


def _rivals(pen: ImageDraw.ImageDraw, result: MatchResult, y: int) -> None:
    """The runner-up and the score, and how the answer came about."""
    candidates, parts = result.candidates, []
    if candidates:
        parts.append(f"score {candidates[0].score:.2f}")
    if len(candidates) > 1:
        rival, sure = candidates[1], surenesses(candidates, result.sku, result.threshold)[1]
        parts.append(f"runner-up: {_titled(rival)}, {sure} sure, score {rival.score:.2f}")
    else:
        parts.append("no runner-up")
    pen.line((_MARGIN, y - 26, _WIDTH - _MARGIN, y - 26), _LINE)
    write_line(pen, (_MARGIN, y - 12), "    ·    ".join(parts), 20, _INK, _WIDTH - 2 * _MARGIN)


def write_line(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: Colour,
    room: int,
    *,
    keep_end: bool = False,
) -> None:
    """One line of text, shortened to its room; `keep_end` shortens at the front, as suits a path."""
    typefaces.write(pen, place, _cut(text, size, room, keep_end=keep_end), size, colour, "lt")


def _cut(text: str, size: int, room: int, *, keep_end: bool = False) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    if typefaces.length(text, size) <= room:
        return text
    while text and typefaces.length(f"…{text}", size) > room:
        text = text[1:] if keep_end else text[:-1]
    return f"…{text}" if keep_end else f"{text.rstrip()}…"


def check_ending(path: Path) -> str:
    """The ending, small, if it is a format's. Raises ImageError."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise ImageError(f"picture {path.name!r} arrived; expected a name ending in {', '.join(_FORMATS)}")
    return suffix


def encoded(picture: Image.Image, path: Path) -> bytes:
    """The picture in the format of the path's ending, marked as ours: see `files.check_output`. Raises ImageError."""
    suffix = check_ending(path)
    buffer = io.BytesIO()
    if suffix == ".png":
        text = PngInfo()
        text.add_text("Software", MADE_BY.decode())
        picture.save(buffer, "PNG", optimize=True, pnginfo=text)
    else:
        exif = Image.Exif()
        exif[Base.Software] = MADE_BY.decode()
        picture.save(buffer, _FORMATS[suffix], quality=90, exif=exif)
    return buffer.getvalue()


def write_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """The picture as a file, `encoded`. Raises ImageError, too, where it can't be written."""
    arguments.path_of("path", path, "picture.png", ImageError)
    target = Path(path)
    data = encoded(picture, target)
    try:
        write_atomic(target, data)
    except OSError as error:
        raise ImageError(
            f"{target} can't be written: {error.strerror or error}; name a file in a folder that is there"
        ) from error
