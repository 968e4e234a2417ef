"""Commands that show a bundle: info, verify."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BundleDamaged
from ..terminal import DONE, NO, amount, complain, print_json, shown, size_text
from .options import Command, add_bundle
from .plain_words import plain_lines

if TYPE_CHECKING:
    from ..bundle.manifest import BranchRecord, Manifest
    from ..catalog.catalog import Catalog


def register(command: Command) -> None:
    """The commands of this module."""
    info = command("info", _info, "what is inside a bundle")
    add_bundle(info)
    info.add_argument("--products", action="store_true", help="list the products")
    info.add_argument(
        "--verbose", action="store_true", help="encoder, index, adapter, threshold, and how true the confidence is"
    )

    add_bundle(command("verify", _verify, "check that every byte of a bundle is as built"))


def describe_decision(decision: dict[str, Any]) -> str:
    """The decision's record as a sentence."""
    target = f"{100 * decision['target_false_accept_rate']:.3g}% false accepts"
    if decision["method"] == "default":
        return f"threshold: a default, since the shop is too small to calibrate (target {target})"
    measured = decision["correct_accept_rate"]
    if decision["method"] == "prior" or measured is None:
        return f"threshold {decision['threshold']:.3f} for {target}, as other shops taught: this one has too little to hold out"
    how = {
        "held-out": "holding out groups of like photos",
        "leave-one-out": "leaving photos out",
        "synthetic-views": "synthetic views",
    }[decision["method"]]
    return (
        f"threshold {decision['threshold']:.3f} for {target}, from {how}: "
        f"{measured:.0%} of {'the views' if decision['method'] == 'synthetic-views' else 'those photos'} "
        "accepted and right"
    )


def reliability_lines(curve: Sequence[Sequence[float]]) -> str:
    """The reliability curve for a terminal: at each confidence, the share of held-out photos that was right."""
    rows = [f"    at {mean:4.0%} sure  {'█' * round(20 * share):<20}  {share:4.0%} right of {count:,}\n"
            for mean, share, count in curve]  # fmt: skip
    return "".join(rows)


def _info(options: argparse.Namespace) -> int:
    from ..bundle.bundle import Bundle, read_whole
    from ..catalog.catalog import Catalog

    def read(bundle: Bundle) -> tuple[Manifest, list[dict[str, Any]]]:
        if not options.products:
            return bundle.manifest, []
        catalog = Catalog(bundle.check("catalog"))
        try:
            return bundle.manifest, _product_records(catalog)
        finally:
            catalog.close()

    manifest, products = read_whole(options.bundle, read)
    if options.json:
        record = _manifest_record(options.bundle, manifest)
        print_json({**record, "product_list": products} if options.products else record)
        return DONE
    print("\n".join(_info_lines(options.bundle, manifest)))
    if options.verbose:
        _print_details(manifest)
    for product in products:
        visible = {key: value for key, value in product.items() if value and key != "attributes"}
        print("  " + ", ".join(f"{key} {value}" if key != "sku" else str(value) for key, value in visible.items()))
    return DONE


def _product_records(catalog: Catalog) -> list[dict[str, Any]]:
    """A product's row: SKU, name, attributes, and how many photos it has."""
    rows: list[dict[str, Any]] = []
    for product_id, product in catalog.products():
        row: dict[str, Any] = {"sku": product.sku, "name": product.name, **product.attributes}
        row["photos"] = len(catalog.references(product_id))
        if product.attributes:  # also by themselves, as candidates have them: a column may be called photos
            row["attributes"] = dict(product.attributes)
        rows.append(row)
    return rows


def _manifest_record(bundle: str, manifest: Manifest) -> dict[str, Any]:
    """The document of `info --json`, without the products."""
    from ..bundle.growth import growth_of
    from ..scoring.forecast import forecast_record

    index, camera = manifest.index, manifest.branches[0].camera
    return {
        "bundle": bundle,
        "generation": manifest.generation,
        "created_by": manifest.created_by,
        "products": manifest.products,
        "references": index.references,
        "index": {"kind": index.kind, "dtype": index.dtype, "dimension": index.dimension},
        "resizer": manifest.resizer,
        "keeps_embeddings": manifest.keeps_embeddings,
        "outgrown": growth_of(manifest).to_dict(),
        "decision": manifest.final_decision.to_dict(),
        "forecast": forecast_record(manifest.final_decision, manifest.products, index.references),
        "adaptation": manifest.adaptation.to_dict(),
        "calibrated": None if camera is None else camera.to_record(),
        "encoder": manifest.encoder.to_dict(),
        "files": {role: {"name": entry.name, "size_bytes": entry.size_bytes} for role, entry in manifest.files.items()},
        **{key: value for key, value in manifest.to_dict().items() if key in ("second", "local")},
    }


