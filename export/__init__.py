"""Trained networks → files that the runtime loads. What there is so far: cutting a classifier at its pooled feature."""

from __future__ import annotations

from .cutting import cut, cut_if_inner, inner_tensors

__all__ = ["cut", "cut_if_inner", "inner_tensors"]
