"""Whether and with what products are found on photos: a matcher's choice, and no detector until one is needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..errors import DetectorError

if TYPE_CHECKING:
    from ..detection.detector import Detector
    from ..detection.on_demand import DetectorOnDemand

Mode: TypeAlias = Literal["auto", "off", "always"]
MODES: tuple[Mode, ...] = ("auto", "off", "always")


class Finder:
    """A matcher's detector, made when a photo needs it, and its mode."""

    def __init__(self, mode: Mode, source: str | os.PathLike[str] | Detector | None, sessions: int) -> None:
        self._mode = mode
        self._source = source
        self._sessions = sessions
        self._detector: DetectorOnDemand | None = None
        self._there: bool | None = None
        self._locators = {mode: Locator(self, mode) for mode in ("auto", "always")}

    @classmethod
    def of(cls, mode: Any, source: str | os.PathLike[str] | Detector | None, sessions: int) -> Finder:
        """Checked. Raises DetectorError for what is no mode, and for a detector that was named and isn't there."""
        check_mode(mode)
        finder = cls(mode, source, sessions)
        if source is not None:
            finder.detector.is_there()
        return finder

    @property
    def detector(self) -> DetectorOnDemand:
        """Not loaded yet, perhaps."""
        if self._detector is None:
            from ..detection.on_demand import DetectorOnDemand  # a photo that is sure pays for none of it

            self._detector = DetectorOnDemand(self._source, {"sessions": self._sessions})
        return self._detector

    def locator(self, mode: Mode | None) -> Locator | None:
        """For one question; `mode` None: as the matcher was opened. None for "off". Raises DetectorError."""
        if mode is not None:
            check_mode(mode)
        return self._locators.get(self._mode if mode is None else mode)

    def is_there(self) -> bool:
        """Whether there is a detector. Raises DetectorError."""
        if self._there is None:
            self._there = self.detector.is_there()
        return self._there


@dataclass(frozen=True, slots=True)
class Locator:
    """How a photo is looked at: `mode` "auto" finds the product where the whole photo isn't sure, "always" in any case."""

    finder: Finder
    mode: str

    @property
    def detector(self) -> DetectorOnDemand:
        """Not loaded yet, perhaps."""
        return self.finder.detector

    def wants(self, is_sure: bool) -> bool:
        """Whether the product is to be found on a photo. Without any detector, "auto" finds nothing."""
        return self.mode == "always" or (not is_sure and self.finder.is_there())


def check_mode(mode: object) -> None:
    """Raise DetectorError for what is no mode."""
    if mode not in MODES:
        raise DetectorError(f"locate is {mode!r}; expected one of {', '.join(MODES)}")
