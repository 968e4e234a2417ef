"""The page of `build --report`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import write_atomic
from ..metrics import ReliabilityBin
from ..terminal import size_text
from .charts import reliability_plot
from .html import figures, page, section, table

if TYPE_CHECKING:
    from ..build.report import BuildReport


def _queries_of(method: str) -> str:
    return "synthetic views of the shop's photos" if method == "synthetic-views" else "the shop's own photos, held out"


def _forecast_words(report: BuildReport) -> str:
    """The range, or why there is none."""
    expected = report.forecast
    if expected is None:
        return "can't be told from these photos; measure it with shelfmatch eval"
    return f"{expected.low:.0%} to {expected.high:.0%}"


def write_build_page(path: Path, report: BuildReport, bundle: str) -> None:
    """The page of `build --report`."""
    decision = report.decision
    body = [
        f"<h1>{escape(Path(bundle).name)}</h1><p>Built with {escape(report.encoder)} in {report.seconds:.1f} s.</p>",
        figures(
            {
                "products": f"{report.products:,}",
                "photos in the index": f"{report.references:,}",
                "photos that can't be read": f"{len(report.unreadable):,}",
                "bundle": size_text(report.size_bytes),
            }
        ),
    ]
    if decision is not None and decision.correct_accept_rate is not None and decision.false_accept_rate is not None:
        rows = [
            ("fitted on", f"{decision.known:,} known and {decision.unknown:,} unknown queries, {decision.method}"),
            ("threshold", f"confidence {decision.threshold:.3f}"),
            ("unknown queries, accepted (expected)", f"{decision.false_accept_rate:.1%}"),
            (f"{_queries_of(decision.method)}, accepted and right", f"{decision.correct_accept_rate:.1%}"),
            ("photos of your products by others, named right", _forecast_words(report)),
        ]
        note = "Measured by leaving the shop's own photos out; photos of a camera in the shop are harder."
        body.append(section("Match or unknown", table(rows), note=note))
        curve = [ReliabilityBin(0, 1, count, mean, share) for mean, share, count in decision.reliability]
        note = (
            "How often held-out photos were right at each confidence; on the diagonal, a confidence is a probability."
        )
        body.append(section("Reliability of the confidence", reliability_plot(curve), note=note))
    if report.adaptation is not None:
        rows = [("the shop's adapter", report.adaptation.sentence())]
        if report.pruned is not None:
            before, after = report.pruned.recall_before, report.pruned.recall_after
            found = f"{before:.1%} of them find their product among all photos, {after:.1%} among those kept"
            rows.append((f"{report.pruned.removed:,} photos left out", found))
        body.append(section("Tuned to this shop", table(rows)))
    findings = [(finding.kind, finding.message) for finding in report.findings]
    lists: tuple[tuple[str, Sequence[tuple[str, str]]], ...] = (
        ("What to know of the source", findings),
        ("Left out", report.left_out),
        ("Photos that can't be read", report.unreadable),
        ("Duplicates", report.duplicates),
    )
    for heading, listed in lists:
        if listed:
            body.append(section(heading, table(listed)))
    if report.without_photos:
        body.append(section("Products left out for want of a photo", table([(sku,) for sku in report.without_photos])))
    if report.ignored:
        body.append(section("Files that are no photos", table([(label,) for label in report.ignored])))
    write_atomic(path, page(f"{Path(bundle).name} – build", body))
