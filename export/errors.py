"""What can go wrong in an export, below edge's root.

ShelfmatchError
└── ExportError           the export can't be made from what arrived
    ├── MissingPackage    a tool of this step is not installed; the message names the extra
    ├── SourceError       the trained model can't be read, or is not an encoder
    ├── PhotosError       the calibration photos or the gate's queries don't carry a measurement
    └── GateNotMet        an exported file no longer finds the same products (the command line's exit code 1)

Every message is one line that says what arrived, what was expected and what to do.
"""

from __future__ import annotations

from ..edge.errors import ShelfmatchError


class ExportError(ShelfmatchError):
    """The export can't be made from what arrived."""


class MissingPackage(ExportError):
    """A tool that this step needs is not installed."""


class SourceError(ExportError):
    """The trained model can't be read, or is not an encoder of photos."""


class PhotosError(ExportError):
    """The calibration photos or the gate's queries are too few, unlabelled or unreadable."""


class GateNotMet(ExportError):
    """An exported file no longer finds the same products. Nothing was left under the final name."""
