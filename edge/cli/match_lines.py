"""What `shelfmatch match` prints of an answer: lines for people, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ImageError
from ..terminal import amount, complain, print_json, shown, titled

if TYPE_CHECKING:
    from ..matching.results import Candidate, MatchResult
    from ..matching.scene import Scene
    from ..matching.tracking import TrackDecision


def print_answer(image: str, answer: MatchResult | ImageError, *, json: bool, top_k: int | None) -> None:
    """One photo's answer, or why it can't be read; `top_k`: list so many candidates for people, too."""
    if isinstance(answer, ImageError):
        if json:
            print_json({"image": image, "error": {"type": "ImageError", "message": str(answer)}})
        else:
            complain(str(answer))
    elif json:
        print_json(answer.to_dict())
    else:
        _print_match(answer, top_k)


def print_scene(image: str, answer: Scene | ImageError, *, json: bool, top_k: int | None) -> None:
    """A scene's products, one a line, or why the photo can't be read."""
    if isinstance(answer, ImageError):
        print_answer(image, answer, json=json, top_k=top_k)
        return
    if json:
        print_json(answer.to_dict())
        return
    named = sum(one.sku is not None for one in answer.products)
    count = f"{amount(len(answer.products), 'product')}, {named} of them known"
    print(f"{shown(answer.image)}: {count}, {answer.latency_ms['total']:.0f} ms", flush=True)
    for one in answer.products:
        result = one.result
        place = ", ".join(str(round(edge)) for edge in one.box)
        if result is None:
            print(f"  [{place}]  shows nothing")
            continue
        sentence = _barcode_sentence(result) or _sentence(
            result.candidates, result.sku, result.confidence, result.threshold, "the shop has no such products"
        )
        print(f"  [{place}]  {sentence}")
        _print_labels(result, "    ")
        _print_candidates(result.candidates[: top_k or 0], result.sku, result.threshold)


def print_decision(decision: TrackDecision, frames: str, *, json: bool, top_k: int | None) -> None:
    """What several frames came to; `frames`: which, in words for people."""
    if json:
        print_json(decision.to_dict())
        return
    sentence = _sentence(decision.candidates, decision.sku, decision.confidence, decision.threshold)
    print(f"{sentence}, {frames}" + (", sure" if decision.sure else ""), flush=True)
    _print_candidates(decision.candidates[: top_k or 0], decision.sku, decision.threshold)


def _print_match(answer: MatchResult, top_k: int | None) -> None:
    blank = answer.look_again is not None and answer.look_again.problem is not None
    empty = "" if blank else "the shop has no such products"
    sentence = _barcode_sentence(answer) or _sentence(
        answer.candidates, answer.sku, answer.confidence, answer.threshold, empty
    )
    notes = _located_note(answer) + _look_again_note(answer)
    print(f"{shown(answer.image)}: {sentence}, {answer.latency_ms['total']:.0f} ms{notes}", flush=True)
    _print_labels(answer, "  ")
    _print_candidates(answer.candidates[: top_k or 0], answer.sku, answer.threshold)


def _print_labels(answer: MatchResult, indent: str) -> None:
    from ..matching.results import sureness

    for attribute, label in answer.labels.items():
        said = "unknown" if label is None else f"{label.value}, {sureness(label.confidence)} sure"
        print(f"{indent}{attribute}: {said}")


def _barcode_sentence(answer: MatchResult) -> str:
    """The answer that the bar code gave, "" where it gave none."""
    if answer.barcode is None:
        return ""
    code = f"{answer.barcode.format} {answer.barcode.number}"
    if answer.sku is None:
        return f"unknown (bar code {code}, which the catalogue doesn't have)"
    return f"{titled(answer.sku, answer.candidates[0].name)}, by its bar code {code}"


def _sentence(
    candidates: Sequence[Candidate], sku: str | None, confidence: float, threshold: float, empty: str = ""
) -> str:
    """The answer, how sure it is, and of an unknown one how sure it would have to be."""
    from ..matching.results import shortfall, sureness

    best = candidates[0] if candidates else None
    if best is None:
        return "unknown" + (f" ({empty})" if empty else "")
    title = titled(best.sku, best.name)
    if sku is not None:
        return f"{title}, {sureness(confidence)} sure"
    return f"unknown (nearest: {title}, {shortfall(confidence, threshold)})"


def _print_candidates(candidates: Sequence[Candidate], sku: str | None, threshold: float) -> None:
    from ..matching.results import surenesses

    for place, (one, sure) in enumerate(zip(candidates, surenesses(candidates, sku, threshold), strict=True), start=1):
        print(f"  {place}. {titled(one.sku, one.name)}  score {one.score:.3f}  {sure}")


def _located_note(answer: MatchResult) -> str:
    """Where the product was found that is named, with its comma."""
    if answer.located is None or answer.sku is None:
        return ""
    return f", found at [{', '.join(str(round(edge)) for edge in answer.located.box)}]"


def _look_again_note(answer: MatchResult) -> str:
    """What the line for people says of the look-again pass, with its comma."""
    again = answer.look_again
    if again is None:
        return ""
    if again.problem is not None:
        return f", {again.problem}"
    return f", {again.variant}" if answer.sku is not None and again.variant != "as it came" else ""
