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
    from .answers import Candidate, MatchResult
    from .build import add_to_bundle, build_bundle, remove_from_bundle
    from .build_report import BuildReport
    from .bundle import Bundle
    from .doctor import Diagnosis, examine
    from .encoder import Encoder
    from .index import VectorIndex
    from .labels import Label
    from .manifest import EncoderCard
    from .matcher import Matcher
    from .neighbours import Neighbour

_LAZY = {
    "BuildReport": "build_report",
    "add_to_bundle": "build",
    "build_bundle": "build",
    "remove_from_bundle": "build",
    "Bundle": "bundle",
    "Candidate": "answers",
    "Diagnosis": "doctor",
    "Encoder": "encoder",
    "EncoderCard": "manifest",
    "Label": "labels",
    "MatchResult": "answers",
    "Matcher": "matcher",
    "Neighbour": "neighbours",
    "VectorIndex": "index",
    "examine": "doctor",
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
    "VectorError",
    "VectorIndex",
    "__version__",
    "add_to_bundle",
    "build_bundle",
    "examine",
    "remove_from_bundle",
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
