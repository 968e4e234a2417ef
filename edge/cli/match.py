"""`shelfmatch match`: an answer a photo, one answer to frames of one product, or an explanation as a picture."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog.where_texts import where_of
from ..errors import ImageError, VectorError
from ..terminal import DONE, NO, WRONG_INPUT, complain, quiet_native
from .match_lines import print_answer, print_decision, print_scene
from .options import Command, add_bundle, add_labels, add_locate, add_turn, add_where, add_workers, positive

if TYPE_CHECKING:
    from ..catalog.attributes import Where
    from ..matching.matcher import Matcher
    from ..matching.results import MatchResult
    from ..matching.scene import Scene
    from ..matching.tracking import TrackDecision


def register(command: Command) -> None:
    """The command match."""
    match = command("match", _run, "photos → products", mixed=True)
    add_bundle(match)
    match.add_argument(
        "images", metavar="IMAGE", nargs="*", help="photos, and folders: all photos in and below them, sorted"
    )
    match.add_argument(
        "--top-k", type=positive, default=None, metavar="N", help="list the N best products (default: 5 in JSON)"
    )
    add_where(match)
    add_labels(match)
    add_workers(match)
    match.add_argument("--no-look-again", action="store_true", help="no look-again pass over rejected photos")
    match.add_argument("--all", action="store_true", help="every product in the scene, with its box")
    add_locate(match)
    match.add_argument("--frames", action="store_true", help="the images are frames of one product: one answer")
    match.add_argument(
        "--camera",
        metavar="N|csi|VIDEO",
        help="answer what is held before this camera, once it is sure, until interrupted; needs OpenCV, PyAV or, for csi, "
        "picamera2",
    )
    add_turn(match)
    match.add_argument(
        "--watch", metavar="FOLDER", help="answer photos as they come into this folder, until interrupted"
    )
    match.add_argument(
        "--explain", metavar="OUT.png", help="write a heat map of the evidence for the match (one image)"
    )
    match.add_argument("--photos", metavar="SOURCE", help="with --explain: what the bundle was built from, to show it")


def open_matcher(path: str, workers: int = 0, *, follow: bool = False, **settings: Any) -> Matcher:
    """The bundle's matcher, without what native libraries say. `workers`: sessions of the network, 0 for as many as are
    needed; `follow`: take over changes of the bundle; `settings` as for `Matcher.open`. Raises BundleError, RuntimeUnavailable."""
    from .. import Matcher  # not from .matcher: the package imports it without the garbage collector

    with quiet_native():
        return Matcher.open(path, sessions=workers or None, follow=follow, **settings)


def _run(options: argparse.Namespace) -> int:
    where = where_of(options.where)
    _check_options(options)
    if options.camera is not None:
        return _run_camera(options, where)
    from ..catalog.photo_folder import PhotoWatch, expanded

    watch = None if options.watch is None else PhotoWatch(options.watch)  # first: what comes from now on is new
    images = expanded(options.images)
    workers = options.workers or min(os.cpu_count() or 1, max(1, len(images)))
    if options.all:
        workers = options.workers or os.cpu_count() or 1
    with open_matcher(options.bundle, workers, follow=watch is not None, **_settings(options)) as matcher:
        matcher.catalog.check_values(where)
        if options.all:
            return _match_scenes(matcher, images, options, where)
        if options.frames:
            return _match_frames(matcher, images, options, where)
        if options.explain is not None:
            answers = iter([_match_explained(matcher, options, where)])
        else:
            answers = matcher.match_many(
                images, top_k=options.top_k or 5, where=where, labels=options.labels, workers=workers
            )
        failed = matched = False
        for image, answer in zip(images, answers, strict=True):
            failed |= isinstance(answer, ImageError)
            matched |= not isinstance(answer, ImageError) and answer.sku is not None
            print_answer(image, answer, json=options.json, top_k=options.top_k)
        if watch is not None:
            from .live import match_watched

            match_watched(matcher, watch, options, where)
            return DONE  # it ends when it is told to
    if failed:
        return WRONG_INPUT
    return DONE if matched else NO


def _run_camera(options: argparse.Namespace, where: Where) -> int:
    from ..camera.readers import frames_of
    from .live import match_camera

    with open_matcher(options.bundle, 1, follow=True, **_settings(options)) as matcher:
        matcher.catalog.check_values(where)
        return DONE if match_camera(matcher, frames_of(options.camera, turn=options.turn), options, where) else NO


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """How the matcher is opened."""
    return {"look_again": not options.no_look_again, "locate": options.locate, "detector": options.detector}


def _check_all(options: argparse.Namespace) -> None:
    """Refuse what doesn't go with --all. Raises ImageError."""
    others = {
        "--frames": options.frames,
        "--camera": options.camera,
        "--watch": options.watch,
        "--explain": options.explain,
    }
    beside = [name for name, given in others.items() if given]
    if beside:
        raise ImageError(f"--all arrived with {beside[0]}; expected it alone, each photo is a scene of its own")
    if options.locate != "auto":
        raise ImageError(f"--all arrived with --locate {options.locate}; expected it without, all products are located")


