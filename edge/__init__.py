"""shelfmatch on the device: bundles of a shop's products, and the matcher that answers from them.

Importing this loads nothing but the errors, so that `shelfmatch doctor` starts where numpy or Pillow are broken. The first name
that is used loads what it needs: numpy and Pillow at most. Runtimes and usearch load when they are first used.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import (
    BundleDamaged,
    BundleError,
    BundleLocked,
    BundleVersion,
    CardRequired,
    CatalogError,
    EncoderError,
    ImageError,
    RuntimeUnavailable,
    ShelfmatchError,
    VectorError,
)

if TYPE_CHECKING:
    from .build.build import add_to_bundle, build_bundle, remove_from_bundle
    from .build.report import BuildReport
    from .build.update import UpdateReport, update_bundle
    from .bundle.bundle import Bundle
    from .bundle.manifest import EncoderCard
    from .catalog.listing import CatalogSource
    from .catalog.source import read_source
    from .doctor.diagnosis import Diagnosis, examine
    from .encoders.encoder import Encoder
    from .index.vector_index import VectorIndex
    from .matching.labels import Label
    from .matching.matcher import Matcher
    from .matching.results import Candidate, MatchResult
    from .matching.similar import Neighbour

_LAZY = {
    "BuildReport": "build.report",
    "add_to_bundle": "build.build",
    "build_bundle": "build.build",
    "remove_from_bundle": "build.build",
    "Bundle": "bundle.bundle",
    "Candidate": "matching.results",
    "CatalogSource": "catalog.listing",
    "Diagnosis": "doctor.diagnosis",
    "Encoder": "encoders.encoder",
    "EncoderCard": "bundle.manifest",
    "Label": "matching.labels",
    "MatchResult": "matching.results",
    "Matcher": "matching.matcher",
    "Neighbour": "matching.similar",
    "UpdateReport": "build.update",
    "VectorIndex": "index.vector_index",
    "examine": "doctor.diagnosis",
    "read_source": "catalog.source",
    "update_bundle": "build.update",
}

__all__ = [
    "BuildReport",
    "Bundle",
    "BundleDamaged",
    "BundleError",
    "BundleLocked",
    "BundleVersion",
    "Candidate",
    "CardRequired",
    "CatalogError",
    "CatalogSource",
    "Diagnosis",
    "Encoder",
    "EncoderCard",
    "EncoderError",
    "ImageError",
    "Label",
    "MatchResult",
    "Matcher",
    "Neighbour",
    "RuntimeUnavailable",
    "ShelfmatchError",
    "UpdateReport",
    "VectorError",
    "VectorIndex",
    "__version__",
    "add_to_bundle",
    "build_bundle",
    "examine",
    "read_source",
    "remove_from_bundle",
    "update_bundle",
]


def __getattr__(name: str) -> Any:
    """Load a name's module when it is asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    module = f"{__name__}.{_LAZY[name]}"
    collecting = gc.isenabled() and module not in sys.modules
    if collecting:
        gc.disable()  # what is imported lives on: the collector finds nothing, three times over, for a tenth of a cold start
    try:
        return getattr(import_module(module), name)
    finally:
        if collecting:
            gc.enable()
