"""Tables for spreadsheets."""

from __future__ import annotations

import csv
import io

from shelfmatch.edge.sheets import sheet


def test_a_table_is_read_back_and_no_cell_is_a_formula() -> None:
    made = sheet(("name", "count"), [("=HYPERLINK(1)", 3), ('Käse, "alt"\nund gut', -2.5), ("@a", ""), ("a=b", "x")])
    assert made.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(made.decode("utf-8-sig"), newline="")))
    assert rows[0] == ["name", "count"] and rows[1] == ["'=HYPERLINK(1)", "3"]
    assert rows[2:] == [['Käse, "alt"\nund gut', "-2.5"], ["'@a", ""], ["a=b", "x"]]


def test_a_name_that_is_no_utf_8_stands_there_with_escapes() -> None:
    made = sheet(("image",), [("b\udcff 🛒.jpg",)])
    assert made.decode("utf-8-sig").splitlines() == ["image", "b\\udcff 🛒.jpg"]
