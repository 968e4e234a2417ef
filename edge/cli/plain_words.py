"""What `build`, `add` and `info` say of a bundle to a shop: how sure answers are, what to expect, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..scoring.decision import Decision
    from ..scoring.forecast import Forecast

MANY_PHOTOS = 5
"""A product. With fewer, more photos are the first advice."""
_LOW_ACCEPTS = 0.6
"""Of known photos, from where on a higher rate of false accepts is not worth a line."""


def plain_lines(
    decision: Decision, products: int, photos: int, bundle: str | None = None, *, can_calibrate: bool = False
) -> list[str]:
    """Some lines, each with a word in front. `bundle`: its name, for lines about what to do next; `can_calibrate`: whether it has
    one encoder, and no photos of a camera were counted yet."""
    from ..scoring.forecast import forecast  # numpy: not for every command's start

    needs = _percent(min(1.0, decision.threshold), up=True)
    rate = decision.target_false_accept_rate
    expected = forecast(decision, products, photos)
    lines = []
    if decision.method == "default":
        lines.append("answers   the shop is too small to tell how sure an answer must be; expect some wrong ones")
    else:
        lines.append(
            f"answers   from {needs} sure on; below that a photo is unknown. Of photos of other products about {_percent(rate)} "
            "get a name all the same"
        )
    if expected is not None:
        lines.append(
            f"expect    {_range(expected)} of photos of your products named right, the others mostly unknown (measured on "
            f"{expected.photos:,} of your own photos; those of another camera are harder)"
        )
    else:
        lines.append("expect    can't be told from these photos: " + _why_not(decision, products, photos))
    fits_camera = can_calibrate and decision.confidences is not None and products > 1
    advice = [] if bundle is None else _advice(bundle, expected, products, photos, rate, fits_camera)
    lines += [f"{'next' if not number else '':8}  {line}" for number, line in enumerate(advice)]
    return lines


def _why_not(decision: Decision, products: int, photos: int) -> str:
    if photos < 2 * products:
        return "most products have one, and others of them are needed to measure"
    if decision.method == "synthetic-views":
        return "too few products have several, which are needed to measure"
    return "they are too few to measure"


def _advice(
    bundle: str, expected: Forecast | None, products: int, photos: int, rate: float, fits_camera: bool
) -> list[str]:
    advice = []
    if photos < MANY_PHOTOS * products:
        advice.append(
            f"add photos: {MANY_PHOTOS} a product, from other sides and in the light of the place where it is used (now "
            f"{photos / max(1, products):.1f}): shelfmatch add {bundle} FOLDER"
        )
        if fits_camera:
            # What few pictures let expect of a camera is careful (benchmarks/right_answers.py --parts calibrate).
            advice.append(
                f"fit it to the camera: 20 photos or more that it took there, without labels: shelfmatch calibrate {bundle} FOLDER"
            )
    advice.append(
        f"measure it: 50 photos or more from that place, in folders named by SKU: shelfmatch eval {bundle} FOLDER"
    )
    if expected is not None and expected.high < _LOW_ACCEPTS:
        higher = min(0.5, 2 * rate)
        advice.append(
            f"for more answers, and more wrong ones, allow more false accepts: shelfmatch tune {bundle} --false-accept {higher:g}"
        )
    return advice


def _range(expected: Forecast) -> str:
    return f"{100 * expected.low:.0f} to {100 * expected.high:.0f}%"


def _percent(rate: float, *, up: bool = False) -> str:
    if not up:
        return f"{100 * rate:.3g}%"
    for digits in (0, 1, 2):
        step = 10**-digits
        value = float(-(-100 * rate // step) * step)
        if value < 100 or rate >= 1:
            break
    return f"{value:.{digits}f}%"
