"""Run the commands that the documents show, and write what they print below them.

    python docs/tools/record.py                          # every page that has such blocks; some minutes
    python docs/tools/record.py docs/tutorial.md         # one

In a block ```console, a line that begins with "$ " is a command, and what follows it is what it printed. The commands of a page
run one after the other in a folder that is empty at its start. `<!-- run: COMMAND -->` runs one that isn't shown. JSON is laid
out, and of its long lists the first members are shown. Raises SystemExit where a command ends with another code than 0; a line
`$ COMMAND  # exits with 1` expects that code.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

DOCS: Final = Path(__file__).resolve().parents[1]
STEP: Final = re.compile(r"<!-- run: (?P<hidden>.+?) -->|^```console\n(?P<block>.*?)^```$", re.DOTALL | re.MULTILINE)
CODE: Final = re.compile(r"\s+# exits with (\d+)$")
SHOWN: Final = 2
"""Members of a list of objects that are shown, the rest being alike."""
HOME: Final = "/home/me/shop"
"""What stands for the folder in which the commands ran."""


def commands_of(block: str) -> list[str]:
    """The commands of a block, without the mark and without what they printed."""
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


def blocks_of(text: str) -> list[str]:
    """The console blocks of a page."""
    return [found["block"] for found in STEP.finditer(text) if found["block"] is not None]


def shortened(value: Any) -> Any:
    """A JSON value with the first members of long lists only, and numbers as people write them."""
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value[:SHOWN]] + (["…"] if len(value) > SHOWN else [])
    return float(f"{value:.6g}") if isinstance(value, float) else value


def laid_out(line: str) -> str:
    """One line of output: JSON on several lines, anything else as it is."""
    if not line.startswith(("{", "[{")):
        return line
    try:
        text = json.dumps(shortened(json.loads(line)), indent=2, ensure_ascii=False)
    except ValueError:
        return line
    # Flat lists and objects on one line each.
    return re.sub(r"[\[{]\n\s+([^\[\]{}]+?)\n\s+[\]}]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)


def run(command: str, folder: Path) -> str:
    """What a command prints, both streams together."""
    expected = int(found[1]) if (found := CODE.search(command)) else 0
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # No settings of this machine, and no progress bars or warnings of the machine's in between.
    environment = os.environ | {"PATH": paths, "SHELFMATCH_DEVICE": "", "COLUMNS": "120"}
    done = subprocess.run(
        ["bash", "-c", CODE.sub("", command)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != expected:
        raise SystemExit(f"{command}: exit code {done.returncode}; expected {expected}\n{done.stdout}{done.stderr}")
    printed = (done.stdout + done.stderr).replace(str(folder), HOME)
    document = laid_out(printed.replace("\n", "")) if "manifest.json" in command or ".json" in command else None
    lines = [document] if document is not None else [laid_out(line) for line in printed.splitlines()]
    return "".join(f"{line.rstrip()}\n" for line in lines if not line.startswith("INFO: Created TensorFlow"))


def recorded(text: str, folder: Path) -> str:
    """A page with what its commands print now."""

    def one(found: re.Match[str]) -> str:
        if found["hidden"] is not None:
            run(found["hidden"], folder)
            return found[0]
        shown = []
        for command in commands_of(found["block"]):
            print(f"$ {command}", file=sys.stderr, flush=True)
            shown.append(f"$ {command}\n{run(command, folder)}")
        return "```console\n" + "\n".join(shown) + "```"

    return STEP.sub(one, text)


def main() -> int:
    pages = [Path(argument) for argument in sys.argv[1:]] or sorted(DOCS.rglob("*.md"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if "```console" not in text:
            continue
        with tempfile.TemporaryDirectory(prefix="shelfmatch-docs-") as folder:
            page.write_text(recorded(text, Path(folder)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
