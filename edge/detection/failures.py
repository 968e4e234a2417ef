"""What sessions and feeds say of a network, said of a detector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DetectorError, EncoderError


@contextmanager
def as_detector_error() -> Iterator[None]:
    """What sessions and feeds raise of a network is a detector's fault here."""
    try:
        yield
    except EncoderError as error:
        text = str(error).replace("the encoder", "the detector")
        raise DetectorError(text) from error
