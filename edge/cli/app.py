"""The command line. Results go to stdout; one line on stderr when something is wrong, never a traceback."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

from .._version import __version__
from ..errors import ShelfmatchError
from ..memory_short import is_short, limit_mb, out_of_memory, watched
from ..terminal import DONE, INTERRUPTED, WRONG_INPUT, complain, ready_streams
from . import (
    bench,
    calibrate,
    catalogue,
    count,
    demo,
    detectors,
    doctor,
    encoders,
    evaluate,
    export,
    info,
    match,
    photos,
    search,
    serve,
    shelf,
    tune,
    update,
)


class _Parser(argparse.ArgumentParser):
    """argparse, with its complaint on one line. `mixed`: options may stand before and between what has no name, of which there
    may be none."""

    mixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.mixed:
            return super().parse_known_args(args, namespace)
        self.mixed = False  # parse_known_intermixed_args comes back here
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.mixed = True

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 the answer is no, 2 wrong input or usage, 130 interrupted.

    SIGTERM raises SystemExit(143) from then on.
    """
    ready_streams()
    if not os.path.isfile(__file__):  # noqa: PTH113  (pathlib is not loaded for it)
        complain(
            f"shelfmatch can't run from inside {__file__.partition('/shelfmatch/')[0]}, its encoders must be files of their own; "
            "pip install it, or unpack it and run it from there"
        )
        return WRONG_INPUT
    options = _parser().parse_args(arguments)
    limit = limit_mb()
    if limit is None or threading.active_count() > 1:
        return _run(options)
    code, problem = watched(lambda: _run(options), limit)
    if problem:
        complain(problem)
    return code


def _run(options: argparse.Namespace) -> int:
    """Run a command that was parsed; what goes wrong as one line."""
    _tidy_on_sigterm()
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except ShelfmatchError as error:
        complain(_short_of_memory(options) if is_short(error.__cause__) else str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # `shelfmatch match … | head` is no mistake
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        if is_short(error):
            complain(_short_of_memory(options))
            return WRONG_INPUT
        complain(f"{error.filename or 'a file'} can't be used: {error.strerror or error}")
    except Exception as error:
        if is_short(error):
            complain(_short_of_memory(options))
            return WRONG_INPUT
        if type(error).__module__ != "sqlite3":  # not imported by every command
            raise
        complain(f"a database can't be used: {error}; is the disk full?")
    except KeyboardInterrupt:
        complain("interrupted; nothing is half-written, run the same command again to go on")
        return INTERRUPTED
    return WRONG_INPUT


def _short_of_memory(options: argparse.Namespace) -> str:
    return str(out_of_memory(f"running {options.command}"))


def _tidy_on_sigterm() -> None:
    """What is temporary goes and processes that were started end, as after an interrupt."""
    # Only the main thread may, and who ignores or handles it has reasons.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="shelfmatch", description="Visual product search that runs on the device.")
    parser.add_argument("--version", action="version", version=f"shelfmatch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Any, summary: str, *, mixed: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(run=run, command=name)
        sub.mixed = mixed
        sub.add_argument("--json", action="store_true", help="print JSON instead of text for people")
        return sub

    for group in (
        demo,
        catalogue,
        info,
        photos,
        update,
        tune,
        calibrate,
        match,
        count,
        evaluate,
        search,
        serve,
        shelf,
        bench,
        doctor,
        encoders,
        detectors,
        export,
    ):
        group.register(command)
    return parser
