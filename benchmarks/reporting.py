"""What the benchmarks share: arguments, tables, medians with their uncertainty, and the machine they ran on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ratio of two medians with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def ratio_of_medians(ours: Sequence[float], theirs: Sequence[float], resamples: int = 2000) -> Ratio:
    """median(ours) / median(theirs). `ours[i]` and `theirs[i]` were measured side by side, and are drawn together."""
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} and {len(theirs)} measurements arrived; expected pairs")
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    draws = np.random.default_rng(0).integers(0, len(a), (resamples, len(a)))
    ratios = np.median(a[draws], axis=1) / np.median(b[draws], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Ratio(float(np.median(a) / np.median(b)), float(low), float(high))


def cosines(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Row by row: (N, D) and (N, D) → (N,)."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    result: NDArray[np.float64] = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return result


@dataclass(slots=True)
class Bar:
    """One line of the issue's table against what was measured. `limit`: the most, or the least, that is allowed."""

    what: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the measured value keeps the limit; NaN keeps none."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(slots=True)
class Report:
    """A benchmark's outcome: printed as it comes, saved as JSON at the end."""

    name: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    results: dict[str, Any] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)

    @classmethod
    def start(cls, name: str, **settings: Any) -> Report:
        """Look at the machine before it is busy with us, and say what it is."""
        here = machine()
        load = here["load_average"]
        print(f"{here['cpu'] or here['architecture']}, {here['cores']} cores, load {load:.2f}, Python {here['python']}")
        if load > 0.5:
            print("other programs are at work, and what waits for memory suffers most: measure again when it is quiet")
        return cls(name, settings, here)

    def bar(self, what: str, measured: float, limit: float, *, at_least: bool = False) -> None:
        """Hold a measurement against its bar."""
        self.bars.append(Bar(what, float(measured), limit, at_least))

    def finish(self, arguments: argparse.Namespace) -> int:
        """Print the bars, save `--json`; the exit code: 1 where `--gate` was given and a bar is missed."""
        if self.bars:
            rows = [
                (
                    bar.what,
                    f"{'≥' if bar.at_least else '≤'} {bar.limit:g}",
                    f"{bar.measured:.4g}",
                    "yes" if bar.met else "NO",
                )
                for bar in self.bars
            ]
            print_table("Bars", ("what", "bar", "measured", "met"), rows)
        if arguments.json is not None:
            document = {
                "benchmark": self.name,
                "machine": self.machine,
                "settings": self.settings,
                "results": self.results,
                "bars": [{**asdict(bar), "met": bar.met} for bar in self.bars],
            }
            arguments.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return 1 if arguments.gate and not all(bar.met for bar in self.bars) else 0


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=_writable, metavar="FILE", help="save everything measured")
    parser.add_argument("--gate", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keep shops, photos and vectors there for the next run"
    )
    return parser


def _writable(text: str) -> Path:
    """Checked before an hour of measuring."""
    path = Path(text)
    if not os.access(path if path.exists() else path.parent, os.W_OK) or path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text!r} arrived, expected a file that can be written in a folder that is there"
        )
    return path


@contextmanager
def work_folder(wanted: Path | None) -> Iterator[Path]:
    """The folder of `--work`, or one that is gone afterwards."""
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="shelfmatch-bench-") as folder:
        yield Path(folder)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people: numbers to the right, the first column and long texts to the left."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    to_the_left = [not column or width > 30 for column, width in enumerate(widths)]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        columns = zip(row, widths, to_the_left, strict=True)
        line = "  ".join(cell.ljust(width) if left else cell.rjust(width) for cell, width, left in columns)
        print(f"  {line}".rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))


def markdown_table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def machine() -> dict[str, Any]:
    """What the numbers depend on; nothing that says whose machine it is."""
    model = ""
    flags: list[str] = []
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and not model:
                model = value.strip()
            elif key.strip() in ("flags", "Features") and not flags:
                flags = value.split()
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimddp", "i8mm")
    return {
        "architecture": platform.machine(),
        "cpu": model,
        "features": [flag for flag in wanted if flag in flags],
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
