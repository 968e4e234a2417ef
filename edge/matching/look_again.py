"""Not recognized → mend the photo → recognize again. Only photos that were rejected come here.

A product's score is the mean over the variants, weighted by how near each variant's best product is. A mean, not a maximum: with
the best of many variants, one of them finds something for every hand and every empty shelf; a mean is high only where they
agree, and must be surer than a single pass (`ODDS`). benchmarks/lookagain.py measures what that
does to false accepts.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import VectorError
from ..imaging import enhance
from ..imaging.image import Decoded, Pixels, upright
from ..imaging.quality import Problem, Quality, detail_box, luma, measure, noise_of
from ..imaging.resize import Resizer, fit, inside
from ..scoring.evidence import Evidence, mean_evidence
from ..scoring.fusion import DEPTH

if TYPE_CHECKING:
    from ..encoders.card import EncoderCard

AS_IT_CAME = "as it came"
SOFTNESS, FIRST_PASS = 0.3, 0.6
"""By how much a variant's best score must be lower to weigh a factor e less, and by how much the photo as it came is ahead of its
crops and rotations: most photos are upright. Both in units of the lead that best products have over those at `fusion.DEPTH`, for
cosines range differently in every shop's space. Chosen on train and val photos for the recall of clean photos."""
ODDS = 1.5
"""How much surer the look-again pass must be: its odds are divided by this before they meet the threshold of the first pass. Chosen
so that false accepts of clean photos stay where the first pass has them."""
_JPEG_NOISE = 8.0
"""Grey levels that strong JPEG compression is off by where it isn't a block's border."""
_CLOSER = 0.85
_SMALL = 0.4
"""Part of the frame that its detail covers, below which the product is looked at from nearer."""

TOO_DARK, TOO_FLAT, TOO_BLURRED_PX = 7.0, 8.0, 5.0
"""Brightness and contrast in grey levels, and blur at the encoder's input, beyond which hardly a product is found even after
look-again (benchmarks/lookagain.py --limits)."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A photo to rank: what was done to it, (H, W, 3) uint8 RGB of the encoder's size, and by how much it is ahead
    (see `FIRST_PASS`)."""

    name: str
    pixels: Pixels
    ahead: float = 0.0


@dataclass(frozen=True, slots=True)
class LookAgain:
    """How the look-again pass went. `variant`: what counted most, "" where the answer rests on none of them;
    `tried`: all of them; `faults`: what was found wrong with the
    photo; `problem`: why no shop could tell ("too dark", "too blurred", "nothing to see"), empty where the photo is of use;
    `hint`: what the caller should look at, for an array whose channels stand in the order of OpenCV, as it seems."""

    variant: str
    tried: tuple[str, ...]
    quality: Quality
    problem: Problem | None = None
    hint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Under "look_again" in `match --json`."""
        return {
            "variant": self.variant,
            "tried": list(self.tried),
            "faults": list(self.quality.faults),
            "problem": self.problem,
            "hint": self.hint,
            "quality": self.quality.to_dict(),
        }


def variants_of(
    decoded: Decoded, card: EncoderCard, resizer: Resizer, *, turned: bool = True
) -> tuple[Quality, list[Variant]]:
    """What to rank instead of, or besides, a rejected photo, and what is wrong with it.

    A photo with faults is mended; one without is turned and looked at from nearer, unless `turned` is False.
    """
    photo = _working_size(decoded, card)
    pixels = fit(Decoded(photo), card, resizer)
    quality = measure(_shown(pixels, photo, card), photo)

    def fitted(picture: Pixels) -> Pixels:
        return fit(Decoded(np.ascontiguousarray(picture)), card, resizer)

    faults = quality.faults
    if "dark" in faults or "low contrast" in faults:
        # Stretching the light stretches the noise in it.
        lit = enhance.auto_levels(photo)
        clean = fitted(enhance.denoise(lit, max(1.0, noise_of(luma(lit)))))
        found = [Variant("auto-levels, denoised", clean)]
        if "blurred" in faults:
            found.append(Variant("auto-levels, deblurred", enhance.deblur(clean, quality.blur_px)))
        return quality, found
    if "noisy" in faults:
        clean = enhance.denoise(photo, max(1.0, noise_of(luma(photo))))
        return quality, [Variant("denoised", fitted(clean)), Variant("smoothed", enhance.smooth(pixels, 1.0))]
    if "blurred" in faults:
        mended = enhance.deblur(pixels, quality.blur_px)
        return quality, [Variant("deblurred", mended), Variant("sharpened", enhance.sharpen(pixels))]
    found = _turned(photo, pixels, fitted) if turned else []
    if "blocky" in faults:  # takes little from a photo: it may be turned as well
        mended = fitted(enhance.denoise(photo, _JPEG_NOISE))
        found += [
            Variant("deblocked", mended, FIRST_PASS),
            Variant("smoothed", enhance.smooth(pixels, 1.0), FIRST_PASS),
        ]
    return quality, found


def _shown(pixels: Pixels, photo: Pixels, card: EncoderCard) -> Pixels:
    """The input without its border, where enough is left to measure: what is wrong with a photo isn't told by what it lies on."""
    visible = inside(pixels, (photo.shape[1], photo.shape[0]), card)
    return visible if min(visible.shape[:2]) >= 8 else pixels


