"""Runs a kiosk: sockets, signals, systemd's notifications, and the watch for a new bundle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from ..errors import KioskError
from ..machine.systemd import notify
from ..terminal import complain
from .app import make_app
from .guard import LOCAL_NAMES
from .kiosk import Kiosk
from .settings import Settings

logger = logging.getLogger(__name__)

_FIRST_SOCKET: Final = 3
"""Of those that systemd hands over (sd_listen_fds(3))."""
_STOP_S: Final = 5
_STUCK_S: Final = 60.0
_TIDY_S: Final = 60.0
"""Old crops and sessions are forgotten so often at least."""
_UNREAD_S: Final = 20.0
"""A client that takes nothing of what it is sent for so long is gone: its connection and its place before the camera are free."""
_SWITCH_S: Final = 0.001
"""A photo's thread lets the event loop have its turn after so long (5 ms is Python's own): refusing must be quick under load."""
_TURNED_AWAY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\ncontent-type: application/problem+json\r\n"
    b"content-length: 131\r\n\r\n"
    b'{"type":"/v1/docs#busy","title":"Busy","status":503,"detail":'
    b'"as many connections as this kiosk takes are open; come again in 2 s"}'
)


def protocol_class(kiosk: Kiosk) -> type[asyncio.Protocol]:
    """uvicorn's HTTP with two more limits: connections at one time, and seconds for the head of a request."""
    settings = kiosk.settings.server
    open_now: set[Any] = set()

    class KioskProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """One connection."""

        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(open_now) >= settings.connections:
                kiosk.metrics.refused.labels("connections").inc()
                transport.write(_TURNED_AWAY)
                transport.close()
                return
            open_now.add(self)
            _let_go_of_who_reads_nothing(transport.get_extra_info("socket"))
            self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            open_now.discard(self)
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:  # the head is whole
                self._disarm()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self.transport.is_closing():
                self._arm(settings.idle_seconds)

        def _arm(self, seconds: float = settings.head_seconds) -> None:
            self._disarm()
            self._head_timer = self.loop.call_later(seconds, self._give_up)

        def _disarm(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _give_up(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return KioskProtocol


def _let_go_of_who_reads_nothing(one: Any) -> None:
    """Also where the other end has no power any more: by itself TCP tries for a quarter of an hour (tcp(7), TCP_USER_TIMEOUT)."""
    if hasattr(socket, "TCP_USER_TIMEOUT") and one.family != socket.AF_UNIX:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNREAD_S * 1e3))


def run(kiosk: Kiosk) -> None:
    """Serve until SIGTERM or SIGINT. Raises KioskError where the address can't be had."""
    settings = kiosk.settings.server
    sockets = handed_over() or [listening(settings.host, settings.port)]
    config = uvicorn.Config(
        make_app(kiosk),
        http=protocol_class(kiosk),
        ws="none",
        loop="asyncio",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(settings.idle_seconds) + 1,
        timeout_graceful_shutdown=_STOP_S,
        backlog=min(settings.connections * 2, 1024),
    )
    server = uvicorn.Server(config)
    sys.setswitchinterval(_SWITCH_S)
    with contextlib.suppress(KeyboardInterrupt), _sigterm_as_stop():
        asyncio.run(_serve(kiosk, server, sockets))


@contextlib.contextmanager
def _sigterm_as_stop() -> Iterator[None]:
    """uvicorn sends itself again what it was sent: a stop that was asked for is no failure."""
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def _serve(kiosk: Kiosk, server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    refresh = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, refresh.set)
    serving = asyncio.create_task(server.serve(sockets=sockets))
    works = (_follow(kiosk, refresh), _announce(kiosk, server, sockets), _end_streams(kiosk, server))
    beside = [asyncio.create_task(work) for work in works]
    try:
        await serving
    finally:
        notify("STOPPING=1")
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        loop.remove_signal_handler(signal.SIGHUP)


