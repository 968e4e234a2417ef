"""Memory that ran out, in the many words that Python, the loader of libraries and the runtimes have for it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable

from .errors import OutOfMemory

_SAID = (
    "cannot allocate memory",
    "failed to map segment",  # of a shared library
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
    "out of memory",
    "failed to allocate",
    "memory allocation",
    "unable to allocate",
    "insufficient memory",  # OpenCV
    "memory exhausted",
)
_ENDED = b"\0"
ADVICE = (
    "give it more (ulimit -v, the container's limit), close other programs, or use fewer --workers and smaller photos"
)


def is_short(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is that memory ran out."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        said = str(error).lower()
        # A lock that another process holds says "resource temporarily unavailable", too.
        if not isinstance(error, BlockingIOError) and any(words in said for words in _SAID):
            return True
        error = error.__cause__ or error.__context__
    return False


def out_of_memory(doing: str) -> OutOfMemory:
    """The error for what was being done."""
    return OutOfMemory(f"memory ran out while {doing}; {ADVICE}")


def limit_mb() -> int | None:
    """How much address space this process may have, None without a limit (`ulimit -v`)."""
    try:
        import resource
    except ImportError:
        return None
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    finite = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    return min(finite) // 2**20 if finite else None


def watched(run: Callable[[], int], limit: int) -> tuple[int, str]:
    """Run in a child and give its exit code; with a message where it died without a word, which native code does for want of
    memory: OpenBLAS and allocators end the process, others read where nothing is. Only before threads have begun.

    `limit`: the address space in MB, for the message.
    """
    said, tell = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(said)
        code = 2
        try:
            code = run()
            sys.stdout.flush()
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 2
        except BaseException as error:
            # Half-loaded libraries fail later, and in ways of their own; the limit is the likeliest reason for any of them.
            what = "" if is_short(error) else f" ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
            os.write(tell, what.encode(errors="backslashreplace"))
            os._exit(2)
        os.write(tell, _ENDED)
        os._exit(code)
    os.close(tell)

    def pass_on(number: int, _: object) -> None:
        if number != signal.SIGINT or not _in_front():  # a terminal sends Ctrl-C to both
            os.kill(child, number)

    kept = [signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), kept, strict=True):
            signal.signal(number, handler)
    what_was_said = os.read(said, 1000)
    os.close(said)
    if what_was_said == _ENDED:
        return code, ""
    if code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL):
        return 128 - code, ""
    return 2, f"memory ran out in a library{what_was_said.decode()}, under the limit of {limit:,} MB; {ADVICE}"


def _in_front() -> bool:
    """Whether this process is what a terminal's keys go to."""
    for descriptor in range(3):
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(descriptor) == os.getpgrp():
                return True
    return False
