"""Turn the trained local head into `shelfmatch-cnn.tflite.local` and `shelfmatch-cnn.onnx.local`, beside the CNN's device files.

    python models/export_local.py --head STATE.pt --out models

    python models/export_local.py --head models/shelfmatch-cnn.tflite.local --out models

HEAD.pt: what `local_training.py` left, on the maps of the fp32 file that the device files are made from. The second line is for
files made anew whose map is what it was (`distill.py`, `export_encoders.py --keep-tap`). Run it after those are in `--out`: each
says how it gives its tap. Numbers stay in float: they have 31 KB, and int8 would not make them faster at this size. What reads
them is numpy (`edge/encoders/local.py`), on any machine.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn

from shelfmatch.edge.encoders.local import LocalHead, local_file
from shelfmatch.edge.errors import EncoderError
from shelfmatch.edge.files import write_atomic
from shelfmatch.models import tap
from shelfmatch.models.local_file import packed
from shelfmatch.models.measure_local import read_head

PROVENANCE = "trained by models/local_training.py on the maps of the settled encoder, on what shelfmatch-cnn.md names"


def write_beside(out: Path, made: Callable[..., LocalHead]) -> list[Path]:
    """NAME.local beside each of the CNN's device files in `out`; the files. `made` gets what a file says of its tap."""
    files = []
    for suffix in ("tflite", "onnx"):
        model = out / f"{tap.ENCODER}.{suffix}"
        found = tap.read(model.read_bytes(), suffix)
        head = made(
            encoder_sha256=tap.digest(model.read_bytes()), scale=found.scale, zero_point=found.zero_point, tap=found.name,
            layout="NHWC" if found.channels_last else "NCHW",
        )  # fmt: skip
        write_atomic(local_file(model), head.to_bytes())
        files.append(local_file(model))
    return files


def from_training(cells: nn.Module, head: nn.Module) -> Callable[..., LocalHead]:
    """What `write_beside` makes of a head that was trained."""
    states = [{key: value.detach().numpy() for key, value in part.state_dict().items()} for part in (cells, head)]
    return partial(packed, *states, license="Apache-2.0", provenance=PROVENANCE)


def from_file(file: Path) -> Callable[..., LocalHead]:
    """What `write_beside` makes of the head that lies beside other files. Raises EncoderError."""
    head = LocalHead.from_bytes(file.read_bytes(), str(file))
    return lambda **of_the_tap: head.beside(**of_the_tap)


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Export the local head.")
    parser.add_argument(
        "--head", type=Path, required=True, help="the state that local_training.py left, or a .local file"
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder with the CNN's device files")
    options = parser.parse_args()
    try:
        made = from_file(options.head) if options.head.suffix == ".local" else from_training(*read_head(options.head))
    except (OSError, EncoderError, RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        parser.error(
            f"{options.head} is no local head ({type(error).__name__}); expected what local_training.py left, or a .local file"
        )
    for path in write_beside(options.out, made):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
