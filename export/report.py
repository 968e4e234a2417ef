"""The page of an export: what was kept and what was lost, for a person who decides whether it goes to the shop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from ..edge.encoders.card import Format
from ..edge.pages.html import figures, page, section, table
from .attempts import Attempt, ExportReport

_WIDE = 780
_DECADES = 7
"""The plot's range: from 1 - cosine = 1 down to 1e-7, which is float32's rounding."""
_COLORS = {"onnx": "#528bff", "tflite": "#7a5af8"}
_LAYERS_SHOWN = 15


def report_page(report: ExportReport) -> bytes:
    """One self-contained HTML document."""
    gate = report.gate
    smallest = min(report.kept, key=lambda attempt: attempt.size_bytes)
    worst = max((attempt.score.recall_loss_points for attempt in report.kept if attempt.score), default=0.0)
    overlap = min((attempt.score.overlap_at_5 for attempt in report.kept if attempt.score), default=1.0)
    body = [
        f"<h1>{escape(str(report.source['name']))}</h1>"
        f"<p>{escape(str(report.source['provenance']))}, exported in {report.seconds:.0f} s.</p>",
        figures(
            {
                "recall@1 of the source": f"{gate['source_recall_at_1']:.1%}",
                "points lost, at most": f"{max(0.0, worst):.2f}",
                "of the nearest five are the source's": f"{overlap:.1%}",
                "smallest file": f"{smallest.size_bytes / 1e6:.1f} MB",
            }
        ),
        section("Files", _attempts(report.attempts), note=_gate_note(report)),
    ]
    plotted = {
        f"{attempt.format} {attempt.recipe}": attempt.score.cosines.tolist()
        for attempt in report.attempts
        if attempt.score is not None and not math.isnan(attempt.score.cosine_mean)
    }
    if plotted:
        note = (
            "Cosine between each photo's embedding by the file and by the source. To the right is better; a step is a tenth "
            "of the difference."
        )
        body.append(section("How far embeddings move", _cosine_plot(plotted), note=note))
    for file_format, losses in report.layer_losses.items():
        body.append(_layers(file_format, losses, report.attempts))
    body.append(section("How it was made", table(_facts(report))))
    return page(f"{report.source['name']} – export", body)


def _gate_note(report: ExportReport) -> str:
    gate = report.gate
    step = 100 / max(1, gate["queries"])
    return (
        f"Measured by the device's own preprocessing, runtime and index on {gate['queries']} queries: one query is "
        f"{step:.2f} points. The gate allows {gate['points']:g} points of recall@1. Latency: pixels to embedding, one thread, "
        "this machine, beside fp32 in the same run."
    )


def _attempts(attempts: Sequence[Attempt]) -> str:
    header = (
        "file",
        "verdict",
        "MB",
        "recall@1",
        "points lost",
        "top-5 overlap",
        "cosine mean",
        "min",
        "ms",
        "fp32 ms",
    )
    rows = []
    for attempt in attempts:
        score = attempt.score
        verdict = attempt.verdict + (f": {attempt.reason}" if attempt.reason else "")
        if attempt.kept_in_float:
            verdict += f" ({len(attempt.kept_in_float)} layers in float)"
        rows.append(
            (
                attempt.file or f"{attempt.format}, {attempt.recipe}",
                verdict,
                f"{attempt.size_bytes / 1e6:.2f}" if attempt.size_bytes else "",
                "" if score is None else f"{score.recall_at_1:.1%}",
                "" if score is None else f"{score.recall_loss_points:.2f}",
                "" if score is None else f"{score.overlap_at_5:.1%}",
                "" if score is None else f"{score.cosine_mean:.5f}",
                "" if score is None else f"{score.cosine_min:.5f}",
                "" if attempt.latency_ms is None else f"{attempt.latency_ms:.2f}",
                "" if attempt.fp32_latency_ms is None else f"{attempt.fp32_latency_ms:.2f}",
            )
        )
    return _table(header, rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div style="overflow-x:auto"><table><tr>{head}</tr>{body}</table></div>'


def _cosine_plot(groups: Mapping[str, Sequence[float]]) -> str:
    """A row of bars for each file: how many photos lie at which distance, on a logarithmic axis."""
    bins, left, high = _DECADES * 4, 200, 64
    width = (_WIDE - left) / bins
    parts = []
    for place, (name, values) in enumerate(groups.items()):
        base = (place + 1) * (high + 18)
        counts = [0] * bins
        for value in values:
            distance = max(1.0 - value, 10.0**-_DECADES)
            counts[min(bins - 1, max(0, int(-math.log10(distance) * bins / _DECADES)))] += 1
        tallest = max(counts) or 1
        color = _COLORS[name.partition(" ")[0]]
        parts.append(f'<text x="0" y="{base - high / 2 + 5}">{escape(name)}</text>')
        parts.append(f'<line x1="{left}" y1="{base}" x2="{_WIDE}" y2="{base}" stroke="#98a2b3"/>')
        for number, count in enumerate(counts):
            if count:
                tall = max(2.0, high * count / tallest)
                box = (
                    f'x="{left + number * width:.1f}" y="{base - tall:.1f}" width="{width - 1:.1f}" height="{tall:.1f}"'
                )
                parts.append(f'<rect {box} fill="{color}"><title>{count} photos</title></rect>')
    bottom = len(groups) * (high + 18)
    for decade in range(_DECADES):
        label = "0" if decade == 0 else f"0.{'9' * decade}"
        parts.append(f'<text x="{left + decade * (_WIDE - left) / _DECADES:.1f}" y="{bottom + 18}">{label}</text>')
    return f'<svg viewBox="0 0 {_WIDE + 20} {bottom + 28}" width="100%" role="img">{"".join(parts)}</svg>'


def _layers(file_format: Format, losses: Mapping[str, float], attempts: Sequence[Attempt]) -> str:
    floats = {
        name
        for attempt in attempts
        if attempt.format == file_format and attempt.verdict == "kept"
        for name in attempt.kept_in_float
    }
    ranked = sorted(losses.items(), key=lambda item: -item[1])[:_LAYERS_SHOWN]
    longest = max((loss for _, loss in ranked), default=0.0) or 1.0
    parts = []
    for place, (name, loss) in enumerate(ranked):
        y, width = 30 * place, max(2.0, 330 * loss / longest)
        color = "#f79009" if name in floats else "#528bff"
        visible = name if len(name) <= 48 else f"…{name[-47:]}"
        parts.append(
            f'<text x="0" y="{y + 18}">{escape(visible)}</text>'
            f'<rect x="350" y="{y + 4}" width="{width:.1f}" height="18" rx="4" fill="{color}"/>'
            f'<text x="{358 + width:.1f}" y="{y + 18}">{loss:.2g}</text>'
        )
    plot = f'<svg viewBox="0 0 {_WIDE} {30 * len(ranked)}" width="100%" role="img">{"".join(parts)}</svg>'
    note = "What quantizing one layer alone costs: 1 - mean cosine to the float file."
    if floats:
        note += " Orange layers were kept in float."
    return section(f"Layers that lose most, {file_format}", plot, note=note)


def _facts(report: ExportReport) -> list[tuple[str, str]]:
    source, preprocessing, projected = report.source, report.source["preprocessing"], report.source["projected_to"]
    rows = [
        ("preprocessing", f"{preprocessing['size'][1]}x{preprocessing['size'][0]}, {preprocessing['resize']} "
                          f"{preprocessing['crop_fraction']:g}, mean {preprocessing['mean']}, std {preprocessing['std']}"),
        ("read from", str(preprocessing["read_from"])),
        ("embedding", f"{source['dimension']} numbers" + (f", projected to {projected}" if projected else "")),
        ("licence", str(source["license"] or "not said by the source")),
        ("calibration", f"{report.calibration['photos']} photos of {report.calibration['products']} products, "
                        f"{report.calibration['used_for_ranges']} for the ranges; sha256 {report.calibration['sha256'][:16]}…"),
        ("packages", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
        *(("note", note) for note in report.notes),
        ("the same bytes again", "the same packages, photos and source give the same device files, byte for byte"),
    ]  # fmt: skip
    if report.calibration["unreadable"]:
        rows.append(("unreadable photos", "; ".join(report.calibration["unreadable"][:5])))
    return rows
