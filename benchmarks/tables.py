"""The documents' tables, made of what the benchmarks found; `run_all.py` puts them into the pages."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any, Final

import reporting

RESULTS: Final = Path(__file__).resolve().parent / "results"

Document = dict[str, Any]

NAMES: Final = {"v1": "Coral MobileNetV1", "v2": "Coral MobileNetV2"}


def encoders_table(found: Document) -> str:
    """One encoder a row, ours first; `benchmarks/results/encoders.md` has the float and ONNX files as well."""
    from encoders import KNOWN_AS

    from shelfmatch.models.known import encoder_named

    rows = []
    for name in ("shelfmatch-cnn", "shelfmatch-nano", "shelfmatch-vit", "v1", "v2"):
        row = found["results"].get(name)
        if row is None:
            continue
        numbers = encoder_named(KNOWN_AS.get(name, name)).dimension
        recalls = ["recall_at_1", "recall_at_1_adapted", "unseen_recall_at_1", "rendered_recall_at_1"]
        photos, tuned, unseen, rendered = (f"{100 * row[key]:.1f} %" for key in recalls)
        iconic = " / ".join(f"{100 * row[f'iconic_recall_at_{k}']:.1f}" for k in (1, 5)) + " %"
        instructions = " / ".join(f"{row[f'instructions_{core}_m']:.1f}" for core in ("a72", "a76")) + " M"
        rows.append(
            (NAMES.get(name, f"`{name}`"), f"{row['size_mb']:.1f}", numbers, photos, tuned, iconic, unseen,
             rendered, instructions, f"{row['ms']:.1f}")
        )  # fmt: skip
    header = ("", "MB", "numbers", "photos", "tuned", "catalogue pictures @1 / @5", "never trained on", "rendered",
              "A72 / A76", "ms")  # fmt: skip
    return reporting.markdown_table(header, rows)


def known_print_table(found: Document) -> str:
    """Goods that trained no encoder: whether the first candidate is right, in each runtime."""
    results = found["results"]
    header = ("", *(f"{kind} ({results['queries'][kind]})" for kind in results["queries"]), "cosine to the source")
    cosines = results["cosine to the source"]
    rows = [
        (NAMES.get(name, f"`{name}`"), *(f"{100 * row[kind]:.1f} %" for kind in results["queries"]),
         f"{cosines[name]:.4f}" if name in cosines else "")
        for name, row in results["recall"].items()
    ]  # fmt: skip
    return "\n\n".join((reporting.markdown_table(header, rows), bars_table(found)))


CARD_ROWS: Final = {
    "recall_at_1": "grocery val photos among all train photos, plain, as a bundle answers",
    "recall_at_1_adapted": "… tuned to the shop (`--adapt auto`)",
    "iconic_recall_at_1": "val photos among 81 catalogue pictures, recall@1",
    "iconic_recall_at_5": "… recall@5",
    "unseen_recall_at_1": "val photos of the 16 products never trained on (55 photos), among all train photos",
    "rendered_recall_at_1": "500 rendered products never trained on, hard view → plain picture",
}


def card_table(found: Document, name: str) -> str:
    """An encoder's page in models/: what it reaches in each precision, beside the MobileNets."""
    results = found["results"]
    kinds = {
        name: "this (int8, LiteRT)", f"{name}.onnx": "int8, ONNX Runtime", f"{name}-fp32": "fp32", "v1": "MobileNetV1",
        "v2": "MobileNetV2",
    }  # fmt: skip
    columns = [results[key] for key in kinds if key in results]
    rows = [(what, *(f"{100 * column[key]:.1f} %" for column in columns)) for key, what in CARD_ROWS.items()]
    counts = [
        " / ".join(f"{column[f'instructions_{core}_m']:.1f}" for core in ("a72", "a76"))
        if "instructions_a72_m" in column else ""
        for column in columns
    ]  # fmt: skip
    rows.append(("million instructions a photo, Cortex-A72 / A76", *counts))
    header = ("", *(kind for key, kind in kinds.items() if key in results))
    return reporting.markdown_table(header, rows)


