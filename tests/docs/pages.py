"""The pages of the documents, and what makes them, for the tests beside this."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
TOOLS: Final = DOCS / "tools"
PAGES: Final = tuple(sorted(DOCS.rglob("*.md")))
TEXTS: Final = (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *PAGES)


def tool(name: str) -> ModuleType:
    """A program of docs/tools as a module."""
    sys.path.insert(0, str(TOOLS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(TOOLS))


def blocks(text: str, *languages: str) -> list[str]:
    """The code blocks of these languages."""
    return [
        body
        for name, body in re.findall(r"^ *```(\w+)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
        if name in languages
    ]


def where(page: Path) -> str:
    """A page's path inside the checkout, to name a test by."""
    return page.relative_to(ROOT).as_posix()
