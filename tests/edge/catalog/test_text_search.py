"""Search by words: what a shopper types finds the product, whatever they type, with FTS5 and without."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shelfmatch.edge import CatalogError, Matcher, add_to_bundle, remove_from_bundle
from shelfmatch.edge.catalog import text_search
from shelfmatch.edge.catalog.catalog import Catalog
from shelfmatch.edge.catalog.editor import CatalogEditor
from shelfmatch.edge.catalog.text_search import has_fts5, query_words, words_of
from tests.conftest import write_tiles

fixed = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

PRODUCTS = {
    "TEA-0217": {"name": "Darjeeling Grüntee 20 Beutel", "brand": "Müller & Søn", "gtin": "4001234567890"},
    "TEA-0218": {"name": "Earl Grey tea", "brand": "Daramel", "category": "tea"},
    "POT-1": {"name": "Teapot, small", "brand": "Łódź Ceramics", "category": "kitchen"},
    "COF-9": {"name": "Café crème", "category": "coffee"},
    "JP-1": {"name": "緑茶 ティー", "category": "tea"},
    "STRASSE": {"name": "Straße 7½"},
    **{f"OTHER-{number}": {"name": "Something else"} for number in range(12)},
}


def write(path: Path) -> Path:
    editor = CatalogEditor(path)
    for sku, attributes in PRODUCTS.items():
        editor.put_product(sku, attributes)
    editor.finish()
    return path


@pytest.fixture(params=["fts5", "like"])
def catalog(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    """The same catalogue, asked in both ways (a whole process without FTS5 is below)."""
    assert has_fts5()
    if request.param == "like":
        monkeypatch.setattr(text_search, "has_fts5", lambda: False)
    catalog = Catalog(write(tmp_path / "c.sqlite"))
    yield catalog
    catalog.close()


def skus(catalog: Catalog, words: str, limit: int = 10) -> list[str]:
    return [catalog.product(product).sku for product, _ in catalog.find(words, limit)]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("earl", ["TEA-0218"]),
        ("EARL grey", ["TEA-0218"]),
        ("grey earl", ["TEA-0218"]),
        ("ea", ["TEA-0218"]),
        ("grun", ["TEA-0217"]),
        ("GRÜN", ["TEA-0217"]),
        ("gru\u0308n", ["TEA-0217"]),
        ("darj 20", ["TEA-0217"]),
        ("darj 21", []),
        ("muller son", ["TEA-0217"]),
        ("lodz", ["POT-1"]),
        ("cafe creme", ["COF-9"]),
        ("4001234", ["TEA-0217"]),
        ("tea-0218", ["TEA-0218"]),
        ("cof-9 coffee", ["COF-9"]),
        ("strasse", ["STRASSE"]),
        ("茶", ["JP-1"]),
        ("緑茶", ["JP-1"]),
        ("ティー", ["JP-1"]),
        ("rey", []),
        ("", []),
        ("  -- ", []),
    ],
)
def test_finds_what_has_all_the_words_or_their_beginnings(catalog: Catalog, typed: str, found: list[str]) -> None:
    assert skus(catalog, typed) == found


def test_the_nearer_come_first(catalog: Catalog) -> None:
    found = skus(catalog, "tea")
    assert set(found) == {"TEA-0217", "TEA-0218", "POT-1", "JP-1"}
    assert found[0] == "TEA-0218", "in its SKU, its name and its category"
    assert found.index("TEA-0217") < found.index("POT-1"), "a whole word before the beginning of one"
    assert skus(catalog, "tea", 2) == found[:2]
    scores = [score for _, score in catalog.find("tea", 10)]
    assert scores == sorted(scores, reverse=True)


HOSTILE = ['"', '"tea', "*", "tea*", "NEAR(", "NEAR(tea grey, 2)", "tea AND", "NOT tea", "name:tea", "-tea", "^tea", "(", "{name}",
           "tea OR", "'; DROP TABLE words; --", "%", "_", "tea%", "\\", "\0", "tea\0grey", "\udcff", "\U0001f375", "a" * 10_000,
           " ".join(f"word{n}" for n in range(5_000)), "+", "tea + grey", "?", "?1", "\N{ZERO WIDTH JOINER}"]  # fmt: skip


@pytest.mark.parametrize("typed", HOSTILE)
def test_hostile_text_never_raises(catalog: Catalog, typed: str) -> None:
    answers = skus(catalog, typed)
    assert answers == skus(catalog, " ".join(query_words(typed)))
    assert "TEA-0218" in skus(catalog, "tea"), "and nothing is the worse for it"


@fixed
@given(st.text(max_size=40) | st.lists(st.sampled_from([*HOSTILE[:20], "te", "EA", "gr", "7", "é"])).map(" ".join))
@example('"tea" * NEAR(grey')
def test_both_searches_find_the_same_and_what_the_words_say(tmp_path: Path, typed: str) -> None:
    path = tmp_path / "c.sqlite"
    connection = sqlite3.connect(path if path.exists() else write(path))
    words = query_words(typed)
    expected = set()
    for number, (sku, attributes) in enumerate(PRODUCTS.items()):
        own = [word for text in (sku, *attributes.values()) for word in words_of(text)]
        if words and all(any(one.startswith(word) for one in own) for word in words):
            expected.add(number)
    if words:
        assert {product for product, _ in text_search._find_indexed(connection, words, 99)} == expected
        assert {product for product, _ in text_search._find_plain(connection, words, 99)} == expected
    assert {product for product, _ in text_search.find(connection, typed, 99)} == expected
    connection.close()


def test_words_are_cut_and_folded() -> None:
    assert words_of("Crème brûlée, 2×100 g – N°5 İstanbul ß Æ ﬁn ２") == [
        "creme", "brulee", "2", "100", "g", "n", "5", "istanbul", "ss", "ae", "fin", "2",
    ]  # fmt: skip
    assert query_words("tea TEA Téa " + " ".join(map(str, range(100)))) == ["tea", *map(str, range(31))]


def test_stays_right_through_changes(tile_bundle: Path, tmp_path: Path) -> None:
    write_tiles(tmp_path, range(50, 52), photos=2)
    rows = [
        f"sku-{n:03d}/{photo}.png,N{n},{name}"
        for n, name in ((50, "Apple juice"), (51, "Pear juice"))
        for photo in (0, 1)
    ]
    (tmp_path / "more.csv").write_text("\n".join(["image,sku,name", *rows]))
    with Matcher.open(tile_bundle) as matcher:

        def found(words: str) -> list[str]:
            return [product.sku for product in matcher.find(words)]

        assert found("juice") == [] and len(found("sku")) == 10 and len(matcher.find("sku", limit=99)) == 12
        add_to_bundle(tile_bundle, tmp_path / "more.csv")
        assert set(found("juice")) == {"N50", "N51"}
        (tmp_path / "more.csv").write_text((tmp_path / "more.csv").read_text().replace("Apple", "Plum"))
        add_to_bundle(tile_bundle, tmp_path / "more.csv", replace=True)
        assert found("apple") == [] and found("plum jui") == ["N50"]
        remove_from_bundle(tile_bundle, ["N50"])
        assert found("juice") == ["N51"]
        record = matcher.find("pear")[0].to_dict()
        assert set(record) == {"sku", "name", "score"} and record["name"] == "Pear juice"
        assert matcher.find("pear", limit=10**30) == matcher.find("pear")
        with pytest.raises(CatalogError, match="limit is 0"):
            matcher.find("juice", limit=0)


WITHOUT_FTS5 = """
import ctypes, ctypes.util, sqlite3, sys
library = ctypes.CDLL(sys.argv[1])
kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
hook = kind(lambda database, error, api: library.sqlite3_drop_modules(ctypes.c_void_p(database), None))
library.sqlite3_auto_extension(hook)  # every connection from here on has no FTS5
import json
from pathlib import Path
from shelfmatch.edge.catalog.catalog import Catalog
from shelfmatch.edge.catalog.editor import CatalogEditor
from shelfmatch.edge.catalog.text_search import has_fts5
path = Path(sys.argv[2])
answers = [has_fts5()]
def ask(*texts):
    catalog = Catalog(path)
    answers.append([[catalog.product(product).sku for product, _ in catalog.find(text, 9)] for text in texts])
    catalog.close()