def arm_table(found: Document) -> str:
    """Stages by core, from benchmarks/arm/budgets.json."""
    stages = ("decode", "preprocess", "encode", "search", "decide")
    rows = []
    for encoder in sorted({name for counts in found["instructions"].values() for name in counts}):
        for core, counts in found["instructions"].items():
            what = f"{core.replace('cortex-a', 'Cortex-A')}, {encoder.removesuffix('.tflite')}"
            rows.append((what, *(f"{counts[encoder][stage] / 1e6:.2f}" for stage in stages)))
    return reporting.markdown_table(("", *stages), rows)


def latency_table(found: Document) -> str:
    """Our time for each kind of photo, with Pillow and with what `shelfmatch[fast]` brings, and as a multiple of the peer's."""
    cases = {"4032x3024": "12 MP", "array": "RGB array"}
    rows, columns = [], ("Pillow", "[fast]")
    for encoder, kinds in found["results"].items():
        for case, pairs in kinds.items():
            if case != "same_photo_cosine":
                what = f"{NAMES[encoder].removeprefix('Coral ')}, {cases.get(case, case.replace('x', '×'))}"
                rows.append((what, *(_times(pairs[who]) if who in pairs else "" for who in columns)))
    header = ("", "Pillow, ms (× MediaPipe, 95 %)", "with `shelfmatch[fast]`, ms (× MediaPipe, 95 %)")
    return reporting.markdown_table(header, rows)


def _times(ours: Document) -> str:
    value, low, high = ours["ratio"]
    return f"{ours['ours_ms']:.1f} ({value:.2f}, {low:.2f} to {high:.2f})"


ENGINES: Final = {
    "shelfmatch-exact": "shelfmatch, exact, i8",
    "shelfmatch-hnsw": "shelfmatch, graph, i8",
    "faiss-flat": "faiss flat",
    "faiss-sq8": "faiss SQ8",
    "faiss-sqfp16": "faiss SQfp16",
    "floor": "one pass over 8-bit codes",
}


def search_table(found: Document) -> str:
    """Every size and engine: time, recall, file."""
    rows = [
        (f"{int(size.split('x')[0]):,} × {size.split('x')[1]}, {ENGINES.get(name, name)}", f"{row['median_us']:.0f}",
         *(("", "") if name == "floor" else (f"{row['recall_at_10']:.4f}", f"{row['file_bytes'] / 1e6:.2f}")))
        for size, engines in found["results"].items() for name, row in engines.items()
    ]  # fmt: skip
    return reporting.markdown_table(("", "µs", "recall@10", "file, MB"), rows)


def adaptation_table(found: Document) -> str:
    """What tuning brings each encoder, and how well it tells known from unknown queries."""
    from adaptation import ENCODERS

    results = found["results"]
    rows = []
    for name in ENCODERS:
        photos, pictures = (
            " → ".join(f"{results[f'{name} {shop} {adapt}']['recall_at_1']:.1f}" for adapt in ("off", "auto"))
            for shop in ("2,640 train photos", "81 catalogue pictures")
        )
        small, unknown = results[f"{name} small shops, 3 and more"], results[f"{name} strangers"]
        accepted = " / ".join(f"{100 * unknown['false_accepts'][target]:.1f}" for target in ("0.01", "0.05", "0.1"))
        rows.append(
            (NAMES.get(name, f"`{name}`"), photos, pictures, f"{small['without']:.1f} → {small['auto']:.1f}",
             f"{unknown['near_auroc']:.2f}", f"{100 * unknown['near_right_accepts']:.0f}", accepted,
             f"{unknown['calibration_error']:.2f}")
        )  # fmt: skip
    header = ("plain → tuned, recall@1 %", "2,640 train photos", "81 catalogue pictures", "small shops", "AUROC",
              "correct accepts at 5 % false accepts, %", "false-accept rate at target 1 / 5 / 10 %, %",
              "calibration error")  # fmt: skip
    return reporting.markdown_table(header, rows)


