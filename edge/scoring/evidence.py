"""What a photo says of the products, before a decision makes a confidence of it; and what several photos say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .fusion import Ranked, mean_scores


@dataclass(frozen=True, slots=True)
class Evidence:
    """`ranked`: (product id, score), best first, by the score that ranks. `plain`: product → score of the first search. `local`:
    product → squashed logit (`local.squashed`) of those that were compared part by part; empty where that wasn't asked."""

    ranked: Ranked
    plain: Mapping[int, float]
    local: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of_search(cls, ranked: Ranked) -> Evidence:
        """Of a search alone."""
        return cls(ranked, dict(ranked))

    def cut(self, count: int) -> Evidence:
        """With the `count` best products in its ranking; what the others scored stays."""
        return Evidence(self.ranked[:count], self.plain, self.local)


def mean_evidence(several: Sequence[Evidence], weights: Sequence[float] | None = None) -> Evidence:
    """Of frames or variants of one photo; `weights` as for `mean_scores`."""
    if len(several) == 1:
        return several[0]
    plain = dict(mean_scores([list(one.plain.items()) for one in several], weights))
    local: dict[int, float] = {}
    if all(one.local for one in several):
        local = dict(mean_scores([list(one.local.items()) for one in several], weights))
    return Evidence(mean_scores([one.ranked for one in several], weights), plain, local)
