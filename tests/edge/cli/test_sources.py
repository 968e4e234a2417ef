"""`build --check`: what it counts is the same for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.cli import main
from tests.conftest import tile_photo, write_tiles


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


def test_check_leaves_out_what_a_build_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It said that nothing was left out, and to add the option that had been given."""
    folder = write_tiles(tmp_path / "photos", range(4))
    (folder / "night").mkdir()
    for place in ("sku-001", "night"):
        Image.fromarray((np.asarray(tile_photo(4, 5)) * 0.1).astype(np.uint8)).save(folder / place / "dark.png")
    Image.new("RGB", (48, 48), "white").save(folder / "sku-002" / "blank.png")
    command = ["build", str(folder), "--check", "--leave-out", "dark"]
    assert main(command) == 1  # the blank one stays
    out = capsys.readouterr().out
    assert out.startswith(f"{folder}: 4 products, 15 photos, 2 of them left out; nothing was built\n")
    assert (
        "dark.png); left out\n" in out
        and "--leave-out dark" not in out
        and "without a photo that can be used: night" in out
    )
    assert main([*command[:-1], "dark,blank", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["ok"] and found["products"] == 4 and found["without_photos"] == ["night"] and len(found["left_out"]) == 3
    )
    built = ["build", str(folder), "-o", str(tmp_path / "shop.bundle"), "--adapt", "off", "--leave-out", "dark,blank"]
    assert main(built) == 0
    out = capsys.readouterr().out
    assert "4 products" in out and "  left out: night: all its photos are left out\n" in out, (
        "not a word of the product"
    )
    assert main([*command[:-1], "ugly"]) == 2 and "--leave-out 'ugly' arrived" in capsys.readouterr().err


def test_check_refuses_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_tiles(tmp_path / "photos", range(2))
    for options, words in (
        (["--report", str(tmp_path / "page.html")], "--report came with --check"),
        (["--encoder", "nonesuch"], "unknown encoder 'nonesuch'"),
        (["--encoder", str(tmp_path / "none.tflite")], "none.tflite does not exist"),
        (["--encoder", "shelfmatch-cnn,nonesuch"], "unknown encoder 'nonesuch'"),
    ):
        assert main(["build", str(folder), "--check", *options]) == 2
        out, err = capsys.readouterr()
        assert words in err and err.count("\n") == 1 and not out
    assert main(["build", str(folder), "--check", "--encoder", "shelfmatch-cnn"]) == 0


def test_check_says_that_one_photo_is_given_to_two_products(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A build said it, but --check found nothing to mend: the photo's name, twice, was counted once."""
    for number in range(3):
        tile_photo(number, 0).save(tmp_path / f"{number}.png")
    (tmp_path / "shop.csv").write_text("image,sku\n0.png,A\n0.png,B\n1.png,C\n2.png,D\n")
    assert main(["build", str(tmp_path / "shop.csv"), "--check"]) == 1
    assert "note: the same picture stands for A and B (0.png, 0.png)" in capsys.readouterr().out
