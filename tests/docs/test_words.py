"""One word for one thing: those that were used before, and aren't any more (docs/glossary.md has those that are).

Documents and help texts are read whole, without what recorded commands printed. `CODE` lists the folders whose source is read, too.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from .pages import ROOT, TEXTS, tool, where

WORDS: Final = {
    r"\bstrangers?\b": "unknown queries",
    r"\b(?:not |un)?sold\b|(?:n't|\bnot) sells?\b|\bthe shop sells\b": "in the catalogue, or not",
    r"\bknown (?:embeddings?|answers?)\b": "golden embedding",
    r"\b(?:the )?known encoders?\b": "encoder registry",
    r"\b(?:old|new|current|next|loaded|open) versions?\b|\bversions? of (?:the|a) (?:bundle|shop)\b": "snapshot or generation",
    r"\b(?:bundle|file) version\b": "format version",
    r"\bsecond[_ ]looks?\b|\bthe second looks\b|\blook(?:s|ed)? (?:at )?(?:again|twice|once more)\b": "look-again pass",
    r"\bmain job\b|\bnothing at hand\b": "end-to-end demo, or run shelfmatch",
    r"\bwhat to mend\b": "how to fix what fails",
    r"\bwhat (?:the|a) match rests on\b": "heat map of the evidence (occlusion)",
    r"\bpassed for\b|\bstrangers pass\b": "false-accept rate at target",
    r"\bstops? nothing unless\b": "reported and skipped; fails only if none can be read",
}
"""Pattern → what is said instead."""
IN_CODE: Final = {r"^[ \t]*(?:told|asked|shown)[ \t]*(?::[^=\n]+)?=[^=]": "message, queried, …"}
"""Names of variables that are no nouns."""
CODE: Final[tuple[str, ...]] = ("edge", "export")
"""Folders of the checkout whose modules are held to both lists."""


def used(text: str, words: dict[str, str]) -> list[str]:
    """Each word of the list that a text uses, with what is said instead."""
    return [
        f"{found[0].strip()!r}: say {instead}"
        for pattern, instead in words.items()
        for found in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE)
    ]  # fmt: skip


def without_output(text: str) -> str:
    """A page without what its commands printed: that is code's, not the page's."""
    record = tool("record")

    def commands(found: re.Match[str]) -> str:
        return "\n".join(record.commands_of(found["block"])) if found["block"] else ""

    return str(record.STEP.sub(commands, text))


@pytest.mark.parametrize("page", TEXTS, ids=where)
def test_documents(page: Path) -> None:
    assert not used(without_output(page.read_text(encoding="utf-8")), WORDS)


def _helps() -> dict[str, argparse.ArgumentParser]:
    hooks = tool("hooks")
    return {"": hooks._parser(), **hooks.commands()}


def test_help_texts() -> None:
    found = {name: used(re.sub(r"\s+", " ", parser.format_help()), WORDS) for name, parser in _helps().items()}
    assert {name: words for name, words in found.items() if words} == {}


def _modules() -> Iterator[Path]:
    for folder in CODE:
        yield from sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("module", list(_modules()), ids=where)
def test_code(module: Path) -> None:
    assert not used(module.read_text(encoding="utf-8"), WORDS | IN_CODE)


@pytest.mark.parametrize(
    "text",
    ["The strangers are few.", "what the shop doesn't sell", "its known embedding", "the new version of the bundle",
     "a second look", "looked at twice", "can do the main job", "what the match rests on", "passed for 1 / 5 / 10 %"],
)  # fmt: skip
def test_the_list_finds_them(text: str) -> None:
    assert used(text, WORDS)


@pytest.mark.parametrize(
    "text",
    ["known and unknown queries", "--no-look-again", "look_again", "the version of the package", "format version 2",
     "known_encoders.json", "the second encoder"],
)  # fmt: skip
def test_the_list_leaves_others_alone(text: str) -> None:
    assert not used(text, WORDS)


def test_variables_are_nouns() -> None:
    assert used("    told = 3", IN_CODE) and used("asked: int = 3", IN_CODE)
    assert not used("if told == 3", IN_CODE) and not used("call(shown=3)", IN_CODE)
