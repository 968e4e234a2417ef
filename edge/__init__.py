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
    BenchError,
    BundleDamaged,
    BundleError,
    BundleLocked,
    BundleVersion,
    CardRequired,
    CatalogError,
    DetectorError,
    DeviceError,
    EncoderError,
    ImageError,
    KioskError,
    OutOfMemory,
    RuntimeUnavailable,
    ShelfmatchError,
    VectorError,
)

if TYPE_CHECKING:
    from .build.build import build_bundle
    from .build.change import add_to_bundle, refit_bundle, remove_from_bundle, remove_photos_from_bundle
    from .build.report import BuildReport
    from .build.tune import TuneReport, tune_bundle
    from .build.update import UpdateReport, update_bundle
    from .bundle.bundle import Bundle
    from .catalog.listing import CatalogSource
    from .catalog.source import read_source
    from .detection.card import DetectorCard
    from .detection.detection import Detection
    from .detection.detector import Detector
    from .doctor.diagnosis import Diagnosis, examine
    from .encoders.card import EncoderCard
    from .encoders.encoder import Encoder
    from .evaluation.calibrate import CalibrateReport, calibrate_bundle
    from .evaluation.evaluate import evaluate
    from .evaluation.results import Evaluation, Query
    from .index.vector_index import VectorIndex
    from .matching.explanation import Explanation
    from .matching.facings import Facings, ShelfCount, count_facings
    from .matching.labels import Label
    from .matching.locate import Located
    from .matching.look_again import LookAgain
    from .matching.matcher import Matcher
    from .matching.photos import ProductPhoto
    from .matching.refusal import Refusal
    from .matching.results import Candidate, MatchResult
    from .matching.scene import Scene, SceneProduct
    from .matching.similar import Neighbour
    from .matching.tracking import TrackDecision, Tracker

_LAZY = {
    "BuildReport": "build.report",
    "Bundle": "bundle.bundle",
    "CalibrateReport": "evaluation.calibrate",
    "Candidate": "matching.results",
    "CatalogSource": "catalog.listing",
    "Detection": "detection.detection",
    "Detector": "detection.detector",
    "DetectorCard": "detection.card",
    "Diagnosis": "doctor.diagnosis",
    "Encoder": "encoders.encoder",
    "EncoderCard": "encoders.card",
    "Evaluation": "evaluation.results",
    "Explanation": "matching.explanation",
    "Facings": "matching.facings",
    "Label": "matching.labels",
    "Located": "matching.locate",
    "LookAgain": "matching.look_again",
    "MatchResult": "matching.results",
    "Matcher": "matching.matcher",
    "Neighbour": "matching.similar",
    "ProductPhoto": "matching.photos",
    "Query": "evaluation.results",
    "Refusal": "matching.refusal",
    "Scene": "matching.scene",
    "SceneProduct": "matching.scene",
    "ShelfCount": "matching.facings",
    "TrackDecision": "matching.tracking",
    "Tracker": "matching.tracking",
    "TuneReport": "build.tune",
    "UpdateReport": "build.update",
    "VectorIndex": "index.vector_index",
    "add_to_bundle": "build.change",
    "build_bundle": "build.build",
    "calibrate_bundle": "evaluation.calibrate",
    "count_facings": "matching.facings",
    "evaluate": "evaluation.evaluate",
    "examine": "doctor.diagnosis",
    "read_source": "catalog.source",
    "refit_bundle": "build.change",
    "remove_from_bundle": "build.change",
    "remove_photos_from_bundle": "build.change",
    "tune_bundle": "build.tune",
    "update_bundle": "build.update",
}

__all__ = [
    "BenchError",
    "BuildReport",
    "Bundle",
    "BundleDamaged",
    "BundleError",
    "BundleLocked",
    "BundleVersion",
    "CalibrateReport",
    "Candidate",
    "CardRequired",
    "CatalogError",
    "CatalogSource",
    "Detection",
    "Detector",
    "DetectorCard",
    "DetectorError",
    "DeviceError",
    "Diagnosis",
    "Encoder",
    "EncoderCard",
    "EncoderError",
    "Evaluation",
    "Explanation",
    "Facings",
    "ImageError",
    "KioskError",
    "Label",
    "Located",
    "LookAgain",
    "MatchResult",
    "Matcher",
    "Neighbour",
    "OutOfMemory",
    "ProductPhoto",
    "Query",
    "Refusal",
    "RuntimeUnavailable",
    "Scene",
    "SceneProduct",
    "ShelfCount",
    "ShelfmatchError",
    "TrackDecision",
    "Tracker",
    "TuneReport",
    "UpdateReport",
    "VectorError",
    "VectorIndex",
    "__version__",
    "add_to_bundle",
    "build_bundle",
    "calibrate_bundle",
    "count_facings",
    "evaluate",
    "examine",
    "read_source",
    "refit_bundle",
    "remove_from_bundle",
    "remove_photos_from_bundle",
    "tune_bundle",
    "update_bundle",
]


def _presented(value: Any) -> Any:
    """A public class or function under its public name: an error prints as shelfmatch.edge.BundleError, and is pickled as that."""
    if getattr(value, "__module__", "").startswith(f"{__name__}."):
        value.__module__ = __name__
    return value


for _name in __all__:
    if _name not in _LAZY:
        _presented(globals()[_name])


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
        return _presented(getattr(import_module(module), name))
    finally:
        if collecting:
            gc.enable()
