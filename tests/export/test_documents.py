"""The Python of the how-to runs as written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="pip install 'shelfmatch[export]'")
pytest.importorskip("litert_torch", reason="pip install 'shelfmatch[export]'")

from tests.conftest import tile_photo, write_tiles
from tests.docs.pages import DOCS, blocks

pytestmark = pytest.mark.xdist_group("export")


@pytest.mark.slow
def test_an_export_from_python(tmp_path: Path) -> None:
    (example,) = blocks((DOCS / "howto" / "export.md").read_text(encoding="utf-8"), "py")
    write_tiles(tmp_path / "photos", range(16))
    tile_photo(3, 50).save(tmp_path / "query.jpg", quality=95)
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    printed = done.stdout.splitlines()
    assert printed[-1] == "sku-003" and printed[-2].startswith("mine-") and printed[-2].endswith(" bytes")
    kept = printed[-2].split()[0]
    assert {kept, f"{kept}.json", "report.html"} <= {path.name for path in (tmp_path / "device").iterdir()}
