"""A process that changes bundles and can be killed at any moment: run by test_bundle_kill.py, not imported.

It imports once and forks for each operation, so that an operation starts within a millisecond. Each line of stdin is a JSON
array of an operation's name, its arguments, and one of: null, to let it finish; {"after_s": 0.02, "finishing": false}, to kill
it so long after its start, or after it began to save and commit; {"after_call": 3}, for it to die right after the third call
that changes what is on the disk. Each line of stdout tells how that went: [seconds, "done" or "killed" or "failed: why", photos
that had to be embedded, seconds until it began to save and commit].
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ai_edge_litert import interpreter  # noqa: F401  (imported here so that no operation has to)
from usearch import compiled  # noqa: F401

from shelfmatch.edge.build import blanks, build, change, commit, embed_photos

DISK_CALLS = ("replace", "fsync", "unlink", "mkdir", "rmdir")


def die_after(calls: int) -> None:
    """Make this process kill itself right after its n-th call of DISK_CALLS."""
    made = 0

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            result = real(*arguments, **options)
            made += 1
            if made == calls:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in DISK_CALLS:
        setattr(os, name, counting(getattr(os, name)))


def count_embedded() -> list[int]:
    """A list of one number: the photos this process has run the network on."""
    embedded = [0]
    real = embed_photos.embed_photo

    def counted(*arguments: Any) -> Any:
        embedded[0] += 1
        return real(*arguments)

    embed_photos.embed_photo = counted
    return embedded


def run(name: str, arguments: dict[str, Any], pipe: int) -> None:
    embedded = count_embedded()
    finish = commit.commit

    def telling(*arguments: Any) -> Any:
        os.write(pipe, f"{embedded[0]} ".encode())
        return finish(*arguments)

    commit.commit = telling
    operations: dict[str, Callable[..., Any]] = {
        "build": build.build_bundle,
        "add": change.add_to_bundle,
        "remove": change.remove_from_bundle,
    }
    operations[name](**arguments)


def child(name: str, arguments: dict[str, Any], end: dict[str, Any], pipe: int) -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # LiteRT greets each process
    try:
        if "after_call" in end:
            die_after(end["after_call"])
        run(name, arguments, pipe)
    except BaseException as error:
        os.write(pipe, f" {type(error).__name__}: {error}".encode())
        os._exit(1)
    os._exit(0)


def main() -> None:
    # Each embedding is committed at once, rather than every two seconds, so that a kill leaves some to go on from.
    embed_photos._COMMIT_EVERY_S = -1.0
    # A process of its own that only imports a runtime; it would be most of an operation's time.
    build._probe = lambda card, runtime: None  # type: ignore[assignment]
    blanks.rendered()  # which every operation would take two seconds for
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "forking with threads running"
    for line in sys.stdin:
        name, arguments, end = json.loads(line)
        end = end or {}
        reader, writer = os.pipe()
        start = time.perf_counter()
        process = os.fork()
        if process == 0:
            child(name, arguments, end, writer)
        os.close(writer)
        if "after_s" in end and not end["finishing"]:
            time.sleep(end["after_s"])
            os.kill(process, signal.SIGKILL)
        embedded = os.read(reader, 16)  # nothing, where it died or failed before
        finishing = time.perf_counter() - start
        if "after_s" in end and end["finishing"]:
            time.sleep(end["after_s"])
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        seconds = time.perf_counter() - start
        count, _, problem = (embedded + os.read(reader, 10_000)).decode().partition(" ")
        os.close(reader)
        outcome = "killed" if os.WIFSIGNALED(status) else "done" if status == 0 else f"failed: {problem}"
        print(json.dumps([seconds, outcome, int(count or 0), finishing]), flush=True)


if __name__ == "__main__":
    main()