def _info_lines(bundle: str, manifest: Manifest) -> list[str]:
    """What is inside, for a shop."""
    from ..bundle.growth import growth_of

    photos = manifest.index.references
    size = size_text(sum(entry.size_bytes for entry in manifest.files.values()))
    head = f"{bundle}: {amount(manifest.products, 'product')}, {amount(photos, 'photo')}, {size}, generation {manifest.generation}"
    fresh = manifest.cascade is None and manifest.branches[0].camera is None
    said = plain_lines(manifest.final_decision, manifest.products, photos, bundle, can_calibrate=fresh)
    growth = growth_of(manifest)
    if growth.state == "yes":
        said = [*said, growth.sentence()]
    return [head, *(f"  {line}" for line in said)]


def _print_details(manifest: Manifest) -> None:
    """What `info --verbose` adds: what it was made with, and what was measured."""
    from ..bundle.growth import growth_of
    from ..bundle.manifest import role_of

    for number, branch in enumerate(manifest.branches):
        print(_branch_lines(branch, manifest.files[role_of("vectors", number)].size_bytes))
    if manifest.cascade is not None:
        print(f"  {manifest.cascade.sentence()}")
    local = manifest.branches[0].local
    if local is not None:
        print(f"  {local.sentence()}")
    print(f"  {describe_decision(manifest.final_decision.to_dict())}")
    camera = manifest.branches[0].camera
    if camera is not None:
        print(f"  {camera.sentence()}")
    if manifest.final_decision.reliability:
        kind = "views of photos" if manifest.final_decision.method == "synthetic-views" else "photos"
        print(
            f"  how true the confidence is, by {manifest.final_decision.known:,} queries with {kind} that were held out:"
        )
    print(reliability_lines(manifest.final_decision.reliability), end="")
    if manifest.keeps_embeddings:
        size = sum(manifest.files[role_of("embeddings", number)].size_bytes for number in range(len(manifest.branches)))
        print(
            f"  keeps    what it is fitted to, {size_text(size)}: shelfmatch add --refit fits it again without the photos"
        )
    growth = growth_of(manifest)
    if growth.state != "yes" and growth.sentence():  # "yes" stands among what every shop should know
        print(f"  {growth.sentence()}")


def _branch_lines(branch: BranchRecord, size_bytes: int) -> str:
    """An encoder and what its embeddings are compared with, `size_bytes` of vectors, for people."""
    card, index = branch.encoder, branch.index
    return (
        f"  encoder  {shown(card.name)}, {card.width}x{card.height} {card.input_dtype} → {card.dimension}, "
        f"{size_text(card.size_bytes)}\n"
        f"  index    {index.kind}, {index.dtype}, {size_text(size_bytes)}\n"
        f"  adapter  {branch.adaptation.sentence()}"
    )


def _verify(options: argparse.Namespace) -> int:
    from ..bundle.bundle import Bundle
    from ..bundle.growth import growth_of

    growth = None
    try:
        bundle = Bundle.open(options.bundle)
        while (problems := bundle.verify()) and bundle.was_replaced():
            bundle = Bundle.open(options.bundle)
        growth = growth_of(bundle.manifest)
    except BundleDamaged as error:
        problems = [str(error)]
    if options.json:
        grown = None if growth is None else growth.to_dict()
        print_json({"bundle": options.bundle, "ok": not problems, "problems": problems, "outgrown": grown})
    else:
        for problem in problems:
            complain(problem)
        if not problems:
            print(f"{options.bundle}: every byte is as built")
        if growth is not None and growth.state == "yes":
            print(f"  {growth.sentence()}")
    return NO if problems else DONE
