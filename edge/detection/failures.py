"""What sessions and feeds say of a network, said of a detector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DetectorError, EncoderError


@contextmanager
def as_detector_error(name: str) -> Iterator[None]:
    """What sessions and feeds raise of a network is a detector's fault here; `name`: that of its file, for the message."""
    try:
        yield
    except EncoderError as error:
        text = str(error).replace(
            "encoder card:", f"detector {name}:", 1
        )  # of what the file itself says of its numbers
        for called in ("the encoder", "this encoder", "the network"):
            text = text.replace(called, f"the detector {name}", 1)
        raise DetectorError(text) from error