async def _follow(kiosk: Kiosk, refresh: asyncio.Event) -> None:
    """Take over a new bundle when it is there, and at SIGHUP; forget what is old, however seldom one is looked for."""
    seconds, trouble = kiosk.settings.answers.watch_seconds, ""
    every = seconds or math.inf
    due = time.monotonic() + every
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(refresh.wait(), min(max(0.0, due - time.monotonic()), _TIDY_S))
        forced = refresh.is_set()  # also where it came as the time was up
        refresh.clear()
        if forced or time.monotonic() >= due:
            try:
                await kiosk.changed(lambda: kiosk.shop.refresh(force=forced))  # noqa: B023  (it is awaited)
            except Exception:
                logger.exception("looking for a new bundle failed; the one in use stays")
            due = time.monotonic() + every
        kiosk.sessions.tidy(kiosk.shop.served.snapshot)
        if kiosk.unknowns is not None:
            try:
                await kiosk.looked_up(kiosk.unknowns.tidy)
            except Exception as error:  # a folder on a stick that was pulled out must not end the watch for bundles
                if str(error) != trouble:
                    logger.warning("old crops can't be deleted: %s", error)
                trouble = str(error)


async def _end_streams(kiosk: Kiosk, server: uvicorn.Server) -> None:
    """A stop waits for no stream of the camera, and /readyz says that it is coming."""
    while not server.should_exit:
        await asyncio.sleep(0.1)
    kiosk.is_stopping = True


async def _announce(kiosk: Kiosk, server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    """Say where the service is, and tell systemd that it goes on: each time after a call of the pool has come back."""
    while not server.started:
        await asyncio.sleep(0.005)
    notify("READY=1")
    for one in sockets:
        print(f"shelfmatch: serving {kiosk.shop.path.name} at {address_of(one)}", file=sys.stderr, flush=True)
    period = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
    if not period or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return
    while True:
        await kiosk.looked_up(time.monotonic)
        if not kiosk.pool.is_stuck(_STUCK_S):
            notify("WATCHDOG=1")
        await asyncio.sleep(period / 3)


def address_of(one: socket.socket) -> str:
    """A socket's address, for people."""
    if one.family == socket.AF_UNIX:
        return str(one.getsockname())
    host, port = one.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def handed_over() -> list[socket.socket]:
    """Sockets of systemd's socket unit, none where there is none (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=number) for number in range(_FIRST_SOCKET, _FIRST_SOCKET + count)]


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises KioskError."""
    one = None
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        one = socket.socket(*info[:3])  # with its protocol: asyncio sets TCP_NODELAY on no other
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(info[4])
    except OSError as error:
        if one is not None:
            one.close()
        raise KioskError(
            f"{host}:{port} can't be listened at: {error.strerror or error}; expected an address of this machine and a free port "
            "(server.host, server.port)"
        ) from error
    return one


def warn_of_reach(settings: Settings) -> None:
    """Say so where others than this device can call the service."""
    host = settings.server.host
    if host not in (*LOCAL_NAMES, "::1"):
        names = ", ".join(settings.server.hosts) or "none: every call but those to localhost is refused"
        complain(f"listening at {host}: other machines can reach this kiosk, by these names (server.hosts): {names}")


def start(bundle: Path, settings: Settings) -> None:
    """Open a kiosk and serve it. Raises ShelfmatchError."""
    warn_of_reach(settings)
    kiosk = Kiosk(bundle, settings)
    try:
        run(kiosk)
    finally:
        kiosk.close()


def check(bundle: Path, settings: Settings) -> dict[str, Any]:
    """Open everything that `start` would, the address, the camera and a look for the pictures; what was found. Raises
    ShelfmatchError."""
    if not handed_over():
        listening(settings.server.host, settings.server.port).close()
    kiosk = Kiosk(bundle, settings)
    try:
        served = kiosk.shop.served
        if kiosk.shop.refused is not None:
            raise KioskError(f"the bundle is refused: {kiosk.shop.refused.reason}")
        make_app(kiosk)
        pictures = kiosk.pictures.count(served)
        if kiosk.camera is not None:
            kiosk.camera.check()
        return {
            "ok": True,
            "bundle": served.bundle_id,
            "generation": served.generation,
            "products": served.snapshot.bundle.manifest.products,
            "workers": kiosk.pool.workers,
            "pictures": pictures,
            "staff": kiosk.gate is not None,
            "camera": kiosk.camera is not None,
            "keeps_unknowns": kiosk.unknowns is not None,
            "address": f"{settings.server.host}:{settings.server.port}",
        }
    finally:
        kiosk.close()
