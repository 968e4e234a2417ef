"""One kiosk: its shop, its pool, and what its handlers share."""

from __future__ import annotations

import asyncio
import logging
import os
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request

from ..errors import KioskError
from ..imaging.image import Limits
from ..machine.memory import Memory, memory
from ..machine.systemd import credential_text
from ..matching.finder import Finder
from .metrics import Metrics
from .pictures import Pictures
from .pool import Pool
from .problems import Problem
from .sessions import Sessions
from .settings import CAMERA_CREDENTIAL, IN_CREDENTIAL, Settings
from .shop import Served, Shop, matcher_settings
from .staff import Gate, codes_file, read_codes

if TYPE_CHECKING:
    from .device_camera import DeviceCamera
    from .unknowns import Unknowns

logger = logging.getLogger(__name__)

_MOST_WORKERS: Final = 4
_MOST_IN_LITTLE_MEMORY: Final = 2
_LITTLE_MEMORY: Final = 768 << 20  # bytes
"""Where `answers.workers` is 0: each has interpreters of its own in memory. On an emulated machine with 512 MB four took 135 MB,
and two take 113 (benchmarks/arm/machine.py --what kiosk)."""
_LOOKUPS: Final = 2
"""Threads for look-ups in the catalogue, which wait for a disk and not for a processor."""


def workers_here(found: Memory | None) -> int:
    """Photos in work at one time on this machine, of `found` memory: one a core, at most four, two where memory is little."""
    is_little = found is not None and found.total < _LITTLE_MEMORY
    return min(_MOST_IN_LITTLE_MEMORY if is_little else _MOST_WORKERS, os.cpu_count() or 1)


def camera_source(configured: str) -> str:
    """The device's own camera, where the settings name one. Raises KioskError for a credential that isn't there."""
    if configured != IN_CREDENTIAL:
        return configured
    source = credential_text(CAMERA_CREDENTIAL, KioskError)
    if not source:
        raise KioskError(
            f"camera.source is {IN_CREDENTIAL!r}, and systemd's credential {CAMERA_CREDENTIAL} isn't there or is empty: the "
            "service has it, a serve that is started by hand doesn't; name the camera with --camera, or none with --camera ''"
        )
    return source


class Kiosk:
    """Opens all parts of a kiosk. Raises ShelfmatchError where one of them can't be used."""

    def __init__(self, bundle: Path, settings: Settings) -> None:
        self.settings = settings
        answers = settings.answers
        workers = answers.workers or workers_here(memory())
        self.limits = Limits(size_bytes=settings.server.body_bytes, pixels=answers.pixels)
        codes = codes_file(settings.staff.tokens)
        self.gate = None if codes is None else Gate(read_codes(codes), settings.staff.attempts)
        name = settings.staff.folder or os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        folder = Path(name) if name and self.gate is not None else None
        if folder is None:
            self.gate = None
        self.pictures = Pictures(Path(settings.pictures.folder) if settings.pictures.folder else None)
        self.unknowns = self._unknowns()
        self.camera = self._camera()
        matching = matcher_settings(threads=answers.threads, workers=workers, runtime=answers.runtime)
        self.shop = Shop(bundle, matching, folder)
        self.finder = Finder.of(answers.locate, None, workers)
        self.pool = Pool(workers, answers.queue)
        self.lookups = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="shelfmatch-look-up")
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="shelfmatch-change")
        self.sessions = Sessions(self.limits, locate=self.finder.locator(None))
        self.metrics = Metrics()
        self.is_stopping = False

    def _unknowns(self) -> Unknowns | None:
        privacy = self.settings.privacy
        if not privacy.keep_unknowns:
            return None
        from ..privacy.people import PeopleFinder
        from .unknowns import Unknowns

        finder = PeopleFinder(Path(privacy.detector))
        return Unknowns(Path(privacy.keep_unknowns), finder, privacy.most_files, privacy.days)

    def _camera(self) -> DeviceCamera | None:
        camera = self.settings.camera
        if not camera.source:
            return None
        from .device_camera import DeviceCamera

        return DeviceCamera(camera_source(camera.source), camera.frames_per_second, camera.turn)

    def close(self) -> None:
        """Let go of everything."""
        self.is_stopping = True
        if self.camera is not None:
            self.camera.close()
        self.pool.close()
        self.lookups.shutdown(wait=False, cancel_futures=True)
        self.writer.shutdown(wait=True)
        self.shop.close()

    def picture_of(self, served: Served, sku: str) -> str | None:
        """Where a product's picture is, None where there is none. It may ask the disk: not in the event loop."""
        if not self.pictures.has(served, sku):
            return None
        return f"/v1/products/{urllib.parse.quote(sku, safe='')}/picture"

    async def looked_up(self, function: Any, *arguments: Any) -> Any:
        """Call a function that reads the catalogue or a disk, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.lookups, function, *arguments)

    async def changed(self, function: Any, *arguments: Any) -> Any:
        """Call a function that changes the shop; one after the other, and to its end even if the caller goes away."""
        future = asyncio.get_running_loop().run_in_executor(self.writer, function, *arguments)
        return await asyncio.shield(future)

    async def is_staff(self, request: Request) -> bool:
        """Whether a right staff code came along. Raises Problem after too many wrong ones."""
        kind, _, code = request.headers.get("authorization", "").partition(" ")
        if self.gate is None or kind.lower() != "bearer" or not code.strip():
            return False
        address = "" if request.client is None else request.client.host
        pause = self.gate.pause_s(address)
        if pause:
            self.metrics.refused.labels("attempts").inc()
            raise Problem("attempts", f"too many wrong codes came; wait {pause} s", {"Retry-After": str(pause)})
        if self.gate.is_known(code):
            return True
        self.gate.note(address)
        return bool(await self.looked_up(self.gate.check, code[:200], address))

    async def require_staff(self, request: Request) -> None:
        """Raise Problem for everybody else."""
        if self.gate is None:
            raise Problem(
                "staff-off", "no staff codes are set up; set staff.tokens and staff.folder (shelfmatch kiosk code)"
            )
        if not await self.is_staff(request):
            self.metrics.refused.labels("code").inc()
            raise Problem(
                "code",
                "the staff code is missing, wrong or has expired; send Authorization: Bearer CODE",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
