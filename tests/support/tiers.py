"""The three tiers of the tests, and how much of a long test runs in each.

default   `pytest`: everything but what is marked slow; minutes on two cores.
slow      `pytest -m slow`: the rest; `.ci/run` does them room by room, in turns. A slow test named with `::` runs as well.
soak      `SHELFMATCH_SOAK=1 pytest`: both of them, with the full counts of kills, hostile files, programs and seconds.

With `--dist loadgroup` of pytest-xdist, modules marked `xdist_group` stay in one process each: those that export networks, because
every process would import three frameworks, and those whose fixtures are built for longer than a test runs.
"""

from __future__ import annotations

import os

SOAK = os.environ.get("SHELFMATCH_SOAK", "") not in ("", "0")


def count(default: int, soak: int) -> int:
    """How often a long test does what it does: `default` in the first two tiers, `soak` in the third."""
    return soak if SOAK else default
