"""What became of a catalogue's photos: the answer of `build`, `add` and `remove`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..bundle.bundle import Bundle
from ..bundle.growth import Growth, growth_of
from ..bundle.manifest import IndexRecord
from ..catalog.listing import CatalogSource, Finding
from ..scoring.adapter import Adaptation
from ..scoring.cascade import Cascade
from ..scoring.decision import Decision
from ..scoring.forecast import Forecast, forecast
from ..scoring.local import Local
from .changes import CatalogChange
from .enroll import Entries
from .pruning import Pruned


@dataclass(slots=True)
class BuildReport:
    """What became of the photos. `unreadable`, `duplicates` and `left_out` list (label, reason), `findings` what the source's
    owner should know, `changes` what became of each product where a bundle was changed, `cut` the photos that were cut to their
    product. `without_photos`: SKUs of the source that aren't in the bundle, since none of their photos can be used; `not_replaced`:
    those that for this reason keep the photos they had."""

    products: int = 0
    references: int = 0
    photos: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    without_photos: list[str] = field(default_factory=list)
    not_replaced: list[str] = field(default_factory=list)
    removed: int = 0
    seconds: float = 0.0
    decision: Decision | None = None
    adaptation: Adaptation | None = None
    pruned: Pruned | None = None
    index: IndexRecord | None = None
    cascade: Cascade | None = None
    local: Local | None = None
    local_reason: str = ""
    encoder: str = ""
    size_bytes: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    outgrown: Growth | None = None
    changes: tuple[CatalogChange, ...] = ()
    cut: list[str] = field(default_factory=list)

    @property
    def total_references(self) -> int:
        """The photos in the bundle, those of before as well."""
        return 0 if self.index is None else self.index.references

    @property
    def forecast(self) -> Forecast | None:
        """What to expect of photos by others, None where it can't be told: see `scoring.forecast`."""
        return None if self.decision is None else forecast(self.decision, self.products, self.total_references)

    def to_dict(self) -> dict[str, Any]:
        """The document of `build --json`."""
        return {
            "products": self.products,
            "references": self.references,
            "photos": self.photos,
            "unreadable": [{"image": label, "message": reason} for label, reason in self.unreadable],
            "duplicates": [{"image": label, "message": reason} for label, reason in self.duplicates],
            "ignored": self.ignored,
            "without_photos": self.without_photos,
            "removed": self.removed,
            "seconds": round(self.seconds, 3),
            "encoder": self.encoder,
            "index": None if self.index is None else {"kind": self.index.kind, "dtype": self.index.dtype},
            "decision": None if self.decision is None else self.decision.to_dict(),
            "forecast": None if self.forecast is None else self.forecast.to_dict(),
            "adaptation": None if self.adaptation is None else self.adaptation.to_dict(),
            "pruned": None if self.pruned is None else asdict(self.pruned),
            "size_bytes": self.size_bytes,
            "left_out": [{"path": label, "message": reason} for label, reason in self.left_out],
            "findings": [finding.to_dict() for finding in self.findings],
            "outgrown": None if self.outgrown is None else self.outgrown.to_dict(),
            "changed": [change.to_dict() for change in self.changes],
            **({"not_replaced": self.not_replaced} if self.not_replaced else {}),
            **({"cut": self.cut} if self.cut else {}),
            **({} if self.cascade is None else {"cascade": self.cascade.to_dict()}),
            **({} if self.local is None else {"local": self.local.to_dict()}),
            **({"local_reason": self.local_reason} if self.local_reason else {}),
        }


def report_of(
    committed: Bundle,
    entries: Entries,
    *,
    catalogue: CatalogSource | None = None,
    photos: int = 0,
    pruned: Pruned | None = None,
    removed: int = 0,
    seconds: float = 0.0,
    local_reason: str = "",
    changes: tuple[CatalogChange, ...] = (),
) -> BuildReport:
    """Put together at the end: what became of the photos (`entries`) of a source, and what stands in the bundle that was committed;
    `photos` where there was no source."""
    manifest = committed.manifest
    return BuildReport(
        products=manifest.products,
        references=entries.references - (0 if pruned is None else pruned.removed),
        photos=photos if catalogue is None else len(catalogue.photos),
        unreadable=entries.unreadable,
        cut=entries.cut,
        duplicates=entries.duplicates,
        ignored=[] if catalogue is None else list(catalogue.ignored),
        without_photos=entries.without_photos,
        not_replaced=entries.not_replaced,
        removed=removed,
        seconds=seconds,
        decision=manifest.final_decision,
        adaptation=manifest.adaptation,
        pruned=pruned,
        index=manifest.index,
        cascade=manifest.cascade,
        local=manifest.branches[0].local,
        local_reason=local_reason,
        encoder=", ".join(branch.encoder.name for branch in manifest.branches),
        outgrown=growth_of(manifest),
        changes=changes,
        size_bytes=sum(entry.size_bytes for entry in manifest.files.values()),
        left_out=[] if catalogue is None else list(catalogue.left_out),
        findings=[*([] if catalogue is None else catalogue.findings), *entries.findings],
    )
