"""The kinds of index, and which one suits a number of vectors."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..errors import VectorError

Kind: TypeAlias = Literal["exact", "hnsw"]

KINDS: tuple[Kind, ...] = ("exact", "hnsw")
"""A vectors file keeps the position in these."""

HNSW_FROM_ELEMENTS = 200_000 * 128
"""Where "auto" changes to the graph: an exact scan of so many components takes about 3 ms on the machine of
benchmarks/search.py, comparable to a small encoder; below, the graph's build time and size buy nothing one can feel."""


def choose_kind(shape: tuple[int, ...], wanted: str = "auto") -> Kind:
    """What "auto", "exact" or "hnsw" means for (N, D) vectors. Raises VectorError for another word."""
    for kind in KINDS:
        if wanted == kind:
            return kind
    if wanted != "auto":
        raise VectorError(f"unknown index {wanted!r}; expected auto, exact or hnsw")
    return "hnsw" if shape[0] * shape[1] >= HNSW_FROM_ELEMENTS else "exact"
