"""A detector that is loaded when it is first needed: most photos are answered without one."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DetectorError
from ..forking import renew_after_fork
from .detector import Detector
from .registry import DEFAULT_DETECTOR, check_source, find_detector, known_detectors


class DetectorOnDemand:
    """Opens a detector once, for all threads, with the first call of `get`.

    `source`: a name, file, card or a `Detector`; None for the package's own. `settings` as for `Detector.open`. Raises
    DetectorError for another thing; what a name stands for is looked at later.
    """

    def __init__(
        self, source: str | os.PathLike[str] | Detector | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        self._detector = source if isinstance(source, Detector) else None
        self._source = DEFAULT_DETECTOR if source is None or isinstance(source, Detector) else source
        check_source(self._source)
        self._settings = dict(settings or {})
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the thread that was opening it isn't there."""
        self._lock = threading.Lock()

    @property
    def is_loaded(self) -> bool:
        """Whether anything has needed it yet."""
        return self._detector is not None

    def is_there(self) -> bool:
        """Whether there is a card and a file; nothing is loaded. Raises DetectorError where something else than a name was given,
        and isn't there."""
        if self._detector is not None:
            return True
        if self._source == DEFAULT_DETECTOR:
            return DEFAULT_DETECTOR in known_detectors()
        if Path(self._source).suffix in (".tflite", ".onnx"):
            if not Path(self._source).is_file():
                find_detector(self._source)
            return True
        find_detector(self._source)
        return True

    def get(self) -> Detector:
        """The detector. Raises DetectorError, RuntimeUnavailable."""
        detector = self._detector
        if detector is None:
            with self._lock:
                detector = self._detector
                if detector is None:
                    if self._source == DEFAULT_DETECTOR and not self.is_there():
                        raise DetectorError(
                            f"the package's own detector, {DEFAULT_DETECTOR}, is not installed; install shelfmatch again, or name "
                            "another detector's file"
                        )
                    detector = self._detector = Detector.open(self._source, **self._settings)
        return detector
