"""Pictures and videos of one grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge.imaging.image import Pixels


def picture(level: int) -> Pixels:
    return np.full((48, 64, 3), level, np.uint8)


def video(path: Path, count: int = 20) -> Path:
    cv2 = pytest.importorskip("cv2", reason="videos need OpenCV (shelfmatch[fast])")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(count):
        writer.write(picture(10 * number))
    writer.release()
    return path
