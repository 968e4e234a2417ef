"""Whether a bundle has outgrown what it was fitted to: added products are found by an adapter that never saw them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from .manifest import Manifest

OUTGROWN_FROM = 1.5
"""Products or photos now, over those of the fit. A shop fitted to 10 of its 81 products found 57 % of the photos where one that was
fitted to all found 80 %."""


@dataclass(frozen=True, slots=True)
class Growth:
    """`state`: "yes" where the bundle has outgrown its fit, "unknown" where it was built before that was recorded. Numbers of then
    (`fitted_…`, None where unknown) and of now; `advice`: what to do, empty for "no"."""

    state: Literal["no", "yes", "unknown"]
    products: int
    references: int
    fitted_products: int | None = None
    fitted_references: int | None = None
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Under "outgrown" in `add --json`, `info --json` and `verify --json`."""
        return asdict(self)

    def sentence(self) -> str:
        """For people; empty for "no"."""
        if self.state == "no":
            return ""
        if self.state == "unknown":
            return f"outgrown: unknown, built before that was recorded; {self.advice}"
        return (
            f"outgrown: fitted to {self.fitted_products:,} products with {self.fitted_references:,} photos, has "
            f"{self.products:,} with {self.references:,} now; {self.advice}"
        )


def growth_of(manifest: Manifest) -> Growth:
    """How a bundle's size compares with that of its fit. One without an adapter, as asked for, has its decision fitted anew with
    each change and outgrows nothing."""
    now = manifest.products, manifest.index.references
    fit = manifest.fit
    if manifest.cascade is None and manifest.adaptation.reason == "switched off":
        return Growth("no", *now, *((fit.products, fit.references) if fit is not None else (None, None)))
    if fit is None:
        return Growth("unknown", *now, advice="build it again to have it said")
    outgrown = now[0] > OUTGROWN_FROM * fit.products or now[1] > OUTGROWN_FROM * fit.references
    how = "shelfmatch add --refit fits it again" if manifest.keeps_embeddings else "build it again from all photos"
    advice = f"{how}, to have the new products found as well as the old ones" if outgrown else ""
    return Growth("yes" if outgrown else "no", *now, fit.products, fit.references, advice)
