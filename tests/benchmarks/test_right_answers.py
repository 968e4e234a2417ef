"""benchmarks/right_answers.py: rows of parts that aren't run again stay, and the table says what wasn't measured."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(name)


def test_parts_are_measured_one_by_one_into_one_table(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, table = modules("right_answers"), modules("right_table")
    for part, found in (("small", 0.09), ("cost", 3000.0)):
        row = table.Row(
            part,
            f"what {part} is",
            found,
            0.08 if part == "small" else 4096,
            False,
            "3 shops",
            "%" if part == "small" else "",
        )
        monkeypatch.setitem(bench.MEASURE, part, lambda work, options, row=row: [row])
    out, page = tmp_path / "found.json", tmp_path / "page.md"
    assert bench.main(["--parts", "small", "--json", str(out), "--gate"]) == 1
    assert bench.main(["--parts", "cost", "--json", str(out), "--markdown", str(page)]) == 0
    rows = json.loads(out.read_text())["results"]["rows"]
    assert [(row["part"], row["met"]) for row in rows] == [("small", False), ("cost", True)]
    text = page.read_text()
    assert "| what small is | ≤ 8.0 % | 9.0 % | NO | 3 shops |" in text
    assert "| what cost is | ≤ 4096 | 3000 | yes | 3 shops |" in text
    assert "**barcodes** (packages with a readable bar code, and others): not run." in text


def test_what_was_not_measured_is_neither_met_nor_missed(modules: Any) -> None:
    row = modules("right_table").Row
    assert row("rates", "x", None, 0.5, True).met is None
    assert row("rates", "x", float("nan"), 0.5, True).met is None
    assert row("rates", "x", 0.5, 0.5, True).met is True
    assert row("rates", "x", 0.51, 0.5, False).met is False


def test_the_calibration_error_weighs_unknown_queries_three_in_a_hundred(modules: Any) -> None:
    shops, real = modules("right_shops"), modules("real_goods")
    known = np.array([True] * 100 + [False] * 100)
    right = known.copy()
    sure = real.Answers(right, known, right, np.where(known, 0.97, 0.97))
    error, count = shops.calibration_error([sure])
    assert count == 100
    assert error == pytest.approx(0.0, abs=1e-9)  # all in one bin: 97 of 100 by weight are right
    wrong = real.Answers(np.zeros(200, bool), known, right, np.full(200, 0.97))
    assert shops.calibration_error([wrong])[0] == pytest.approx(0.97)


def test_a_shop_can_be_cut_to_some_products_and_queries(modules: Any) -> None:
    goods, shops = modules("goods"), modules("right_shops")
    every = tuple((Path(f"{number}.png"), f"sku-{number % 6}") for number in range(36))
    shop = goods.Shop("some", every, every)
    cut = shops.part_of(shop, 3, 5, np.random.default_rng(0))
    assert len(cut.skus) == 3
    assert len(cut.queries) == 5
    assert {sku for _, sku in cut.queries} <= set(cut.skus)
    assert shops.part_of(shop, 0, 0, np.random.default_rng(0)) == shop
    few = shops.with_pictures(shop, 2, np.random.default_rng(0))
    assert len(few.catalogue) == 12