def blank_of(decoded: Decoded, card: EncoderCard, resizer: Resizer) -> LookAgain:
    """Of a photo that shows nothing: no variant is tried, and the problem says why."""
    photo = _working_size(decoded, card)
    quality = measure(_shown(fit(Decoded(photo), card, resizer), photo, card), photo)
    return LookAgain("", (), quality, "too dark" if quality.brightness < TOO_DARK else "nothing to see")


def _turned(photo: Pixels, pixels: Pixels, fitted: Callable[[Pixels], Pixels]) -> list[Variant]:
    found = [Variant(AS_IT_CAME, pixels, FIRST_PASS)]
    found += [Variant(f"rotated {90 * turns}", fitted(np.rot90(photo, -turns))) for turns in (1, 2, 3)]
    found.append(Variant("closer", fitted(_part(photo, _middle(_CLOSER)))))
    box = detail_box(luma(photo))
    if (box[2] - box[0]) * (box[3] - box[1]) < _SMALL:
        found.append(Variant("cropped to the product", fitted(_part(photo, box))))
    return found


def _middle(share: float) -> tuple[float, float, float, float]:
    edge = (1 - share) / 2
    return edge, edge, 1 - edge, 1 - edge


def _part(photo: Pixels, box: tuple[float, float, float, float]) -> Pixels:
    """The part of a picture inside (left, top, right, bottom), each from 0 to 1."""
    high, wide = photo.shape[:2]
    left, right = int(box[0] * wide), max(int(box[0] * wide) + 1, round(box[2] * wide))
    top, bottom = int(box[1] * high), max(int(box[1] * high) + 1, round(box[3] * high))
    return photo[top:bottom, left:right]


def _working_size(decoded: Decoded, card: EncoderCard) -> Pixels:
    """The photo upright, under twice the encoder's size where it was larger: mending costs by the pixel."""
    picture = upright(decoded)
    factor = 1
    while 2 * factor <= min(picture.width / card.width, picture.height / card.height):
        factor *= 2
    return np.asarray(picture.reduce(factor) if factor > 1 else picture)


def rank_variants(
    decoded: Decoded,
    card: EncoderCard,
    resizer: Resizer,
    rank: Callable[[Pixels], Evidence],
    *,
    turned: bool = True,
    blank: bool = False,
) -> tuple[LookAgain, Evidence | None]:
    """Rank a rejected photo's variants: how it went, and what they say together, None where that is nothing.

    `rank` gives the best `fusion.DEPTH` products of a picture of the encoder's size; `turned` as for `variants_of`; `blank`: the
    photo as it came shows no goods. Turned or in more light it may; sharpened it doesn't.
    """
    quality, variants = variants_of(decoded, card, resizer, turned=turned)
    if blank and "blurred" in quality.faults and not {"dark", "low contrast"} & set(quality.faults):
        variants = []
    found: list[Evidence] = []
    seen: list[Variant] = []
    for variant in variants:
        with contextlib.suppress(VectorError):  # an all-black variant says nothing; the others go on
            evidence = rank(variant.pixels)
            if evidence.ranked:
                found.append(evidence)
                seen.append(variant)
    if not found:
        return LookAgain("", (), quality, problem_of(quality) or ("nothing to see" if blank else None)), None
    lead = (
        sum(one.ranked[0][1] - one.ranked[:DEPTH][-1][1] for one in found) / len(found) or 1.0
    )  # one product alone leads nobody
    heads = [one.ranked[0][1] / lead + variant.ahead for one, variant in zip(found, seen, strict=True)]
    weights = [math.exp((head - max(heads)) / SOFTNESS) for head in heads]
    names = [variant.name for variant in seen]
    answered = names[weights.index(max(weights))]
    return LookAgain(answered, tuple(names), quality, problem_of(quality)), mean_evidence(found, weights)


def less_sure(confidence: float, odds: float = ODDS) -> float:
    """A confidence with its odds divided by `odds`."""
    return confidence / (confidence + odds * (1 - confidence))


def problem_of(quality: Quality) -> Problem | None:
    """Why a photo that stayed unknown is beyond use, if it is."""
    if quality.brightness < TOO_DARK:
        return "too dark"
    if quality.contrast < TOO_FLAT:
        return "nothing to see"
    return "too blurred" if quality.blur_px > TOO_BLURRED_PX else None