ask("earl grey", "grun")
editor = CatalogEditor(path)
editor.put_product("NEW", {"name": "Earl of something"})
editor.remove_product(editor.product_id("POT-1"))
editor.finish()
ask("earl", "teapot")
print(json.dumps(answers))
"""


def sqlite_library() -> str | None:
    """The shared library that Python's sqlite3 is linked to, where it can be told to drop its modules."""
    import _sqlite3

    try:
        linked = subprocess.run(["ldd", _sqlite3.__file__], capture_output=True, text=True).stdout
    except (OSError, AttributeError):
        return None
    return next((line.split()[2] for line in linked.splitlines() if "libsqlite3" in line and "=>" in line), None)


def test_a_machine_whose_sqlite_has_no_fts5(tmp_path: Path) -> None:
    library = sqlite_library()
    if library is None or sqlite3.sqlite_version_info < (3, 30):
        pytest.skip("this Python's sqlite3 is not linked to a library that can drop its modules (3.30 and later)")
    path = write(tmp_path / "c.sqlite")  # made with FTS5: the table is there and can't be used
    done = subprocess.run([sys.executable, "-c", WITHOUT_FTS5, library, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, [["TEA-0218"], ["TEA-0217"]], [["TEA-0218", "NEW"], []]]
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.sqlite"]
    catalog = Catalog(path)  # here there is FTS5, but the catalogue has no index of words any more
    assert skus(catalog, "earl") == ["TEA-0218", "NEW"] and skus(catalog, "teapot") == []
    catalog.close()
    editor = CatalogEditor(path)
    editor.finish()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM words WHERE words MATCH 'earl'").fetchone() == (2,)
    connection.close()


def test_a_catalogue_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    assert write(tmp_path / "a.sqlite").read_bytes() == write(tmp_path / "b.sqlite").read_bytes()
