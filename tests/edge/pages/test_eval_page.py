"""The page of eval --report: whole in one file, with the photos that went wrong, and the right ones beside them."""

from __future__ import annotations

import base64
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import CatalogError, Matcher, build_bundle
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.evaluation.evaluate import evaluate
from shelfmatch.edge.evaluation.results import Query
from shelfmatch.edge.metrics import reliability
from shelfmatch.edge.pages.charts import reliability_plot
from shelfmatch.edge.pages.eval_page import MOST_CELLS, write_eval_page
from tests.conftest import tile_photo, write_tiles


@pytest.fixture
def case(tmp_path: Path, tiny_tflite: Path) -> Path:
    """A folder with a bundle, its photos elsewhere, and queries of which some are mixed up, rejected, or wrongly accepted."""
    write_tiles(tmp_path / "source" / "photos", range(12))
    rows = [
        f"photos/sku-{n:03d}/{photo}.png,sku-{n:03d},<b>Tea {n}</b>,kind {n % 2}"
        for n in range(12)
        for photo in range(3)
    ]
    (tmp_path / "source" / "s.csv").write_text("\n".join(["image,sku,name,kind", *rows]))
    build_bundle(tmp_path / "source" / "s.csv", tmp_path / "s.bundle", encoder=tiny_tflite, resizer="pillow")
    (tmp_path / "queries").mkdir()
    lines = ["image,sku"]
    for number in range(40):
        product, other = number % 12, (number + 1 + number % 3) % 12 if number < 28 else 300 + number
        Image.blend(tile_photo(product, 60), tile_photo(other, 60), 0.3 + 0.01 * number).save(
            tmp_path / "queries" / f"{number}.png"
        )
        lines.append(f"{number}.png,sku-{product:03d}")
    for number in range(20):
        image = Image.blend(tile_photo(100 + number, 1), tile_photo(number % 12, 1), 0.04 * number)
        image.save(tmp_path / "queries" / f"stranger {number}.png")
        lines.append(f"stranger {number}.png,")
    (tmp_path / "queries" / "q.csv").write_text("\n".join(lines))
    return tmp_path


def pictures(page: str) -> list[np.ndarray[Any, Any]]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


def cells(page: str, heading: str) -> list[str]:
    """The figures of the gallery under a heading."""
    _, found, rest = page.partition(f"<h2>{heading}")
    return re.findall(r"<figure.*?</figure>", rest.partition("<h2>")[0], re.DOTALL) if found else []


def shows(picture: np.ndarray[Any, Any], product: int) -> bool:
    """Whether a thumbnail is a photo of a product: its pattern, through JPEG."""
    own, other = (
        np.asarray(tile_photo(n, 0).resize(picture.shape[1::-1]), float) for n in (product, (product + 5) % 12)
    )
    return bool(np.abs(picture - own).mean() < 25 < np.abs(picture - other).mean())


def test_shows_what_went_wrong_beside_what_it_should_have_been(case: Path, capfd: Any) -> None:
    page_path = case / "page.html"
    assert main(["eval", str(case / "s.bundle"), str(case / "queries" / "q.csv"), "--by", "kind", "--report", str(page_path),
                 "--photos", str(case / "source" / "s.csv")]) == 0  # fmt: skip
    page = page_path.read_text()
    with Matcher.open(case / "s.bundle") as matcher:
        result = evaluate(matcher, case / "queries" / "q.csv")
    accepted = [a for q, a in result.answers if not q.sku and a.sku]
    rejected = [a for q, a in result.answers if q.sku and not a.sku]
    assert len(result.confusions) > 3 and accepted and rejected, "the case has some of each"
    mixed = cells(page, "Mixed up most often")
    assert len(mixed) == min(MOST_CELLS, len(result.confusions))
    for cell, pair in zip(mixed, result.confusions, strict=False):
        query, wrong, right = pictures(cell)
        assert shows(wrong, int(pair.other[-3:])) and shows(right, int(pair.sku[-3:])) and query.size
        assert f"&lt;b&gt;Tea {int(pair.sku[-3:])}&lt;/b&gt;, taken for" in cell
    assert len(cells(page, "Not in the catalogue, accepted all the same")) == min(MOST_CELLS, len(accepted))
    assert len(cells(page, "In the catalogue, and rejected")) == min(MOST_CELLS, len(rejected))
    assert all(len(pictures(cell)) == 2 for cell in cells(page, "Not in the catalogue"))
    assert "<b>Tea" not in page and page.count("<svg") == 3 and "kind 1" in page
    assert "http" not in page and str(case) not in page, "self-contained, and silent about this machine"