def export_table(found: Document) -> str:
    """What `auto` made of the trained networks; benchmarks/results/export_matrix.md has the others too."""
    from export_matrix import TRAINED

    names = {"coral-mobilenetv2": "MobileNetV2"}
    rows = []
    for name in TRAINED:
        for attempt in found["results"][name]["attempts"]:
            if attempt["recipe"] == "fp32":
                exact = attempt["size_bytes"]
            if attempt["verdict"] != "kept":
                continue
            floats = len(attempt["kept_in_float"])
            recipe = attempt["recipe"] + (f", {floats} layer{'s' * (floats > 1)} in float" if floats else "")
            what = f"{names.get(name, f'`{name}`')}, {attempt['format'].upper().replace('TFLITE', 'TFLite')} {recipe}"
            size = f"{attempt['size_bytes'] / 1e6:.2f} ({100 * attempt['size_bytes'] / exact:.0f} %)"
            lost, overlap = f"{attempt['recall_loss_points']:.2f}", f"{attempt['overlap_at_5']:.3f}"
            rows.append((what, size, lost, overlap, f"{attempt['latency_ms']:.1f} ({attempt['fp32_latency_ms']:.1f})"))
    return reporting.markdown_table(
        ("auto", "MB (of fp32)", "recall@1 points lost", "top-5 overlap", "ms (fp32)"), rows
    )


def look_again_table(found: Document) -> str:
    """Photos that were ruined: recall@1 and false accepts without and with look-again passes."""
    rows = []
    for name in ("v1", "v2"):
        sets, accepts = found["results"][name]["sets"], found["results"][name]["false_accepts"]
        for how, both in sets.items():
            recalls = " → ".join(f"{100 * both[when]['recall_at_1']:.1f}" for when in ("once", "again"))
            right = " → ".join(f"{100 * both[when]['correct_accepts']:.1f}" for when in ("once", "again"))
            false = " → ".join(f"{100 * accepts[how][when]:.1f}" for when in ("once", "again"))
            rows.append((f"{NAMES[name].removeprefix('Coral ')}, {how}", recalls, right, false))
    return reporting.markdown_table(
        ("without → with, %", "recall@1", "correct accepts", "false accepts of left-out products"), rows
    )


def scenes_table(found: Document) -> str:
    """Whole phone photos as they came, located, and cut by hand; and unknown products among them."""
    phone, unknown = found["results"]["phone"], found["results"]["open"]
    modes = ("whole", "auto", "always", "by hand")
    rows = [
        (what, *(f"{100 * phone[key][mode]:.1f} %" for mode in modes))
        for what, key in (
            ("recall@1", "recall_at_1"),
            ("right accepts, all products in the catalogue", "right_accepts"),
        )
    ]
    for what, key in (
        ("right accepts, a quarter of the products left out", "right_accepts"),
        ("false accepts of those left out", "false_accepts"),
    ):
        rows.append((what, *(f"{100 * unknown[mode][key]:.1f} %" for mode in ("off", "auto", "always")), ""))
    return reporting.markdown_table(
        (f"{phone['queries']} photos", "`--locate off`", "`auto`", "`always`", "cut by hand"), rows
    )


def small_table(found: Document) -> str:
    """Photos so small that they may be cut to their product already, by how they are located."""
    small = found["results"]["small"]
    names = {"phone whole": "phone photos, whole", "phone": "phone photos, crops", "fridge": "fridge, crops",
             "grozi": "GroZi's frames", "grocery iconic": "groceries among pictures"}  # fmt: skip
    rows = []
    for kind, name in names.items():
        one = small[kind]
        cells = [f"{100 * one['recall_at_1'][mode]:.1f} %" for mode in ("off", "auto", "always")]
        unknown = one.get("open")
        accepts = [
            " → ".join(f"{100 * unknown[mode][key]:.1f}" for mode in ("off", "auto")) + " %" if unknown else ""
            for key in ("right_accepts", "false_accepts")
        ]
        rows.append((f"{name}, {one['queries']}", *cells, *accepts))
    return reporting.markdown_table(
        ("recall@1", "`off`", "`auto`", "`always`", "right accepts, a quarter left out", "false accepts"), rows
    )


