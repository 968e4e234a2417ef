"""The Grocery Store Dataset's lists: photos, labels and their classes."""

from __future__ import annotations

import csv
from pathlib import Path

V1 = "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"


def read_split(grocery: Path, name: str) -> list[tuple[Path, str]]:
    """(photo, fine label) of train.txt or val.txt."""
    rows = [line.split(",") for line in (grocery / name).read_text().splitlines() if line.strip()]
    return [(grocery / row[0].strip(), row[1].strip()) for row in rows]


def read_kinds(grocery: Path) -> dict[str, str]:
    """Fine label → coarse class."""
    with (grocery / "classes.csv").open(newline="") as file:
        return {row["Class ID (int)"]: row["Coarse Class Name (str)"] for row in csv.DictReader(file)}
