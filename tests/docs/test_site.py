"""The documents are whole: the site builds, commands and names have their places, and what pages show is what happens."""

from __future__ import annotations

import dataclasses
import html
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shelfmatch.edge
from tests.conftest import tile_photo, write_tiles

from .pages import DOCS, PAGES, ROOT, TEXTS, blocks, tool, where

hooks, record = tool("hooks"), tool("record")
COMMANDS = hooks.commands()
FETCHED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")
"""What a browser would fetch from elsewhere when it opens a page; <a href> is for people who click."""


SITE = pytest.mark.xdist_group("site")
"""Tests that read the built site: in one process, since building takes longer than they do."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("MkDocs is not installed: pip install 'shelfmatch[docs]'")
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@SITE
def test_every_page_is_built_and_nothing_else(site: Path) -> None:
    built = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")} - {"404"}
    assert built == {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES}
    assert not list(site.rglob("*.py")), "the programs that make the pages are no pages"


@SITE
def test_no_page_fetches_anything_from_the_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        links = FETCHED.findall(page.read_text(encoding="utf-8"))
        assert not links, f"{page.name} fetches {links}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_the_pattern_finds_what_would_be_fetched() -> None:
    assert FETCHED.findall('<link rel="stylesheet" href="https://fonts.example/css">') == ["https://fonts.example/css"]
    assert not FETCHED.findall('<a href="https://example.org">') and not FETCHED.findall('<script src="a/b.js">')


@SITE
def test_search_works_without_a_server(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert "look-again pass" in index


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_place_in_the_reference(command: str, site: Path) -> None:
    page = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    found = re.search(rf'<h2 id="shelfmatch-{command.replace(" ", "-")}">.*?(?=<h2 |</article>)', page, re.DOTALL)
    assert found, f"docs/reference/commands.md has no section: ## shelfmatch {command}, <!-- options: {command} -->"
    shown = html.unescape(found[0])
    options = [name for action in COMMANDS[command]._actions for name in action.option_strings]
    missing = [name for name in options if name not in ("-h", "--help") and f"<code>{name}" not in shown]
    assert not missing


@pytest.mark.parametrize("name", shelfmatch.edge.__all__)
def test_every_public_name_has_its_place_in_the_reference(name: str, site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert f'id="shelfmatch.edge.{name}"' in page


def test_a_command_that_is_gone_is_named() -> None:
    with pytest.raises(ValueError, match="pictures --> arrived; the commands are demo, build"):
        hooks.with_options("<!-- options: pictures -->")


def test_the_readme_is_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180


def _lines() -> Iterator[tuple[str, str]]:
    """(page, command) for every line of a code block that runs shelfmatch."""
    for page in TEXTS:
        text = page.read_text(encoding="utf-8")
        for block in blocks(text, "sh", "bash", "text", "console"):
            for line in block.splitlines():
                line = line.strip().removeprefix("$ ")
                if line.startswith("shelfmatch ") and "…" not in line:
                    yield where(page), re.split(r"\s+[|>#]|\s+2>", line)[0]


@pytest.mark.parametrize(("page", "line"), sorted(set(_lines())))
def test_every_command_that_a_page_shows_can_be_typed(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    try:
        tool("hooks")._parser().parse_args(words)
    except SystemExit as error:
        assert error.code == 0, f"{page}: {line}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page.read_text(encoding="utf-8"), "python")], ids=where
)
def test_the_python_examples_run_as_written(page: Path, tmp_path: Path) -> None:
    write_tiles(tmp_path / "photos", range(8))
    for name in ("query.jpg", "demo/queries/known-000.jpg", "demo/queries/unknown-000.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        tile_photo(3, 50).save(tmp_path / name, quality=95)
    build = "from shelfmatch.edge import build_bundle\nbuild_bundle('photos/', 'shop.bundle', adapt='off')\n"
    # The camera loop of the Raspberry Pi, with photos in place of a camera.
    camera = (
        "\nif 'answers' in dir():\n    with Matcher.open('shop.bundle') as matcher:\n"
        "        found = list(answers(matcher, ['photos/sku-003/0.png'] * 14))\n"
        "    assert [one[0] for one in found] == ['sku-003']\n"
    )
    for example in blocks(page.read_text(encoding="utf-8"), "python"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", build + example + camera],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_other_python_blocks_are_python() -> None:
    examples = [block for page in TEXTS for block in blocks(page.read_text(encoding="utf-8"), "py")]
    assert examples
    for example in examples:
        compile(example, "example", "exec")


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


def _sections(page: str) -> dict[str, str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return {part.split("\n")[0]: part for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]}


def undocumented(section: str) -> list[str]:
    """Keys of the JSON documents that a section shows and doesn't explain. Keys that are data (values of attributes, names) are
    explained by a row with `…` in their place."""
    told, missing = re.sub(r"^```.*?^```$", "", section, flags=re.DOTALL | re.MULTILINE), set()
    explained = set(re.findall(r"`([\w.@/-]+)`", told))
    for block in blocks(section, "console"):
        for document in re.findall(r"^\{.*?^\}$|^\[.*?^\]$", block, re.DOTALL | re.MULTILINE):
            missing |= set(_keys(json.loads(document))) - explained
    return sorted(missing)


@pytest.mark.parametrize(
    ("page", "section"),
    [("reference/json.md", name) for name in _sections("reference/json.md")]
    + [("reference/bundle.md", "The manifest")],
)
def test_every_key_of_a_json_document_is_explained(page: str, section: str) -> None:
    assert not undocumented(_sections(page)[section])


def test_a_key_that_is_not_explained_is_found() -> None:
    assert undocumented('```console\n$ x\n{\n  "sku": {"deep": 1}\n}\n```\n\n`sku` is') == ["deep"]


def test_every_field_of_a_card_is_explained() -> None:
    page = (DOCS / "reference" / "encoder-card.md").read_text(encoding="utf-8")
    rows = "\n".join(line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `"))
    assert [
        field.name for field in dataclasses.fields(shelfmatch.edge.EncoderCard) if f"`{field.name}`" not in rows
    ] == []


def test_every_error_is_in_the_how_to() -> None:
    page = (DOCS / "howto" / "troubleshoot.md").read_text(encoding="utf-8")
    from shelfmatch.edge import errors

    kinds = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__.startswith("shelfmatch")
    ]
    # A vector or an index of one's own; the root; the kind that its own kinds stand for.
    assert [name for name in kinds if f"`{name}`" not in page and name not in ("VectorError", "BundleError")] == []


def test_each_fault_still_has_its_test() -> None:
    page = (DOCS / "maintainers" / "faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)`", page)
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 40
    assert [name for name in named if f"def {name}(" not in sources] == []


def test_the_diagrams_are_those_of_the_program() -> None:
    for name, svg in tool("pictures").diagrams().items():
        assert (DOCS / "pictures" / name).read_text(encoding="utf-8") == svg, (
            f"{name}: python docs/tools/pictures.py --diagrams"
        )


def test_recording_keeps_a_page_and_fills_in_what_commands_print(tmp_path: Path) -> None:
    page = 'before\n\n```console\n$ echo one\nold\n\n$ printf \'{"a": [{"b": 1}, {"b": 2}, {"b": 3}]}\'\n```\n\nafter\n'
    made = record.recorded(page, tmp_path)
    assert made.startswith("before\n\n```console\n$ echo one\none\n\n$ printf") and made.endswith("```\n\nafter\n")
    assert "\nold\n" not in made and '{ "b": 2 }' in made and '\n    "…"\n' in made
    assert record.recorded(made, tmp_path) == made
    with pytest.raises(SystemExit, match="exit code 3; expected 0"):
        record.run("exit 3", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```console" in page.read_text(encoding="utf-8")], ids=where
)
def test_the_commands_of_a_page_run_as_written(page: Path, tmp_path: Path) -> None:
    record.recorded(page.read_text(encoding="utf-8"), tmp_path)
