"""The kiosk: its start, its memory, what HTTP costs beside `Matcher.match`, and what it does under load.

    python benchmarks/kiosk.py
    python benchmarks/kiosk.py --seconds 60 --json kiosk.json
    python benchmarks/kiosk.py --parts libraries

A shop of 10,000 products with one reference each, made up around embeddings of rendered products, and the encoder that comes along.
Clients are in a process of their own, each with one connection that it keeps; one that is told to come again (503) waits as
long as it was told, but 50 ms at most. "libraries" starts the same small service in five libraries, in turns: the figures
behind the choice of one. Processor time is user and system time of the service's process; on a machine with other work
it says more than the clock does.

One module of over 400 lines: its parts share the shop and the service that is made for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import reporting
import shops

PARTS = ("libraries", "start", "http", "load")
CLIENTS = (1, 4, 16, 64)
QUEUE = 16
START_BAR_S, IDLE_BAR_MB, RATIO_BAR, THROUGHPUT_BAR = 1.2, 120.0, 1.25, 0.9
LONGEST_WAIT_S = 0.05
_REQUESTS = 400

_RECORDS = """
import msgspec, sys
class Candidate(msgspec.Struct):
    sku: str
    score: float
class Answer(msgspec.Struct):
    decision: str
    candidates: list[Candidate]
ANSWER = Answer("match", [Candidate("a", 1.0)] * 5)
schema = msgspec.json.schema_components([Answer])
"""
_UVICORN = """
import uvicorn
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", loop="asyncio", ws="none", lifespan="off", access_log=False)
"""
LIBRARIES = {
    "Starlette, msgspec": (
        ("starlette", "uvicorn", "msgspec"),
        _RECORDS + """
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
async def match(request):
    await request.body()
    return Response(msgspec.json.encode(ANSWER), media_type="application/json")
app = Starlette(routes=[Route("/match", match, methods=["POST"])])
""" + _UVICORN,
    ),
    "FastAPI, pydantic": (
        ("fastapi", "uvicorn", "pydantic"),
        """
import sys
from fastapi import FastAPI, Request
from pydantic import BaseModel
class Candidate(BaseModel):
    sku: str
    score: float
class Answer(BaseModel):
    decision: str
    candidates: list[Candidate]
app = FastAPI()
@app.post("/match")
async def match(request: Request) -> Answer:
    await request.body()
    return Answer(decision="match", candidates=[Candidate(sku="a", score=1.0)] * 5)
app.openapi()
""" + _UVICORN,
    ),
    "Litestar, msgspec": (
        ("litestar", "uvicorn", "msgspec"),
        _RECORDS + """
from litestar import Litestar, Request, post
@post("/match")
async def match(request: Request) -> Answer:
    await request.body()
    return ANSWER
app = Litestar([match])
app.openapi_schema
""" + _UVICORN,
    ),
    "aiohttp, msgspec": (
        ("aiohttp", "msgspec"),
        _RECORDS + """
from aiohttp import web
async def match(request):
    await request.read()
    return web.Response(body=msgspec.json.encode(ANSWER), content_type="application/json")
app = web.Application()
app.router.add_post("/match", match)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
""",
    ),
    "no library": (
        ("uvicorn", "msgspec"),
        _RECORDS + """
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": msgspec.json.encode(ANSWER)})
""" + _UVICORN,
    ),
}  # fmt: skip
"""Name → packages it needs, and a service that answers a photo with five candidates and has a schema of its answer."""


class Service:
    """A process that serves HTTP at a port of its own; its start is timed until it has answered once."""

    def __init__(self, command: list[str], probe: tuple[str, str]) -> None:
        self.port = int(command[-1])
        begin = time.perf_counter()
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while True:
            try:
                self.call(*probe)
                break
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit(f"{command[:4]} ended with {self.process.returncode}") from None
                time.sleep(0.002)
        self.start_s = time.perf_counter() - begin
        self.start_cpu_ms = self.cpu_ms()

    def call(self, method: str, path: str, body: bytes | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            response = connection.getresponse()
            response.read()
            return response.status

    def cpu_ms(self) -> float:
        """User and system time of the process."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@contextmanager
def kiosk(bundle: Path) -> Iterator[Service]:
    command = [
        sys.executable,
        "-m",
        "shelfmatch.edge.cli",
        "serve",
        str(bundle),
        "--set",
        f"answers.queue={QUEUE}",
        "--port",
        free_port(),
    ]
    service = Service(command, ("GET", "/readyz"))
    try:
        yield service
    finally:
        service.stop()


