"""The README's first command, as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shelfmatch.edge.demo import _claim, _percent, run_demo

pytestmark = pytest.mark.xdist_group("demo")

_COMMAND = [sys.executable, "-m", "shelfmatch.edge.cli"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    out = tmp_path_factory.mktemp("demo") / "shop"
    done = subprocess.run([*_COMMAND, "demo", "--out", str(out), "--json"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return out, json.loads(done.stdout)


def test_the_demo_finds_products_and_refuses_strangers(demo: tuple[Path, dict[str, object]]) -> None:
    _, result = demo
    measured = result["eval"]
    assert isinstance(measured, dict)
    assert measured["queries"] == 200
    assert measured["open_set"]["known"] == 160 and measured["open_set"]["unknown"] == 40
    # A guess is right in 1 of 60; the floors are far below what the embedded encoder reaches (README).
    assert measured["recall_at_1"] >= 0.5
    assert measured["open_set"]["auroc"] >= 0.65


def test_the_page_holds_its_pictures_and_fetches_nothing(demo: tuple[Path, dict[str, object]]) -> None:
    out, _ = demo
    page = (out / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 40
    assert "http" not in page and "<script" not in page


def test_the_shop_answers_from_the_command_line(demo: tuple[Path, dict[str, object]]) -> None:
    out, _ = demo
    photo = next((out / "photos").rglob("0.jpg"))
    done = subprocess.run(
        [*_COMMAND, "match", str(out / "shop.bundle"), str(photo), "--json"], capture_output=True, text=True
    )
    assert json.loads(done.stdout)["sku"] == photo.parent.name


@pytest.mark.parametrize("seed", ["-1", "500", "many"])
def test_a_seed_that_has_no_shop_clears_nothing(seed: str, tmp_path: Path) -> None:
    (tmp_path / "shelfmatch-demo").write_text("")
    (tmp_path / "index.html").write_text("of an earlier demo")
    command = [*_COMMAND, "demo", "--out", str(tmp_path), f"--seed={seed}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"{seed!r} arrived, expected a whole number from 0 to 499" in done.stderr
    with pytest.raises(ValueError, match="expected 1 to 400000 products and a seed"):
        run_demo(tmp_path, seed=-1)
    assert (tmp_path / "index.html").is_file()


@pytest.mark.parametrize("out", [".", "link"])
def test_an_earlier_demo_is_cleared_where_the_user_stands_or_through_a_link(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mine = tmp_path / "demo", tmp_path / "mine"
    (folder / "photos").mkdir(parents=True)
    mine.mkdir()
    (mine / "holiday.jpg").write_text("")
    for name in ("shelfmatch-demo", "index.html", "photos/0.jpg"):
        (folder / name).write_text("old")
    (folder / "elsewhere").symlink_to(mine)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder if out == "." else tmp_path)
    _claim(Path(out))
    assert [path.name for path in folder.iterdir()] == ["shelfmatch-demo"]
    assert (mine / "holiday.jpg").is_file()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    done = subprocess.run([*_COMMAND, "demo", "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("shelfmatch: ") and len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_rates_of_a_page_aren_t_rounded_away() -> None:
    assert [_percent(rate) for rate in (None, 0.025, 0.85, 1.0, 0.98125)] == ["–", "2.5 %", "85 %", "100 %", "98.1 %"]
