"""`shelfmatch shelf watch`, `simulate` and `install`: a camera that watches a shelf, the same without a camera, and its service."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ShelfError
from ..terminal import DONE, complain, print_json, titled
from .options import add_turn, positive, seconds, seed, whole
from .shelf_outputs import add_outputs, credentials_of, outputs, pictures, secret

if TYPE_CHECKING:
    from ..camera.frame import Frame
    from ..events.event import Event
    from ..shelf.service import ShelfService


_SOURCES = "a folder into which photos come, a photo or a video file, a camera's number, csi, or an rtsp:// address"


def register(action: Callable[..., argparse.ArgumentParser]) -> None:
    """The actions watch, simulate and install."""
    watch = action("watch", _watch, "watch a shelf: events as they come, until SIGTERM or the source ends")
    _add_watch(watch)
    add_outputs(watch)
    watch.add_argument(
        "--once", action="store_true", help="of a folder, take the photos that are there, by path, and end"
    )
    watch.add_argument("--port", type=whole, metavar="N", help="a live page for this device alone, at 127.0.0.1:N")
    watch.add_argument(
        "--check", action="store_true", help="open everything, take one frame of what isn't a watched folder, and stop"
    )
    simulate = action("simulate", _simulate, "the same without a camera: a rendered shelf, its plan, bundle and frames")
    simulate.add_argument(
        "folder", metavar="FOLDER", help="where plan, photos and bundle are written, and frames with --write"
    )
    simulate.add_argument("--frames", type=positive, default=60, metavar="N", help="how many (default: 60)")
    simulate.add_argument(
        "--step", type=seconds, default=60.0, metavar="SECONDS", help="between two of them (default: 60)"
    )
    simulate.add_argument("--seed", type=seed, default=0, metavar="N", help="another shelf and another day")
    simulate.add_argument("--write", action="store_true", help="write the frames as photos and watch nothing")
    simulate.add_argument(
        "--pace", type=seconds, default=0.0, metavar="SECONDS", help="really wait so long between two frames"
    )
    simulate.add_argument("--log", metavar="FOLDER", help="write events to this log first, from there to where they go")
    add_outputs(simulate)
    install = action("install", _install, "write the hardened systemd unit of a watch, shown first")
    _add_watch(install)
    add_outputs(install)
    install.add_argument("--port", type=whole, metavar="N", help="a live page for this device alone, at 127.0.0.1:N")
    install.add_argument("--dry-run", action="store_true", help="show what would be written, and change nothing")
    install.add_argument("--root", metavar="FOLDER", default="/", help="install into this folder instead of /")


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN")
    parser.add_argument(
        "--source", metavar="SOURCE", help=f"{_SOURCES}; an address with a password may be in SHELFMATCH_SOURCE instead, or in "
        "a file of this name in systemd's credentials"
    )  # fmt: skip
    add_turn(parser)
    parser.add_argument("--bundle", metavar="SHOP.bundle", required=True, help="the shop's products")
    parser.add_argument("--every", type=seconds, default=2.0, metavar="SECONDS", help="look so often (default: 2)")
    parser.add_argument(
        "--frames", type=positive, default=3, metavar="N", help="a change counts after so many frames (default: 3)"
    )
    parser.add_argument(
        "--seconds", type=seconds, default=0.0, metavar="T", help="and after so many seconds (default: 0)"
    )
    parser.add_argument("--log", metavar="FOLDER", help="write events to this log first, from there to standard output")
    parser.add_argument(
        "--state", metavar="FILE", help="what is known, for the next start (default: in the log's folder)"
    )


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set: the frame in hand is finished, what is known is written."""
    stop = threading.Event()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for one in (signal.SIGTERM, signal.SIGINT):
            before[one] = signal.signal(one, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _source_of(options: argparse.Namespace, kept: Callable[[], str] = lambda: "") -> str:
    """--source, or what systemd's credentials, the environment, or `kept` have. Raises ShelfError where there is none, EventError
    for a credential that can't be read."""
    from ..shelf.install import SOURCE_VARIABLE

    source = str(options.source or secret(SOURCE_VARIABLE) or kept())
    if not source:
        raise ShelfError(f"--source is missing or empty, and {SOURCE_VARIABLE} isn't set; expected {_SOURCES}")
    return source


def _watch(options: argparse.Namespace) -> int:
    import logging

    from ..camera.sources import frames
    from ..files import check_output
    from ..shelf.service import ShelfService, WatchOptions
    from .match import open_matcher

    _check_port(options.port)
    if options.state and not _comes_with(options.log, options.state):
        check_output(options.state, "state", [options.plan])
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    state = Path(options.state) if options.state else Path(options.log, "shelf.state") if options.log else None
    settings = WatchOptions(options.frames, options.seconds, options.every, state)
    options.source = _source_of(options)
    with _stopping() as stop, contextlib.ExitStack() as opened:
        source = frames(
            options.source, every_s=options.every, once=options.once, turn=options.turn, is_stopped=stop.is_set
        )
        matcher = opened.enter_context(open_matcher(options.bundle, 1, follow=True))
        service = ShelfService(Path(options.plan), matcher, settings)
        if options.check:
            return _checked(service, source, options)
        if options.port:
            from ..shelf.live_page import start_page

            opened.callback(start_page(service, options.port).shutdown)
            complain(f"the live page is at http://127.0.0.1:{options.port}/")
        count = _run_service(service, source, options, stop)
    if not options.json:
        complain(f"{count} frames seen")
    return DONE


def _checked(service: ShelfService, source: Iterator[Frame | None], options: argparse.Namespace) -> int:
    """Take one frame of what has any, open the log, and say that all is well."""
    from ..camera.live import check_camera
    from ..camera.sources import is_camera
    from ..events.log import EventLog
    from ..shelf.live_page import start_page

    if is_camera(options.source):
        check_camera(options.source)
    elif options.once or not Path(options.source).is_dir():
        frame = next(source, None)
        if frame is None:
            raise ShelfError(f"{options.source} holds no photo that can be read; expected frames of the shelf")
        service.watcher.check(frame)
    if options.log:
        EventLog.open(options.log).close()
    if options.port:
        start_page(service, options.port).shutdown()
    if options.json:
        print_json({"ok": True, "slots": len(service.plan.slots), "products": len(service.plan.skus)})
    else:
        print(f"all is well: {len(service.plan.slots)} slots, {len(service.plan.skus)} products")
    return DONE


def _comes_with(log: str | None, state: str) -> bool:
    """Whether a state goes into a log's folder that isn't there yet."""
    return log is not None and not Path(log).exists() and Path(log).absolute() in Path(state).absolute().parents


def _check_port(port: int | None) -> None:
    if port is not None and not 1 <= port <= 65_535:
        raise ShelfError(f"--port {port} arrived; expected 1 to 65535")


def _run_service(
    service: ShelfService, source: Iterator[Frame | None], options: argparse.Namespace, stop: threading.Event
) -> int:
    """Frames through a service, events to the log and from there to where they are sent; how many frames there were."""
    from ..events.log import EventLog

    with contextlib.ExitStack() as opened:
        log = opened.enter_context(EventLog.open(options.log)) if options.log else None
        picture = pictures(options, lambda *asked: service.watcher.in_sight(*asked))
        opened.enter_context(outputs(options, log, service.status))
        return service.run(
            source, lambda event, frame: _told(event, log, picture(event, frame), options.json), stop.is_set
        )


def _told(event: Event, log: Any, picture: bytes | None, as_json: bool) -> None:
    """An event to the log first, from which JSON goes to standard output; lines for people, or JSON without a log, at once."""
    if log is not None:
        log.append(event, picture)
    if not as_json:
        print(_line(event), flush=True)
    elif log is None:
        print(event.to_json().decode(), flush=True)


def _line(event: Event) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(event.after["time"])))
    after = event.after
    if event.kind == "camera":
        return f"{when} camera: {after['state']}" + (f"; {after['advice']}" if "advice" in after else "")
    by = f" by {after['by']}" if after.get("by") else ""
    facings = f", {after['facings']} of {after['of']} facings" if "facings" in after else ""  # not of a removed slot
    return f"{when} {titled(str(event.slot), str(after.get('expected', '')))}: {after['state']}{by}{facings}"