def test_without_the_catalogues_photos_it_has_the_queries_and_names(case: Path) -> None:
    with Matcher.open(case / "s.bundle") as matcher:
        result = evaluate(matcher, case / "queries" / "q.csv")
        write_eval_page(case / "bare.html", result, matcher)
        bare = cells((case / "bare.html").read_text(), "Mixed up most often")
        assert all(len(pictures(cell)) == 1 and cell.count('class="none"') == 2 for cell in bare) and bare
        shutil.copytree(case / "source" / "photos", case / "photos")  # now they lie beside the bundle
        write_eval_page(case / "beside.html", result, matcher)
        assert all(len(pictures(cell)) == 3 for cell in cells((case / "beside.html").read_text(), "Mixed up"))
        for photo in (case / "photos").rglob("*.png"):  # other pictures under the same names are not the catalogue's
            tile_photo(500, 0).save(photo)
        write_eval_page(case / "others.html", result, matcher)
        assert (case / "others.html").read_bytes() == (case / "bare.html").read_bytes()
        with pytest.raises(CatalogError, match="does not exist"):
            write_eval_page(case / "x.html", result, matcher, photos=case / "gone")
        assert not (case / "x.html").exists()
        progress: list[int] = []
        write_eval_page(case / "again.html", result, matcher, progress=lambda s, n: [progress.append(n), s][1])
        assert (case / "again.html").read_bytes() == (case / "bare.html").read_bytes() and progress[0] > 10


def test_queries_that_are_gone_or_unreadable(case: Path) -> None:
    (case / "queries" / "3.png").write_text("no photo")
    with Matcher.open(case / "s.bundle") as matcher:
        result = evaluate(matcher, case / "queries" / "q.csv")
        for photo in (case / "queries").glob("*.png"):
            photo.unlink()
        write_eval_page(case / "page.html", result, matcher, photos=case / "source")
        page = (case / "page.html").read_text()
        assert "Queries that can&#x27;t be read" in page and "3.png is damaged or not a photo" in page
        assert cells(page, "Mixed up") and not pictures(page)
        none = evaluate(matcher, [])
        write_eval_page(case / "none.html", none, matcher)
        assert "<figure" not in (case / "none.html").read_text()
        known = evaluate(matcher, [Query(case / "source" / "photos" / "sku-001" / "0.png", "0.png", "sku-001")])
        write_eval_page(case / "known.html", known, matcher)
        assert "nan" not in (case / "known.html").read_text()


def test_a_rejected_photo_is_as_sure_as_match_says(case: Path) -> None:
    """The page called a photo 86 % sure of which match says 85 %."""
    with Matcher.open(case / "s.bundle") as matcher:
        result = evaluate(matcher, [Query(case / "queries" / "5.png", "5.png", "sku-005")])
        query, answer = result.answers[0]
        best = replace(answer.candidates[0], confidence=0.8567)
        unsure = replace(answer, sku=None, decision="unknown", confidence=0.8567, candidates=(best,), threshold=0.986)
        result.answers = [(query, unsure)]
        write_eval_page(case / "page.html", result, matcher)
    assert "85% sure" in cells((case / "page.html").read_text(), "In the catalogue, and rejected")[0]


def test_photos_without_a_page_is_a_mistake(case: Path, capfd: Any) -> None:
    queries = str(case / "queries" / "q.csv")
    assert main(["eval", str(case / "s.bundle"), queries, "--photos", str(case)]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "--photos came without --report" in err


@pytest.mark.parametrize("report", ["nodir/ev.html", ".", ""])
def test_a_page_that_cannot_be_written_is_told_before_the_evaluation(
    report: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["eval", "s.bundle", "q.csv", "--report", report]) == 2  # neither is looked at
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and f"{report or repr('')} can't be used: " in err


def test_a_bundle_whose_name_is_not_utf8_has_a_page(case: Path) -> None:
    (case / "s.bundle").rename(case / "s\udcff.bundle")
    assert (
        main(["eval", str(case / "s\udcff.bundle"), str(case / "queries" / "q.csv"), "--report", str(case / "p.html")])
        == 0
    )
    assert "<h1>s\\udcff.bundle</h1>" in (case / "p.html").read_text()


def test_the_reliability_plot_has_a_dot_for_each_bin_with_answers() -> None:
    plot = reliability_plot(reliability([0.05, 0.5, 0.51, 0.97], [False, True, False, True]))
    dots = [tuple(map(float, dot)) for dot in re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', plot)]
    assert len(dots) == 3
    assert [x for x, _, _ in dots] == sorted(x for x, _, _ in dots)
    assert [y for _, y, _ in dots] == [300, 150, 0] and max(dots, key=lambda dot: dot[2]) == dots[1]
    assert "<circle" not in reliability_plot(reliability([], []))