def bars_table(found: Document) -> str:
    """A benchmark's bars beside what was measured."""
    rows = [
        (
            bar["what"],
            f"{'≥' if bar['at_least'] else '≤'} {bar['limit']:g}",
            f"{bar['measured']:.4g}",
            "yes" if bar["met"] else "NO",
        )
        for bar in found["bars"]
    ]
    return reporting.markdown_table(("what", "bar", "measured", "met"), rows)


def rows_table(found: Document) -> str:
    """A benchmark's own rows."""
    rows = found["results"]["rows"]
    return reporting.markdown_table(tuple(rows[0]), [tuple(row.values()) for row in rows])


def shelf_events_table(found: Document) -> str:
    """Days of the judging generator: their bars, and each seed alone."""
    day = found["results"]["events"]
    seeds = [(name, f"{precision:.3f}", f"{recall:.3f}") for name, (precision, recall) in day["seeds"].items()]
    here = found["results"]["here"]
    said = (
        f"{day['hours']:g} hours and about {day['events']} events a seed: {day['true']} true ones, {day['right']} of them told, "
        f"{day['false']} false. In the mean {here['frames_a_minute']:,.0f} frames a minute on one thread of this machine; the "
        f"benchmark's peak memory, with the generator, is {here['peak_resident_mb']:.0f} MB."
    )
    return "\n\n".join((said, bars_table(found), reporting.markdown_table(("", "precision", "recall"), seeds)))


def conversions_table(found: Document) -> str:
    """Networks that nobody here has trained, and their bars."""
    header = ("network", "format", "MB", "least cosine", "largest difference", "refused because")
    rows = [
        (*name.rsplit(" ", 1), row["MB"], row["least cosine"], row["largest difference"], row["refused because"])
        for name, row in found["results"].items()
    ]
    return "\n\n".join((bars_table(found), reporting.markdown_table(header, rows)))


def detection_table(found: Document) -> str:
    """What the detector finds on photos and designs that trained nothing."""
    rows = [
        (name, row["photos"], row["boxes"], f"{row['ap50']:.1f}", f"{row['ap75']:.1f}", f"{row['recall_at_one_false']:.1f} %",
         "" if row["count_off"] is None else f"{row['count_off']:.1f} %")
        for name, row in found["results"].items()
    ]  # fmt: skip
    header = (
        "",
        "photos",
        "boxes",
        "AP50",
        "AP75",
        "boxes found at ≤ 1 false find a photo",
        "count off by, in the mean",
    )
    return reporting.markdown_table(header, rows)


def frames_table(found: Document) -> str:
    """Several photos of a product as frames, with the correlation that `track` uses."""
    rows = [
        (f"{NAMES[name].removeprefix('Coral ')}, {row['frames']} frame{'s' * (row['frames'] > 1)}",
         *(row[key] for key in ("recall@1", "correct accepts", "false accepts")))
        for name in ("v1", "v2") for row in found["results"][f"{name} frames"] if "ours" in row["correlation"]
    ]  # fmt: skip
    return reporting.markdown_table(("", "recall@1", "correct accepts", "false accepts"), rows)


def cascade_table(found: Document) -> str:
    """Two encoders in the shop of all train photos: what each finds, how often the second is asked, what it costs."""
    rows = []
    for pair, draws in found["results"].items():
        whole = draws[0]
        names = ", then ".join(NAMES.get(name, f"`{name}`") for name in pair.split(", "))
        recalls = (f"{100 * whole[key]:.1f} %" for key in ("first recall", "both recall", "cascade recall"))
        rows.append((names, *recalls, f"{100 * whole['asked']:.0f} %", f"{whole['cost']:.2f} ×"))
    header = (
        "",
        "first alone",
        "both for all photos",
        "cascade",
        "second asked for",
        "instructions, of the cheaper one alone",
    )
    return reporting.markdown_table(header, rows)


