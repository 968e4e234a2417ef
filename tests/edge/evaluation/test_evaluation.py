"""Measured recall, ranks and rates against ones computed from the embeddings by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shelfmatch.edge import Candidate, CatalogError, Matcher, MatchResult, add_to_bundle, build_bundle, calibrate_bundle
from shelfmatch.edge.catalog.ids import product_of
from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.evaluation.evaluate import confusions_of, evaluate, read_queries
from shelfmatch.edge.evaluation.results import Answer, Confusion, Query
from shelfmatch.edge.metrics import auroc, wilson
from tests.conftest import tile_photo

fixed = settings(derandomize=True, database=None, deadline=None)


def blend(product: int, other: int, share: float, photo: int) -> Image.Image:
    """A photo on which another product covers a share of the first one's pattern."""
    return Image.blend(tile_photo(product, photo), tile_photo(other, photo), share)


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    """40 of products the shop sells, half of them hard, and 20 of others."""
    rows = []
    for number in range(20):
        rows.append((f"easy {number}.png", f"sku-{number % 12:03d}", tile_photo(number % 12, 50 + number)))
        hard = blend(number % 12, (5 * number + 1) % 12, 0.4 + 0.03 * number, 50 + number)
        rows.append((f"hard {number}.png", f"sku-{number % 12:03d}", hard))
        rows.append((f"unknown {number}.png", "", blend(100 + number, number % 12, 0.03 * number, 50)))
    with (tmp_path / "queries.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "sku"])
        for name, sku, image in rows:
            image.save(tmp_path / name)
            writer.writerow([name, sku])
    return tmp_path / "queries.csv"


def by_hand(matcher: Matcher, queries: list[Query]) -> dict[str, float]:
    """The same numbers, straight from embeddings and their definitions."""
    decision = matcher.bundle.manifest.decision
    skus = np.array([product.sku for _, product in sorted(matcher.catalog.products())])
    products = product_of(matcher.index.ids)
    ranks, known, unknown, accepted_right, accepted_unknown = [], [], [], 0, 0
    for query in queries:
        cosines = matcher.index.vectors() @ matcher.encoder.embed(query.path)[0]
        best = np.array([cosines[products == product].max() for product in range(len(skus))])
        order = np.argsort(-best)
        references = int((products == order[0]).sum())
        confidence = decision.confidence(best[order[0]], best[order[0]] - best[order[1]], references)
        accepted = confidence >= decision.threshold
        if query.sku:
            ranks.append(1 + int(np.flatnonzero(skus[order] == query.sku)[0]))
            known.append(confidence)
            accepted_right += bool(accepted and skus[order[0]] == query.sku)
        else:
            unknown.append(confidence)
            accepted_unknown += bool(accepted)
    pairs = [(a > b) + 0.5 * (a == b) for a in known for b in unknown]
    if len(ranks) == 40:
        assert {1, 2, 5} <= set(ranks) and max(ranks) > 5, "queries on both sides of each limit"
    return {
        "recall_at_1": float(np.mean([rank == 1 for rank in ranks])),
        "recall_at_5": float(np.mean([rank <= 5 for rank in ranks])),
        "mrr": float(np.mean([1 / rank for rank in ranks])),
        "auroc": float(np.mean(pairs)),
        "correct_accept_rate": accepted_right / len(known),
        "false_accept_rate": accepted_unknown / len(unknown),
    }


@pytest.mark.parametrize("workers", [1, 3])
def test_equals_what_is_computed_by_hand(tile_bundle: Path, queries: Path, workers: int) -> None:
    with Matcher.open(tile_bundle) as matcher:
        result = evaluate(matcher, queries, workers=workers)
        expected = by_hand(matcher, read_queries(queries))
    for name, value in expected.items():
        assert getattr(result, name) == pytest.approx(value, abs=1e-12), name
    # The queries are mixed enough to tell these numbers from each other and from 0 and 1.
    assert len({round(value, 6) for value in expected.values()} - {0, 1}) >= 4
    assert 0.5 < expected["recall_at_1"] < expected["mrr"] < 1
    assert (result.queries, result.known, result.unknown, result.unreadable) == (60, 40, 20, [])
    assert result.target_false_accept_rate == 0.05
    assert [query.label for query, _ in result.answers][:3] == ["easy 0.png", "hard 0.png", "unknown 0.png"]
    assert 0 < result.latency_ms["p50"] <= result.latency_ms["p90"] <= result.latency_ms["p99"]
    assert set(result.stages_ms) - {"locate", "look_again"} == {"decode", "preprocess", "encode", "search", "decide"}
    twice = [answer for _, answer in result.answers if answer.look_again is not None]
    assert result.looked_again == len(twice) / len(result.answers)
    assert ("look_again" in result.stages_ms) == bool(twice)


def test_confidence_intervals_and_confusions_equal_what_is_counted_by_hand(tile_bundle: Path, queries: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        result = evaluate(matcher, queries)
    gaps, mistakes = [0.0] * 15, {}
    for query, answer in result.answers:
        first = answer.candidates[0].sku
        gaps[min(14, int(15 * answer.confidence))] += float(first == query.sku) - answer.confidence
        if query.sku and first != query.sku:
            mistakes[query.sku, first] = mistakes.get((query.sku, first), 0) + 1
    assert result.calibration_error == pytest.approx(sum(map(abs, gaps)) / 60) and result.calibration_error > 0.01
    assert sum(row.count for row in result.reliability) == 60
    wrong = sum(bool(query.sku) and answer.sku not in (None, query.sku) for query, answer in result.answers)
    assert result.wrong_accept_rate == wrong / 40
    assert result.false_accept_rate is not None
    assert result.false_accept_interval == wilson(round(20 * result.false_accept_rate), 20)
    assert result.correct_accept_interval == wilson(round(40 * (result.correct_accept_rate or 0)), 40)
    assert len(mistakes) > 5
    listed = {}
    for pair in result.confusions:
        assert (
            pair.taken_for_other >= pair.other_taken_for and pair.count == pair.taken_for_other + pair.other_taken_for
        )
        listed[pair.sku, pair.other] = pair.taken_for_other
        if pair.other_taken_for:
            listed[pair.other, pair.sku] = pair.other_taken_for
    assert listed == mistakes
    assert [pair.count for pair in result.confusions] == sorted((p.count for p in result.confusions), reverse=True)


def test_a_pair_mixed_up_both_ways_is_listed_once() -> None:
    def taken(sku: str, for_sku: str) -> Answer:
        candidate = Candidate(Product(for_sku), 0.9, 0.5)
        return Query(Path("q"), "q", sku), MatchResult("q", "unknown", None, 0.5, (candidate,))

    answers = [taken("a", "b"), taken("b", "a"), taken("c", "a"), taken("c", "a"), taken("a", "c"), taken("a", "a"),
               taken("", "a"), taken("d", "e")]  # fmt: skip
    assert confusions_of(answers) == [Confusion("c", "a", 2, 1), Confusion("a", "b", 1, 1), Confusion("d", "e", 1, 0)]


def test_rates_by_an_attribute(
    tile_folder: Path, tmp_path: Path, queries: Path, tiny_tflite: Path, capsys: Any
) -> None:
    rows = [f"{path},{path.parent.name},{'ABC'[int(path.parent.name[-1]) % 3]}" for path in tile_folder.rglob("*.png")]
    rows = [row.removesuffix(",A") + "," if row.endswith(",A") else row for row in rows]  # those have no kind
    (tmp_path / "s.csv").write_text("\n".join(["image,sku,kind", *rows]))
    build_bundle(tmp_path / "s.csv", tmp_path / "s.bundle", encoder=tiny_tflite, resizer="pillow", adapt="off")
    lines = queries.read_text().splitlines()
    kinds = ["kind", *("C" if line.endswith(",") and number % 2 else "" for number, line in enumerate(lines[1:]))]
    queries.write_text("\n".join(f"{line},{kind}" for line, kind in zip(lines, kinds, strict=True)))
    with Matcher.open(tmp_path / "s.bundle") as matcher:
        result = evaluate(matcher, queries, by=["kind"])
        assert evaluate(matcher, queries, by="kind").by == result.by
        for attribute in ("colour", ""):
            with pytest.raises(CatalogError, match=f"attribute '{attribute}'; the catalogue has kind, name, sku"):
                evaluate(matcher, queries, by=[attribute])
        groups = {group.value: group for group in result.by["kind"]}
        assert list(groups)[-1] is None and set(groups) == {"B", "C", None}
        for value in ("B", "C"):
            own = [(q, a) for q, a in result.answers if q.sku and "ABC"[int(q.sku[-1]) % 3] == value]
            assert groups[value].known == len(own) > 5
            assert groups[value].recall_at_1 == np.mean([a.candidates[0].sku == q.sku for q, a in own])
        assert (groups["B"].unknown, groups["B"].false_accept_rate) == (0, None)
        assert groups["C"].unknown == 10 and sum(group.unknown for group in result.by["kind"]) == 20
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "s.bundle"), str(queries), "--by", "kind", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["by"]["kind"]
    assert [group["value"] for group in printed] == [group.value for group in result.by["kind"]]
    assert main(["eval", str(tmp_path / "s.bundle"), str(queries), "--by", "kind,sku"]) == 0
    text = capsys.readouterr().out
    assert "by kind" in text and "by sku" in text and "(none)" in text and "mixed up most often" in text


def test_products_without_a_name_are_a_group_of_none(tile_bundle: Path, queries: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        (group,) = evaluate(matcher, queries, by="name").by["name"]
    assert group.value is None and group.known > 0


def test_small_rates_are_told(
    tile_bundle: Path, tile_folder: Path, queries: Path, tiny_tflite: Path, capsys: Any
) -> None:
    build_bundle(
        tile_folder, tile_bundle, encoder=tiny_tflite, resizer="pillow", workers=1, adapt="off", false_accept=0.004
    )
    capsys.readouterr()
    assert main(["info", str(tile_bundle)]) == 0 and "about 0.4% get a name" in capsys.readouterr().out
    assert main(["eval", str(tile_bundle), str(queries)]) == 0 and "target 0.4%" in capsys.readouterr().out


def test_a_product_beyond_the_depth_counts_as_not_found(
    tile_bundle: Path, queries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shelfmatch.edge.evaluation.evaluate.MRR_DEPTH", 1)
    with Matcher.open(tile_bundle) as matcher:
        result = evaluate(matcher, queries)
    assert result.recall_at_1 == result.recall_at_5 == result.mrr


def test_photos_that_cannot_be_read_are_listed_and_not_counted(
    tile_bundle: Path, queries: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "easy 0.png").write_text("no photo")
    (tmp_path / "unknown 3.png").unlink()
    with Matcher.open(tile_bundle) as matcher:
        result = evaluate(matcher, queries)
        whole = [query for query in read_queries(queries) if query.label not in ("easy 0.png", "unknown 3.png")]
        expected = by_hand(matcher, whole)
    assert [label for label, _ in result.unreadable] == ["easy 0.png", "unknown 3.png"]
    assert (result.queries, result.known, result.unknown) == (58, 39, 19)
    assert result.mrr == pytest.approx(expected["mrr"]) and result.auroc == pytest.approx(expected["auroc"])
    assert main(["eval", str(tile_bundle), str(queries), "--json"]) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["queries"] == 58 and printed.err.count("\n") == 2


def test_only_known_or_only_unknown_queries(tile_bundle: Path, queries: Path) -> None:
    listed = read_queries(queries)
    with Matcher.open(tile_bundle) as matcher:
        known = evaluate(matcher, [query for query in listed if query.sku])
        unknown = evaluate(matcher, [query for query in listed if not query.sku])
        none = evaluate(matcher, [])
    assert known.false_accept_rate is known.auroc is None and known.recall_at_1 is not None
    assert unknown.recall_at_1 is unknown.mrr is unknown.correct_accept_rate is unknown.auroc is None
    assert known.false_accept_interval is unknown.correct_accept_interval is none.calibration_error is None
    assert unknown.wrong_accept_rate is None and unknown.confusions == none.confusions == []
    assert unknown.false_accept_rate is not None
    assert none.queries == 0 and none.latency_ms["p50"] == 0
    for result in (known, unknown, none):
        json.dumps(result.to_dict(), allow_nan=False)
        assert "–" in result.table() and "nan" not in result.table()


def test_the_document_is_the_contracts(tile_bundle: Path, queries: Path, capsys: Any) -> None:
    assert main(["eval", str(tile_bundle), str(queries), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {"queries", "recall_at_1", "recall_at_5", "mrr", "open_set", "latency_ms"} <= set(record)
    contract = {"known", "unknown", "auroc", "false_accept_rate", "correct_accept_rate", "target_false_accept_rate"}
    assert set(record["open_set"]) == contract | {
        "false_accept_interval", "correct_accept_interval", "wrong_accept_rate", "efficiency",
    }  # fmt: skip
    assert record["risk_coverage"][-1]["coverage"] == 1.0 and 0 <= record["open_set"]["efficiency"] <= 1
    assert set(record) - contract >= {"calibration", "confusions", "by"} and record["by"] == {}
    assert set(record["calibration"]) == {"error", "bins"} and len(record["calibration"]["bins"]) == 15
    assert set(record["latency_ms"]) == {"p50", "p90", "p99"}
    assert main(["eval", str(tile_bundle), str(queries)]) == 0
    assert f"{100 * record['recall_at_1']:.1f} %" in capsys.readouterr().out


def test_a_sku_the_shop_does_not_have_is_a_mistake_in_the_queries(tile_bundle: Path, tmp_path: Path) -> None:
    tile_photo(0, 0).save(tmp_path / "a.png")
    (tmp_path / "q.csv").write_text("image,sku\na.png,sku-000\na.png,sku-999\n")
    with (
        Matcher.open(tile_bundle) as matcher,
        pytest.raises(CatalogError, match=r"a\.png has the SKU 'sku-999'.*empty"),
    ):
        evaluate(matcher, tmp_path / "q.csv")


def test_queries_are_read_like_a_catalogue_but_for_empty_skus(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("\ufeffsku,note,image\nA,x,a.png\n,y,b c.png\n\n")
    assert read_queries(path) == [Query(tmp_path / "a.png", "a.png", "A"), Query(tmp_path / "b c.png", "b c.png", "")]
    assert [query.attributes for query in read_queries(path)] == [{"note": "x"}, {"note": "y"}]
    for text, words in (
        ("image,sku\n", "no rows"),
        ("image\na.png\n", "include image,sku"),
        ("image,sku\n,A\n", "no image"),
    ):
        path.write_text(text)
        with pytest.raises(CatalogError, match=words):
            read_queries(path)
    with pytest.raises(CatalogError, match="does not exist; expected a folder of folders named by SKU, or a CSV"):
        read_queries(tmp_path / "missing.csv")


def test_folders_are_labels_also_where_paths_are_the_skus(tmp_path: Path, tiny_tflite: Path) -> None:
    """Folders of one name have their paths as SKUs, and the same folders with other photos were "named 'green', which the bundle
    doesn't have as a SKU"."""
    products = ["soup/green", "soup/red", "tea/green", "tea/red"]
    for number, place in enumerate([*products, "tea/unknown"]):
        for kind, photos in (("shop", (0, 1)), ("held", (60,))):
            folder = tmp_path / kind / place
            folder.mkdir(parents=True)
            for photo in photos if place in products or kind == "held" else ():
                tile_photo(number, photo).save(folder / f"{photo}.png")
    build_bundle(tmp_path / "shop", tmp_path / "shop.bundle", encoder=tiny_tflite, adapt="off")
    with Matcher.open(tmp_path / "shop.bundle") as matcher:
        listed = read_queries(tmp_path / "held", matcher.catalog)
        assert [query.sku for query in listed] == [*products, ""]
        assert evaluate(matcher, tmp_path / "held").recall_at_1 == 1
        deeper = tmp_path / "monday" / "held"
        deeper.parent.mkdir()
        (tmp_path / "held").rename(deeper)
        assert [query.sku for query in read_queries(deeper.parent, matcher.catalog)] == [*products, ""]
    tile_photo(9, 0).save(deeper / "stray.png")
    with pytest.raises(CatalogError, match="lies beside folders whose names are labels, like soup/green"):
        calibrate_bundle(tmp_path / "shop.bundle", deeper)
    (deeper / "stray.png").unlink()
    tile_photo(9, 0).save(tmp_path / "extra.png")
    (tmp_path / "extra.csv").write_text("image,sku\nextra.png,green\n")
    add_to_bundle(tmp_path / "shop.bundle", tmp_path / "extra.csv")
    with Matcher.open(tmp_path / "shop.bundle") as matcher:  # a product of that name is another one
        assert [query.sku for query in read_queries(deeper, matcher.catalog)] == [*products, ""]


@fixed
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
)
def test_auroc_counts_pairs(positives: list[int], negatives: list[int]) -> None:
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in positives for b in negatives]
    assert auroc(positives, negatives) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert auroc([], negatives) is auroc(positives, []) is None