def measure_libraries(report: reporting.Report, repetitions: int) -> None:
    """Start, memory and processor time for a request, in turns."""
    installed = {name: code for name, (packages, code) in LIBRARIES.items() if all(map(find_spec, packages))}
    found: dict[str, dict[str, list[float]]] = {
        name: {"start_ms": [], "start_cpu_ms": [], "resident_mb": [], "request_cpu_us": []} for name in installed
    }
    photo = bytes(40_000)
    for _ in range(repetitions):
        for name, code in installed.items():
            service = Service([sys.executable, "-c", code, free_port()], ("POST", "/match"))
            before, connection = service.cpu_ms(), http.client.HTTPConnection("127.0.0.1", service.port)
            for _ in range(_REQUESTS):
                connection.request("POST", "/match", photo)
                connection.getresponse().read()
            row = found[name]
            row["start_ms"].append(service.start_s * 1e3)
            row["start_cpu_ms"].append(service.start_cpu_ms)
            row["request_cpu_us"].append((service.cpu_ms() - before) * 1e3 / _REQUESTS)
            row["resident_mb"].append(service.resident_mb())
            connection.close()
            service.stop()
    report.results["libraries"] = {
        name: {key: median(values) for key, values in row.items()} for name, row in found.items()
    }
    rows = [(name, *(f"{median(values):.0f}" for values in row.values())) for name, row in found.items()]
    reporting.print_table("Libraries", ("library", "start ms", "of the processor", "MB", "µs a request"), rows)


def photos() -> list[bytes]:
    """Rendered views as JPEG, 640x480."""
    from shelfmatch.edge.synthetic.products import make_shop, render_view

    made = []
    for product in make_shop(8, seed=11):
        file = io.BytesIO()
        render_view(product, 3, (640, 480), 0.3).save(file, "JPEG", quality=85)
        made.append(file.getvalue())
    return made


def made_up_shop(work: Path, products: int) -> Path:
    """A bundle of that many products, one reference each."""
    from shelfmatch.edge.encoders.encoder import Encoder

    path = work / f"kiosk-{products}-{shops.code_stamp()}.bundle"
    if not path.exists():
        encoder = Encoder.load("shelfmatch-cnn")
        shops.write_shop(path, encoder, encoder.embed(*photos()), products, views=1, adapt="off")
    return path


def measure_start(report: reporting.Report, bundle: Path, repetitions: int) -> None:
    starts, cpu, idle = [], [], []
    for _ in range(repetitions):
        with kiosk(bundle) as service:
            starts.append(service.start_s)
            cpu.append(service.start_cpu_ms)
            idle.append(service.resident_mb())
    report.results["start"] = {"seconds": median(starts), "cpu_ms": median(cpu), "idle_mb": median(idle)}
    print(f"\nstart {median(starts):.2f} s ({median(cpu):.0f} ms of the processor), idle {median(idle):.0f} MB")
    report.bar("start to ready, s", median(starts), START_BAR_S)
    report.bar("resident memory idle, MB", median(idle), IDLE_BAR_MB)


