"""`shelfmatch match`: an answer a photo, one answer to frames of one product, or an explanation as a picture."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImageError, VectorError
from ..terminal import DONE, NO, WRONG_INPUT, complain, print_json, quiet_native, titled
from .options import Command, add_bundle, add_labels, add_where, add_workers, positive, where_of

if TYPE_CHECKING:
    from ..catalog.attributes import Where
    from ..matching.matcher import Matcher
    from ..matching.results import MatchResult
    from ..matching.tracking import TrackDecision


def register(command: Command) -> None:
    """The command match."""
    match = command("match", _run, "photos → products")
    add_bundle(match)
    match.add_argument("images", metavar="IMAGE", nargs="+")
    match.add_argument(
        "--top-k", type=positive, default=None, metavar="N", help="list the N best products (default: 5 in JSON)"
    )
    add_where(match)
    add_labels(match)
    add_workers(match)
    match.add_argument("--no-look-again", action="store_true", help="no look-again pass over rejected photos")
    match.add_argument("--frames", action="store_true", help="the images are frames of one product: one answer")
    match.add_argument(
        "--explain", metavar="OUT.png", help="write a heat map of the evidence for the match (one image)"
    )
    match.add_argument("--photos", metavar="SOURCE", help="with --explain: what the bundle was built from, to show it")


def open_matcher(path: str, workers: int = 0, *, look_again: bool = True) -> Matcher:
    """The bundle's matcher, without what native libraries say. `workers`: sessions of the network, 0 for as many as are
    needed. Raises BundleError, RuntimeUnavailable."""
    from .. import Matcher  # not from .matcher: the package imports it without the garbage collector

    with quiet_native():
        return Matcher.open(path, sessions=workers or None, follow=False, look_again=look_again)


def _run(options: argparse.Namespace) -> int:
    where = where_of(options.where)
    workers = options.workers or min(os.cpu_count() or 1, len(options.images))
    failed = matched = False
    _check_options(options)
    with open_matcher(options.bundle, workers, look_again=not options.no_look_again) as matcher:
        matcher.catalog.check_values(where)
        if options.frames:
            return _match_frames(matcher, options, where)
        if options.explain is not None:
            answers = iter([_match_explained(matcher, options, where)])
        else:
            answers = matcher.match_many(
                options.images, top_k=options.top_k or 5, where=where, labels=options.labels, workers=workers
            )
        for image, answer in zip(options.images, answers, strict=True):
            if isinstance(answer, ImageError):
                failed = True
                if options.json:
                    print_json({"image": image, "error": {"type": "ImageError", "message": str(answer)}})
                else:
                    complain(str(answer))
                continue
            matched = matched or answer.sku is not None
            if options.json:
                print_json(answer.to_dict())
            else:
                _print_match(answer, options.top_k)
    if failed:
        return WRONG_INPUT
    return DONE if matched else NO


def _print_match(answer: MatchResult, top_k: int | None) -> None:
    total = f"{answer.latency_ms['total']:.0f} ms{_look_again_note(answer)}"
    best = answer.candidates[0] if answer.candidates else None
    if best is None:
        print(f"{answer.image}: unknown (the shop has no such products), {total}")
    elif answer.sku is not None:
        print(f"{answer.image}: {titled(best.sku, best.name)}, {best.confidence:.0%} sure, {total}")
    else:
        print(f"{answer.image}: unknown (nearest: {titled(best.sku, best.name)}, {best.confidence:.0%} sure), {total}")
    for attribute, label in answer.labels.items():
        print(f"  {attribute}: " + ("unknown" if label is None else f"{label.value}, {label.confidence:.0%} sure"))
    for place, candidate in enumerate(answer.candidates[: top_k or 0], start=1):
        print(
            f"  {place}. {titled(candidate.sku, candidate.name)}  score {candidate.score:.3f}  {candidate.confidence:.0%}"
        )


def _check_options(options: argparse.Namespace) -> None:
    """Refuse what doesn't go together, before anything is loaded. Raises ImageError."""
    if options.frames and options.labels:
        raise ImageError("--labels arrived with --frames; expected one of them, labels are of single photos")
    if options.explain is None:
        if options.photos is not None:
            raise ImageError("--photos arrived without --explain; it says where the reference's picture is")
        return
    if options.frames or len(options.images) != 1:
        given = "--frames" if options.frames else f"{len(options.images)} images"
        raise ImageError(f"--explain arrived with {given}; expected one image, explain them one by one")
    from ..matching.explanation_card import check_ending

    check_ending(Path(options.explain))


def _match_frames(matcher: Matcher, options: argparse.Namespace, where: Where) -> int:
    """One answer to all images; the exit code."""
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
        print(_frames_line(decision, len(options.images)))
        for place, candidate in enumerate(decision.candidates[: options.top_k or 0], start=1):
            print(
                f"  {place}. {candidate.sku} {candidate.name}  score {candidate.score:.3f}  {candidate.confidence:.0%}"
            )
    if not decision.frames:
        return WRONG_INPUT
    return DONE if decision.sku is not None else NO


def _frames_line(decision: TrackDecision, given: int) -> str:
    best = decision.candidates[0] if decision.candidates else None
    looked = f"{decision.frames} of {given} frames" + (", sure" if decision.sure else "")
    if best is None:
        return f"unknown, {looked}"
    title = f"{best.sku} {best.name}".rstrip()
    if decision.sku is None:
        return f"unknown (nearest: {title}, {best.confidence:.0%} sure), {looked}"
    return f"{title}, {best.confidence:.0%} sure, {looked}"


def _match_explained(matcher: Matcher, options: argparse.Namespace, where: Where) -> MatchResult | ImageError:
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


def _look_again_note(answer: MatchResult) -> str:
    """What the line for people says of the look-again pass, with its comma."""
    again = answer.look_again
    if again is None:
        return ""
    if again.problem is not None:
        return f", {again.problem}"
    return f", {again.variant}" if answer.sku is not None and again.variant != "as it came" else ""
