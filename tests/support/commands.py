"""The command line in this process and in one of its own, and the files it is tried on."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge.cli.app import main

COMMAND = [sys.executable, "-m", "shelfmatch.edge.cli"]


def tiny_options(folder: Path) -> list[str]:
    """Options of `build`: the tiny encoder in this folder, untuned."""
    return ["--encoder", str(folder / "tiny.tflite"), "--resizer", "pillow", "--adapt", "off"]


CSVS: dict[str, list[str]] = {
    "shop": [
        "image,sku,name,category,gtin,price,shelf",
        *(f"photos/sku-{n:03d}/0.png,S{n},Tea {n},{'tea' if n % 2 else 'coffee'},400{n},1.{n},A{n}" for n in range(12)),
    ],
    "queries": ["image,sku", "query.png,sku-003", "other.png,sku-004", "stranger.png,"],
    "queries-with-gap": ["image,sku", "query.png,sku-003", "text.jpg,sku-004"],
    "no-header": ["photos/sku-000/0.png,S0", "photos/sku-001/0.png,S1"],
    "other-columns": ["picture,code", "query.png,S1"],
    "only-header": ["image,sku"],
    "short-row": ["image,sku,name", "query.png"],
    "long-row": ["image,sku", "query.png,S1,more"],
    "no-image": ["image,sku", ",S1"],
    "no-sku": ["image,sku", "query.png,"],
    "odd-sku": ["image,sku", "query.png,S\x071"],
    "missing-photos": ["image,sku", "gone.png,S1", "gone-too.png,S2"],
    "foreign-sku": ["image,sku", "query.png,sku-999"],
}


def run(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, **settings)


def document(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What a command prints with --json, which is all it prints."""
    assert main([*arguments, "--json"]) == code
    out, err = capfd.readouterr()
    assert err == "" and out.endswith("\n") and out.count("\n") == 1
    return json.loads(out)


def lines(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> list[str]:
    """What a command prints for people."""
    assert main(list(arguments)) == code
    out, err = capfd.readouterr()
    assert err == ""
    return out.splitlines()


def snapshot(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file, by its name in the folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


# Wrong input: one line, exit code 2


BUILD = ["build", "photos", "-o", "new.bundle", "--encoder", "tiny.tflite"]


def source(name: str) -> list[str]:
    """A build from another source."""
    return ["build", name, "-o", "new.bundle", "--encoder", "tiny.tflite"]


def exit_code_of(arguments: list[str]) -> int:
    """Of a command in this process."""
    try:
        return main(arguments)
    except SystemExit as stopped:  # argparse
        assert isinstance(stopped.code, int)
        return stopped.code
