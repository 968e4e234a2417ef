"""Search by words over the catalogue: SQLite's FTS5 where it is there, LIKE where it isn't.

Words are cut, folded and lower-cased here, the same way when a catalogue is written and when it is asked, so that answers
depend neither on the Unicode tables of the SQLite at hand nor on which of the two searches runs: both find the products
that have, for every word of the query, a word that begins with it. FTS5's own query language never sees what people type.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence

MAX_WORDS = 32
"""So many different words of a query count; what is pasted beyond them narrows nothing."""

_MOST_QUERIES = 16
"""Combinations of words that may be meant, of a query with several typing errors."""
_WEIGHTS = (4.0, 2.0, 1.0)
"""Of a word in the SKU, the name and the attributes: the rarer a place says something, the more it says there."""

_PLAIN_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})
"""Letters that Unicode does not take apart into a base and a mark; people type the base all the same."""

_IDEOGRAPHS = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
"""Chinese and Japanese write no spaces: each character is a word."""

_COLUMNS = "sku, name, attributes"


@functools.cache
def has_fts5() -> bool:
    """Whether this machine's SQLite has FTS5 (https://www.sqlite.org/fts5.html); small builds leave it out."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE probe USING fts5 (text)")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def words_of(text: str) -> list[str]:
    """Folded words of a text, in order: runs of letters and digits, lower case, without diacritics."""
    text = unicodedata.normalize("NFKD", text.casefold()).casefold().translate(_PLAIN_LETTERS)
    kept = "".join(
        character if (kind := unicodedata.category(character)[0]) in "LN" else "" if kind == "M" else " "
        for character in text
    )
    return _IDEOGRAPHS.sub(r" \1 ", kept).split()


def query_words(query: str) -> list[str]:
    """The different words of a query, the first MAX_WORDS."""
    return list(dict.fromkeys(words_of(query)))[:MAX_WORDS]


def write(connection: sqlite3.Connection) -> None:
    """Index the products anew, in a catalogue that is being written; without FTS5 there is nothing to write.

    The table is contentless: it holds the words and where they stand, not the texts a second time. (With less detail in it,
    bm25 of a contentless table is 0 for everything.)
    """
    if not has_fts5():
        return
    connection.execute("DROP TABLE IF EXISTS words")
    connection.execute(
        f"CREATE VIRTUAL TABLE words USING fts5({_COLUMNS}, content='', tokenize='ascii')"
    )  # "ascii" cuts at spaces and leaves what isn't ASCII alone: words arrive here as they should be
    connection.executemany("INSERT INTO words (rowid, sku, name, attributes) VALUES (?, ?, ?, ?)", _rows(connection))
    connection.execute("INSERT INTO words (words) VALUES ('optimize')")


def is_indexed(connection: sqlite3.Connection) -> bool:
    """Whether the catalogue has an index of words, usable here or not."""
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchone())


def find(connection: sqlite3.Connection, query: str, limit: int) -> list[tuple[int, float]]:
    """(product id, score) of the `limit` best products, best first; scores compare within one answer only."""
    words = query_words(query)
    if not words:
        return []
    if has_fts5() and is_indexed(connection):
        return _find_indexed(connection, words, limit)
    return _find_plain(connection, words, limit)


def find_meant(
    connection: sqlite3.Connection, query: str, limit: int
) -> tuple[list[tuple[int, float]], dict[str, tuple[str, ...]]]:
    """As `find`; where that finds nothing, the products that have, for each word that no product has, one that differs from it
    by a typing error. And what was looked for instead: word → words, empty where nothing was."""
    found = find(connection, query, limit)
    words = query_words(query)
    if found or not words:
        return found, {}
    from .typing_errors import meant  # only where nothing is found

    known = _vocabulary(connection)
    instead = {word: tuple(meant(word, known)) for word in words if not any(other.startswith(word) for other in known)}
    if not instead or not all(instead.values()):
        return [], {}
    best: dict[int, float] = {}
    for combination in itertools.islice(
        itertools.product(*(instead.get(word, (word,)) for word in words)), _MOST_QUERIES
    ):
        for product, score in find(connection, " ".join(combination), limit):
            best[product] = max(score, best.get(product, score))
    ranked = sorted(best.items(), key=lambda hit: (-hit[1], hit[0]))[:limit]
    return ranked, instead if ranked else {}


def _vocabulary(connection: sqlite3.Connection) -> list[str]:
    """The different words of the catalogue."""
    if has_fts5() and is_indexed(connection):
        # A window on the index that is there (https://www.sqlite.org/fts5.html#the_fts5vocab_virtual_table_module).
        if not connection.execute("SELECT 1 FROM sqlite_temp_master WHERE name = 'vocabulary'").fetchone():
            connection.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab('main', 'words', 'row')")
        return [row[0] for row in connection.execute("SELECT term FROM vocabulary")]
    return sorted({word for _, *columns in _rows(connection) for text in columns for word in text.split()})


def _find_indexed(connection: sqlite3.Connection, words: Sequence[str], limit: int) -> list[tuple[int, float]]:
    """Ranked by bm25 (Robertson & Zaragoza 2009, as FTS5 computes it, where less is better). A whole word counts beside
    the words that begin with it, so that "tea" puts tea before teapots."""
    expression = " AND ".join(f'("{word}" OR "{word}" *)' for word in words)
    rows = connection.execute(
        f"SELECT rowid, -bm25(words, {', '.join(map(str, _WEIGHTS))}) AS score FROM words WHERE words MATCH ? "
        "ORDER BY score DESC, rowid LIMIT ?",
        (expression, limit),
    )
    return [(int(product), float(score)) for product, score in rows]


def _find_plain(connection: sqlite3.Connection, words: Sequence[str], limit: int) -> list[tuple[int, float]]:
    """The same products by LIKE, over a table of folded words that is made in memory when it is first asked for.

    Ranked by where words are found, a whole word counting twice; words hold no character that LIKE reads as a pattern.
    """
    if not connection.execute("SELECT 1 FROM sqlite_temp_master WHERE name = 'plain_words'").fetchone():
        connection.execute(f"CREATE TEMP TABLE plain_words (product INTEGER PRIMARY KEY, {_COLUMNS})")
        texts = ((product, *(f" {text} " for text in columns)) for product, *columns in _rows(connection))
        connection.executemany("INSERT INTO plain_words VALUES (?, ?, ?, ?)", texts)
    columns = list(zip(_COLUMNS.split(", "), _WEIGHTS, strict=True))
    beginnings = [f"% {word}%" for word in words]
    hits = " + ".join(
        f"{weight} * (({column} LIKE ?{number}) + ({column} LIKE ?{number + len(words)}))"
        for number in range(1, len(words) + 1)
        for column, weight in columns
    )
    has_all = " AND ".join(f"(sku || name || attributes) LIKE ?{number}" for number in range(1, len(words) + 1))
    rows = connection.execute(
        f"SELECT product, {hits} AS score FROM plain_words WHERE {has_all} ORDER BY score DESC, product "
        f"LIMIT ?{2 * len(words) + 1}",
        (*beginnings, *(f"% {word} %" for word in words), limit),
    )
    return [(int(product), float(score)) for product, score in rows]


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[int, str, str, str]]:
    """(product id, words of the SKU, of the name, of the attributes' values)."""
    for product, sku, name, attributes in connection.execute(
        "SELECT id, sku, name, attributes FROM product ORDER BY id"
    ):
        values = " ".join(json.loads(attributes).values())
        yield product, *(" ".join(words_of(text)) for text in (sku, name, values))
