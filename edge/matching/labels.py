"""What kind of thing a photo shows: attributes of the catalogue, voted by the products nearest to it.

Also for products that aren't in the catalogue: a kiosk says "some kind of tea". Each of the nearest products has a vote for its
value, which fades as it falls behind the nearest: exp((score - best score) / temperature). The winner's share of the votes
becomes a probability by Platt scaling (J. Platt 1999, as in `calibration`), fitted on the shop's own
photos when an attribute is first asked for. Each photo is a query twice: left out itself (a product in the catalogue),
and with its whole product left out (one that it doesn't). Both kinds weigh the same, as in the decision of match or unknown.
Where products have one photo each there is only the second kind; the confidence is then that of a product outside the catalogue.
Beside an accepted answer the label is the product's own attribute, at least as sure as the product (`with_answer`).
The first answer waits for the fit: 0.1 s at 10,000 x 128, 1.5 s at 200,000; those after it take one more search.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.catalog import Catalog
from ..catalog.ids import PHOTO_BITS, product_of
from ..errors import CatalogError
from ..forking import call_after_fork
from ..metrics import log_odds
from ..scoring.decision import best_products

if TYPE_CHECKING:
    from ..index.vector_index import VectorIndex
    from .results import Candidate

NEAREST = 5
"""Products with a vote. Of 3, 5, 10, 20 and 50 the lowest log loss on grocery photos left out, by a little."""
TEMPERATURES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)
"""How fast votes fade, in cosine; encoders spread their cosines differently, so the shop's own photos choose."""
_DEFAULT_TEMPERATURE = 0.03
_LEAST_SHARE = 1e-3
"""A share of the votes is held between this and one less this, before its log odds are taken."""
MAX_SAMPLES = 300
MIN_SAMPLES = 20
"""As in `calibration`: fewer don't carry a fit."""

Hits = list[tuple[int, float]]
"""(product id, score), best first."""


@dataclass(frozen=True, slots=True)
class Label:
    """The value of an attribute that the nearest products agree on most, and the probability, 0 to 1, that it is right."""

    value: str
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """As in `match --json`."""
        return {"value": self.value, "confidence": round(self.confidence, 6)}


@dataclass(frozen=True, slots=True)
class Vote:
    """How the nearest products' votes become a confidence: 1 / (1 + exp(-(intercept + slope * logit(share)))).

    Without enough photos to fit (`samples` 0), one more vote is counted for "none of these", and the share is taken as it is.
    """

    temperature: float = _DEFAULT_TEMPERATURE
    intercept: float = 0.0
    slope: float = 1.0
    samples: int = 0

    def label(self, hits: Hits, values: Mapping[int, str]) -> Label | None:
        """The winner among products that have a value; None where none does. Equal shares: the nearer product's value."""
        shares = _shares(hits, values, self.temperature)
        if not shares:
            return None
        winner = max(shares, key=shares.__getitem__)
        total = sum(shares.values())
        if not self.samples:
            return Label(winner, shares[winner] / (total + 1.0))
        logit = self.intercept + self.slope * log_odds(shares[winner] / total, _LEAST_SHARE)
        return Label(winner, 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, logit)))))


def with_answer(labels: Mapping[str, Label | None], answer: Candidate) -> dict[str, Label | None]:
    """Labels beside an accepted answer: the product's own attributes, at least as sure as the product is. Where it has none, or a
    vote for the same value is surer, the vote stays."""
    answers: dict[str, Label | None] = {}
    for attribute, voted in labels.items():
        own = answer.product.attributes.get(attribute)
        agrees = voted is not None and voted.value == own and voted.confidence > answer.confidence
        answers[attribute] = voted if not own or agrees else Label(own, answer.confidence)
    return answers


def _shares(hits: Hits, values: Mapping[int, str], temperature: float) -> dict[str, float]:
    voters = [(values[product], score) for product, score in hits if product in values][:NEAREST]
    shares: dict[str, float] = {}
    for value, score in voters:
        shares[value] = shares.get(value, 0.0) + math.exp((score - voters[0][1]) / temperature)
    return shares


_Fitted = tuple[dict[int, str], NDArray[np.bool_] | None, Vote]
"""Product id → value; which references are of products that have one, None for all; the vote."""
_FITTED: weakref.WeakKeyDictionary[VectorIndex, dict[str, _Fitted]] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def _renew_lock() -> None:
    global _LOCK
    _LOCK = threading.Lock()


call_after_fork(_renew_lock)


