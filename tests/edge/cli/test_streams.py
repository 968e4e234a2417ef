"""Pipes, closed streams, terminals, and names that are not text."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge import terminal
from shelfmatch.edge.cli.app import main
from tests.support.commands import BUILD, COMMAND, run


def test_match_says_nothing_of_its_runtime(shop: Path) -> None:
    done = run("match", "shop.bundle", *["query.png", "other.png"] * 4, "--workers", "4")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 8)
    for arguments in (BUILD, ["add", "shop.bundle", "unreadable"], ["eval", "shop.bundle", "queries.csv"]):
        assert "XNNPACK" not in run(*arguments).stderr


def test_a_reader_that_leaves_early(shop: Path) -> None:
    for options in (["--json"], []):
        process = subprocess.Popen(
            [*COMMAND, "match", "shop.bundle", *["query.png"] * 400, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None and process.stderr is not None
        assert "query.png" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams(shop: Path, closed: str) -> None:
    for arguments, code in ((["match", "shop.bundle", "query.png"], 0), (["match", "shop.bundle", "text.jpg"], 2)):
        done = subprocess.run(
            ["bash", "-c", f'"$@" {closed}', "bash", *COMMAND, *arguments], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code and "Traceback" not in done.stderr
        if closed == "2>&-" and code == 0:
            assert "sku-003" in done.stdout


def test_names_that_are_not_text(shop: Path) -> None:
    names = [os.fsdecode(name) for name in (b"caf\xe9.png", "kaffee-grün.png".encode(), b"gone\xff.png")]
    for name in names[:2]:
        shutil.copy("query.png", name)
    for encoding in ("utf-8", "ascii", "latin-1"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(
            [*COMMAND, "match", "shop.bundle", *names, "--json"], capture_output=True, env=environment, timeout=60
        )
        assert done.returncode == 2 and done.stderr == b""
        answers = [json.loads(line) for line in done.stdout.decode(encoding).splitlines()]
        assert [answer["image"] for answer in answers] == names
        done = subprocess.run(
            [*COMMAND, "match", "shop.bundle", *names], capture_output=True, env=environment, timeout=60
        )
        assert done.returncode == 2 and done.stdout.count(b"\n") == 2 and done.stderr.count(b"\n") == 1
        assert run("info", "shop.bundle", env=environment, encoding=encoding).returncode == 0


def on_a_terminal(arguments: list[str]) -> str:
    """What a command writes to stderr when that is a terminal."""
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (24, 100))
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=inner)
    os.close(inner)
    shown = b""
    while True:
        try:
            piece = os.read(outer, 4096)
        except OSError:  # Linux ends a terminal so
            break
        if not piece:
            break
        shown += piece
    os.close(outer)
    assert process.wait(60) == 0
    return shown.decode()


def test_progress_bars_are_for_terminals(shop: Path) -> None:
    for arguments, title in ((BUILD, "catalogue"), (["eval", "shop.bundle", "queries.csv"], "eval")):
        shown = on_a_terminal(arguments)
        assert f"{title}: 100%" in shown and "photo/s" in shown and "XNNPACK" not in shown
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
    assert on_a_terminal(["match", "shop.bundle", "query.png"]) == ""


def test_the_fit_has_a_bar_of_its_own(shop: Path) -> None:
    """It was a third of a build's time without a sign."""
    shown = on_a_terminal([*BUILD, "--adapt", "on"])
    assert "fit: 100%" in shown and "round/s" in shown
    from shelfmatch.edge import build_bundle

    seen: list[int] = []

    def plain(stream: Any, total: int) -> Any:
        seen.append(total)
        return stream

    build_bundle("photos", "new.bundle", encoder="tiny.tflite", adapt="on", progress=plain)
    assert seen == [36], "a function of somebody's own is called for the photos, as before"


def test_a_pipe_gets_a_line_now_and_then(
    shop: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "LINE_EVERY_S", 0.0)
    assert main([*BUILD, "--adapt", "on"]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "catalogue: 1 of 36 photos" and "fit: 6 of 6 rounds" in lines
    assert main([*BUILD, "--adapt", "on", "--json"]) == 0
    assert capfd.readouterr().err == ""
