"""How sure an answer is, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.cli.match_lines import print_answer
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
