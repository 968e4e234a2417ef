"""benchmarks/run_all.py: the documents' tables are those of the results that lie beside the benchmarks, and no others."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PAGE = "# Title\n\n<!-- figures: arm -->\n\n| old |\n\n<!-- end of figures -->\n\nmore\n"


@pytest.fixture
def run_all(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("run_all")


def test_the_pages_show_what_was_measured(run_all: Any) -> None:
    pages = run_all.with_figures()
    assert {"README.md", "encoders.md", "search.md", "shelfmatch-cnn.md", "shelfmatch-vit.md"} <= {
        p.name for p in pages
    }
    for page, text in pages.items():
        assert page.read_text(encoding="utf-8") == text, f"{page.name}: benchmarks/run_all.py --tables writes it again"


def test_every_benchmark_is_there_and_listed_once(run_all: Any) -> None:
    names = [one.name for one in run_all.BENCHMARKS]
    assert len(names) == len(set(names))
    for benchmark in run_all.BENCHMARKS:
        script = Path(benchmark.command(Path("work"), Path("out.json"))[1])
        assert script.is_file(), f"{benchmark.name} is not in {script.parent}"


def test_a_table_goes_where_its_mark_is(run_all: Any) -> None:
    found = {
        "instructions": {
            "cortex-a76": {"some.tflite": dict.fromkeys(("decode", "preprocess", "search", "decide"), 1_500_000)}
        }
    }
    found["instructions"]["cortex-a76"]["some.tflite"]["encode"] = 2_000_000
    page = run_all.with_table(PAGE, "arm", run_all.arm_table(found))
    assert page.startswith("# Title\n\n<!-- figures: arm -->\n\n| ") and page.endswith(
        "<!-- end of figures -->\n\nmore\n"
    )
    assert "| Cortex-A76, some | 1.50 | 1.50 | 2.00 | 1.50 | 1.50 |" in page and "old" not in page
    assert run_all.with_table(page, "arm", run_all.arm_table(found)) == page
    with pytest.raises(ValueError, match="no place for the table latency"):
        run_all.with_table(PAGE, "latency", "| |")


def test_single_measurements_are_not_kept(run_all: Any) -> None:
    found = {"us": [3.0] * 10 + [5.0] * 11, "ratio": [1.0, 0.9, 1.1], "named": [{"x": 1 / 3}] * 30, "met": True}
    kept = run_all.compact(found)
    assert kept["us"] == 5.0 and kept["ratio"] == [1.0, 0.9, 1.1] and kept["met"] is True
    assert len(kept["named"]) == 30 and kept["named"][0] == {"x": 0.333333}


def test_a_benchmark_that_fails_leaves_the_result_of_before(run_all: Any, tmp_path: Path) -> None:
    """Two real programs: one ends well, one after writing half of its result."""
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\nimport reporting\n"
        "arguments = reporting.argument_parser('').parse_args()\nreport = reporting.Report.start('good')\n"
        "report.results['found'] = 7\nraise SystemExit(report.finish(arguments))\n"
    )
    bad.write_text("import sys\nopen(sys.argv[2], 'w').write('{')\nsys.exit(3)\n")
    kept = tmp_path / "kept.json"
    row = replace(run_all.BENCHMARKS[0], arguments=(), script=str(good), result=kept)
    assert run_all.run(row, tmp_path)
    before = kept.read_bytes()
    assert json.loads(before)["results"] == {"found": 7}
    assert not run_all.run(replace(row, script=str(bad)), tmp_path)
    assert kept.read_bytes() == before and not list(tmp_path.glob("*.tmp"))


def test_the_plot(run_all: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'shelfmatch[dev]'")
    row = {"instructions_a76_m": 24.0, "recall_at_1": 0.7, "recall_at_1_adapted": 0.8}
    found = {"results": {"shelfmatch-cnn": row, "v1": {**row, "instructions_a76_m": 216.0}, "shelfmatch-cnn-fp32": {}}}
    run_all.plot_encoders(found, tmp_path / "plot.svg")
    run_all.plot_encoders(found, tmp_path / "again.svg")
    ElementTree.parse(tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_bytes() == (tmp_path / "again.svg").read_bytes()
