"""`build --check`: what it counts is the same for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shelfmatch.edge.cli import main
from tests.conftest import write_tiles


@pytest.mark.parametrize(
    ("spoiled", "products", "said"),
    [
        ((), 4, "4 products, 12 photos; nothing was built"),
        (("sku-000/empty.jpg",), 4, "4 products, 13 photos, 1 of them unreadable; nothing was built"),
        (("sku-000/empty.jpg", "new/empty.png"), 4, "4 products, 14 photos, 2 of them unreadable; nothing was built"),
    ],
)
def test_check_counts_all_photos_and_those_that_cant_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoiled: tuple[str, ...], products: int, said: str
) -> None:
    folder = write_tiles(tmp_path / "photos", range(4))
    for name in spoiled:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    code = 1 if spoiled else 0
    assert main(["build", str(folder), "--check"]) == code
    assert capsys.readouterr().out.splitlines()[0] == f"{folder}: {said}"
    assert main(["build", str(folder), "--check", "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert (found["products"], found["photos"], found["ok"]) == (products, 12 + len(spoiled), not spoiled)
    assert sorted(one["image"] for one in found["unreadable"]) == sorted(spoiled)