def _check_options(options: argparse.Namespace) -> None:
    """Refuse what doesn't go together, before anything is loaded. Raises ImageError."""
    if options.all:
        _check_all(options)
    if options.turn and options.camera is None:
        raise ImageError(f"--turn {options.turn} arrived without --camera; expected both, or neither")
    if options.camera is not None:
        others = {"images": options.images, "--frames": options.frames, "--labels": options.labels,
                  "--watch": options.watch, "--explain": options.explain}  # fmt: skip
        beside = [name for name, given in others.items() if given]
        if beside:
            raise ImageError(f"--camera arrived with {beside[0]}; expected it alone, its frames are matched together")
    elif not options.images and options.watch is None:
        from ..catalog.photo_folder import is_photo

        if is_photo(options.bundle):
            raise ImageError(
                f"{options.bundle} is a photo, and no other argument arrived; expected the bundle first, then photos"
            )
        raise ImageError("no image arrived; expected photos, folders of photos, --watch FOLDER or --camera N")
    if options.watch is not None and (options.frames or options.explain is not None):
        raise ImageError(
            "--watch arrived with --frames or --explain; expected it without, its photos are matched one by one"
        )
    if options.frames and options.labels:
        raise ImageError("--labels arrived with --frames; expected one of them, labels are of single photos")
    if options.explain is None:
        if options.photos is not None:
            raise ImageError("--photos arrived without --explain; it says where the reference's picture is")
        return
    if options.frames or len(options.images) != 1:
        given = "--frames" if options.frames else f"{len(options.images)} images"
        raise ImageError(f"--explain arrived with {given}; expected one image, explain them one by one")
    if Path(options.images[0]).is_dir():
        raise ImageError(
            f"--explain arrived with {options.images[0]}, a folder; expected one image, explain them one by one"
        )
    from ..files import check_output
    from ..matching.explanation_card import check_ending

    check_ending(Path(options.explain))
    check_output(options.explain, "picture", [*options.images, *([] if options.photos is None else [options.photos])])


def _match_scenes(matcher: Matcher, images: Sequence[str], options: argparse.Namespace, where: Where) -> int:
    """All products of each photo; the exit code."""
    failed = matched = False
    for image in images:
        answer: Scene | ImageError
        try:
            with quiet_native():  # the detector is loaded with the first photo
                answer = matcher.match_scene(
                    image, top_k=options.top_k or 5, where=where or None, labels=options.labels, workers=options.workers
                )
        except ImageError as error:
            answer = error
        failed |= isinstance(answer, ImageError)
        matched |= not isinstance(answer, ImageError) and any(one.sku is not None for one in answer.products)
        print_scene(image, answer, json=options.json, top_k=options.top_k)
    if failed:
        return WRONG_INPUT
    return DONE if matched else NO


def _match_frames(matcher: Matcher, images: Sequence[str], options: argparse.Namespace, where: Where) -> int:
    """One answer to all images; the exit code."""
    tracker = matcher.track(top_k=options.top_k or 5, where=where or None)
    tried = 0
    for image in images:
        tried += 1
        decision = tracker.add(image)
        if decision.problem:
            complain(decision.problem)
        if decision.sure:
            break
    decision = tracker.decision
    print_decision(decision, _frames_words(decision, tried, len(images)), json=options.json, top_k=options.top_k)
    if not decision.frames:
        return WRONG_INPUT
    return DONE if decision.sku is not None else NO


def _frames_words(decision: TrackDecision, tried: int, given: int) -> str:
    """Which of the frames the answer rests on, and what became of the others."""
    notes = []
    if decision.unreadable:
        notes.append(f"{decision.unreadable} unreadable")
    if tried - decision.unreadable > decision.frames:
        notes.append(f"{tried - decision.unreadable - decision.frames} of something else")
    if tried < given:
        notes.append(f"{given - tried} not needed")
    words = f"from {decision.frames} of {given} frames"
    return words + (f" ({', '.join(notes)})" if notes else "")


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
