"""What mkdocs asks while it builds the site: the parts of the reference that are made from the code.

In a page, `<!-- options: build -->` becomes the usage and the options of that command, as its parser has them, and
`<!-- every other public name -->` a `:::` block for each name of `shelfmatch.edge.__all__` that the page doesn't have yet.
`<!-- way: match -->` becomes a sentence on the rooms that ways.py found.
"""

from __future__ import annotations

import argparse
import atexit
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import shelfmatch.edge
from shelfmatch.edge.cli.app import _parser

OPTIONS: Final = re.compile(r"<!-- options: (\S+(?: \S+)?) -->")
WAY: Final = re.compile(r"<!-- way: (\w+) -->")
WAYS: Final = Path(__file__).with_name("ways.json")
KIOSK_KEYS: Final = "<!-- keys of a kiosk -->"
THE_REST: Final = "<!-- every other public name -->"


def commands() -> dict[str, argparse.ArgumentParser]:
    """Every command of the command line, by name, in its order; one that has actions is followed by these ("shelf watch")."""
    (action,) = (one for one in _parser()._actions if isinstance(one, argparse._SubParsersAction))
    found = {}
    for name, parser in action.choices.items():
        found[name] = parser
        for inner in (one for one in parser._actions if isinstance(one, argparse._SubParsersAction)):
            found |= {f"{name} {action_name}": sub for action_name, sub in inner.choices.items()}
    return found


def summaries() -> dict[str, str]:
    """What `shelfmatch --help` says of each command."""
    (action,) = (one for one in _parser()._actions if isinstance(one, argparse._SubParsersAction))
    return {choice.dest: choice.help or "" for choice in action._choices_actions}


def options_of(parser: argparse.ArgumentParser) -> str:
    """Usage and a table of what the command takes, as Markdown."""
    shown = (action for action in parser._actions if not isinstance(action, argparse._HelpAction))
    rows = ["| | |", "| --- | --- |", *(f"| {_names_of(action)} | {_cell(_help_of(action))} |" for action in shown)]
    usage = parser.format_usage().removeprefix("usage: ")
    below = f"\n\n{_cell(parser.epilog)}" if parser.epilog else ""
    return f"```text\n{usage}```\n\n" + "\n".join(rows) + below + "\n"


def _names_of(action: argparse.Action) -> str:
    """`-o`, `--output-bundle SHOP.bundle`; for what has no name, what stands in its place."""
    if isinstance(action.metavar, tuple):
        value = " ".join(action.metavar)
    else:
        value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest)
    if not action.option_strings:
        return f"`{_cell(value)}`"
    shown = "" if action.nargs == 0 else f" {value}"
    *short, last = action.option_strings
    return ", ".join([*(f"`{name}`" for name in short), f"`{_cell(last + shown)}`"])


def _help_of(action: argparse.Action) -> str:
    said = (action.help or "") % {**vars(action), "prog": "shelfmatch"} if action.help else ""
    told = action.default not in (None, False, argparse.SUPPRESS, []) and "default" not in said
    if told and action.option_strings and action.choices:
        return f"{said} (default: {action.default})".strip()
    return said


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def with_options(markdown: str) -> str:
    """A page with the options of the commands in their places. Raises ValueError for a command that isn't there."""
    known = commands()

    def one(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in known:
            raise ValueError(f"<!-- options: {name} --> arrived; the commands are {', '.join(known)}")
        return options_of(known[name])

    return OPTIONS.sub(one, markdown)


def with_the_rest(markdown: str) -> str:
    """A page with a block for every public name that it doesn't show already."""
    if THE_REST not in markdown:
        return markdown
    there = set(re.findall(r"^::: shelfmatch\.edge\.(\w+)$", markdown, flags=re.MULTILINE))
    missing = [name for name in shelfmatch.edge.__all__ if name not in there]
    return markdown.replace(THE_REST, "\n\n".join(f"::: shelfmatch.edge.{name}" for name in missing))


def with_kiosk_keys(markdown: str) -> str:
    """A page with a table of the kiosk's settings in its place."""
    if KIOSK_KEYS not in markdown:
        return markdown
    from shelfmatch.edge.kiosk.settings import keys

    rows = [f"| `{key.name}` | `{key.default}` | {_cell(key.meaning)} |" for key in keys()]
    return markdown.replace(KIOSK_KEYS, "\n".join(["| key | default | |", "| --- | --- | --- |", *rows]))


def with_ways(markdown: str) -> str:
    """A page with a sentence about each way through the rooms in its place."""
    if not WAY.search(markdown):
        return markdown
    ways = json.loads(WAYS.read_text(encoding="utf-8"))
    return WAY.sub(lambda found: told(ways[found.group(1)]), markdown)


def told(calls: list[list[str]]) -> str:
    """How many rooms a way enters; `calls` as ways.py writes them."""
    first = calls[0][0]
    own = sorted({entered for left, _, entered, _ in calls if left == first})
    every = {entered for _, _, entered, _ in calls} - {first}
    names = ", ".join(f"`{room}`" for room in own)
    return f"`{first}` itself enters {len(own)} rooms: {names}. With those that they enter in turn it is {len(every)}."


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """mkdocs calls this for every page."""
    return with_the_rest(with_options(with_kiosk_keys(with_ways(markdown))))


def on_config(config: Any) -> Any:
    """mkdocstrings reads the code without running it, in folders with the packages' names: those of a checkout have others."""
    tree = Path(tempfile.mkdtemp(prefix="shelfmatch-names-"))
    atexit.register(shutil.rmtree, tree)
    (tree / "shelfmatch").mkdir()
    (tree / "shelfmatch" / "edge").symlink_to(Path(shelfmatch.edge.__file__).resolve().parent)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(tree)]
    return config


# Before mkdocstrings reads its settings: what mkdocs.plugins.event_priority sets, without importing mkdocs.
on_config.mkdocs_priority = 100  # type: ignore[attr-defined]
