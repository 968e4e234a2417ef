"""Files of an export appear all at once, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..edge.files import sync_file, sync_folder
from .errors import ExportError

_LAST: Final = {"report.json": 1, "report.html": 2}


@contextlib.contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A folder in the destination, or beside one that is yet to be made, on the same disk; it is gone in the end."""
    if target.exists() and not target.is_dir():
        raise ExportError(f"{target} is a file; expected a folder to write to, or a new name")
    if target.is_symlink() and not target.exists():
        raise ExportError(f"{target} is a link to nothing; expected a folder to write to, or a new name")
    if not target.absolute().parent.is_dir():
        raise ExportError(
            f"{target.absolute().parent} does not exist; expected the folder in which {target.name} is made"
        )
    if foreign := _foreign_report(target):
        raise ExportError(
            f"{foreign} is no report of an export and would be written over; expected a folder of its own, like -o exported"
        )
    name = f".{target.absolute().name}.{os.urandom(4).hex()}.tmp"
    work = (target if target.is_dir() else target.absolute().parent) / name
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _foreign_report(target: Path) -> Path | None:
    """A file that has a report's name and that no export wrote: a person's own, in a folder like their home."""
    reports = [path for path in (target / "report.json", target / "report.html") if path.is_file()]
    if not reports:
        return None
    try:
        record = json.loads((target / "report.json").read_bytes())
    except (OSError, ValueError):
        return reports[0]
    return None if isinstance(record, dict) and {"gate", "attempts"} <= record.keys() else reports[0]


def publish(work: Path, target: Path) -> None:
    """Give the finished files their names: synced first, the report last, and its page after what tells it from a person's own."""
    target.mkdir(exist_ok=True)
    folders = [path.name for path in work.iterdir() if (target / path.name).is_dir()]
    if folders:
        raise ExportError(f"{target / folders[0]} is a folder; expected to write a file of that name, move it away")
    for path in sorted(work.iterdir(), key=lambda path: (_LAST.get(path.name, 0), path.name)):
        sync_file(path)
        path.replace(target / path.name)
    sync_folder(target)
