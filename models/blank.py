"""Write NAME.blank beside an encoder's files: its embeddings of rendered goods and of rendered pictures of nothing.

    python models/blank.py shelfmatch-cnn shelfmatch-nano shelfmatch-vit

To be run again when an encoder was trained again: the file names the encoder files that it belongs to, and others render the
pictures at each build.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from shelfmatch.edge import Encoder
from shelfmatch.edge.build.blanks import SUFFIX, embedded, to_bytes
from shelfmatch.edge.encoders.registry import read_card


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Embed rendered pictures of nothing.")
    parser.add_argument("encoders", nargs="+")
    folder = Path(__file__).resolve().parent
    for name in parser.parse_args().encoders:
        encoder = Encoder.load(folder / f"{name}.tflite.json")
        other, _ = read_card(folder / f"{name}.onnx.json")
        (folder / f"{name}{SUFFIX}").write_bytes(to_bytes(encoder.card, other, embedded(encoder)))


if __name__ == "__main__":
    main()
