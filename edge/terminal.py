"""What the command line writes, and to what: streams that may be closed or narrow, native chatter, progress bars."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .progress import Progress

DONE, NO, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""


def ready_streams() -> None:
    """Streams that are closed swallow what is written; characters that one can't show are written as escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  (takes the closed number, so that no bundle file does)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(message: str) -> None:
    """One line on stderr; characters that would move the cursor or turn text around are written as escapes."""
    print(f"shelfmatch: {shown(' '.join(message.split()))}", file=sys.stderr)


def shown(text: str) -> str:
    """A text that can't change a terminal: what isn't printable as escapes, like \\x1b."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text)


@contextlib.contextmanager
def quiet_native() -> Iterator[None]:
    """Hide what native libraries print on stderr while they load; LiteRT announces its delegate there.

    Only while no other thread runs: it exchanges the process's stderr.
    """
    sys.stderr.flush()
    kept, hole = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(hole, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(hole)


def print_json(record: Any) -> None:
    """One line on stdout, at once."""
    is_unicode = (sys.stdout.encoding or "utf-8").lower() == "utf-8"
    print(json.dumps(record, ensure_ascii=not is_unicode), flush=True)


def progress_bar(description: str, unit: str = "photo") -> Progress:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        return lambda stream, total: stream
    from tqdm import tqdm

    return lambda stream, total: tqdm(stream, total=total, desc=description, unit=unit, dynamic_ncols=True)


def titled(sku: str, name: str) -> str:
    """How text for people calls a product."""
    return f"{sku} {name}" if name else sku
