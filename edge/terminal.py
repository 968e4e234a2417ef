"""What the command line writes, and to what: streams that may be closed or narrow, native chatter, progress bars."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

_Item = TypeVar("_Item")

DONE, NO, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""
LINE_EVERY_S = 30.0
"""Of long work in a pipe."""


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


class ProgressBar:
    """A bar on a terminal; in a pipe a line on stderr every half a minute, for whoever reads a log, or nothing.

    `named` makes one for the next stage of the same work. `lines`: whether there are lines in a pipe; `begin` is called when the
    first stage does.
    """

    def __init__(self, description: str, unit: str, lines: bool, begin: Callable[[], None] | None = None) -> None:
        self._description, self._unit, self._lines, self._begin = description, unit, lines, begin
        self._on_terminal = sys.stderr.isatty()

    def __call__(self, stream: Iterable[_Item], total: int, /) -> Iterable[_Item]:
        if self._begin is not None:
            self._begin()
        if self._on_terminal:
            from tqdm import tqdm

            bar: Iterable[_Item] = tqdm(
                stream, total=total, desc=self._description, unit=self._unit, dynamic_ncols=True
            )
            return bar
        return self._with_lines(stream, total) if self._lines else stream

    def named(self, description: str, unit: str) -> ProgressBar:
        """The same for another stage."""
        stage = copy.copy(self)
        stage._description, stage._unit, stage._begin = description, unit, None
        return stage

    def _with_lines(self, stream: Iterable[_Item], total: int) -> Iterator[_Item]:
        last = time.monotonic()
        for count, item in enumerate(stream, start=1):
            yield item
            if time.monotonic() - last >= LINE_EVERY_S:
                print(f"{self._description}: {count:,} of {total:,} {self._unit}s", file=sys.stderr, flush=True)
                last = time.monotonic()


def progress_bar(
    description: str, unit: str = "photo", *, lines: bool = False, begin: Callable[[], None] | None = None
) -> ProgressBar:
    """A bar on a terminal; `lines`: in a pipe a line every half a minute, otherwise nothing there."""
    return ProgressBar(description, unit, lines, begin)


def size_text(size_bytes: int) -> str:
    """A file's size for people: 812 bytes, 31 kB, 2.5 MB, 1.2 GB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size_bytes >= 0.95 * unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes / 1e3:.0f} kB" if size_bytes >= 1000 else f"{size_bytes} bytes"


def amount(count: int, thing: str) -> str:
    """So many of a thing for people: 1 photo, 1,200 photos. For words whose plural is an s."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def titled(sku: str, name: str) -> str:
    """How text for people calls a product."""
    return f"{sku} {name}" if name else sku
