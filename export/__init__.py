"""Trained networks → files that the runtime loads and that still find the same products.

`export_model` is `shelfmatch export` from Python; `cut` takes a classifier off a ready file. Converters are imported by the
steps that need them (`pip install 'shelfmatch[export]'`).
"""

from __future__ import annotations

from .attempts import Attempt, ExportReport
from .cutting import cut, cut_if_inner, inner_tensors
from .errors import ExportError, GateNotMet, MissingPackage, PhotosError, SourceError
from .pipeline import ExportSettings, export_model
from .preprocessing import Overrides, Preprocessing
from .recipes import RECIPES
from .source_options import SourceOptions
from .sources import SOURCES

__all__ = [
    "RECIPES",
    "SOURCES",
    "Attempt",
    "ExportError",
    "ExportReport",
    "ExportSettings",
    "GateNotMet",
    "MissingPackage",
    "Overrides",
    "PhotosError",
    "Preprocessing",
    "SourceError",
    "SourceOptions",
    "cut",
    "cut_if_inner",
    "export_model",
    "inner_tensors",
]
