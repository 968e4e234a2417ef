"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from shelfmatch.edge.cli.app import _parser
from shelfmatch.edge.synthetic.products import make_shop, render_view
from tests.conftest import tile_photo, write_tiles

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_example_runs_as_written(tmp_path: Path) -> None:
    # Rendered products, of which the embedded encoder is sure: it has never seen anything like our tiles.
    shop = make_shop(8)
    for product in shop:
        (tmp_path / "photos" / product.sku).mkdir(parents=True)
        for view in range(3):
            render_view(product, view, difficulty=0.2).save(tmp_path / "photos" / product.sku / f"{view}.jpg")
    render_view(shop[3], 9, difficulty=0.2).save(tmp_path / "query.jpg")
    (example,) = blocks("python")
    done = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"match {shop[3].sku} (0\.\d+|1\.0)\n", done.stdout)


def test_the_shell_examples_run_as_written(tmp_path: Path) -> None:
    write_tiles(tmp_path / "photos", range(8))
    tile_photo(3, 50).save(tmp_path / "query.jpg", quality=95)
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("shelfmatch ")]
    assert [command.split()[1] for command in commands] == ["build", "match"]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "shelfmatch.edge.cli", *command.split()[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        # The encoder has never seen anything like our tiles: "unknown" is an answer, too, and the exit code says so.
        no = "unknown (nearest: " in done.stdout and command.split()[1] == "match"
        assert done.returncode == (1 if no else 0), done.stderr
    assert re.match(r"query\.jpg: .*\d+% sure.*, \d+ ms\n", done.stdout)


def test_install_and_a_match_stand_in_the_first_30_lines() -> None:
    start = "\n".join(README.splitlines()[:30])
    assert "pip install" in start and "shelfmatch match" in start


def test_every_command_is_in_the_table() -> None:
    actions = [action for action in _parser()._actions if action.choices]
    commands = list(actions[0].choices or {})
    assert len(commands) >= 9
    table = README.partition("## Commands")[2].partition("\n## ")[0]
    first_cells = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `shelfmatch ")]
    named = {name for cell in first_cells for name in re.findall(r"`(?:shelfmatch )?(\w+)", cell)}
    assert [command for command in commands if command not in named] == []


def test_pictures_and_links_exist() -> None:
    root = Path(__file__).resolve().parents[1]
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if not t.startswith("http")]
    assert targets
    assert [target for target in targets if not (root / target).exists()] == []
