"""`shelfmatch encoders`: what there is, with size and measured figures; and `encoders pull NAME`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EncoderError
from ..terminal import DONE, complain, print_json, shown, size_text
from .options import Command

if TYPE_CHECKING:
    from shelfmatch.models.known import KnownEncoder


def register(command: Command) -> None:
    """`encoders`, and `encoders pull NAME`."""
    parser = command("encoders", _run, "list the encoder registry; encoders pull NAME fetches one")
    parser.add_argument("action", nargs="?", choices=("pull",), help="fetch one of the listed encoders")
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one to fetch")
    parser.add_argument(
        "--mirror", metavar="DIR|URL", help="take the file from a folder or another address; its hash must be the same"
    )
    parser.add_argument("--to", metavar="DIR", help="where to put it (default: where --encoder NAME finds it)")


def _run(options: argparse.Namespace) -> int:
    # Only here: matching never needs the list, and the doctor starts without numpy.
    from shelfmatch.models.known import all_encoders, encoder_named

    from ..encoders.registry import DEFAULT_ENCODER

    if options.action == "pull":
        if not options.name:
            raise EncoderError(
                "encoders pull arrived without a name; shelfmatch encoders lists those that can be fetched"
            )
        return _pull(encoder_named(options.name), options)
    if options.mirror or options.to:
        raise EncoderError("--mirror and --to go with: shelfmatch encoders pull NAME")
    encoders = all_encoders(complain)
    if options.json:
        print_json([{**encoder.to_dict(), "default": encoder.name == DEFAULT_ENCODER} for encoder in encoders])
        return DONE
    for encoder in encoders:
        print("\n".join(_lines(encoder, is_default=encoder.name == DEFAULT_ENCODER)))
    return DONE


def _lines(encoder: KnownEncoder, *, is_default: bool) -> list[str]:
    """A few lines for people."""
    mark = " (default)" if is_default else ""
    size = f"{size_text(encoder.size_bytes)}, " if encoder.size_bytes else ""
    height, width = encoder.input
    lines = [
        f"{encoder.name}{mark}: {size}{width}x{height} → {encoder.dimension}, {encoder.license}",
        f"  {encoder.about}",
    ]
    found = encoder.measured
    if found:
        lines.append(
            f"  finds {100 * found['recall_at_1']:.1f} % of the grocery val photos among all train photos, "
            f"{100 * found['recall_at_1_adapted']:.1f} % tuned to the shop, {100 * found['iconic_recall_at_1']:.1f} % "
            f"among catalogue pictures; {found['instructions_a72_m']:.0f} million instructions on a Cortex-A72, "
            f"{found['instructions_a76_m']:.0f} on an A76"
        )
    if how := encoder.how():
        lines.append(f"  to get it: {how}")
    return [shown(line) for line in lines]


def _pull(encoder: KnownEncoder, options: argparse.Namespace) -> int:
    from shelfmatch.models.pull import pull

    with _bytes_bar(encoder) as advance:
        card = pull(encoder, Path(options.to) if options.to else None, options.mirror, advance)
    if options.json:
        print_json({"name": encoder.name, "card": str(card), "sha256": encoder.sha256})
    else:
        use = card if options.to else encoder.name
        print(f"{encoder.name} is whole and verified; use it with --encoder {use}")
    return DONE


@contextlib.contextmanager
def _bytes_bar(encoder: KnownEncoder) -> Iterator[Callable[[int], Any]]:
    """A bar of bytes on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda size: None
        return
    from tqdm import tqdm

    with tqdm(total=encoder.size_bytes, desc=encoder.name, unit="B", unit_scale=True) as bar:
        yield bar.update
