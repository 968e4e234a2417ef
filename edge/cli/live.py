"""`shelfmatch match --watch` and `--camera`: answers as photos and frames come, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import CatalogError, ImageError
from ..terminal import complain
from .match_lines import print_answer, print_decision

if TYPE_CHECKING:
    from ..catalog.attributes import Where
    from ..catalog.photo_folder import PhotoWatch
    from ..imaging.image import Pixels
    from ..matching.matcher import Matcher

_POLL_S = 0.5


@contextlib.contextmanager
def until_stopped() -> Iterator[None]:
    """SIGINT (Ctrl-C) and SIGTERM end what is inside as if it were done."""
    with contextlib.suppress(KeyboardInterrupt):
        try:
            yield
        except SystemExit as stopped:
            if stopped.code != 143:  # 128 + SIGTERM, as `app` raises it
                raise


def match_watched(matcher: Matcher, watch: PhotoWatch, options: argparse.Namespace, where: Where) -> None:
    """Answer each new photo of a folder. One that can't be read is tried again for some seconds: it may be half-written."""
    with until_stopped():
        while True:
            for photo in watch.poll():
                try:
                    (answer,) = matcher.match_many(
                        [photo], top_k=options.top_k or 5, where=where, labels=options.labels, workers=1
                    )
                except CatalogError as error:  # the last product that passed the filter was removed meanwhile
                    complain(str(error))
                    continue
                if not (isinstance(answer, ImageError) and watch.wait_for(photo)):
                    print_answer(photo, answer, json=options.json, top_k=options.top_k)
            time.sleep(_POLL_S)


def match_camera(matcher: Matcher, frames: Iterable[Pixels], options: argparse.Namespace, where: Where) -> bool:
    """Answer each product that is held before a camera, once, as soon as its answer is sure; where frames end, as those of a
    video file do, also the last one, sure or not. False where they ended and none of them was a match."""
    tracker = matcher.track(top_k=options.top_k or 5, where=where or None)
    answered, number, matched, ended = None, 0, False, False
    with until_stopped():
        for number, frame in enumerate(frames, start=1):
            decision = tracker.add(frame)
            if decision.changed:
                answered = None
            if decision.sure and answered != (decision.sku or ""):
                answered, matched = decision.sku or "", matched or decision.sku is not None
                print_decision(decision, f"at frame {number}", json=options.json, top_k=options.top_k)
        ended = True
    if tracker.decision.frames and answered is None:
        matched |= tracker.decision.sku is not None
        print_decision(tracker.decision, f"at frame {number}", json=options.json, top_k=options.top_k)
    return matched or not ended