def labels_of(
    index: VectorIndex,
    catalog: Catalog,
    vector: NDArray[np.float32],
    attributes: Sequence[str],
    allowed: NDArray[np.bool_] | None,
) -> dict[str, Label | None]:
    """Attribute → its label for an embedding (D,), None where nobody who may vote has it; `allowed`: which references may
    vote, all for None. Raises CatalogError for an attribute that no product has."""
    fitted = {attribute: _fitted(index, catalog, attribute) for attribute in dict.fromkeys(attributes)}
    return {
        attribute: vote.label(_nearest(index, vector, voters, allowed), values)
        for attribute, (values, voters, vote) in fitted.items()
    }


def _nearest(
    index: VectorIndex,
    vector: NDArray[np.float32],
    voters: NDArray[np.bool_] | None,
    allowed: NDArray[np.bool_] | None,
    count: int = NEAREST,
) -> Hits:
    """The nearest of the products that have a value; `voters`: which references are theirs, None where all have one."""
    if voters is not None:
        allowed = voters if allowed is None else voters & allowed
    found, scores = index.search_groups(vector, count, bits=PHOTO_BITS, allowed=allowed)
    return best_products(found, scores)[:count]


def _fitted(index: VectorIndex, catalog: Catalog, attribute: str) -> _Fitted:
    """Done the first time that a snapshot is asked for an attribute, and kept as long as its index."""
    with _LOCK:
        kept = _FITTED.setdefault(index, {})
        if attribute not in kept:
            values = {
                product_id: product.attributes[attribute]
                for product_id, product in catalog.products()
                if product.attributes.get(attribute)
            }
            if not values:
                known = [key for key in catalog.attribute_keys() if key not in ("sku", "name")]
                raise CatalogError(
                    f"no product has the attribute {attribute!r} to label by; the catalogue has {', '.join(known) or 'none'}"
                )
            ids = index.ids
            has_value = np.isin(product_of(ids), np.array(list(values), np.uint32))
            voters = None if has_value.all() else has_value
            samples = _samples(index, values, np.flatnonzero(has_value), voters)
            kept[attribute] = values, voters, fit_vote(samples, values)
        return kept[attribute]


def _samples(
    index: VectorIndex, values: Mapping[int, str], rows: NDArray[np.intp], voters: NDArray[np.bool_] | None
) -> list[tuple[str, Hits, Hits]]:
    """(true value, nearest products without the photo, nearest without its product) of at most MAX_SAMPLES of the rows."""
    owners = product_of(index.ids)
    rows = rows[np.linspace(0, len(rows) - 1, min(MAX_SAMPLES, len(rows))).astype(np.intp)]
    samples = []
    for row, own, vector in zip(rows.tolist(), owners[rows].tolist(), index.vectors(rows), strict=True):
        others = [hit for hit in _nearest(index, vector, voters, None, NEAREST + 1) if hit[0] != own]
        siblings = np.flatnonzero(owners == own)
        siblings = siblings[siblings != row]
        known: Hits = []
        if len(siblings):  # its product is known by its other photos alone
            known = [(own, float((index.vectors(siblings) @ vector).max())), *others]
        samples.append((values[own], sorted(known, key=lambda hit: -hit[1]), others))
    return samples


def fit_vote(samples: Sequence[tuple[str, Hits, Hits]], values: Mapping[int, str]) -> Vote:
    """The temperature and scaling with the lowest log loss over both kinds of queries. Where products have one photo each there
    are no known ones: then over the unknown ones alone, which is careful. Too few of those: the default."""
    known = [(truth, hits) for truth, hits, _ in samples if hits]
    unknown = [(truth, hits) for truth, _, hits in samples if hits]
    if len(unknown) < MIN_SAMPLES:
        return Vote()
    if len(known) < MIN_SAMPLES:
        known = []
    from ..fitting.logistic import fit_platt

    kinds = [part for part in (known, unknown) if part]
    weights = np.concatenate([np.full(len(part), 1 / len(kinds) / len(part)) for part in kinds])
    best, least = Vote(), math.inf
    for temperature in TEMPERATURES:
        logits, right = [], []
        for truth, hits in [*known, *unknown]:
            shares = _shares(hits, values, temperature)
            winner = max(shares, key=shares.__getitem__)
            logits.append(log_odds(shares[winner] / sum(shares.values()), _LEAST_SHARE))
            right.append(winner == truth)
        truths = np.array(right, float)
        # Where shares say nothing, and few samples would have them say something: how often the winner is right.
        rate = float((weights @ truths * len(truths) + 1) / (len(truths) + 2))
        constant = -float(weights @ np.where(truths > 0, math.log(rate), math.log(1 - rate)))
        intercept, slope, loss = fit_platt(np.array(logits), truths, weights)
        if not (slope > 0 and loss < constant):
            intercept, slope, loss = math.log(rate / (1 - rate)), 0.0, constant
        if loss < least:
            best, least = Vote(temperature, intercept, slope, len(samples)), loss
    return best
