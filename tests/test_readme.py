"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from shelfmatch.edge.cli.app import _parser
from shelfmatch.edge.synthetic import products
from tests.conftest import tile_photo, write_tiles

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_example_runs_as_written(tmp_path: Path) -> None:
    """On a shop of eight rendered products, three photos each, and an easy photo of the fourth: a sure match."""
    shop = products.make_shop(8, seed=3)
    for number, product in enumerate(shop):
        folder = tmp_path / "photos" / f"sku-{number:03d}"
        folder.mkdir(parents=True)
        products.render_plain(product, 224).save(folder / "plain.jpg", quality=95)
        for view in range(2):
            products.render_view(product, view, (224, 224), 0.2).save(folder / f"{view}.jpg", quality=95)
    products.render_view(shop[3], 50, (224, 224), 0.2).save(tmp_path / "query.jpg", quality=95)
    (example,) = blocks("python")
    done = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"match sku-003 0\.9\d*\n", done.stdout), done.stdout


def test_the_shell_examples_run_as_written(tmp_path: Path, tiny_tflite: Path) -> None:
    write_tiles(tmp_path / "photos", range(8))
    tile_photo(3, 50).save(tmp_path / "query.jpg", quality=95)
    (tmp_path / "mobilenet_v2.tflite").write_bytes(tiny_tflite.read_bytes())
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("shelfmatch ")]
    assert len(commands) == 3
    for command in commands:
        # The tiny network's embedding is tensor 3, MobileNetV2's pooled feature 172.
        words = command.replace("--output 172", "--output 3").split()[1:]
        done = subprocess.run(
            [sys.executable, "-m", "shelfmatch.edge.cli", *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_install_and_a_match_stand_in_the_first_30_lines() -> None:
    start = "\n".join(README.splitlines()[:30])
    assert "pip install" in start and "shelfmatch match" in start


def test_every_command_is_in_the_table() -> None:
    actions = [action for action in _parser()._actions if action.choices]
    commands = sorted(actions[0].choices or {})
    # The first cells of the rows of one table: `shelfmatch add SHOP.bundle SOURCE`, `remove SHOP.bundle SKU…`
    (table,) = [
        rows for rows in re.split(r"\n(?!\|)", README) if "`shelfmatch build " in rows and "`shelfmatch match " in rows
    ]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    shown = [words.removeprefix("shelfmatch ").split()[0] for cell in cells for words in re.findall(r"`([^`]+)`", cell)]
    assert len(commands) >= 9 and sorted(set(shown)) == commands


def test_pictures_and_links_exist() -> None:
    root = Path(__file__).resolve().parents[1]
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if not t.startswith("http")]
    assert targets
    assert [target for target in targets if not (root / target).exists()] == []