def measure_http(report: reporting.Report, bundle: Path, repetitions: int) -> None:
    """One client, the same photos through HTTP and through `Matcher.match`, in turns."""
    from shelfmatch.edge import Matcher

    pictures = photos()
    over_http: list[float] = []
    in_process: list[float] = []
    with kiosk(bundle) as service, Matcher.open(bundle, sessions=1) as matcher:
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        for number in range(repetitions + 10):
            photo = pictures[number % len(pictures)]
            begin = time.perf_counter()
            connection.request("POST", "/v1/match", photo, {"content-type": "image/jpeg"})
            connection.getresponse().read()
            middle = time.perf_counter()
            matcher.match(photo)
            end = time.perf_counter()
            if number >= 10:
                over_http.append((middle - begin) * 1e3)
                in_process.append((end - middle) * 1e3)
        connection.close()
    # The quick tenth of both: on a machine with other work each change of threads waits for its turn, and HTTP has four more.
    quick, alone = (sorted(values)[len(values) // 10] for values in (over_http, in_process))
    report.results["http"] = {
        "http_ms": median(over_http),
        "match_ms": median(in_process),
        "quick_http_ms": quick,
        "quick_match_ms": alone,
    }
    print(
        f"\nHTTP {median(over_http):.1f} ms, Matcher.match {median(in_process):.1f} ms; the quick tenth {quick:.1f}, {alone:.1f} ms"
    )
    report.bar("HTTP / Matcher.match, the quick tenth", quick / alone, RATIO_BAR)


async def _client(port: int, pictures: list[bytes], first: int, until: float, answers: list[tuple[int, float]]) -> None:
    """One client: a photo after the other over one connection, until it is time."""
    reader = writer = None
    number = first
    while time.perf_counter() < until:
        if writer is None or writer.is_closing():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        photo = pictures[number % len(pictures)]
        number += 1
        begin = time.perf_counter()
        head = f"POST /v1/match HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/jpeg\r\ncontent-length: {len(photo)}\r\n\r\n"
        try:
            writer.write(head.encode() + photo)
            assert reader is not None
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            size = int(answer.partition("content-length:")[2].split()[0])
            await reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            answers.append((0, time.perf_counter() - begin))
            continue
        answers.append((int(answer.split()[1]), time.perf_counter() - begin))
        if "connection: close" in answer:
            writer.close()
        if answers[-1][0] == 503:
            await asyncio.sleep(LONGEST_WAIT_S)
    if writer is not None:
        writer.close()


def _as_clients(port: int, clients: int, seconds: float) -> None:
    """The client process: prints what came, as JSON."""
    answers: list[tuple[int, float]] = []

    async def all_of_them() -> None:
        until = time.perf_counter() + seconds
        pictures = photos()
        await asyncio.gather(*(_client(port, pictures, number, until, answers) for number in range(clients)))

    asyncio.run(all_of_them())
    print(json.dumps(answers))


def measure_load(report: reporting.Report, bundle: Path, seconds: float) -> None:
    """So many clients at a time; throughput, the slowest of accepted requests, and memory."""
    rows, found = [], {}
    with kiosk(bundle) as service:
        workers = min(4, os.cpu_count() or 1)
        for clients in CLIENTS:
            before = service.cpu_ms()
            command = [sys.executable, __file__, "--as-clients", str(service.port), str(clients), str(seconds)]
            answers = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            taken = sorted(each for status, each in answers if status == 200)
            statuses = sorted({status for status, _ in answers})
            found[str(clients)] = {
                "per_second": len(taken) / seconds,
                "refused": sum(status == 503 for status, _ in answers),
                "p50_ms": median(taken) * 1e3,
                "p99_ms": taken[int(0.99 * len(taken))] * 1e3,
                "statuses": statuses,
                "resident_mb": service.resident_mb(),
                "cpu_ms_a_photo": (service.cpu_ms() - before) / max(1, len(taken)),
            }
            row = found[str(clients)]
            rows.append(
                (
                    clients,
                    *(f"{row[key]:.1f}" for key in ("per_second", "p50_ms", "p99_ms", "resident_mb")),
                    row["refused"],
                )
            )
    report.results["load"] = found
    reporting.print_table("Load", ("clients", "photos/s", "p50 ms", "p99 ms", "MB", "refused"), rows)
    best = max(row["per_second"] for row in found.values())
    report.bar("throughput at 16 / the best", found["16"]["per_second"] / best, THROUGHPUT_BAR, at_least=True)
    # A photo waits for those before it and is then in work itself, queue + workers of them, at the rate of that load.
    for clients in ("16", "64"):
        bound = (QUEUE + workers) / max(found[clients]["per_second"], 1e-9) * 1e3
        report.bar(f"p99 of accepted at {clients}, ms", found[clients]["p99_ms"], bound)
    others = {status for row in found.values() for status in row["statuses"]} - {200, 503}
    report.bar("other statuses than 200 and 503", len(others), 0)
    report.bar("resident memory at load, MB", max(row["resident_mb"] for row in found.values()), IDLE_BAR_MB)


def main() -> int:
    if sys.argv[1:2] == ["--as-clients"]:
        _as_clients(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
        return 0
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--products", type=int, default=10_000, metavar="N")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="of each number of clients")
    parser.add_argument(
        "--repetitions", type=int, default=7, metavar="N", help="starts; of photos twenty times as many"
    )
    arguments: argparse.Namespace = parser.parse_args()
    report = reporting.Report.start("kiosk", products=arguments.products, seconds=arguments.seconds, queue=QUEUE)
    with reporting.work_folder(arguments.work) as work:
        if "libraries" in arguments.parts:
            measure_libraries(report, arguments.repetitions)
        bundle = made_up_shop(work, arguments.products)
        if "start" in arguments.parts:
            measure_start(report, bundle, arguments.repetitions)
        if "http" in arguments.parts:
            measure_http(report, bundle, 20 * arguments.repetitions)
        if "load" in arguments.parts:
            measure_load(report, bundle, arguments.seconds)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
