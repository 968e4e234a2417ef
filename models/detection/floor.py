"""The score from which on a find counts, chosen on scenes of designs that train: many right finds for the false ones.

F1 of what is found at a score and above, on shelves of 100 to 300 facings (looked at in tiles), on products held up, and on heaps;
the floor is where the mean of the three is greatest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shelfmatch.edge.detection.detector import Detector
from shelfmatch.models.detection.camera import photographed
from shelfmatch.models.detection.canvas import PRODUCT, UNSURE, Scene
from shelfmatch.models.detection.network import SIDE
from shelfmatch.models.detection.precision import Found, matched
from shelfmatch.models.detection.scenes import Source
from shelfmatch.models.detection.shelves import Layout, shelf

SHELF_SIDE: Final = 1280
SCENES: Final = {"shelf": 16, "held": 96, "heap": 48}
SCORES: Final = np.arange(0.2, 0.605, 0.01)
_LOWEST: Final = 0.15


def chosen_floor(detector: Detector, parts: Source) -> float:
    """The score, to a hundredth."""
    means = np.mean([f1(detector, list(_scenes(parts, kind))) for kind in SCENES], axis=0)
    return float(round(SCORES[int(np.argmax(means))], 2))


def _scenes(parts: Source, kind: str) -> Iterator[Scene]:
    rng = np.random.default_rng(242)
    for _ in range(SCENES[kind]):
        if kind != "shelf":
            yield parts.scene(rng, SIDE, kind)
            continue
        plan = Layout(
            float(rng.uniform(70, 150)), float(rng.choice([0.0, 0.08, 0.15])), float(rng.choice([0.1, 0.4, 1.0]))
        )
        scene = shelf(parts.products, rng, SHELF_SIDE, plan)
        yield Scene(photographed(scene.pixels, rng), scene.boxes, scene.kinds)


def f1(detector: Detector, scenes: list[Scene]) -> NDArray[np.float64]:
    """F1 of the products found at each of `SCORES` and above, all scenes together."""
    scores, answers, total = [], [], 0
    for scene in scenes:
        seen = detector.detect(scene.pixels, floor=_LOWEST)
        boxes = np.array([one.box for one in seen], np.float32).reshape(-1, 4)
        found = np.array([one.score for one in seen], np.float32)
        true = scene.boxes[scene.kinds == PRODUCT]
        answers.append(matched(Found(boxes, found, true, scene.boxes[scene.kinds == UNSURE]), 0.5))
        scores.append(np.sort(found)[::-1])
        total += len(true)
    answer, score = np.concatenate(answers), np.concatenate(scores)
    right = np.array([(answer[score >= floor] == 1).sum() for floor in SCORES])
    false = np.array([(answer[score >= floor] == 0).sum() for floor in SCORES])
    return np.asarray(2 * right / np.maximum(1, right + false + total), np.float64)