def both_table(found: Document) -> str:
    """Two of the embedded encoders in one bundle, on goods that trained none of them; and its bars."""
    rows = []
    for pair, sets in found["results"].items():
        names = ", then ".join(f"`{name}`" for name in pair.split("+"))
        for kind, one in sets.items():
            recalls = (f"{100 * one[key]:.1f} %" for key in ("first", "second", "both"))
            rows.append((names, kind, *recalls, f"{100 * one['asked']:.0f} %", f"{one['cost']:.2f} ×"))
    header = ("", "set", "first alone", "second alone", "both", "second asked for", "instructions, of the CNN's")
    return "\n\n".join((reporting.markdown_table(header, rows), bars_table(found)))


def cold_start_table(found: Document) -> str:
    """From the start of a process to its first answer."""
    rows = [
        (f"`{name}`" if name == "import numpy" else name, f"{row['answer_ms']:.0f}", f"{median(row['peak_mb']):.0f}")
        for name, row in found["results"].items()
    ]  # fmt: skip
    return reporting.markdown_table(("", "ms to the first answer", "MB at the peak"), rows)


def kiosk_table(found: Document) -> str:
    """The kiosk's start and memory, what HTTP costs, and load."""
    start, http, load = (found["results"][part] for part in ("start", "http", "load"))
    rows = [
        ("start to ready", f"{start['seconds']:.2f} s, {start['cpu_ms']:.0f} ms of the processor"),
        ("resident memory idle, at load", f"{start['idle_mb']:.0f} MB, {max(row['resident_mb'] for row in load.values()):.0f} MB"),
        ("a photo over HTTP beside `Matcher.match`", f"{http['quick_http_ms'] / http['quick_match_ms']:.2f} ×"),
        *((f"{clients} clients", f"{row['per_second']:.0f} photos a second, half of them in {row['p50_ms']:.0f} ms, 99 % in "
           f"{row['p99_ms']:.0f} ms; {row['refused']:,} refused; {row['cpu_ms_a_photo']:.0f} ms of the processor a photo, "
           f"{row['resident_mb']:.0f} MB") for clients, row in load.items()),
    ]  # fmt: skip
    return reporting.markdown_table((f"{found['settings']['products']:,} products", ""), rows)


def kiosk_libraries_table(found: Document) -> str:
    """The same small service in several web libraries."""
    rows = [
        (name, f"{row['start_cpu_ms']:.0f}", f"{row['resident_mb']:.0f}", f"{row['request_cpu_us']:.0f}")
        for name, row in found["results"]["libraries"].items()
    ]
    header = ("library", "start, ms of the processor", "resident MB", "µs of the processor a request")
    return reporting.markdown_table(header, rows)


def encoders_in_full(_: Document) -> str:
    """Every file of every encoder, as benchmarks/encoders.py wrote it."""
    return _table_of(RESULTS / "encoders.md")


def export_in_full(_: Document) -> str:
    """Every network, as benchmarks/export_matrix.py wrote it."""
    return _table_of(RESULTS / "export_matrix.md")


def _table_of(page: Path) -> str:
    return "\n".join(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|"))


def readme_table(_: Document) -> str:
    """Three figures that matter: how much is found, how fast, and in how much memory."""

    def kept(name: str) -> Any:
        return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["results"]

    found = kept("encoders")["shelfmatch-cnn"]
    unknown = kept("adaptation")["shelfmatch-cnn strangers"]
    fast, start = kept("latency")["v2"]["640x480"]["Pillow"], kept("coldstart")["shelfmatch"]
    ratio = f"{fast['ratio'][0]:.2f} ×"
    rows = [
        ("found", f"{100 * found['recall_at_1_adapted']:.0f} % recall@1",
         "296 photos of 81 groceries, taken by phone in shops (65 of the products were in the encoder's training); "
         f"of unknown queries {100 * unknown['false_accepts']['0.05']:.1f} % get a name where 5 % are allowed"),
        ("fast", f"{fast['ours_ms']:.1f} ms from photo to product",
         f"10,000 references, one thread of an AMD EPYC, MobileNetV2: {ratio} MediaPipe, which stops at the embedding"),
        ("small", f"{median(start['peak_mb']):.0f} MB, {start['answer_ms']:.0f} ms",
         "memory and time from the start of a process to its first answer, 10,000 references"),
    ]  # fmt: skip
    return reporting.markdown_table(("", "", "measured on"), rows)
