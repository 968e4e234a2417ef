"""Steps that would lose something of the user's, or that come too early: refused, with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import tile_photo

from .conftest import FirstHour


@pytest.fixture
def shop(hour: FirstHour) -> FirstHour:
    """A CSV, its bundle, a query and labelled queries."""
    hour.photos("photos/a.png", "photos/b.png")
    hour.write("shop.csv", "image,sku\nphotos/a.png,A\nphotos/b.png,B\n")
    hour.write("queries.csv", "image,sku\nphotos/a.png,A\n")
    hour.build("shop.csv")
    tile_photo(0, 7).save("query.png")
    Path("link.csv").symlink_to("shop.csv")
    os.link("queries.csv", "hard.csv")
    return hour


@pytest.mark.parametrize("output", ["shop.csv", "./shop.csv", "photos/../shop.csv", "link.csv"])
def test_a_report_over_the_source(output: str, shop: FirstHour) -> None:
    shop.build_refused("shop.csv", "--report", output, remedy="it is also an input; name another file to write")
    shop.build_refused("link.csv", "--report", output, remedy="it is also an input")


def test_a_report_over_a_photo_or_another_table(shop: FirstHour) -> None:
    shop.build_refused(
        "shop.csv",
        "--report",
        "photos/a.png",
        remedy="is no HTML page that shelfmatch wrote is there already; name another file",
    )
    shop.build_refused("shop.csv", "--report", "queries.csv", remedy="name another file to write, or remove this one")
    shop.build_refused("shop.csv", "--report", "shop.bundle/manifest.json", remedy="name another file")
    shop.build("shop.csv", "--report", "page.html")
    shop.build("shop.csv", "--report", "page.html")  # its own page is replaced


def test_an_explanation_over_the_query(shop: FirstHour) -> None:
    shop.refused("match", "shop.bundle", "query.png", "--explain", "query.png", remedy="it is also an input")
    Path("again.png").symlink_to("query.png")
    shop.refused("match", "shop.bundle", "query.png", "--explain", "again.png", remedy="it is also an input")
    Path("notes.png").write_text("not a picture")
    shop.refused(
        "match",
        "shop.bundle",
        "query.png",
        "--explain",
        "notes.png",
        remedy="is no picture that shelfmatch wrote is there already",
    )
    for name in ("why.png", "why.jpg", "why.webp"):
        assert shop.nearest("query.png", "--explain", name) and Path(name).stat().st_size
        assert shop.nearest("query.png", "--explain", name)  # its own picture is replaced


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_an_explanation_over_somebodys_photo(ending: str, shop: FirstHour) -> None:
    tile_photo(1, 7).save(f"holiday.{ending}")
    here = ["match", "shop.bundle", "query.png", "--explain"]
    shop.refused(*here, f"holiday.{ending}", remedy="is no picture that shelfmatch wrote is there already")
    shop.refused(*here, "photos/a.png", "--photos", "photos", remedy="name another file to write")
    shop.refused(
        "photos", "shop.bundle", "A", "--photos", "photos", "--show", f"holiday.{ending}", remedy="name another"
    )


def test_a_report_over_somebodys_page(shop: FirstHour) -> None:
    shop.write("index.html", "<!doctype html><title>Our shop</title>")
    shop.build_refused(
        "shop.csv", "--report", "index.html", remedy="is no HTML page that shelfmatch wrote is there already"
    )
    shop.refused("eval", "shop.bundle", "queries.csv", "--report", "index.html", remedy="name another file to write")


def test_an_evaluation_over_its_queries(shop: FirstHour) -> None:
    for output in ("queries.csv", "hard.csv"):
        shop.refused("eval", "shop.bundle", "queries.csv", "--report", output, remedy="it is also an input")
    shop.done("eval", "shop.bundle", "queries.csv", "--report", "eval.html")


def test_a_measurement_over_other_files(shop: FirstHour) -> None:
    shop.write("plan.json", '{"mine": 1}')
    shop.refused("bench", "shop.bundle", "-o", "plan", remedy="is no result of shelfmatch bench is there already")
    shop.write("plan.html", "my notes")
    Path("plan.json").unlink()
    shop.refused("bench", "shop.bundle", "-o", "plan", remedy="is no HTML page that shelfmatch wrote is there already")


def test_a_bundle_over_the_photos(shop: FirstHour) -> None:
    shop.build_refused("shop.csv", bundle="photos", remedy="exists and is not a bundle")
    shop.build_refused("shop.csv", bundle="shop.csv", remedy="is a file; expected the name of a bundle")


def test_a_build_without_a_name(shop: FirstHour) -> None:
    shop.refused("build", "shop.csv", remedy="the following arguments are required: -o/--output-bundle")


def test_a_bundle_too_deep_in_folders(shop: FirstHour) -> None:
    deep = "/".join(["d" * 100] * 5)
    code, out, err = shop.run("build", "shop.csv", "-o", f"{deep}/s.bundle", *shop.encoder)
    assert (code, out, err.count("\n")) == (
        2,
        "",
        1,
    ) and "too long for the catalogue in it; choose a shorter one" in err
    assert "disk" not in err


def test_a_query_before_the_build(hour: FirstHour) -> None:
    hour.photos("query.png")
    hour.refused("match", "shop.bundle", "query.png", remedy="expected a bundle made by shelfmatch build")


def test_products_that_are_not_there(shop: FirstHour) -> None:
    shop.refused("remove", "shop.bundle", "C", remedy="shelfmatch info --products lists them")
    shop.refused("match", "shop.bundle", "query.png", "--where", "colour=red", remedy="the catalogue has")
    shop.refused("eval", "shop.bundle", "shop.bundle", remedy="holds no photos")


def test_queries_with_mistakes(shop: FirstHour) -> None:
    shop.write("queries.csv", "image;sku\nphotos/a.png;A\nphotos/b.png;B;x\nc;\n;A;y\n")
    shop.refused(
        "eval",
        "shop.bundle",
        "queries.csv",
        remedy="line 3 has more or fewer fields than the header: 3, expected 2; line 5",
    )
    shop.write("queries.csv", "Bild;Artikel\r\nphotos/a.png;A\r\n", "utf-16")
    assert shop.done("eval", "shop.bundle", "queries.csv")["queries"] == 1


def test_looking_before_building(shop: FirstHour) -> None:
    code, out, err = shop.run("build", "shop.csv", "--check")
    assert (code, err) == (0, "") and out.startswith("shop.csv: 2 products, 2 photos; nothing was built")
    assert "example: photos/a.png is a photo of A" in out and "products with one photo: 2" in out


def test_a_name_cannot_write_on_the_terminal(shop: FirstHour) -> None:
    shop.refused("match", "\x1b[2Jshop.bundle", "query.png", remedy="\\x1b[2Jshop.bundle does not exist")
