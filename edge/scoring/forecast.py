"""What a bundle's decision promises for photos by others than the shop: a range, or nothing where it was measured on too little.

The shop's own photos, held out, are not what customers and cameras will send: another hand, light, distance. They bound it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..metrics import log_odds, wilson
from .decision import Decision

PHOTO_CORRELATION = 0.75
"""Of the answers to two photos of one product. So many photos of a product are worth fewer independent ones: n photos, m a product,
n / (1 + (m - 1) * correlation) (the design effect of a cluster sample, L. Kish 1965, "Survey Sampling", section 5.4)."""
OTHER_CAMERA = 1.8
"""By how much photos of another visit, hand and camera may fall behind those held out, in log odds, at the range's lower end.
With it 29 measured shops whose products have several photos lie in their ranges (benchmarks/forecasts.py: phone, GroZi, grocery
with 2, 5 and 33 photos each; whole and without a quarter of the products; shelfmatch-cnn and -nano), with 1.5 it was 28; held
out and measured: 86 and 30 %, 55 and 84 %, 49 and 17 %, 62 and 19 %."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of photos that show a product of the catalogue, the share that will be accepted and right: from `low` to `high`, 0 to 1.
    `photos`: of the shop's own, held out, it was measured on so many."""

    low: float
    high: float
    photos: int

    def to_dict(self) -> dict[str, Any]:
        """As in `build --json` and `info --json`."""
        return asdict(self)


def forecast(decision: Decision, products: int, photos: int) -> Forecast | None:
    """The forecast for a bundle of so many products and photos; None where it would rest on synthetic views or on nothing.

    Views of a picture are found far more often than photos of the product are (89 % where 24 % were, one packshot a product): no
    range that says anything holds both.
    """
    rate = decision.correct_accept_rate
    if rate is None or decision.method not in ("held-out", "leave-one-out") or photos < max(2, 2 * products):
        return None
    each = photos / products
    held_out = min(decision.known, photos)  # photos are held out in more than one round
    independent = held_out / (1 + (each - 1) * PHOTO_CORRELATION)
    count = max(1, round(independent))
    interval = wilson(round(rate * count), count)
    assert interval is not None
    # A photo that is held out meets one fewer of its product than a query will, each of which may find it by itself.
    with_all = 1 - (1 - interval[1]) ** (each / (each - 1))
    return Forecast(_moved(interval[0], -OTHER_CAMERA), with_all, held_out)


def _moved(rate: float, by: float) -> float:
    return 1 / (1 + math.exp(-(log_odds(rate, 1e-6) + by)))


def forecast_record(decision: Decision, products: int, photos: int) -> dict[str, Any] | None:
    """The forecast as a JSON document has it, null where there is none."""
    expected = forecast(decision, products, photos)
    return None if expected is None else expected.to_dict()
