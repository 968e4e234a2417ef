"""`shelfmatch match` beyond one answer a photo: frames of one product, and an explanation as a picture."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImageError, VectorError
from ..terminal import complain, print_json

if TYPE_CHECKING:
    from ..catalog.attributes import Where
    from ..matching.matcher import Matcher
    from ..matching.results import MatchResult
    from ..matching.tracking import TrackDecision


def add_options(match: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    match.add_argument("--no-look-again", action="store_true", help="don't mend rejected photos and look once more")
    match.add_argument("--frames", action="store_true", help="the images are frames of one product: one answer")
    match.add_argument("--explain", metavar="OUT.png", help="write a picture of what the match rests on (one image)")
    match.add_argument("--photos", metavar="SOURCE", help="with --explain: what the bundle was built from, to show it")


def check_options(options: argparse.Namespace) -> None:
    """Refuse what doesn't go together, before anything is loaded. Raises ImageError."""
    if options.frames and options.labels:
        raise ImageError("--labels arrived with --frames; expected one of them, labels are of single photos")
    if options.explain is None:
        if options.photos is not None:
            raise ImageError("--photos arrived without --explain; it says where the reference's picture is")
        return
    if options.frames or len(options.images) != 1:
        told = "--frames" if options.frames else f"{len(options.images)} images"
        raise ImageError(f"--explain arrived with {told}; expected one image, explain them one by one")
    from ..matching.explanation_card import check_ending

    check_ending(Path(options.explain))


def match_frames(matcher: Matcher, options: argparse.Namespace, where: Where) -> bool:
    """One answer to all images; whether one of them at least could be read."""
    tracker = matcher.track(top_k=options.top_k or 5, where=where or None)
    for image in options.images:
        decision = tracker.add(image)
        if decision.problem:
            complain(decision.problem)
        if decision.sure:
            break
    decision = tracker.decision
    if options.json:
        print_json(decision.to_dict())
    else:
        print(_told(decision, len(options.images)))
        for place, candidate in enumerate(decision.candidates[: options.top_k or 0], start=1):
            print(
                f"  {place}. {candidate.sku} {candidate.name}  score {candidate.score:.3f}  {candidate.confidence:.0%}"
            )
    return bool(decision.frames)


def _told(decision: TrackDecision, given: int) -> str:
    best = decision.candidates[0] if decision.candidates else None
    looked = f"{decision.frames} of {given} frames" + (", sure" if decision.sure else "")
    if best is None:
        return f"unknown, {looked}"
    title = f"{best.sku} {best.name}".rstrip()
    if decision.sku is None:
        return f"unknown (nearest: {title}, {best.confidence:.0%} sure), {looked}"
    return f"{title}, {best.confidence:.0%} sure, {looked}"


def match_explained(matcher: Matcher, options: argparse.Namespace, where: Where) -> MatchResult | ImageError:
    """Match the image and write the picture; the match, or why the image can't be read."""
    count = options.top_k or 5
    try:
        explanation = matcher.explain(
            options.images[0],
            photos=options.photos,
            top_k=max(2, count),  # the picture shows the runner-up
            where=where or None,
            labels=options.labels,
        )
    except (ImageError, VectorError) as error:
        return error if isinstance(error, ImageError) else ImageError(str(error))
    explanation.save(options.explain)
    return replace(explanation.result, candidates=explanation.result.candidates[:count])


def second_look_told(answer: MatchResult) -> str:
    """What the line for people says of a second look, with its comma."""
    look = answer.look_again
    if look is None:
        return ""
    if look.problem is not None:
        return f", {look.problem}"
    return f", {look.variant}" if answer.sku is not None and look.variant != "as it came" else ""
