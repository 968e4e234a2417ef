"""What the service counts, for Prometheus: base units, and nothing that says who asked."""

from __future__ import annotations

from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from .._version import __version__
from ..machine.memory import memory
from ..machine.process import memory_bytes
from ..machine.thermal import temperatures

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_STAGES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The counters of one kiosk, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def made(kind: Any, name: str, meaning: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(f"shelfmatch_{name}", meaning, labels, registry=self.registry, **more)

        Info("shelfmatch", "this program", registry=self.registry).info({"version": __version__})
        self.requests = made(Counter, "requests_total", "Answered requests.", ("method", "route", "status"))
        self.decisions = made(Counter, "decisions_total", "Answers to photos.", ("decision",))
        self.refused = made(Counter, "refused_total", "Requests turned away.", ("reason",))
        self.stage = made(Histogram, "stage_seconds", "Time of a photo's stages.", ("stage",), buckets=_STAGES)
        self.swaps = made(Gauge, "bundle_swaps", "Bundles taken over since the start.")
        self.generation = made(Gauge, "bundle_generation", "Number of the bundle in use.")
        self.bundle_refused = made(Gauge, "bundle_refused", "1 while a newer bundle can't be used.")
        self.products = made(Gauge, "products", "Products in the catalogue.")
        self.inside = made(Gauge, "photos_in_work", "Photos in work or waiting.")
        self.waiting = made(Gauge, "photos_waiting", "Photos waiting for a thread.")
        self.sessions = made(Gauge, "sessions", "Sessions of frames.")
        self.resident = made(Gauge, "resident_bytes", "Memory of this process.")
        self.available = made(Gauge, "memory_available_bytes", "Memory that is left on this machine.")
        self.temperature = made(Gauge, "temperature_celsius", "Thermal zones.", ("zone",))

    def text(self) -> bytes:
        """All of them, with the machine as it is now."""
        resident, machine = memory_bytes()["resident"], memory()
        if resident is not None:
            self.resident.set(resident)
        if machine is not None:
            self.available.set(machine.available)
        for zone, degrees in temperatures().items():
            self.temperature.labels(zone).set(degrees)
        return bytes(generate_latest(self.registry))
