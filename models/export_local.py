"""Turn the trained local head into `shelfmatch-cnn.tflite.local` and `shelfmatch-cnn.onnx.local`, beside the CNN's device files.

    python models/export_local.py --head STATE.pt --out models

HEAD.pt: what `local_training.py` left, on the maps of the fp32 file that the device files are made from. Run it after those are in
`--out`: each says how it gives its tap. Numbers stay in float: they have 31 KB, and int8 would
not make them faster at this size. What reads them is numpy (`edge/encoders/local.py`), on any machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import nn

from shelfmatch.edge.encoders.local import local_file
from shelfmatch.models import tap
from shelfmatch.models.local_file import packed
from shelfmatch.models.measure_local import read_head

PROVENANCE = "trained by models/local_training.py on the maps of the settled encoder, on what shelfmatch-cnn.md names"


def write_beside(cells: nn.Module, head: nn.Module, out: Path) -> list[Path]:
    """NAME.local beside each of the CNN's device files in `out`; the files."""
    states = [{key: value.detach().numpy() for key, value in part.state_dict().items()} for part in (cells, head)]
    files = []
    for suffix in ("tflite", "onnx"):
        model = out / f"{tap.ENCODER}.{suffix}"
        found = tap.read(model.read_bytes(), suffix)
        head_file = packed(
            *states, encoder_sha256=tap.digest(model.read_bytes()), scale=found.scale, zero_point=found.zero_point,
            tap=found.name, layout="NHWC" if found.channels_last else "NCHW", license="Apache-2.0", provenance=PROVENANCE,
        )  # fmt: skip
        local_file(model).write_bytes(head_file.to_bytes())
        files.append(local_file(model))
    return files


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Export the local head.")
    parser.add_argument(
        "--head", type=Path, required=True, help="the state with projection and head (local_training.py)"
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder with the CNN's device files")
    options = parser.parse_args()
    cells, head = read_head(options.head)
    for path in write_beside(cells, head, options.out):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
