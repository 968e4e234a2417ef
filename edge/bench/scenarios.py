"""The three ways to load a matcher, and the loop they are held against. All times are in milliseconds unless named otherwise.

Each measures in blocks of a quarter of a second, with the yardstick between the photos or, offline, around each block. The
names and the rules (one photo after another; as many as go through; photos that arrive on time) are MLPerf Inference's single
stream, offline and, for the last, its server with a camera's clock (https://github.com/mlcommons/inference_policies).
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice, pairwise
from typing import Any

from ..errors import ImageError
from ..imaging.decode import decode
from ..imaging.image import ImageSource
from ..imaging.resize import fit
from ..matching.matcher import Matcher
from ..matching.results import STAGES

BLOCK_S = 0.25
_YARDS = 8
"""Yardsticks before and after each block of offline: 4 ms of a desktop core."""
_YARD_EVERY_MS = 6.0
"""Between photos, the yardstick runs whenever so much was measured since: 8 % of a desktop core's time."""

Yardstick = Callable[[], tuple[float, float]]
_clock, _cpu = time.perf_counter, time.process_time
_TURN = 8
_SPARE_S = 0.02
QUIET = 0.95
"""Of a sample's time: less on the CPU, and somebody else ran meanwhile."""


class Meter:
    """What the blocks of a slice were like: when, how many photos, how fast the machine was."""

    def __init__(self, yardstick: Yardstick) -> None:
        self._yardstick = yardstick
        self._yards: list[tuple[float, float]] = []
        self.blocks: list[dict[str, float]] = []
        self._start = self._start_cpu = self._yards_cpu = self._yards_s = 0.0

    def measure(self, runs: int = 1) -> None:
        """Run the yardstick now; its time is taken off the block's."""
        start, cpu = _clock(), _cpu()
        self._yards += [self._yardstick() for _ in range(runs)]
        self._yards_s += _clock() - start
        self._yards_cpu += _cpu() - cpu

    def begin(self, yards: int = 0) -> None:
        """A block starts now, after so many yardsticks."""
        self._yards = []
        if yards:
            self.measure(yards)
        self._yards_s = self._yards_cpu = 0.0
        self._start, self._start_cpu = _clock(), _cpu()

    def age(self) -> float:
        """Seconds since the block began."""
        return _clock() - self._start

    def end(self, photos: int, yards: int = 0) -> None:
        """It ended now, after so many photos; so many yardsticks follow. `yardstick_ms`: the median of those runs that nobody
        interrupted, or else the fastest. `cpu_share`: the part of the yardstick's time that this process was let run."""
        seconds, cpu = _clock() - self._start - self._yards_s, _cpu() - self._start_cpu - self._yards_cpu
        if yards or not self._yards:
            self.measure(yards or 1)
        quiet = sorted(wall for wall, cpu_ms in self._yards if cpu_ms >= QUIET * wall)
        self.blocks.append(
            {
                "start_s": self._start,
                "seconds": seconds,
                "photos": photos,
                "cpu_s": cpu,
                "yardstick_ms": quiet[len(quiet) // 2] if quiet else min(self._yards)[0],
                "cpu_share": min(1.0, sum(cpu_ms for _, cpu_ms in self._yards) / sum(wall for wall, _ in self._yards)),
            }
        )


class Samples:
    """Single latencies and their stages, in arrays that don't show in the memory measured; `cpu`: what of it this process had the
    CPU."""

    def __init__(self) -> None:
        self.total = array("f")
        self.cpu = array("f")
        self.stages = {stage: array("f") for stage in STAGES}

    def to_dict(self) -> dict[str, Any]:
        stages = {stage: [round(v, 4) for v in values] for stage, values in self.stages.items() if any(values)}
        return {
            "samples_ms": [round(value, 4) for value in self.total],
            "cpu_ms": [round(value, 4) for value in self.cpu],
            "stages_ms": stages,
        }


def warm_up(matcher: Matcher, photos: Sequence[ImageSource], seconds: float) -> None:
    """Until the time is over and every photo, or 32 of them, was matched."""
    end, least = _clock() + seconds, min(32, len(photos))
    for number in count():
        if number >= least and _clock() >= end:
            return
        matcher.match(photos[number % len(photos)])


def single_stream(
    matcher: Matcher, photos: Sequence[ImageSource], seconds: float, least: int, yardstick: Yardstick
) -> dict[str, Any]:
    """One photo after another, for at least so many seconds and samples; each timed from outside."""
    meter, samples, number = Meter(yardstick), Samples(), 0
    match, total, cpu, stages = matcher.match, samples.total, samples.cpu, list(samples.stages.items())
    end = _clock() + seconds
    while _clock() < end or number < least:
        meter.begin()
        first, block_end, since = number, _clock() + BLOCK_S, 0.0
        while True:
            before_cpu = _cpu()
            before = _clock()
            result = match(photos[number % len(photos)])
            after = _clock()
            cpu.append((_cpu() - before_cpu) * 1e3)
            total.append((after - before) * 1e3)
            latency = result.latency_ms
            for stage, values in stages:
                values.append(latency.get(stage, 0.0))
            number += 1
            since += after - before
            if since >= _YARD_EVERY_MS / 1e3:
                meter.measure()
                since = 0.0
            if after >= block_end:
                break
        meter.end(number - first)
    return {"scenario": "single-stream", "blocks": meter.blocks, **samples.to_dict()}


def offline(
    matcher: Matcher, photos: Sequence[ImageSource], seconds: float, least: int, yardstick: Yardstick, workers: int
) -> dict[str, Any]:
    """As many photos as go through with a thread on each core."""
    stream = _endless(photos)

    def run(photos: int) -> None:
        for answer in matcher.match_many(islice(stream, photos), workers=workers):
            if isinstance(answer, ImageError):
                raise answer

    run(4 * workers)  # opens the other threads' interpreters
    start = _clock()
    run(4 * workers)
    chunk = max(2 * workers, math.ceil(4 * workers * 2 * BLOCK_S / (_clock() - start)))
    meter, number = Meter(yardstick), 0
    end = _clock() + seconds
    while _clock() < end or number < least:
        meter.begin(_YARDS)
        run(chunk)
        meter.end(chunk, _YARDS)
        number += chunk
    return {"scenario": "offline", "workers": workers, "blocks": meter.blocks}


def steady_rate(
    matcher: Matcher, photos: Sequence[ImageSource], seconds: float, least: int, yardstick: Yardstick, fps: float
) -> dict[str, Any]:
    """A camera at `fps`: each frame is there at its time, the newest is taken, older ones that waited are dropped.

    Latency runs from the frame's arrival to the answer. Late: longer than a frame's time. Jitter: how far the time between two
    answers is from the frames' distance.
    """
    meter, samples, period = Meter(yardstick), Samples(), 1 / fps
    frames, dropped, answered = 0, 0, array("d")
    start = _clock() + period
    meter.begin()
    in_block = 0
    while frames * period < seconds or frames < least:
        arrival = start + frames * period
        now = _clock()
        if now < arrival:
            time.sleep(arrival - now)
        else:
            behind = int((now - arrival) / period)
            frames, dropped, arrival = frames + behind, dropped + behind, arrival + behind * period
        before_cpu, before = _cpu(), _clock()
        result = matcher.match(photos[frames % len(photos)])
        done = _clock()
        # A frame's latency begins with its arrival; that it waited doesn't mean that somebody interrupted.
        samples.cpu.append((_cpu() - before_cpu + before - arrival) * 1e3)
        samples.total.append((done - arrival) * 1e3)
        for stage, values in samples.stages.items():
            values.append(result.latency_ms.get(stage, 0.0))
        answered.append(done)
        frames, in_block = frames + 1, in_block + 1
        if start + frames * period - done > _SPARE_S:  # where it can't make the next frame late
            meter.measure()
        if meter.age() > BLOCK_S:
            meter.end(in_block)
            meter.begin()
            in_block = 0
    if in_block:
        meter.end(in_block)
    return {
        "scenario": "steady-rate",
        "fps": fps,
        "frames": frames,
        "dropped": dropped,
        "late": sum(1 for value in samples.total if value > period * 1e3),
        "jitter_ms": [round(abs(b - a - period) * 1e3, 4) for a, b in pairwise(answered)],
        "blocks": meter.blocks,
        **samples.to_dict(),
    }


def bare_encode(matcher: Matcher, photos: Sequence[ImageSource], seconds: float) -> dict[str, list[float]]:
    """The runtime's own benchmark loop, the network alone on one prepared input, in turns with matches of eight photos each:
    whatever the machine does meets both. `bare_ms` and, of the matches, `encode_ms`."""
    encoder = matcher.encoder
    value = encoder._feed.tensor(fit(decode(photos[0], encoder.card), encoder.card, encoder.resizer))
    bare: list[float] = []
    ours: list[float] = []
    end, number = _clock() + seconds, 0
    while _clock() < end or len(bare) < 2 * _TURN:
        with encoder._pool.borrow() as session:
            for _ in range(_TURN):
                start = _clock()
                session.run(value, encoder.card.output_name)
                bare.append((_clock() - start) * 1e3)
        for _ in range(_TURN):
            ours.append(matcher.match(photos[number % len(photos)]).latency_ms["encode"])
            number += 1
    return {"bare_ms": [round(value, 4) for value in bare], "encode_ms": [round(value, 4) for value in ours]}


def _endless(photos: Sequence[ImageSource]) -> Iterator[ImageSource]:
    while True:
        yield from photos
