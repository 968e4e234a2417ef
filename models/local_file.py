"""The trained local head as the file NAME.local that lies beside an encoder's device file: see `edge/encoders/local.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ..edge.encoders.local import LocalCard, LocalHead

GRID: Final = 10


def packed(
    cells: Mapping[str, Any], head: Mapping[str, Any], *, encoder_sha256: str, scale: float, zero_point: int, layout: Any,
    tap: str = "tap", name: str = "shelfmatch-local", provenance: str = "", license: str = "",
) -> LocalHead:  # fmt: skip
    """From the states of `local.Cells` (scaled with the encoder, see `equalized`) and `local.LocalHead`, as arrays or tensors by
    their names there; the rest is what the encoder's file says of its tap."""
    project: Any = np.asarray(cells["project.weight"], np.float32)
    numbers, channels = project.shape[:2]
    project = project.reshape(numbers, channels)
    wide = len(np.asarray(head["attend.weight"]).ravel())
    arrays = {
        "project.weight": project.T,
        "project.bias": cells["project.bias"],
        "factors": [head["sharpness"], head["weight"], head["scale"]],
        "attend.weight": np.asarray(head["attend.weight"]).ravel(),
        "attend.bias": head["attend.bias"],
        "last0.weight": np.asarray(head["last.0.weight"]).T,
        "last0.bias": head["last.0.bias"],
        "last1.weight": np.asarray(head["last.2.weight"]).ravel(),
        "last1.bias": head["last.2.bias"],
    }
    for number in range(3):
        kernel = np.asarray(head[f"convolutions.{2 * number}.weight"])  # (outside, inside, high, wide)
        arrays[f"convolution{number}.weight"] = kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))
        arrays[f"convolution{number}.bias"] = head[f"convolutions.{2 * number}.bias"]
    card = LocalCard(
        name, encoder_sha256, tap, scale, zero_point, layout, GRID, channels, numbers, wide, 0.0, provenance, license,
        places="quartic", last_kernel=kernel.shape[-1],
    )  # fmt: skip
    made = {key: np.asarray(value, np.float32) for key, value in arrays.items()}
    golden = round(LocalHead(card, made).golden_logit(), 5)
    return LocalHead(replace(card, golden_logit=golden), made)
