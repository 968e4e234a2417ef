"""A process forks while its threads match: the child answers, whatever the others were in the middle of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge import Matcher, add_to_bundle, remove_from_bundle
from tests.conftest import tile_photo, write_tiles
from tests.support import tiers

FORKS = tiers.count(25, soak=300)

SCRIPT = """
import faulthandler, os, signal, sys, threading, time
faulthandler.enable()
if sys.argv[2] == "cv2":
    import cv2
import numpy as np
from shelfmatch.edge import Matcher, BundleError
from tests.conftest import tile_photo

bundle, forks = sys.argv[1], int(sys.argv[3])
queries = [np.asarray(tile_photo(n, 90, side=400)) for n in (0, 1, 2, 3, 100, 101)]
matcher = Matcher.open(bundle, sessions=3)
stop = threading.Event()

def ask(seed):
    number = seed
    while not stop.is_set():
        number += 1
        where = {"sku": f"sku-{number % 12:03d}"} if number % 7 == 0 else None
        matcher.match(queries[number % len(queries)], where=where, labels=("category",) if number % 5 == 0 else ())
        matcher.find(f"sku {number % 12:03d}")
        matcher.catalog.products()

threads = [threading.Thread(target=ask, args=(seed,), daemon=True) for seed in range(4)]
for thread in threads:
    thread.start()
hung = wrong = 0
for fork in range(forks):
    time.sleep(0.003 * (fork % 7))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            answer = matcher.match(queries[fork % 4], labels=("category",), where={"category": "tile"})
            again = matcher.match(queries[4])
            found = matcher.find("sku 003")
            assert answer.sku == f"sku-{fork % 4:03d}", answer
            assert again.sku is None, again
            assert found, "nothing found"
            assert matcher.index.ids.size >= 36, matcher.index.ids.size
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            wrong += status != 0
            break
        if time.monotonic() > deadline:
            hung += 1
            os.kill(child, signal.SIGABRT)
            os.waitpid(child, 0)
            break
        time.sleep(0.001)
    if hung > 2:
        break
stop.set()
for thread in threads:
    thread.join()
print(hung, wrong)
"""


@pytest.fixture
def labelled_bundle(tile_bundle: Path, tmp_path: Path) -> Path:
    """Twelve products with three photos each and a category."""
    rows = [f"{n}.png,sku-{n:03d},tile" for n in range(12)]
    for number in range(12):
        tile_photo(number, 7).save(tmp_path / f"{number}.png")
    (tmp_path / "more.csv").write_text("\n".join(["image,sku,category", *rows]) + "\n")
    remove_from_bundle(tile_bundle, ["sku-011"])
    add_to_bundle(tile_bundle, write_tiles(tmp_path / "last", range(11, 12), photos=2))
    add_to_bundle(tile_bundle, tmp_path / "more.csv", workers=1)
    return tile_bundle


@pytest.mark.parametrize("first", ["", "cv2"])
def test_a_forked_child_answers(labelled_bundle: Path, first: str) -> None:
    """8 of 25 children waited for ever for a lock, or a session, of a thread that only their parent had."""
    if first:
        pytest.importorskip("cv2")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(labelled_bundle), first, str(FORKS)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["0", "0"]), done.stderr[-2000:]


TURNS = """
import os, threading, time
from shelfmatch.edge.forking import at_rest

stop = threading.Event()

def work():
    while not stop.is_set():
        with at_rest, at_rest:
            time.sleep(0.02)

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
    time.sleep(0.005)
longest = 0.0
for inside in (False, True) * 5:
    begun = time.monotonic()
    if inside:
        with at_rest:
            child = os.fork()
    else:
        child = os.fork()
    if child == 0:
        with at_rest:
            os._exit(7)
    longest = max(longest, time.monotonic() - begun)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
stop.set()
for thread in threads:
    thread.join()
print(longest)
"""


def test_threads_that_take_turns_hold_no_fork_up() -> None:
    """One of four was always inside: the fork waited for ten seconds and then cut through whatever they did."""
    done = subprocess.run([sys.executable, "-c", TURNS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and float(done.stdout) < 5, (done.stdout, done.stderr[-2000:])


LOGGING = """
import os, sys, threading, time
import shelfmatch.edge.forking

thread = threading.Thread(target=__import__, args=("slow_module",))
thread.start()
while not hasattr(sys.modules.get("slow_module"), "READY"):
    time.sleep(0.001)
begun = time.monotonic()
child = os.fork()
if child == 0:
    import slow_module
    os._exit(slow_module.DONE)
longest = time.monotonic() - begun
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
thread.join()
print(longest)
"""


def test_a_fork_waits_for_a_module_that_asks_for_a_logger(tmp_path: Path) -> None:
    """Logging's own lock was held first: the module waited for the fork, the fork for the module, and the child for ever."""
    (tmp_path / "slow_module.py").write_text(
        "import logging, time\nREADY = 1\ntime.sleep(0.3)\nlogging.getLogger(__name__)\nDONE = 7\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", LOGGING],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.returncode == 0 and float(done.stdout) < 5, (done.stdout, done.stderr[-2000:])


def test_a_child_reads_the_catalogue_of_a_bundle_that_was_changed_since(tile_bundle: Path, tmp_path: Path) -> None:
    """Its file has lost its name; the child has no SQLite connection that it may use, and still answers from that version."""
    with Matcher.open(tile_bundle, follow=False) as matcher:
        query = np.asarray(tile_photo(3, 9))
        assert matcher.match(query).sku == "sku-003"
        remove_from_bundle(tile_bundle, ["sku-007"])
        child = os.fork()
        if child == 0:
            os._exit(0 if matcher.catalog.product_id("sku-007") is not None and matcher.find("sku 003") else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert matcher.match(query).sku == "sku-003"
