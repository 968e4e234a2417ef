"""shelfmatch on the device: bundles of a shop's products, and the matcher that answers from them.

Importing this loads numpy and Pillow. Runtimes and usearch load when they are first used.
"""

from __future__ import annotations

import gc

_collecting = gc.isenabled()
gc.disable()  # what is imported lives on: the collector finds nothing, three times over, for a tenth of a cold start

from typing import TYPE_CHECKING, Any  # noqa: E402

from ._version import __version__  # noqa: E402
from .errors import (  # noqa: E402
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
from .matcher import Candidate, Matcher, MatchResult  # noqa: E402

if _collecting:
    gc.enable()

if TYPE_CHECKING:
    from .build import BuildReport, add_to_bundle, build_bundle, remove_from_bundle
    from .bundle import Bundle
    from .encoder import Encoder
    from .index import VectorIndex
    from .labels import Label
    from .manifest import EncoderCard
    from .neighbours import Neighbour

_LAZY = {
    "BuildReport": "build",
    "add_to_bundle": "build",
    "build_bundle": "build",
    "remove_from_bundle": "build",
    "Bundle": "bundle",
    "Encoder": "encoder",
    "EncoderCard": "manifest",
    "Label": "labels",
    "Neighbour": "neighbours",
    "VectorIndex": "index",
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
    "remove_from_bundle",
]


def __getattr__(name: str) -> Any:
    """Load what a device that only matches never needs, when it is asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