def _simulate(options: argparse.Namespace) -> int:
    from .. import build_bundle
    from ..shelf.service import ShelfService, WatchOptions
    from ..shelf.simulate import Simulation, forget_frames, saved
    from .match import open_matcher

    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    simulation, plan, bundle = Simulation(options.seed), folder / "plan.json", folder / "shop.bundle"
    simulation.check_ours(plan)
    if bundle.exists():
        with open_matcher(str(bundle), 1) as matcher:
            simulation.check_ours(plan, [product.sku for _, product in matcher.catalog.products()])
    else:
        complain("building the bundle of the simulated shop")
        simulation.write_catalogue(folder / "catalogue")
        build_bundle(folder / "catalogue", bundle)
    target, is_ours = folder / "frames", plan.exists()
    if options.write and not is_ours and target.is_dir() and any(target.iterdir()):
        raise ShelfError(
            f"{target} holds files that no simulation wrote; name another folder, nothing in this one was changed"
        )
    simulation.write_plan(plan)
    with _stopping() as stop:
        # Photos come from the past: what is written now was seen up to now.
        begin = time.time() - options.frames * options.step if options.write else None
        source = _paced(simulation.frames(options.frames, options.step, begin), options.pace, stop)
        if options.write:
            target.mkdir(exist_ok=True)
            forget_frames(target)
            paths = [str(saved(frame, target)) for frame in source]
            print_json(paths) if options.json else print(f"{len(paths)} frames in {target}")
            return DONE
        with open_matcher(str(bundle), 1) as matcher:
            service = ShelfService(plan, matcher, WatchOptions())
            _run_service(service, source, options, stop)
    return DONE


def _paced(frames: Iterator[Frame], pace_s: float, stop: threading.Event) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        if stop.wait(pace_s) if pace_s else stop.is_set():
            return


def _install(options: argparse.Namespace) -> int:
    from ..shelf.install import SOURCE_PATH, kept_source, planned, write

    _check_port(options.port)
    root = Path(options.root)
    files = planned(options, _source_of(options, lambda: kept_source(root)), credentials_of(options))
    unit, credential = files[-1], next((one.path for one in files if one.is_secret), None)
    if credential is None and (root / SOURCE_PATH.lstrip("/")).exists():
        complain(f"{SOURCE_PATH} is of an earlier install, and not used any more; remove it if nothing else needs it")
    missing = [path for path in (options.plan, options.bundle) if not Path(path).exists()]
    if missing and root == Path("/"):  # another root is another machine's disk
        problem = f"{missing[0]} isn't there, and the service would end at its start; put it there first"
        if not options.dry_run:
            raise ShelfError(problem)
        complain(problem)
    if options.json:
        print_json({"path": unit.path, "text": unit.text, "credential": credential, "dry_run": options.dry_run})
    else:
        print(f"# {unit.path}\n{unit.text}")
        if credential:
            print(f"# {credential} (0600): the source, which isn't shown")
    if not options.dry_run:
        write(files, root)
    return DONE
