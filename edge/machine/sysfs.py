"""Small files of /proc and /sys. What isn't there is None or empty, never an error."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/")
"""Where /sys and /proc are looked for; tests put a made-up board's files elsewhere."""


def read_text(path: Path) -> str | None:
    """A small file of /sys or /proc, stripped; None where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip(" \t\n\0")
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The same as a whole number; None where it is none."""
    text = read_text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def read_sizes(path: Path) -> dict[str, int]:
    """The lines `Name: 123 kB` of a file of /proc (meminfo, status), in bytes; empty where there is none."""
    found = {}
    for line in (read_text(path) or "").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdecimal():
            found[name] = int(words[0]) * 1024
    return found
