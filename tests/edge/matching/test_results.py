"""How sure an answer is, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.cli.match_lines import print_answer
from shelfmatch.edge.matching import explanation_card
from shelfmatch.edge.matching.labels import Label
from shelfmatch.edge.matching.results import Candidate, MatchResult, sureness


@pytest.mark.parametrize(
    ("confidence", "said"),
    [(0.0, "0%"), (0.944, "94%"), (0.9949, "99%"), (0.995, "over 99%"), (0.999999, "over 99%"), (1.0, "100%")],
)
def test_only_what_is_certain_is_called_100_percent(confidence: float, said: str) -> None:
    assert sureness(confidence) == said


@pytest.mark.parametrize(
    ("confidences", "threshold", "said"),
    [((0.8567, 0.0951), 0.986, ["85%", "9%"]), ((0.9999, 0.9998), 0.99995, ["99%", "99%"]), ((), 0.9, [])],
)
def test_below_an_unknown_answer_its_nearest_is_as_sure_as_it_says(
    confidences: tuple[float, ...], threshold: float, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer said 85 %, its own first candidate one line below 86 %."""
    candidates = tuple(Candidate(Product(str(n)), 0.5, sure) for n, sure in enumerate(confidences))
    sure = confidences[0] if confidences else 0.0
    answer = MatchResult("a.jpg", "unknown", None, sure, candidates, {"total": 1.0}, threshold=threshold)
    print_answer("a.jpg", answer, json=False, top_k=2)
    headline, *listed = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in listed] == said
    if said:
        assert f"nearest: 0, {said[0]} sure, needs " in headline
        print_answer("a.jpg", replace(answer, sku="0", decision="match"), json=False, top_k=2)
        lines = capsys.readouterr().out.splitlines()
        assert f"{sureness(confidences[0])} sure" in lines[0] and lines[1].endswith(sureness(confidences[0]))


def test_the_explanations_picture_is_as_sure_of_the_runner_up_as_match(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an unknown photo, match said 9 % and the picture 10 %."""
    candidates = (Candidate(Product("0"), 0.5, 0.8567), Candidate(Product("1"), 0.4, 0.0951))
    answer = MatchResult("a.jpg", "unknown", None, 0.8567, candidates, {"total": 1.0}, threshold=0.986)
    print_answer("a.jpg", answer, json=False, top_k=2)
    said = capsys.readouterr().out.split()[-1]
    written: list[str] = []

    def write(_pen: Any, _place: Any, text: str, *_: Any, **_more: Any) -> None:
        written.append(text)

    monkeypatch.setattr(explanation_card, "write_line", write)
    photo = Image.new("RGB", (8, 8))
    explanation_card.draw(answer, query=photo, heated_picture=(photo, np.zeros((1, 1), np.float32), (0, 0, 1, 1)))
    assert said == "9%" and any(f"runner-up: 1, {said} sure" in line for line in written)


def test_a_label_that_isnt_certain_isnt_called_100_percent(capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"kind": Label("tea", 0.9987)}
    answer = MatchResult("a.jpg", "unknown", None, 0.0, (), {"total": 1.0}, labels=labels)
    print_answer("a.jpg", answer, json=False, top_k=None)
    assert capsys.readouterr().out.splitlines()[1] == "  kind: tea, over 99% sure"
